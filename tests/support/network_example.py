"""The nodes of a small network as Ultralytics names them: a backbone, a neck, and heads of any branches."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_trtgate.quantizing import Node, layers_of
from pytest_trtgate.records import Layer, Task


def branch(number: int, scale: int, *paths: str) -> Iterable[str]:
    """Yield the nodes of a branch of the head at one scale."""
    yield from (f"/model.9/cv{number}.{scale}/{path.format(p=f'cv{number}.{scale}')}" for path in paths)


BACKBONE = {
    "/model.0/conv/Conv": 2,
    "/model.1/conv/Conv": 4,
    "/model.2/cv1/conv/Conv": 4,
    "/model.2/m.0/cv1/conv/Conv": 4,
    "/model.3/conv/Conv": 8,
    "/model.4/m/m.0/attn/MatMul": 8,
    "/model.4/m/m.0/attn/MatMul_1": 8,
    "/model.4/m/m.0/ffn/ffn.0/conv/Conv": 8,
    "/model.5/conv/Conv": 16,
}
NECK = {"/model.6/Resize": 8, "/model.7/cv1/conv/Conv": 8, "/model.8/conv/Conv": 16}


def head(*numbers: int) -> dict[str, int]:
    """Return the nodes of a head with these branches, at two scales, with their strides."""
    found: dict[str, int] = {}
    for scale, stride in ((0, 8), (1, 16)):
        for number in numbers:
            paths = ("{p}.0/conv/Conv", "{p}.1/{p}.1.0/conv/Conv", "{p}.2/Conv")
            found |= dict.fromkeys(branch(number, scale, *paths), stride)
    return found


def named(nodes: dict[str, int], task: Task | None) -> dict[str, Layer]:
    """Return the layers of a graph by the names of their nodes."""
    kind = {name: name.rpartition("/")[2].partition("_")[0] for name in nodes}
    found = layers_of([Node(name, kind[name], stride, 9) for name, stride in nodes.items()], task)
    return {layer.node: layer for layer in found}
