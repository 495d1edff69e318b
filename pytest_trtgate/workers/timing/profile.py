"""Job: time each layer of an engine, apart from all other timing, which this would disturb."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import TrtGateError
from ...jobs import ProfileRequest, ProfileResponse
from ...records import LayerTime
from ..worker import PHASES, leave, main, progress

WARMUP = 10
"""Inferences before those that count."""


def work(request: ProfileRequest, folder: Path) -> ProfileResponse:
    """Run an engine on random input and return the mean milliseconds of each of its layers, the slowest first.

    Raises:
        DataError: The engine is missing.
        TrtGateError: It cannot be read or run, takes inputs of no fixed shape, or its runtime reports no layers.
    """
    from .. import yolo

    PHASES.begin("work")
    artifact = Path(request.artifact)
    yolo.require(artifact)
    progress(f"{request.arm}: profiling its layers")
    if artifact.suffix == ".engine":
        found = _tensorrt(request, artifact)
    else:
        yolo.pin_onnxruntime(request.threads)
        with yolo.refusals(f"{request.arm}: {artifact.name} could not be profiled"):
            found = onnxruntime_layers(artifact, request.runs, folder)
    if not found:
        raise TrtGateError(f"{request.arm}: the runtime reported no layer of {artifact.name}")
    layers = [LayerTime(name=name, ms=ms) for name, ms in found.items()]
    return ProfileResponse(layers=tuple(sorted(layers, key=lambda layer: -layer.ms)))


def onnxruntime_layers(artifact: Path, runs: int, folder: Path) -> dict[str, float]:
    """Return the mean milliseconds of each node, by ONNX Runtime's own profiling on the CPU."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "onnxruntime")
    session = onnxruntime.InferenceSession(str(artifact), options, providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0)
    feeds = {}
    for given in session.get_inputs():
        kind = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(given.type, np.float32)
        feeds[given.name] = noise.random(fixed(given.name, given.shape)).astype(kind)
    for _ in range(WARMUP + runs):
        session.run(None, feeds)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return mean_node_ms(events, runs)


def fixed(name: str, shape: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of an input, which must have numbers for all of its sides.

    Raises:
        TrtGateError: It has a side of any length.
    """
    if not all(isinstance(side, int) and side > 0 for side in shape):
        raise TrtGateError(
            f"its input {name} has no fixed shape ({', '.join(map(str, shape))}); only such are profiled"
        )
    return tuple(shape)


def mean_node_ms(events: Iterable[Mapping[str, Any]], runs: int) -> dict[str, float]:
    """Return the mean milliseconds of each node per run, over the last ``runs`` runs of ONNX Runtime's profile."""
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    spent: dict[str, list[int]] = {}
    for event in sorted(kernels, key=lambda e: e["ts"]):
        spent.setdefault(_label(event), []).append(event["dur"])
    # A node in a loop runs several times a run.
    return {name: sum(us[len(us) * WARMUP // (WARMUP + runs) :]) / runs / 1000 for name, us in spent.items()}


def _label(event: Mapping[str, Any]) -> str:
    """Return a node's name with its operator, since the optimizer names nodes after their outputs."""
    name, details = event["name"].removesuffix("_kernel_time"), event.get("args", {})
    operator = details.get("op_name", "")
    if not name:
        return f"{operator} {details.get('node_index', '')}".strip()
    return name if operator in ("", name) else f"{name} ({operator})"


def _tensorrt(request: ProfileRequest, artifact: Path) -> dict[str, float]:
    """Return the mean milliseconds of each layer, by TensorRT's profiler on a context of our own."""
    import torch

    from .. import yolo
    from ..engine_file import plan_of
    from .cuda_timing import open_device

    yolo.read_metadata(artifact)  # raises one sentence if it is no engine
    plan = plan_of(artifact)
    device = open_device(request.device)
    with yolo.refusals(f"{request.arm}: {artifact.name} could not be profiled"), torch.cuda.device(device):
        return tensorrt_layers(plan, request, torch, device)


def tensorrt_layers(plan: bytes, request: ProfileRequest, torch: Any, device: Any) -> dict[str, float]:
    """Run a plan synchronously with a profiler attached, and return the mean milliseconds of each layer.

    ``torch``, the module, allocates inputs and outputs on ``device``.

    Raises:
        TrtGateError: TensorRT refuses the engine.
    """
    import tensorrt as trt

    class Recorder(trt.IProfiler):  # type: ignore[misc]
        """Adds up what TensorRT reports of each layer."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.spent: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.spent[layer_name] = self.spent.get(layer_name, 0.0) + ms

    opened = OpenPlan(plan, request.arm, torch, device)
    context = opened.context
    for name in opened.inputs:
        if opened.buffers[name].is_floating_point():
            opened.buffers[name].uniform_()
    torch.cuda.synchronize(device)
    recorder = Recorder()
    context.profiler = recorder
    stream = torch.cuda.Stream(device)
    for number in range(WARMUP + request.runs):
        if number == WARMUP:
            recorder.spent.clear()
        # With a profiler attached this waits for the device and reports each layer before it returns.
        if not context.execute_async_v3(stream.cuda_stream):
            raise TrtGateError(f"{request.arm}: TensorRT refused to run the engine; the log says why")
    return {name: ms / request.runs for name, ms in recorder.spent.items()}


class OpenPlan:
    """A plan that TensorRT has loaded, with memory for all that it reads and writes.

    Args:
        plan: It.
        subject: What messages call it.
        torch: The module, which allocates.
        device: Where.

    Attributes:
        context: It runs the plan.
        buffers: A tensor for each input and output by its name.
        inputs: The names of the inputs.

    Raises:
        TrtGateError: TensorRT refuses the plan, or an input or output has no fixed shape.
    """

    def __init__(self, plan: bytes, subject: str, torch: Any, device: Any) -> None:
        import tensorrt as trt

        self._logger = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._logger)
        engine = self._engine = self._runtime.deserialize_cuda_engine(plan)
        self.context: Any = None if engine is None else engine.create_execution_context()
        if self.context is None:
            raise TrtGateError(f"{subject}: TensorRT {trt.__version__} cannot load the engine; the log says why")
        self.buffers: dict[str, Any] = {}
        self.inputs: list[str] = []
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
            shape = fixed(name, tuple(engine.get_tensor_shape(name)))
            kind = _torch_type(torch, engine.get_tensor_dtype(name).name)
            self.buffers[name] = torch.zeros(shape, dtype=kind, device=device)
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                self.inputs.append(name)
            self.context.set_tensor_address(name, self.buffers[name].data_ptr())


def _torch_type(torch: Any, name: str) -> Any:
    """Return torch's type for one of TensorRT's, by its name."""
    types = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "BOOL": "bool"}
    found = getattr(torch, types.get(name, name.lower()), None)
    if found is None:
        raise TrtGateError(f"an input or output is of TensorRT's type {name}, for which torch has none")
    return found


if __name__ == "__main__":
    leave(main(ProfileRequest, work))
