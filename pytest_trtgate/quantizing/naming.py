"""Names for the layers of a network in its own terms: stem, stages, neck, and the branches of the head.

Ultralytics numbers the modules of a network, and the nodes of its ONNX graphs carry their paths, such as
``/model.23/cv4.0/cv4.0.2/Conv``. That is the last convolution of the keypoint branch at stride 8:
``head.keypoints.8.last``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..records import Layer, Task

QUANTIZED = frozenset({"Conv", "Gemm", "MatMul"})
"""Kinds of nodes that the exporter quantizes."""
STEM_STRIDE = 4
"""Up to this stride, a layer of the backbone belongs to the stem."""
_MODULE = re.compile(r"/model\.(\d+)/(.*)$")
_SCALE = re.compile(r"(?:one2one_)?(cv\d\w*|proto|dfl)(?:\.(\d+))?")
_TASK_BRANCHES = {"pose": "keypoints", "segment": "masks", "obb": "angles"}
_WORDS = {
    "boxes": "box branch",
    "classes": "class branch",
    "keypoints": "keypoint branch",
    "masks": "mask branch",
    "angles": "angle branch",
    "prototypes": "mask prototypes",
}


@dataclass(frozen=True)
class Node:
    """A node of an ONNX graph.

    Attributes:
        name: Its name.
        kind: Its operator, such as ``Conv``.
        stride: By how much its output is smaller than the input image, as far as that is known.
        weights: How many weights it has.
    """

    name: str
    kind: str
    stride: float = 1.0
    weights: int = 0


def layers_of(nodes: Sequence[Node], task: Task | None = None) -> tuple[Layer, ...]:
    """Return the layers of a graph that the exporter quantizes, named, in the order of its nodes."""
    placed = [(node, _place(node.name)) for node in nodes]
    modules = [index for _, (index, _) in placed if index is not None]
    head = max(modules, default=-1)
    neck = min((i for node, (i, _) in placed if node.kind == "Resize" and i is not None and i < head), default=head)
    strides: dict[int, float] = {}
    for node, (index, _) in placed:
        if index is not None:
            strides[index] = max(node.stride, strides.get(index, 1.0))
    found: list[tuple[Node, list[str]]] = []
    for node, (index, path) in placed:
        if node.kind not in QUANTIZED:
            continue
        if index is None:
            parts = ["other", *path]
        elif index == head:
            parts = _in_head(path, node, task)
        else:
            stage = "stem" if strides[index] <= STEM_STRIDE else f"stage{round(math.log2(strides[index]))}"
            parts = ["neck" if index >= neck else stage, str(index), *path]
        found.append((node, parts))
    return tuple(_named(found))


def _place(name: str) -> tuple[int | None, list[str]]:
    """Return the number of a node's module, and its path inside that, without repeats."""
    found = _MODULE.search(name)
    parts = (found[2] if found else name.strip("/")).split("/")
    kind = parts.pop()
    if kind.startswith("MatMul"):
        parts.append(kind.lower())
    # The path repeats a list of modules before each of its members: cv4.0/cv4.0.2.
    own = [part for part, after in zip(parts, [*parts, ""][1:], strict=True) if not after.startswith(f"{part}.")]
    own = own[:-1] if own[-1:] == ["conv"] else own
    return (int(found[1]) if found else None), own


def _in_head(path: list[str], node: Node, task: Task | None) -> list[str]:
    """Return the parts of the name of a layer of the head."""
    branch = _SCALE.fullmatch(path[0].partition(".")[0]) if path else None
    if branch is None:
        return ["head", *(path if node.kind != "Gemm" else ["last"])]
    kind = branch[1]
    if kind == "proto":
        return ["head", "prototypes", *path[1:]]
    if kind == "dfl":
        return ["head", "boxes", "dfl"]
    known = {"cv2": "boxes", "cv3": "classes", "cv5": "masks"}
    name = known.get(kind) or (_TASK_BRANCHES.get(task or "", kind) if kind.startswith("cv4") else kind)
    below = path[0].split(".")[2:]  # after the branch and the number of its scale
    return ["head", name, f"{node.stride:g}", *below, *path[1:]]


def _named(found: list[tuple[Node, list[str]]]) -> Iterable[Layer]:
    last = {tuple(parts[:3]): node.name for node, parts in found if parts[0] == "head" and parts[2:3] != ["dfl"]}
    taken: dict[str, int] = {}
    for node, parts in found:
        if len(parts) > 2 and parts[1] in _WORDS and parts[2].isdigit() and last[tuple(parts[:3])] == node.name:
            parts = [*parts[:3], "last"]
        name = ".".join(parts)
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:
            name = f"{name}.{taken[name]}"
        sites = (640 / node.stride) ** 2 if node.stride >= 1 else 0.0
        yield Layer(
            name=name,
            node=node.name,
            words=_in_words(parts),
            weights=node.weights,
            multiplications=round(node.weights * sites) if node.kind == "Conv" else node.weights,
        )


def _in_words(parts: list[str]) -> str:
    block, rest = parts[0], parts[1:]
    if block == "head" and rest and rest[0] in _WORDS:
        words, scale, which = _WORDS[rest[0]], rest[1:2], rest[2:]
        if not (scale and scale[0].isdigit()):
            return ", ".join([words, *rest[1:]])
        place = "last convolution" if which == ["last"] else f"convolution {'.'.join(which)}"
        return f"{words}, {place}, scale {scale[0]}"
    if block.startswith("stage"):
        block = f"stage at stride {2 ** int(block.removeprefix('stage'))}"
    if rest and rest[0].isdigit():
        rest = [f"module {rest[0]}", *([".".join(rest[1:])] if rest[1:] else [])]
    return ", ".join([block, *rest])


def matching(layers: Iterable[Layer], patterns: Iterable[str]) -> tuple[Layer, ...]:
    """Return the layers that any of some patterns names: by its name, by a block that it is in, or by its node."""
    wanted = tuple(patterns)
    return tuple(layer for layer in layers if any(_is_named(layer, pattern) for pattern in wanted))


def _is_named(layer: Layer, pattern: str) -> bool:
    return fnmatchcase(layer.node, pattern) or any(fnmatchcase(name, pattern) for name in prefixes_of(layer.name))


def prefixes_of(name: str) -> list[str]:
    """Return the names of the blocks that a layer is in, the widest first, and its own."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def unknown_names(layers: Collection[Layer], patterns: Iterable[str]) -> dict[str, list[str]]:
    """Return the patterns that name no layer, each with the names that are nearest to it."""
    names = list(dict.fromkeys(name for layer in layers for name in prefixes_of(layer.name)))
    nodes = [layer.node for layer in layers]
    lost = [pattern for pattern in patterns if not matching(layers, [pattern])]
    return {p: difflib.get_close_matches(p, nodes if p.startswith("/") else names, n=3, cutoff=0.3) for p in lost}


def block_names(layers: Iterable[Layer]) -> tuple[str, ...]:
    """Return the blocks of a network, in the order of its layers: stem, stages, neck, and each branch of the head."""
    return tuple(dict.fromkeys(_block(layer.name) for layer in layers))


def _block(name: str) -> str:
    first, second, *_ = [*name.split("."), ""]
    return f"{first}.{second}" if first == "head" and second in _WORDS else first
