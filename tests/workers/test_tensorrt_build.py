"""How the build job changes TensorRT's builder, against fakes that have exactly the names of the real versions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fake_tensorrt import VERSIONS, FakeTensorRT
from material import taken

from pytest_trtgate import workers
from pytest_trtgate.errors import DataError, TrtGateError
from pytest_trtgate.jobs.contract import PROGRESS, BuildRequest
from pytest_trtgate.records.cell import Cell
from pytest_trtgate.settings import Int8
from pytest_trtgate.settings.settings import Calibration
from pytest_trtgate.workers import engine_file, worker
from pytest_trtgate.workers.building import tensorrt_build
from pytest_trtgate.workers.building.exporting import prepare_calibration
from pytest_trtgate.workers.building.quantization import Choice
from pytest_trtgate.workers.building.tensorrt_build import PatchedBuilder, TimingCache, export_tensorrt, patch_builder

OLD, NEW = "8.6.0", "11.4.0.106"
INT8_LAYERS = {"Layers": [{"Name": "a + b", "Inputs": [{"Format/Datatype": "Int8"}]}, {"Name": "c", "Inputs": []}]}


def build(fake: FakeTensorRT) -> Any:
    """Use a builder as Ultralytics does."""
    trt: Any = fake.module
    logger = trt.Logger(trt.Logger.INFO)
    logger.min_severity = trt.Logger.INFO
    builder = trt.Builder(logger)
    return builder.build_serialized_network(builder.create_network(0), builder.create_builder_config())


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_can_be_inspected_and_has_the_level_asked_for(version: str) -> None:
    fake = FakeTensorRT(version)
    PatchedBuilder(fake.module, None, 2)
    assert build(fake) == b"plan"
    assert fake.configs[0].profiling_verbosity == "ProfilingVerbosity.DETAILED"
    assert fake.configs[0].builder_optimization_level == 2


def test_without_a_level_the_builder_keeps_its_own() -> None:
    fake = FakeTensorRT(OLD)
    PatchedBuilder(fake.module, None, None)
    build(fake)
    assert not hasattr(fake.configs[0], "builder_optimization_level")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_begins_with_the_timing_cache_of_the_one_before(version: str, tmp_path: Path) -> None:
    path = tmp_path / "timing" / "gpu.cache"
    first = FakeTensorRT(version)
    PatchedBuilder(first.module, TimingCache(path), None)
    build(first)
    assert path.read_bytes() == b"+timed"
    second = FakeTensorRT(version, knows=(b"+timed",))
    PatchedBuilder(second.module, TimingCache(path), None)
    build(second)
    assert path.read_bytes() == b"+timed+timed"
    assert not second.combined
    assert sorted(p.name for p in path.parent.iterdir()) == ["gpu.cache", "gpu.cache.lock"]


def test_a_timing_cache_that_tensorrt_refuses_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "gpu.cache"
    path.write_bytes(b"of another GPU")
    fake = FakeTensorRT(OLD)
    PatchedBuilder(fake.module, TimingCache(path), None)
    build(fake)
    assert path.read_bytes() == b"+timed"


def test_a_timing_cache_that_tensorrt_takes_and_complains_of_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "gpu.cache"
    path.write_bytes(b"half readable")
    fake = FakeTensorRT(OLD, knows=(b"half readable",), complains=True)
    PatchedBuilder(fake.module, TimingCache(path), None)
    build(fake)
    assert path.read_bytes() == b"+timed"


def test_what_another_build_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "gpu.cache"
    fake = FakeTensorRT(OLD)
    builder = PatchedBuilder(fake.module, TimingCache(path), None)
    config = builder.create_config(fake.module.Builder(None))  # type: ignore[attr-defined]
    path.write_bytes(b"other")
    builder.build(None, None, config)
    assert fake.combined == [b"other"]
    assert path.read_bytes() == b"+timedother"


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_builder_that_gives_up_is_one_sentence_in_its_own_words(
    version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    says = (("ERROR", "10: Could not find any implementation for node {Conv_0}.\nmore"), ("VERBOSE", "tactic 1"))
    fake = FakeTensorRT(version, plan=None, says=says)
    PatchedBuilder(fake.module, None, None)
    with pytest.raises(TrtGateError) as caught:
        build(fake)
    reason = "10: Could not find any implementation for node {Conv_0}. more"
    assert str(caught.value) == f"TensorRT {version} built no engine ({reason}); the log has the details"
    assert "[TensorRT] 10: Could not" in (out := capsys.readouterr().out)
    assert "tactic 1" not in out


def test_a_long_build_reports_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "_last_progress", [-worker.PROGRESS_INTERVAL_S])
    fake = FakeTensorRT(OLD, says=(("VERBOSE", "tactic 1"), ("VERBOSE", "tactic 2")))
    builder = PatchedBuilder(fake.module, None, None)
    monkeypatch.setattr(builder, "_began", builder._began - 75)
    build(fake)
    assert capsys.readouterr().out == f"{PROGRESS}building with TensorRT for 75 s\n"


def test_a_builder_without_memory_says_so() -> None:
    fake = FakeTensorRT(OLD, plan=None, says=(("ERROR", "Cuda failure: out of memory"),))
    PatchedBuilder(fake.module, None, None)
    with pytest.raises(MemoryError, match="out of memory"):
        build(fake)


@pytest.mark.parametrize(("version", "memory"), [(OLD, 8_000_000), ("10.3.0", 9_000_000), (NEW, 9_000_000)])
def test_what_was_built_is_read_from_the_plan(version: str, memory: int, tmp_path: Path) -> None:
    fake = FakeTensorRT(version, inspection=json.dumps(INT8_LAYERS))
    artifact = engine(tmp_path / "engine.engine")
    found = PatchedBuilder(fake.module, None, None).inspect(artifact)
    assert fake.deserialized == [b"the plan"]
    assert (found.precisions, found.fused_layers) == ({"INT8": 1, "unknown": 1}, 1)
    assert (found.plan_bytes, found.device_memory_bytes) == (8, memory)


def test_an_engine_that_cannot_be_inspected_is_built_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeTensorRT(NEW)

    def refuse(runtime: Any, plan: bytes) -> None:
        raise RuntimeError("no CUDA driver")

    fake.module.Runtime.deserialize_cuda_engine = refuse  # type: ignore[attr-defined]
    found = PatchedBuilder(fake.module, None, None).inspect(engine(tmp_path / "engine.engine"))
    assert (found.detailed, found.layers, found.plan_bytes) == (False, None, 8)
    assert "the engine could not be inspected: no CUDA driver" in capsys.readouterr().out


@pytest.mark.parametrize(("version", "counts"), [("10.16.1.11", {}), (NEW, {"INT8": 1, "FP16": 2, "FP32": 1})])
def test_the_types_that_bind_tensorrt_are_those_of_the_network(
    version: str, counts: dict[str, int], tmp_path: Path
) -> None:
    layers = (
        ("CONVOLUTION", "images:FLOAT", "a:FLOAT"),
        ("CAST", "a:FLOAT", "b:HALF"),
        ("QUANTIZE", "b:HALF", "c:INT8"),
        ("DEQUANTIZE", "c:INT8", "d:HALF"),
        ("CONVOLUTION", "d:HALF", "e:HALF"),
        ("DECONVOLUTION", "e:HALF", "f:HALF"),
        ("MATRIX_MULTIPLY", "f:HALF", "g:HALF"),
        ("SOFTMAX", "g:HALF", "h:HALF"),
    )
    fake = FakeTensorRT(version, layers=layers)
    builder = PatchedBuilder(fake.module, None, None)
    build(fake)
    assert builder.inspect(engine(tmp_path / "engine.engine")).network == counts


def engine(path: Path, metadata: bytes = b'{"batch": 1}', plan: bytes = b"the plan") -> Path:
    """Write an engine file as Ultralytics does."""
    path.write_bytes(len(metadata).to_bytes(4, "little") + metadata + plan)
    return path


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "no metadata of Ultralytics"),
        (b"ftrt\0\0\0\0a bare plan", "no metadata of Ultralytics"),
        (b"\x02\0\0\0[]plan", "no metadata of Ultralytics"),
        (b"\x0c\0\0\0" + b'{"batch": 1}', "it ends where TensorRT's plan should begin"),
    ],
    ids=["empty", "bare", "list", "truncated"],
)
def test_a_file_that_is_no_engine_of_ultralytics_is_recognised(contents: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "engine.engine"
    file.write_bytes(contents)
    with pytest.raises(ValueError, match=reason):
        engine_file.read_engine(file)


# The whole export


class FakeExporter:
    """As much of Ultralytics' exporter as the build job changes."""

    def __init__(self, weights: Path, calibrates: bool) -> None:
        self.file = weights
        self.calibrates = calibrates

    def export_onnx(self) -> str:
        assert "tensorrt" not in sys.modules, "TensorRT was loaded before the export to ONNX"
        sys.modules["tensorrt"] = self.tensorrt
        return str(self.file.with_suffix(".onnx"))

    def get_int8_calibration_dataloader(self, prefix: str = "") -> Any:
        return SimpleLoader([["/data/b.png"], ["/data/a.png"]])

    def export_engine(self) -> str:
        self.export_onnx()
        import tensorrt as trt

        if self.calibrates:
            list(self.get_int8_calibration_dataloader("x"))
        builder = trt.Builder(trt.Logger(trt.Logger.INFO))
        config = builder.create_builder_config()
        if self.parser_says:
            for said in self.parser_says:
                builder._logger.log(trt.ILogger.ERROR, said)
            raise RuntimeError("failed to load ONNX file: engine.onnx")
        plan = builder.build_serialized_network(builder.create_network(0), config)
        return str(engine(self.file.with_suffix(".engine"), plan=bytes(plan)))

    tensorrt: ModuleType
    parser_says: tuple[str, ...] = ()


class Images(SimpleNamespace):
    """A dataset of ``count`` images."""

    def __len__(self) -> int:
        count: int = self.count
        return count


class SimpleLoader:
    """Batches of images."""

    def __init__(self, batches: list[list[str]]) -> None:
        self.batches = batches
        self.dataset = Images(count=sum(map(len, batches)))
        self.batch_size = len(batches[0])

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return iter([{"im_file": names} for names in self.batches])


Export = Callable[..., Any]
ON_GPU = {"batch": 1, "backend": "tensorrt", "device": "0"}


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Run ``export_tensorrt`` with a fake Ultralytics around a fake TensorRT."""

    def run(fake: FakeTensorRT, parser_says: tuple[str, ...] = (), **request: Any) -> Any:
        asked = BuildRequest(
            **{
                "weights": "best.pt",
                "cell": {"model": "best", "precision": "fp16", "imgsz": 320, **taken(request, Cell, ON_GPU)},
                "calibration": taken(request, Calibration),
                "output": str(tmp_path / "out"),
                **request,
            }
        )
        weights = tmp_path / "engine.pt"
        exporter = type("Exporter", (FakeExporter,), {"tensorrt": fake.module, "parser_says": parser_says})
        # Hands are laid on this class, which is gone with the test.
        for name in ("export_onnx", "get_int8_calibration_dataloader"):
            setattr(exporter, name, vars(FakeExporter)[name])
        asked_for: list[dict[str, Any]] = []

        def do_export(**arguments: Any) -> str:
            asked_for.append(arguments)
            return exporter(weights, arguments["quantize"] == 8).export_engine()

        modules: dict[str, Any] = {
            "torch": SimpleNamespace(manual_seed=lambda seed: None),
            "ultralytics": SimpleNamespace(),
            "ultralytics.engine": SimpleNamespace(),
            "ultralytics.engine.exporter": SimpleNamespace(Exporter=exporter),
            "ultralytics.utils": SimpleNamespace(DEFAULT_CFG_DICT={"quantize": None}),
        }
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        yolo = SimpleNamespace(
            ignore_cached_images=lambda dataset: None,
            refusals=lambda subject: nullcontext(),
        )
        monkeypatch.setitem(sys.modules, "pytest_trtgate.workers.yolo", yolo)
        monkeypatch.setattr(workers, "yolo", yolo, raising=False)
        images = prepare_calibration(asked)
        artifact, inspection = export_tensorrt(
            asked,
            SimpleNamespace(export=do_export),
            f"best.pt as {asked.cell.precision}",
            Choice(asked.quantization, "tensorrt", "best.pt"),
        )
        return SimpleNamespace(artifact=artifact, inspection=inspection, images=images, asked=asked_for[0])

    return run


def test_the_exporter_is_asked_for_a_static_engine_on_the_gpu(export: Export) -> None:
    fake = FakeTensorRT(OLD, inspection=json.dumps(INT8_LAYERS))
    made = export(fake, device="1", export_args={"workspace": 4.0, "simplify": True}, optimization_level=0)
    fixed = {"format": "engine", "device": "1", "imgsz": 320, "batch": 1, "quantize": 16, "dynamic": False}
    assert made.asked == {**fixed, "simplify": True, "workspace": 4.0}
    assert fake.configs[0].builder_optimization_level == 0
    assert made.artifact.name == "engine.engine"
    assert made.inspection.precisions == {"INT8": 1, "unknown": 1}


def test_calibration_images_are_noted_and_counted_to_the_last(
    export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    made = export(FakeTensorRT(OLD), precision="int8", data="data.yaml")
    assert made.images == ["/data/b.png", "/data/a.png"]
    assert f"{PROGRESS}calibrating INT8 on 2 images: 2/2\n" in capsys.readouterr().out


def test_fewer_images_than_the_batch_are_refused(export: Export) -> None:
    with pytest.raises(DataError, match=r"data.yaml: split 'train' has 1 images to calibrate on, fewer than .* of 8"):
        export(FakeTensorRT(OLD), precision="int8", data="data.yaml", batch=8)


def test_an_operator_that_the_parser_refuses_is_named(export: Export) -> None:
    node = 'ModelImporter.cpp:140: While parsing node number 7 [Fancy -> "out"]:'
    objection = "ModelImporter.cpp:151: ERROR: onnxOpCheckers.cpp:998 In function check:\n[6] Plugin not found"
    with pytest.raises(TrtGateError) as caught:
        export(FakeTensorRT(OLD), parser_says=(node, "--- Begin node ---", objection))
    said = "ModelImporter.cpp:151: ERROR: onnxOpCheckers.cpp:998 In function check: [6] Plugin not found"
    where = 'while parsing node number 7 [Fancy -> "out"]'
    assert str(caught.value) == f"best.pt as fp16: TensorRT could not build it ({said}, {where})"


def test_strongly_typed_tensorrt_needs_modelopt_for_narrow_precisions(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_build, "find_spec", lambda name: None)
    with pytest.raises(TrtGateError, match=r"TensorRT 11.4.0.106 takes fp16 from the ONNX graph, .*nvidia-modelopt"):
        export(FakeTensorRT(NEW))
    assert export(FakeTensorRT(NEW), precision="fp32").artifact.exists()


def test_strongly_typed_tensorrt_builds_with_modelopt(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_build, "find_spec", lambda name: object())
    assert not hasattr(FakeTensorRT(NEW).module.BuilderFlag, "FP16")  # type: ignore[attr-defined]
    assert export(FakeTensorRT(NEW), precision="int8", data="data.yaml").artifact.exists()


def test_the_timing_cache_of_the_request_is_used(export: Export, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "timing" / "nvidia-h200_8.6.0.cache"
    export(FakeTensorRT(OLD), timing_cache=str(path))
    assert path.read_bytes() == b"+timed"


def test_the_lowest_level_leaves_the_timing_cache_alone(export: Export, tmp_path: Path) -> None:
    path = tmp_path / "gpu.cache"
    for level in (0, 1):
        export(FakeTensorRT(OLD), timing_cache=str(path), optimization_level=level)
        assert path.exists() is (level == 1)


def test_hands_are_laid_once_tensorrt_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTensorRT(OLD)
    monkeypatch.setitem(sys.modules, "tensorrt", fake.module)
    request = SimpleNamespace(cell=SimpleNamespace(precision="fp16"), timing_cache=None, optimization_level=5)
    made = patch_builder(request, Choice(Int8(), "tensorrt", "best.pt"), Path("best.onnx"))  # type: ignore[arg-type]
    assert made.optimization_level == 5
