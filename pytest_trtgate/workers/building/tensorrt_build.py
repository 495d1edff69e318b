"""Build with TensorRT through Ultralytics' exporter, and add what that does not offer.

That is: a timing cache that outlives the build, the builder's optimization level, an engine that can be inspected, and
errors in the builder's own words.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import TrtGateError
from ...jobs import BuildRequest
from ...locks import Lock
from ...records import EngineInspection, write_whole
from ..engine_file import read_engine
from ..worker import is_disk_full, is_out_of_memory, plain, progress
from .exporting import arguments
from .inspection import inspect
from .quantization import Choice, TensorRTChoice, quantize_by_modelopt

_NODE = re.compile(r"parsing node number \d+ \[.*\]")
STRONGLY_TYPED = 11
"""From this major version on, the ONNX graph, which ModelOpt writes, sets the precision."""


Mark = Callable[[Any, Any, Path], None]
"""Is given the network and the configuration of a build before it begins, and the FP32 graph."""


def export_tensorrt(
    request: BuildRequest, model: Any, subject: str, choice: Choice, mark: Mark | None = None
) -> tuple[Path, EngineInspection]:
    """Build a static engine on the request's GPU, its INT8 as chosen, and its network as marked.

    Raises:
        TrtGateError: The exporter, the parser or the builder refused.
    """
    from ultralytics.engine.exporter import Exporter

    from .. import yolo

    builders: list[PatchedBuilder] = []
    export_onnx = Exporter.export_onnx

    def export_then_patch_builder(self: Any, *args: Any, **kwargs: Any) -> Any:
        graph = export_onnx(self, *args, **kwargs)
        # Only now: PyTorch's ONNX exporter has clashed with a TensorRT that was loaded before it.
        builders.append(patch_builder(request, choice, Path(graph)))
        if mark is not None:
            builders[0].mark = lambda network, config: mark(network, config, Path(graph))
        return graph

    Exporter.export_onnx = export_then_patch_builder
    progress("exporting to ONNX")
    subject = f"{subject}: TensorRT could not build it"
    with yolo.refusals(subject):
        try:
            built = Path(model.export(format="engine", device=request.cell.device, **arguments(request)))
        except Exception as error:
            said = builders[0].last_error if builders else ""
            if isinstance(error, TrtGateError) or is_disk_full(error) or is_out_of_memory(error) or not said:
                raise
            raise TrtGateError(f"{subject} ({said})") from error
    if not builders:
        raise TrtGateError(f"{subject} through this release of Ultralytics (8.4.190 is known to work)")
    return built, builders[0].inspect(built)


def patch_builder(request: BuildRequest, choice: Choice, graph: Path) -> PatchedBuilder:
    """Import TensorRT and make every builder of this process work as the request says, from an FP32 graph.

    Raises:
        TrtGateError: This TensorRT needs ModelOpt for the precision, and it is not installed; or what is chosen cannot
            be.
    """
    import tensorrt

    if major_version(tensorrt) >= STRONGLY_TYPED and request.cell.precision != "fp32" and find_spec("modelopt") is None:
        raise TrtGateError(
            f"TensorRT {tensorrt.__version__} takes {request.cell.precision} from the ONNX graph, which NVIDIA "
            f"ModelOpt writes, missing here: python -m pip install 'nvidia-modelopt[onnx]'"
        )
    # At level 0 the builder measures nothing and ignores a cache.
    path = request.timing_cache if request.optimization_level != 0 else None
    patched = PatchedBuilder(tensorrt, TimingCache(Path(path)) if path else None, request.optimization_level)
    if major_version(tensorrt) >= STRONGLY_TYPED:
        quantize_by_modelopt(choice)
    elif choice.changes:
        patched.chosen = TensorRTChoice(tensorrt, choice, graph)
    return patched


class PatchedBuilder:
    """Wraps the methods of TensorRT's classes that Ultralytics calls, in the building process only.

    ``trt`` is the module ``tensorrt``; ``timing`` and ``optimization_level`` (0 to 5) are None for TensorRT's defaults.
    """

    def __init__(self, trt: Any, timing: TimingCache | None, optimization_level: int | None) -> None:
        self.trt = trt
        self.timing = timing
        self.optimization_level = optimization_level
        self.errors: list[str] = []
        self.network: list[str] = []
        self.chosen: TensorRTChoice | None = None
        self.mark: Callable[[Any, Any], None] | None = None
        self._began = time.monotonic()
        self._create_config = trt.Builder.create_builder_config
        self._build = trt.Builder.build_serialized_network
        # Functions: a bound method of this object would not receive the builder.
        trt.Builder.create_builder_config = lambda builder: self.create_config(builder)
        trt.Builder.build_serialized_network = lambda builder, network, config: self.build(builder, network, config)
        trt.Logger = logger_class(trt, self.heard)

    def heard(self, message: str, error: bool) -> None:
        """Keep an error of TensorRT; any message shows that the build goes on."""
        if error:
            self.errors.append(message)
        progress(f"building with TensorRT for {time.monotonic() - self._began:.0f} s")

    @property
    def last_error(self) -> str:
        """TensorRT's last error in one line, with the node of the graph; empty if there was none."""
        if not self.errors:
            return ""
        said = " ".join(self.errors[-1].split()).rstrip(" .:;")
        # The parser names the node first and its objection last.
        nodes = [found[0] for found in map(_NODE.search, self.errors) if found]
        return f"{said}, while {nodes[-1]}" if nodes and nodes[-1] not in said else said

    def create_config(self, builder: Any) -> Any:
        """Return a configuration with optimization level and timing cache, whose engine can be inspected."""
        config = self._create_config(builder)
        config.profiling_verbosity = self.trt.ProfilingVerbosity.DETAILED
        if self.optimization_level is not None:
            config.builder_optimization_level = self.optimization_level
        if self.timing is not None:
            self.timing.attach(config, self.errors)
        return config

    def build(self, builder: Any, network: Any, config: Any) -> Any:
        """Return the plan, and save the timing cache.

        Raises:
            TrtGateError: The builder gave up.
            MemoryError: It ran out of memory.
        """
        if self.chosen is not None:
            self.chosen.apply(network, config)
        if self.mark is not None:
            self.mark(network, config)
        plan = self._build(builder, network, config)
        if plan is None:
            reason = self.last_error or "it does not say why"
            if is_out_of_memory(RuntimeError(reason)):
                raise MemoryError(reason)
            raise TrtGateError(f"TensorRT {self.trt.__version__} built no engine ({reason}); the log has the details")
        if self.timing is not None:
            self.timing.save(config)
        if major_version(self.trt) >= STRONGLY_TYPED:
            self.network = types_of_products(self.trt, network)
        return plan

    def inspect(self, artifact: Path) -> EngineInspection:
        """Return what an engine consists of; without details if it cannot be loaded or inspected here."""
        _, plan = read_engine(artifact)
        engine = None
        try:
            runtime = self.trt.Runtime(self.trt.Logger(self.trt.ILogger.WARNING))
            engine = runtime.deserialize_cuda_engine(plan)
        except Exception as error:  # whatever the bindings raise: the engine itself is built
            print(f"the engine could not be inspected: {plain(error)}")
        return inspected(self.trt, engine, len(plan), self.network)


def inspected(trt: Any, engine: Any, plan_bytes: int, network: Iterable[str] = ()) -> EngineInspection:
    """Return what an engine consists of, where None is one that cannot be loaded; without details if it tells none."""
    text, memory_bytes = "", None
    try:
        if engine is not None:
            sizes = (getattr(engine, name, None) for name in ("device_memory_size_v2", "device_memory_size"))
            memory_bytes = next((int(size) for size in sizes if size is not None), None)
            text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON) or ""
    except Exception as error:  # whatever the bindings raise
        print(f"the engine could not be inspected: {plain(error)}")
    found = inspect(text, plan_bytes, memory_bytes, network)
    if not found.layers:
        print(f"the engine inspector's answer cannot be read: {text[:200]!r}")
    return found


def major_version(trt: Any) -> int:
    """Return the major version of the module ``tensorrt``."""
    return int(trt.__version__.partition(".")[0])


def types_of_products(trt: Any, network: Any) -> list[str]:
    """Return the input type of each convolution and matrix product of a network, such as ``DataType.INT8``.

    An input that is dequantized just before counts as quantized: TensorRT fuses the two layers.
    """
    kinds = trt.LayerType
    nodes = [network.get_layer(index) for index in range(network.num_layers)]
    quantized = {node.get_output(0).name: node.get_input(0) for node in nodes if node.type == kinds.DEQUANTIZE}
    products = (kinds.CONVOLUTION, kinds.DECONVOLUTION, kinds.MATRIX_MULTIPLY)
    read = [node.get_input(0) for node in nodes if node.type in products]
    return [str(quantized.get(tensor.name, tensor).dtype) for tensor in read]


def logger_class(trt: Any, heard: Callable[[str, bool], None]) -> type:
    """Return a class to replace ``tensorrt.Logger``; ``heard`` gets each message, and whether it is an error."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        """Writes TensorRT's messages to the job's log, except verbose ones."""

        def __init__(self, min_severity: Any = None) -> None:
            trt.ILogger.__init__(self)
            self.min_severity = min_severity

        def log(self, severity: Any, msg: str) -> None:
            heard(msg, severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR))
            if severity != trt.ILogger.VERBOSE:
                print(f"[TensorRT] {msg}", flush=True)

    return Logger


class TimingCache:
    """A file of TensorRT's timings of each tactic, which later builds reuse; the first build makes it.

    Builds that share it choose the same tactics, and faster. TensorRT refuses the file of another GPU or version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = b""
        self._cache: Any = None

    def attach(self, config: Any, errors: list[str]) -> None:
        """Give a build the file's contents, or an empty cache if TensorRT refuses them.

        ``errors`` grow where TensorRT accepts contents but says that it will not use them.
        """
        self._read = self.path.read_bytes() if self.path.is_file() else b""
        for contents in dict.fromkeys((self._read, b"")):
            known = len(errors)
            cache = config.create_timing_cache(contents)
            if cache is not None and config.set_timing_cache(cache, False) and len(errors) == known:
                # The configuration only refers to it: hold it.
                self._cache = cache
                print(f"timing cache: {self.path}, {len(contents)} bytes")
                return
        print(f"timing cache: TensorRT takes none, {self.path} is left alone")

    def save(self, config: Any) -> None:
        """Write what the build has added, combined with what another build may have written meanwhile."""
        if self._cache is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with Lock(Path(f"{self.path}.lock")).held():
            now = self.path.read_bytes() if self.path.is_file() else b""
            if now != self._read:
                other = config.create_timing_cache(now)
                if other is not None:
                    self._cache.combine(other, False)
            write_whole(self.path, bytes(self._cache.serialize()))
        self._cache = None
