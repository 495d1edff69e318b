"""Two ONNX graphs in one: an engine's beside that of FP32, which says of each layer how far the one is from the other.

Every tensor is reduced to a few numbers inside the graph, so that ONNX Runtime frees it at once: no activation is kept.

Import it only after :func:`pytest_trtgate.workers.worker.prepare`: it imports onnx.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
ACTIVATIONS = {"Relu", "LeakyRelu", "Clip", "HardSwish", "HardSigmoid", "Elu", "Sigmoid", "Tanh", "PRelu"}
ENGINE = "engine/"
"""Stands before the names of an engine's tensors."""
_LOCAL, _NEW = "local/", "told/"


@dataclass(frozen=True)
class Range:
    """What the quantized output of a layer can tell."""

    low: float
    high: float


class Joint:
    """What all graphs have that tell how far an engine is from its FP32 graph.

    Attributes:
        layers: The layers that are compared.
        tensors: The FP32 tensor at which each is.
        ranges: The range of each of those; None where it is not quantized.
        lower: Whether the engine has each layer in a lower precision.
    """

    def __init__(self, fp32: Any, opset: int) -> None:
        self._fp32, self._opset = fp32, opset
        self._nodes: list[Any] = []
        self._initializers = [_number(AXIS, np.array([1], np.int64))]
        self.layers: list[Layer] = []
        self.tensors: list[str] = []
        self.ranges: list[Range | None] = []
        self.lower: list[bool] = []

    def _add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _told(self, number: int, seen: str, local: tuple[str | None, str]) -> list[str]:
        """Return the names of the numbers of one layer (images x 1 each).

        ``seen`` is the engine's tensor; ``local`` are two that differ by what the layer adds, None for the FP32 one.
        """
        at = f"{_NEW}{number}/"
        exact = self._add("Flatten", [self.tensors[number]], f"{at}exact", axis=1)
        found = [self._reduced("ReduceSumSquare", exact, f"{at}signal")]
        for name, pair in (("arriving", (None, seen)), ("local", local)):
            flat = [exact if one is None else self._flat(one, f"{at}{name}/{place}") for place, one in enumerate(pair)]
            difference = self._add("Sub", flat, f"{at}{name}/difference")
            found.append(self._reduced("ReduceSumSquare", difference, f"{at}{name}"))
        found += [self._reduced("ReduceMin", exact, f"{at}low"), self._reduced("ReduceMax", exact, f"{at}high")]
        return [*found, self._clipped(at, exact, found[0], self.ranges[number])]

    def _flat(self, tensor: str, at: str) -> str:
        as_float = self._add("Cast", [tensor], f"{at}/float", to=TensorProto.FLOAT)
        return self._add("Flatten", [as_float], f"{at}/flat", axis=1)

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


class Beside(Joint):
    """The joint graph of an engine that is an ONNX graph and its FP32 graph.

    Attributes:
        model: The graph; its one output, ``statistics``, is images x (layers x :data:`STATISTICS`).
    """

    def __init__(self, fp32: Any, engine: Any, layers: Sequence[Layer]) -> None:
        exact, self._engine = Graph(fp32), Graph(engine)
        super().__init__(exact, max(exact.opset, self._engine.opset))
        self.layers = [one for one in layers if one.node in exact.nodes and one.node in self._engine.nodes]
        self.tensors = [exact.nodes[layer.node].output[0] for layer in self.layers]
        columns = [column for number, layer in enumerate(self.layers) for column in self._columns(number, layer)]
        self._add("Concat", columns, RESULT, axis=1)
        self.model = self._whole()

    def _columns(self, number: int, layer: Layer) -> list[str]:
        """Return the names of the numbers of one layer (images x 1 each)."""
        node = self._engine.nodes[layer.node]
        quantizer = self._engine.quantizer_of(node.output[0])
        self.lower.append(self._engine.is_lower(node))
        self.ranges.append(None if quantizer is None else self._engine.range_of(quantizer))
        return self._told(number, self._seen(node, quantizer), (None, self._alone(number, layer)))

    def _seen(self, node: Any, quantizer: Any) -> str:
        """Return the engine's output of a layer: after it was quantized, where it is."""
        if quantizer is None:
            return f"{ENGINE}{node.output[0]}"
        inputs = [ENGINE + name for name in (quantizer.output[0], *quantizer.input[1:])]
        return self._add("DequantizeLinear", inputs, f"{_NEW}{node.output[0]}/seen")

    def _alone(self, number: int, layer: Layer) -> str:
        """Return the output of the engine's layer for the FP32 graph's inputs."""
        exact, node, at = self._fp32.nodes[layer.node], self._engine.nodes[layer.node], f"{_LOCAL}{number}/"
        inputs = []
        for place, (wanted, given) in enumerate(zip(exact.input, node.input, strict=False)):
            if not given or wanted in self._fp32.constants:
                inputs.append(given and ENGINE + given)
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
        scale = [ENGINE + name for name in quantizer.input[1:]]
        whole = self._add("QuantizeLinear", [tensor, *scale], f"{output}/whole")
        return self._add("DequantizeLinear", [whole, *scale], output)

    def _whole(self) -> Any:
        fp32, engine = self._fp32, self._engine
        (given,), (wanted,) = fp32.inputs, engine.inputs
        first = helper.make_node("Cast", [given.name], [ENGINE + wanted.name], to=wanted.type.tensor_type.elem_type)
        graph = helper.make_graph(
            [*fp32.model.graph.node, first, *engine.prefixed_nodes(), *self._nodes],
            "beside",
            [given],
            [helper.make_tensor_value_info(RESULT, TensorProto.FLOAT, None)],
            [*fp32.model.graph.initializer, *engine.prefixed_initializers(), *self._initializers],
        )
        return _model(graph, (fp32.model, engine.model))


class Marked(Joint):
    """Graphs that compare tensors which an engine of another kind has told with its FP32 graph.

    Those tensors are inputs. A layer adds that by which its tensor differs from what FP32 makes of the engine's tensors
    before it.

    Args:
        fp32: The FP32 graph.
        layers: Its layers.
        told: The tensors that the engine tells; other layers are not compared.
        ranges: The calibrated ranges by tensor.
        kept: The names of the layers that were kept out of the lower precision.
    """

    def __init__(
        self,
        fp32: Any,
        layers: Sequence[Layer],
        told: Collection[str],
        ranges: Mapping[str, Range],
        kept: Collection[str],
    ) -> None:
        exact = Graph(fp32)
        super().__init__(exact, exact.opset)
        places = {name: tensor for name, tensor in compared_at(exact, layers).items() if tensor in told}
        self.layers = [layer for layer in layers if layer.name in places]
        self.tensors = list(places.values())
        self.ranges = [ranges.get(tensor) for tensor in self.tensors]
        self.lower = [layer.name not in kept for layer in self.layers]

    def parts(self, most_bytes: int) -> Iterator[tuple[Any, list[str]]]:
        """Yield graphs that each compare the next few layers, with the names of the engine's tensors that each takes.

        Those tensors take at most ``most_bytes``, or are those of one layer. The one output of a graph, ``statistics``,
        is images x (layers x :data:`STATISTICS`).
        """
        numbers: list[int] = []
        needed: dict[str, None] = {}
        for number, tensor in enumerate(self.tensors):
            more = dict.fromkeys([tensor, *self._before(tensor)[1]])
            if numbers and sum(map(self._fp32.bytes_of, {**needed, **more})) > most_bytes:
                yield self._part(numbers, list(needed)), list(needed)
                numbers, needed = [], {}
            numbers.append(number)
            needed |= more
        if numbers:
            yield self._part(numbers, list(needed)), list(needed)

    def _before(self, tensor: str) -> tuple[list[Any], list[str]]:
        """Return the nodes that make a tensor out of compared ones, and those."""
        nodes, found, waiting = dict[str, Any](), dict[str, None](), [tensor]
        while waiting:
            name = waiting.pop()
            if name in self.tensors and name != tensor:
                found[name] = None
                continue
            node = None if name in self._fp32.constants else self._fp32.made.get(name)
            if node is not None and node.output[0] not in nodes:
                nodes[node.output[0]] = node
                waiting += node.input
        return list(nodes.values()), list(found)

    def _part(self, numbers: Sequence[int], needed: Sequence[str]) -> Any:
        fp32 = self._fp32
        self._nodes, self._initializers = [], self._initializers[:1]
        again = [node for number in numbers for node in self._before(self.tensors[number])[0]]
        made = {name for node in again for name in node.output}
        for node in fp32.model.graph.node:  # in its order, in which each follows what it reads
            if node.output[0] in made:
                outputs = [name and _LOCAL + name for name in node.output]
                self._nodes.append(_copy(node, _LOCAL, [self._source(name, made) for name in node.input], outputs))
        columns = []
        for number in numbers:
            seen, local = (start + self.tensors[number] for start in (ENGINE, _LOCAL))
            columns += self._told(number, seen, (local, seen))
        self._add("Concat", columns, RESULT, axis=1)
        told = [helper.make_tensor_value_info(ENGINE + name, TensorProto.FLOAT, None) for name in needed]
        graph = helper.make_graph(
            [*fp32.model.graph.node, *self._nodes],
            "marked",
            [*fp32.inputs, *told],
            [helper.make_tensor_value_info(RESULT, TensorProto.FLOAT, None)],
            [*fp32.model.graph.initializer, *self._initializers],
        )
        return _model(graph, (fp32.model,))

    def _source(self, name: str, made: Collection[str]) -> str:
        """Return what a copy of a node reads in place of an FP32 tensor."""
        return ENGINE + name if name in self.tensors else _LOCAL + name if name in made else name


def compared_at(fp32: Graph, layers: Sequence[Layer]) -> dict[str, str]:
    """Return the FP32 tensor at which each layer can be compared, by its name: behind its activation.

    Engines fuse the two, and still do where that tensor is looked at.
    """
    there = {layer.name: fp32.nodes[layer.node].output[0] for layer in layers if layer.node in fp32.nodes}
    return {name: fp32.behind_activation(tensor) for name, tensor in there.items()}


def farthest(fp32: Any, tensors: Sequence[str]) -> Any:
    """Return a graph that tells of each image how far from zero each FP32 tensor gets (images x tensors)."""
    graph = Graph(fp32)
    nodes, columns = [], []
    for number, tensor in enumerate(tensors):
        at = f"{_NEW}{number}/"
        nodes += [
            helper.make_node("Flatten", [tensor], [f"{at}flat"], axis=1),
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


class Graph:
    """A graph by the names of its nodes and tensors."""

    def __init__(self, model: Any) -> None:
        self.model, graph = model, model.graph
        self.nodes = {node.name: node for node in graph.node}
        self._values = {tensor.name: tensor for tensor in graph.initializer}
        self.made = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self.constants = {*self._values, *(name for name, node in self.made.items() if node.op_type == "Constant")}
        self.inputs = [one for one in graph.input if one.name not in self._values]
        self._quantizers = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
        self.opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
        self.types = {tensor.name: tensor.data_type for tensor in graph.initializer}
        known = onnx.shape_inference.infer_shapes(model).graph
        typed = {one.name: one.type.tensor_type for one in (*known.value_info, *known.input, *known.output)}
        self.types |= {name: kind.elem_type for name, kind in typed.items()}
        self._shapes = {name: [side.dim_value for side in kind.shape.dim] for name, kind in typed.items()}

    def bytes_of(self, tensor: str) -> int:
        """Return how much memory a tensor takes in FP32; 0 where its shape is not known."""
        return 4 * int(math.prod(self._shapes.get(tensor, [0])))

    def behind_activation(self, tensor: str) -> str:
        """Return what the activation that alone reads a tensor makes of it; the tensor itself where there is none."""
        readers = {node.op_type: node for node in self._readers.get(tensor, [])}
        if readers.keys() == {"Sigmoid", "Mul"}:
            product = readers["Mul"]
            if set(product.input) == {tensor, readers["Sigmoid"].output[0]}:
                return str(product.output[0])
        if len(self._readers.get(tensor, [])) == 1 and readers.keys() <= ACTIVATIONS:
            return str(next(iter(readers.values())).output[0])
        return tensor

    def quantizer_of(self, tensor: str) -> Any:
        """Return the node that quantizes a tensor; None where none does."""
        return self._quantizers.get(tensor)

    def quantizer_before(self, tensor: str) -> Any:
        """Return the node that quantized what a tensor was dequantized from; None where none did."""
        node = self.made.get(tensor)
        before = self.made.get(node.input[0]) if node is not None and node.op_type == "DequantizeLinear" else None
        return before if before is not None and before.op_type == "QuantizeLinear" else None

    def is_lower(self, node: Any) -> bool:
        """Return whether a layer reads something that is not FP32, or was quantized."""
        made = (self.made.get(name) for name in node.input)
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
            inputs, outputs = ([name and ENGINE + name for name in names] for names in (node.input, node.output))
            yield _copy(node, ENGINE, inputs, outputs)

    def prefixed_initializers(self) -> Iterable[Any]:
        """Yield copies of the constants under names of their own."""
        for tensor in self.model.graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = ENGINE + tensor.name
            yield copy


def _copy(node: Any, start: str, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Return a copy of a node with other tensors, whose name begins with ``start``."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = start + node.name
    copy.input[:], copy.output[:] = inputs, outputs
    return copy


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
