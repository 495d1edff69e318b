"""Two ONNX graphs in one: an engine's beside that of FP32, which says of each layer how far the one is from the other.

Every tensor is reduced to a few numbers inside the graph, so that ONNX Runtime frees it at once: no activation is kept.

Import it only after :func:`pytest_trtgate.workers.worker.prepare`: it imports onnx.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...records import Layer

STATISTICS = ("signal", "arriving", "local", "low", "high", "clipped")
"""Numbers of each layer and image: the energy of the FP32 output; of what the engine's differs by, and of what it
differs by where the layer alone is the engine's; the least and the largest FP32 value; the share outside of the range.
"""
RESULT = "statistics"
AXIS = "told/axis"
AXES_AS_INPUT = 18
"""From this opset on, what is reduced is an input of the nodes that reduce."""
_ENGINE, _LOCAL, _NEW = "engine/", "local/", "told/"


@dataclass(frozen=True)
class Range:
    """What the quantized output of a layer can tell."""

    low: float
    high: float


class Beside:
    """The joint graph of an engine and its FP32 graph.

    Attributes:
        model: The graph; its one output, ``statistics``, is images x (layers x :data:`STATISTICS`).
        layers: The layers that both graphs have.
        ranges: The range of each layer's output; None where it is not quantized.
        lower: Whether the engine has each layer in a lower precision.
    """

    def __init__(self, fp32: Any, engine: Any, layers: Sequence[Layer]) -> None:
        self._fp32, self._engine = _Graph(fp32), _Graph(engine)
        self._opset = max(self._fp32.opset, self._engine.opset)
        self._nodes: list[Any] = []
        self._initializers = [_number(AXIS, np.array([1], np.int64))]
        self.layers = [one for one in layers if one.node in self._fp32.nodes and one.node in self._engine.nodes]
        self.ranges: list[Range | None] = []
        self.lower: list[bool] = []
        columns = [column for number, layer in enumerate(self.layers) for column in self._columns(number, layer)]
        self._add("Concat", columns, RESULT, axis=1)
        self.model = self._whole()

    def _add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _columns(self, number: int, layer: Layer) -> list[str]:
        """Return the names of the numbers of one layer (images x 1 each)."""
        at = f"{_NEW}{number}/"
        exact = self._add("Flatten", [self._fp32.nodes[layer.node].output[0]], f"{at}exact", axis=1)
        node = self._engine.nodes[layer.node]
        quantizer = self._engine.quantizer_of(node.output[0])
        self.lower.append(self._engine.is_lower(node))
        found = [self._reduced("ReduceSumSquare", exact, f"{at}signal")]
        for name, output in (("arriving", self._seen(node, quantizer)), ("local", self._alone(number, layer))):
            as_float = self._add("Cast", [output], f"{at}{name}/float", to=TensorProto.FLOAT)
            flat = self._add("Flatten", [as_float], f"{at}{name}/flat", axis=1)
            difference = self._add("Sub", [exact, flat], f"{at}{name}/difference")
            found.append(self._reduced("ReduceSumSquare", difference, f"{at}{name}"))
        found += [self._reduced("ReduceMin", exact, f"{at}low"), self._reduced("ReduceMax", exact, f"{at}high")]
        self.ranges.append(None if quantizer is None else self._engine.range_of(quantizer))
        return [*found, self._clipped(at, exact, found[0], self.ranges[-1])]

    def _clipped(self, at: str, exact: str, like: str, limits: Range | None) -> str:
        if limits is None:
            return self._add("Sub", [like, like], f"{at}clipped")
        for name, value in (("least", limits.low), ("most", limits.high)):
            self._initializers.append(_number(f"{at}{name}", np.array(value, np.float32)))
        under = self._add("Less", [exact, f"{at}least"], f"{at}under")
        over = self._add("Greater", [exact, f"{at}most"], f"{at}over")
        outside = self._add("Cast", [self._add("Or", [under, over], f"{at}out")], f"{at}outside", to=TensorProto.FLOAT)
        return self._reduced("ReduceMean", outside, f"{at}clipped")

    def _reduced(self, kind: str, tensor: str, output: str) -> str:
        """Reduce a tensor (images x values) by image."""
        self._nodes.append(_reducing(kind, tensor, output, self._opset))
        return output

    def _seen(self, node: Any, quantizer: Any) -> str:
        """Return the engine's output of a layer: after it was quantized, where it is."""
        if quantizer is None:
            return f"{_ENGINE}{node.output[0]}"
        inputs = [_ENGINE + name for name in (quantizer.output[0], *quantizer.input[1:])]
        return self._add("DequantizeLinear", inputs, f"{_NEW}{node.output[0]}/seen")

    def _alone(self, number: int, layer: Layer) -> str:
        """Return the output of the engine's layer for the FP32 graph's inputs."""
        exact, node, at = self._fp32.nodes[layer.node], self._engine.nodes[layer.node], f"{_LOCAL}{number}/"
        inputs = []
        for place, (wanted, given) in enumerate(zip(exact.input, node.input, strict=False)):
            if not given or wanted in self._fp32.constants:
                inputs.append(given and _ENGINE + given)
                continue
            quantizer = self._engine.quantizer_before(given)
            if quantizer is not None:
                inputs.append(self._through(quantizer, wanted, f"{at}{place}"))
            else:
                as_given = self._engine.types.get(given, TensorProto.FLOAT)
                inputs.append(self._add("Cast", [wanted], f"{at}{place}", to=as_given))
        copy = helper.make_node(node.op_type, inputs, [f"{at}output"], domain=node.domain)
        copy.attribute.extend(node.attribute)
        self._nodes.append(copy)
        after = self._engine.quantizer_of(node.output[0])
        return f"{at}output" if after is None else self._through(after, f"{at}output", f"{at}told")

    def _through(self, quantizer: Any, tensor: str, output: str) -> str:
        """Quantize a tensor as the engine does in one place, and dequantize it."""
        scale = [_ENGINE + name for name in quantizer.input[1:]]
        whole = self._add("QuantizeLinear", [tensor, *scale], f"{output}/whole")
        return self._add("DequantizeLinear", [whole, *scale], output)

    def _whole(self) -> Any:
        fp32, engine = self._fp32, self._engine
        (given,), (wanted,) = fp32.inputs, engine.inputs
        first = helper.make_node("Cast", [given.name], [_ENGINE + wanted.name], to=wanted.type.tensor_type.elem_type)
        graph = helper.make_graph(
            [*fp32.model.graph.node, first, *engine.prefixed_nodes(), *self._nodes],
            "beside",
            [given],
            [helper.make_tensor_value_info(RESULT, TensorProto.FLOAT, None)],
            [*fp32.model.graph.initializer, *engine.prefixed_initializers(), *self._initializers],
        )
        return _model(graph, (fp32.model, engine.model))


def farthest(fp32: Any, layers: Sequence[Layer]) -> Any:
    """Return a graph that tells of each image how far from zero each layer's FP32 output gets (images x layers)."""
    graph = _Graph(fp32)
    nodes, columns = [], []
    for number, layer in enumerate(layers):
        at = f"{_NEW}{number}/"
        nodes += [
            helper.make_node("Flatten", [graph.nodes[layer.node].output[0]], [f"{at}flat"], axis=1),
            helper.make_node("Abs", [f"{at}flat"], [f"{at}size"]),
            _reducing("ReduceMax", f"{at}size", f"{at}far", graph.opset),
        ]
        columns.append(f"{at}far")
    nodes.append(helper.make_node("Concat", columns, [RESULT], axis=1))
    output = [helper.make_tensor_value_info(RESULT, TensorProto.FLOAT, None)]
    initializers = [*fp32.graph.initializer, _number(AXIS, np.array([1], np.int64))]
    whole = helper.make_graph([*fp32.graph.node, *nodes], "farthest", graph.inputs, output, initializers)
    return _model(whole, (fp32,))


def _reducing(kind: str, tensor: str, output: str, opset: int) -> Any:
    """Return a node that reduces a tensor (images x values) by image, in the way of an opset."""
    if opset >= AXES_AS_INPUT:
        return helper.make_node(kind, [tensor, AXIS], [output], keepdims=1)
    return helper.make_node(kind, [tensor], [output], keepdims=1, axes=[1])


class _Graph:
    """A graph by the names of its nodes and tensors."""

    def __init__(self, model: Any) -> None:
        self.model, graph = model, model.graph
        self.nodes = {node.name: node for node in graph.node}
        self._values = {tensor.name: tensor for tensor in graph.initializer}
        made = {name: node for node in graph.node for name in node.output}
        self._made = made
        self.constants = {*self._values, *(name for name, node in made.items() if node.op_type == "Constant")}
        self.inputs = [one for one in graph.input if one.name not in self._values]
        self._quantizers = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
        self.opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
        self.types = {tensor.name: tensor.data_type for tensor in graph.initializer}
        known = onnx.shape_inference.infer_shapes(model).graph
        self.types |= {one.name: one.type.tensor_type.elem_type for one in (*known.value_info, *known.input)}

    def quantizer_of(self, tensor: str) -> Any:
        """Return the node that quantizes a tensor; None where none does."""
        return self._quantizers.get(tensor)

    def quantizer_before(self, tensor: str) -> Any:
        """Return the node that quantized what a tensor was dequantized from; None where none did."""
        node = self._made.get(tensor)
        before = self._made.get(node.input[0]) if node is not None and node.op_type == "DequantizeLinear" else None
        return before if before is not None and before.op_type == "QuantizeLinear" else None

    def is_lower(self, node: Any) -> bool:
        """Return whether a layer reads something that is not FP32, or was quantized."""
        made = (self._made.get(name) for name in node.input)
        quantized = any(one is not None and one.op_type == "DequantizeLinear" for one in made)
        return quantized or any(self.types.get(name) == TensorProto.FLOAT16 for name in node.input)

    def range_of(self, quantizer: Any) -> Range | None:
        """Return what a node that quantizes can tell; None where it has a scale per channel."""
        if any(name not in self._values for name in quantizer.input[1:]) or len(quantizer.input) < 3:
            return None
        scale, zero = (numpy_helper.to_array(self._values[name]) for name in quantizer.input[1:3])
        if scale.size != 1:
            return None
        limits = np.iinfo(zero.dtype)
        low, high = ((float(end) - float(zero)) * float(scale) for end in (limits.min, limits.max))
        return Range(low, high)

    def prefixed_nodes(self) -> Iterable[Any]:
        """Yield copies of the nodes, whose tensors have names of their own."""
        for node in self.model.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = _ENGINE + node.name
            copy.input[:] = [name and _ENGINE + name for name in node.input]
            copy.output[:] = [name and _ENGINE + name for name in node.output]
            yield copy

    def prefixed_initializers(self) -> Iterable[Any]:
        """Yield copies of the constants under names of their own."""
        for tensor in self.model.graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = _ENGINE + tensor.name
            yield copy


def _number(name: str, value: Any) -> Any:
    return numpy_helper.from_array(value, name)


def _model(graph: Any, of: Sequence[Any]) -> Any:
    versions: dict[str, int] = {}
    for model in of:
        for one in model.opset_import:
            domain = "" if one.domain == "ai.onnx" else one.domain
            versions[domain] = max(one.version, versions.get(domain, 0))
    opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=max(model.ir_version for model in of))
