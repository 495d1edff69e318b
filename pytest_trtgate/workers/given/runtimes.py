"""What the runtimes say of a given file: its inputs and outputs, its layers, or why they cannot load it."""

from __future__ import annotations

import re
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...records import EngineInspection
from ...text import clip
from ..building.tensorrt_build import inspected, logger_class
from ..engine_file import plan_of
from ..worker import plain

if TYPE_CHECKING:
    from .layouts import Shape
    from .look import Looked, Tensors

_REASONS = (
    (r"expecting library version ([\d.]+)[ ,]+got ([\d.]+)", "it was built with TensorRT {1}, and this is {0}"),
    (r"[Pp]lugin[^:]*: ?(\w+)", "it needs the plugin {0}, which this TensorRT does not have"),
    (
        r"expecting compute ([\d.]+) got compute ([\d.]+)",
        "it was built for a GPU of compute capability {1}, this has {0}",
    ),
    (r"[Vv]ersion tag does not match", "it was built with another version of TensorRT"),
    (r"[Mm]agic tag does not match|[Ss]erialization assertion", "it is truncated, or no plan"),
    (r"cudaError \d+: ([^)]+)", "the GPU cannot be used ({0})"),
)
"""What TensorRT says where it refuses a plan, and what that means."""
BASE_BYTES, BYTES_PER_BYTE, BYTES_PER_PIXEL = 1_500_000_000, 20, 4000
"""Memory for a given ONNX file: of the libraries, per byte of the file, and per pixel of its input."""
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_TYPES = {"float16": "FP16", "float32": "FP32", "bfloat16": "BF16", "int8": "INT8", "uint8": "INT8"}


def onnx_tensors(looked: Looked) -> Tensors:
    """Run an ONNX file once on black images, at the cell's shape.

    Raises:
        TrtGateError: ONNX Runtime refuses it.
    """
    import numpy as np
    import onnxruntime

    from .look import TYPES, Tensors, _input

    if others := in_other_files(looked.file):
        name, named = Path(looked.request.file).name, clip(", ".join(others))
        raise looked.refuse(
            f"its weights lie in other files ({named}), and one file is gated: write them into it, by "
            f"onnx.save(onnx.load('{name}'), 'whole.onnx')"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = looked.request.threads
    _limit_memory(looked)
    try:
        session = onnxruntime.InferenceSession(str(looked.file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise looked.refuse(f"ONNX Runtime cannot load it ({_short(plain(error))})") from None
    inputs = {one.name: (one.type, tuple(_side(side) for side in one.shape)) for one in session.get_inputs()}
    name, (kind, shape) = _input(looked, Tensors(inputs, {}))
    found: list[Any] = []
    if kind in TYPES:
        try:
            found = session.run(None, {name: np.zeros(shape, dtype=TYPES[kind])})
        except Exception as error:
            raise looked.refuse(f"ONNX Runtime cannot run it ({_short(plain(error))})") from None
    outputs = {one.name: tuple(value.shape) for one, value in zip(session.get_outputs(), found, strict=False)}
    return Tensors(inputs, outputs, of_graph(looked.file))


def _limit_memory(looked: Looked) -> None:
    """Let this process have several times the memory that a network of that file and input takes, and no more.

    A node of a few bytes can stand for gigabytes.
    """
    cell = looked.request.cell
    most = BASE_BYTES + BYTES_PER_BYTE * looked.file.stat().st_size + BYTES_PER_PIXEL * cell.batch * cell.imgsz**2
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(ValueError, OSError):  # the user has set a lower limit
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def in_other_files(file: Path) -> list[str]:
    """Return the files in which an ONNX file says that its weights lie."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    try:
        model = onnx.load(file, load_external_data=False)
    except Exception:  # which ONNX Runtime then says better
        return []
    parts = [model.graph, *model.functions]
    elsewhere = (tensor for part in parts for tensor in _tensors(part) if uses_external_data(tensor))
    return sorted({ExternalDataInfo(tensor).location for tensor in elsewhere})


def _tensors(part: Any) -> Iterator[Any]:
    """Yield the constants of a graph or function, and of the graphs inside, such as the branches of an If."""
    yield from getattr(part, "initializer", ())
    for sparse in getattr(part, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for attribute in (attribute for step in part.node for attribute in step.attribute):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors(graph)


def _side(side: Any) -> int:
    return side if isinstance(side, int) and side > 0 else -1


def _short(text: str) -> str:
    return text.rpartition(" : ")[2][:300]


def of_graph(file: Path) -> EngineInspection:
    """Return in which precision the convolutions and matrix products of an ONNX file work, by their types."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    types = {one.name: onnx.helper.tensor_dtype_to_np_dtype(one.data_type).name for one in graph.initializer}
    made = {output: step.op_type for step in graph.node for output in step.output}
    counts: Counter[str] = Counter()
    for step in graph.node:
        kind, given = step.op_type.removeprefix("QLinear").removesuffix("Integer"), list(step.input)
        if kind not in PRODUCTS:
            continue
        weights = [types[name] for name in given if name in types]
        if kind != step.op_type or "DequantizeLinear" in map(made.get, given):
            counts["INT8"] += 1
        elif weights:
            counts[_TYPES.get(weights[0], weights[0].upper())] += 1
    return EngineInspection(
        detailed=bool(counts), layers=len(graph.node), precisions=dict(counts), plan_bytes=file.stat().st_size
    )


def tensorrt_tensors(looked: Looked) -> Tensors:
    """Load a plan, with or without Ultralytics' header.

    Raises:
        TrtGateError: TensorRT is not here, or refuses it.
    """
    from .look import Tensors, _input

    try:
        import tensorrt as trt
    except ImportError:
        raise looked.refuse("TensorRT is not installed here, which alone can load it") from None
    said: list[str] = []
    logger = logger_class(trt, lambda message, error: said.append(message) if error else None)()
    plan, device = plan_of(looked.file), looked.request.device
    try:
        if device.isdecimal() and device != "0":
            import torch

            torch.cuda.set_device(int(device))
        trt.init_libnvinfer_plugins(logger, "")
        engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    except Exception as error:  # whatever the bindings raise
        said.append(plain(error))
        engine = None
    if engine is None:
        raise looked.refuse(f"TensorRT {trt.__version__} cannot load it: {why_refused(said)}")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    shapes: dict[str, Shape] = {name: tuple(engine.get_tensor_shape(name)) for name in names}
    taken = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    inputs = {name: (str(engine.get_tensor_dtype(name).name), shapes[name]) for name in taken}
    context = engine.create_execution_context()
    if context is None:
        raise looked.refuse(f"TensorRT {trt.__version__} cannot run it: {why_refused(said)}")
    name, (_, shape) = _input(looked, Tensors(inputs, {}))
    if -1 in shapes[name]:
        if name != "images":
            raise looked.refuse(f"its input {name} has no fixed shape; only one called images may have none")
        if not context.set_input_shape(name, shape):
            raise looked.refuse(f"its profile does not take {'x'.join(map(str, shape))}")
    outputs = {one: tuple(context.get_tensor_shape(one)) for one in names if one not in taken}
    return Tensors(inputs, outputs, inspected(trt, engine, len(plan)))


def why_refused(said: list[str]) -> str:
    """Return why TensorRT refuses a plan, from all that it said."""
    for pattern, words in _REASONS:
        for message in said:
            if found := re.search(pattern, message):
                return words.format(*found.groups())
    return " ".join(said[-1].split())[:300] if said else "it does not say why; it may be truncated"
