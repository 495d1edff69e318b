"""Building with TensorRT: Ultralytics' exporter, and around TensorRT's builder what that does not offer.

A timing cache that outlives the build, the builder's optimization level, an engine that can be inspected, and errors in
the builder's own words.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import filelock

from ...errors import TrtGateError
from ...jobs import BuildRequest
from ...records import EngineInspection
from ..engine_file import read_engine
from ..worker import is_disk_full, is_out_of_memory, plain, progress
from .exporting import Calibration, Exported, arguments, watch_calibration
from .inspection import inspect

_NODE = re.compile(r"parsing node number \d+ \[.*\]")
STRONGLY_TYPED = 11
"""From this major version on, the precision is that of the ONNX graph, which ModelOpt writes."""


def export_tensorrt(request: BuildRequest, weights: Path, images: Calibration) -> Exported:
    """Build a static engine on the request's GPU.

    Args:
        request: What to build.
        weights: A copy of the weights in a folder of its own.
        images: Gets the paths of the images that calibration reads.

    Returns:
        The ``.engine`` file, beside ``weights``, and what it consists of.

    Raises:
        TrtGateError: The exporter, the parser or the builder refused.
    """
    from ultralytics.engine.exporter import Exporter

    from .. import yolo

    model = yolo.load_model(weights, shown=Path(request.weights))
    watch_calibration(request, images)
    builders: list[BuilderHands] = []
    export_onnx = Exporter.export_onnx

    def then_lay_hands(self: Any, *args: Any, **kwargs: Any) -> Any:
        graph = export_onnx(self, *args, **kwargs)
        # Not before: PyTorch's ONNX exporter and a TensorRT that is loaded already have clashed.
        builders.append(lay_hands(request))
        return graph

    Exporter.export_onnx = then_lay_hands
    progress("exporting to ONNX")
    subject = f"{Path(request.weights).name} as {request.cell.precision}: TensorRT could not build it"
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
    return Exported(built, builders[0].inspect(built))


def lay_hands(request: BuildRequest) -> BuilderHands:
    """Import TensorRT and make every builder of this process work as the request says.

    Raises:
        TrtGateError: What this TensorRT builds the precision with is missing.
    """
    import tensorrt

    if major_version(tensorrt) >= STRONGLY_TYPED and request.cell.precision != "fp32" and find_spec("modelopt") is None:
        raise TrtGateError(
            f"TensorRT {tensorrt.__version__} takes {request.cell.precision} from the ONNX graph, which NVIDIA "
            f"ModelOpt writes, missing here: python -m pip install 'nvidia-modelopt[onnx]'"
        )
    # At its lowest level the builder measures nothing and takes no notice of a cache.
    path = request.timing_cache if request.optimization_level != 0 else None
    return BuilderHands(tensorrt, TimingCache(Path(path)) if path else None, request.optimization_level)


class BuilderHands:
    """Hands around the methods of TensorRT's classes that Ultralytics calls, in the building process only.

    Args:
        trt: The module ``tensorrt``.
        timing: Where measurements of the builder are kept; None to keep none.
        optimization_level: Of the builder, 0 to 5; None for its default.
    """

    def __init__(self, trt: Any, timing: TimingCache | None, optimization_level: int | None) -> None:
        self.trt = trt
        self.timing = timing
        self.optimization_level = optimization_level
        self.errors: list[str] = []
        self.network: list[str] = []
        self._began = time.monotonic()
        self._create_config = trt.Builder.create_builder_config
        self._build = trt.Builder.build_serialized_network
        # Functions, since methods of this object would not be given the builder.
        trt.Builder.create_builder_config = lambda builder: self.create_config(builder)
        trt.Builder.build_serialized_network = lambda builder, network, config: self.build(builder, network, config)
        trt.Logger = _logger_class(trt, self.heard)

    def heard(self, message: str, error: bool) -> None:
        """Take note of what TensorRT says; that it speaks at all shows that the build goes on."""
        if error:
            self.errors.append(message)
        progress(f"building with TensorRT for {time.monotonic() - self._began:.0f} s")

    @property
    def last_error(self) -> str:
        """What TensorRT last complained of, in one line, and at which node of the graph; empty while it did not."""
        if not self.errors:
            return ""
        said = " ".join(self.errors[-1].split()).rstrip(" .:;")
        # The parser names the node first and its objection last.
        nodes = [found[0] for found in map(_NODE.search, self.errors) if found]
        return f"{said}, while {nodes[-1]}" if nodes and nodes[-1] not in said else said

    def create_config(self, builder: Any) -> Any:
        """Return a configuration whose engine can be inspected, with the optimization level and the timing cache."""
        config = self._create_config(builder)
        config.profiling_verbosity = self.trt.ProfilingVerbosity.DETAILED
        if self.optimization_level is not None:
            config.builder_optimization_level = self.optimization_level
        if self.timing is not None:
            self.timing.attach(config, self.errors)
        return config

    def build(self, builder: Any, network: Any, config: Any) -> Any:
        """Return the plan, and keep what the builder measured.

        Raises:
            TrtGateError: The builder gave up.
            MemoryError: It did so for want of memory.
        """
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
        """Return what an engine consists of; without details where it cannot be loaded or asked here."""
        _, plan = read_engine(artifact)
        text, memory_bytes = "", None
        try:
            runtime = self.trt.Runtime(self.trt.Logger(self.trt.ILogger.WARNING))
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is not None:
                memory_bytes = _device_memory_bytes(engine)
                inspector = engine.create_engine_inspector()
                text = inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)
        except Exception as error:  # whatever the bindings raise: the engine itself is built
            print(f"the engine could not be inspected: {plain(error)}")
        found = inspect(text or "", len(plan), memory_bytes, self.network)
        if not found.layers:
            print(f"the engine inspector's answer cannot be read: {text[:200]!r}")
        return found


def major_version(trt: Any) -> int:
    """Return the major version of the module ``tensorrt``."""
    return int(trt.__version__.partition(".")[0])


def types_of_products(trt: Any, network: Any) -> list[str]:
    """Return the data type of what each convolution and matrix product of a network reads, such as ``DataType.INT8``.

    What is dequantized just before counts as what it was: TensorRT makes one layer of the two.

    Args:
        trt: The module ``tensorrt``.
        network: A strongly typed ``INetworkDefinition``.
    """
    kinds = trt.LayerType
    nodes = [network.get_layer(index) for index in range(network.num_layers)]
    quantized = {node.get_output(0).name: node.get_input(0) for node in nodes if node.type == kinds.DEQUANTIZE}
    products = (kinds.CONVOLUTION, kinds.DECONVOLUTION, kinds.MATRIX_MULTIPLY)
    read = [node.get_input(0) for node in nodes if node.type in products]
    return [str(quantized.get(tensor.name, tensor).dtype) for tensor in read]


def _device_memory_bytes(engine: Any) -> int | None:
    for name in ("device_memory_size_v2", "device_memory_size"):
        if hasattr(engine, name):
            return int(getattr(engine, name))
    return None


def _logger_class(trt: Any, heard: Callable[[str, bool], None]) -> type:
    """Return a class to use in the place of ``tensorrt.Logger``.

    Args:
        trt: The module ``tensorrt``.
        heard: Told each message, and whether it is an error.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        """Writes what TensorRT says to the log of the job; not what is merely verbose."""

        def __init__(self, min_severity: Any = None) -> None:
            trt.ILogger.__init__(self)
            self.min_severity = min_severity

        def log(self, severity: Any, msg: str) -> None:
            heard(msg, severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR))
            if severity != trt.ILogger.VERBOSE:
                print(f"[TensorRT] {msg}", flush=True)

    return Logger


class TimingCache:
    """What TensorRT's builder measured of each tactic, in a file that later builds begin with.

    Builds that share it choose alike, and faster. Only the same GPU and version can use it; TensorRT checks.

    Args:
        path: The file; made by the first build.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = b""
        self._cache: Any = None

    def attach(self, config: Any, errors: list[str]) -> None:
        """Let a build begin with the file's contents; with nothing where TensorRT refuses them.

        Args:
            config: The configuration of the build.
            errors: What TensorRT complains of: it may take contents that it then does not use.
        """
        self._read = self.path.read_bytes() if self.path.is_file() else b""
        for contents in dict.fromkeys((self._read, b"")):
            known = len(errors)
            cache = config.create_timing_cache(contents)
            if cache is not None and config.set_timing_cache(cache, False) and len(errors) == known:
                # Kept here: the configuration only refers to it.
                self._cache = cache
                print(f"timing cache: {self.path}, {len(contents)} bytes")
                return
        print(f"timing cache: TensorRT takes none, {self.path} is left alone")

    def save(self, config: Any) -> None:
        """Write what the build has added; together with what another one may have written meanwhile."""
        if self._cache is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{self.path}.lock"):
            now = self.path.read_bytes() if self.path.is_file() else b""
            if now != self._read:
                other = config.create_timing_cache(now)
                if other is not None:
                    self._cache.combine(other, False)
            self._write(bytes(self._cache.serialize()))
        self._cache = None

    def _write(self, contents: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(contents)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
