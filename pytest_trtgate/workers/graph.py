"""What an ONNX graph consists of, as far as quantization asks.

Import it only after :func:`pytest_trtgate.workers.worker.prepare`: it imports onnx.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..quantizing import Node, layers_of
from ..records import TASKS, Layer


def read_layers(path: Path) -> tuple[Layer, ...]:
    """Return the layers of an ONNX file that the exporter quantizes."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    task = {entry.key: entry.value for entry in model.metadata_props}.get("task")
    return layers_of(nodes_of(model.graph), next((known for known in TASKS if known == task), None))


def nodes_of(graph: Any) -> list[Node]:
    """Return the nodes of a graph with the stride of each: by how much its output is smaller than the image."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    scales = _constants(graph)
    strides: dict[str, float] = {}
    found = []
    for node in graph.node:
        stride = max((strides.get(name, 1.0) for name in node.input), default=1.0) * _shrinks(node, scales)
        strides.update(dict.fromkeys(node.output, stride))
        weights = max((sizes.get(name, 0) for name in node.input), default=0)
        found.append(Node(node.name, node.op_type, stride, weights))
    return found


def _constants(graph: Any) -> dict[str, list[float]]:
    """Return the short lists of numbers in a graph, such as the scales of a resize."""
    from onnx import numpy_helper

    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant":
            tensors += [(node.output[0], a.t) for a in node.attribute if a.name == "value"]
    short = [(name, tensor) for name, tensor in tensors if math.prod(tensor.dims) <= 8]
    return {name: numpy_helper.to_array(tensor).ravel().tolist() for name, tensor in short}


def _shrinks(node: Any, constants: dict[str, list[float]]) -> float:
    """Return by how much a node makes an image smaller; under 1 where it makes it larger."""
    steps = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1])
    if node.op_type in ("Conv", "MaxPool", "AveragePool"):
        return float(steps[0])
    if node.op_type == "ConvTranspose":
        return 1 / steps[0]
    if node.op_type == "Resize":
        scales = constants.get(node.input[2], []) if len(node.input) > 2 else []
        return 1 / scales[-1] if len(scales) == 4 else 0.5
    return 1.0
