"""Builds on the path of TensorRT 11, for real: TensorRT for RTX has its API and builds without a GPU.

Exporter, ModelOpt, parser and builder are the real ones. Pretended are a GPU, where somebody asks for one, and the
accuracy of the engines, which need one to run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from material import ROOT, Done, build_request, run_job, run_python, write_data
from project import Project

from pytest_trtgate.judge.engine import precision_finding
from pytest_trtgate.records.engine import EngineInspection, EngineRecord
from pytest_trtgate.records.files import file_sha256, files_sha256, load
from pytest_trtgate.workers.engine_file import read_engine

pytestmark = [pytest.mark.real, pytest.mark.tensorrt11]
HERE = Path(__file__).parent
SHAPES = ROOT / "examples" / "shapes"
WEIGHTS = SHAPES / "shapes.pt"
CLASSES = ["circle", "square", "triangle", "star", "cross", "ring"]
TRAIN_IMAGES = 520
CALIBRATED = 512
"""Where ModelOpt stops."""
PRODUCTS = 90
"""Convolutions and matrix products of the demo model."""
PRECISIONS = ("fp32", "fp16", "int8")
CONFTEST = """
import sys
from pathlib import Path
from pytest_trtgate.machine import Machine
from pytest_trtgate.machine.gpus import Gpu

class WithGpu(Machine):
    def versions(self):
        return {**super().versions(), "tensorrt": "11.4.0"}

    def gpus(self):
        return (Gpu("NVIDIA L4", "GPU-1111", "8.9", "580.65"),)

def pytest_trtgate_machine(config):
    return WithGpu()

def pytest_trtgate_launcher(config):
    from pytest_trtgate.jobs.launcher import LocalLauncher
    modules = {"build": "build_without_gpu", "accuracy": "equal_accuracy"}
    return LocalLauncher(modules, locks=Path("device-locks").absolute())
"""
TESTS = """
def test_accuracy(trtgate):
    trtgate.check_accuracy()
"""


@pytest.fixture(scope="session")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after one run of the gate that built the demo model's engines and judged what it could."""
    project = Project(tmp_path_factory.mktemp("gated"))
    shutil.rmtree(project.path / "data")
    splits = ["--train", str(TRAIN_IMAGES), "--val", "1", "--test", "100"]
    subprocess.run([sys.executable, SHAPES / "generate.py", project.path / "data", *splits], check=True)
    shutil.copy(WEIGHTS, project.path / "shapes.pt")
    (project.path / "conftest.py").write_text(CONFTEST)
    project.tests(TESTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        process = project.start("--trt-backend=tensorrt")
        output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    return project


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_engine_comes_out_in_each_precision(gated: Project, precision: str) -> None:
    engine = gated.engine(precision)
    assert engine.artifact == "engine.engine"
    metadata, plan = read_engine(gated.entry(precision) / engine.artifact)
    assert (metadata["task"], metadata["batch"], metadata["imgsz"]) == ("detect", 1, [320, 320])
    assert list(metadata["names"].values()) == CLASSES
    assert metadata["args"]["quantize"] == {"fp32": 32, "fp16": 16, "int8": 8}[precision]
    assert engine.metadata == metadata
    assert engine.inspection is not None
    assert engine.inspection.plan_bytes == len(plan) > 1_000_000


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_manifest_says_what_the_engine_was_built_from(gated: Project, precision: str) -> None:
    entry = gated.entry(precision)
    manifest = load(entry / "manifest.json", EngineRecord)
    assert manifest.sha256 == file_sha256(entry / "engine.engine")
    assert manifest.size_bytes == (entry / "engine.engine").stat().st_size
    parts = manifest.key_parts
    assert (parts["backend"], parts["precision"], parts["gpu"]) == ("tensorrt", precision, "NVIDIA L4")
    assert parts["weights"] == file_sha256(WEIGHTS)
    built_with = {name: parts["versions"][name] for name in ("tensorrt", "nvidia-modelopt", "onnx")}
    real = {name: version(name) for name in ("nvidia-modelopt", "onnx")}
    assert built_with == {"tensorrt": "11.4.0", **real}
    assert "starting export with TensorRT 11.4.0" in (entry / "build.log").read_text()


def test_calibration_is_recorded_as_modelopt_did_it(gated: Project) -> None:
    calibration = gated.engine("int8").calibration
    assert calibration is not None
    assert (calibration.split, calibration.images) == ("train", CALIBRATED)
    images = (gated.entry("int8") / "calibration.txt").read_text().splitlines()
    train = {str(path) for path in (gated.path / "data" / "images" / "train").iterdir()}
    assert (len(train), len(set(images)), set(images) <= train) == (TRAIN_IMAGES, CALIBRATED, True)
    assert calibration.digest == files_sha256(map(Path, images))
    assert [gated.engine(precision).calibration for precision in ("fp32", "fp16")] == [None, None]


def test_the_precisions_are_those_asked_for(gated: Project) -> None:
    found = {p: gated.engine(p).inspection for p in PRECISIONS}
    # The engines would have to be loaded to tell more, which needs a driver.
    assert not any(inspection.detailed for inspection in found.values())
    assert found["fp32"].network == {"FP32": PRODUCTS}
    assert found["fp16"].network == {"FP16": PRODUCTS}
    assert set(found["int8"].network) == {"INT8", "FP16"}
    assert sum(found["int8"].network.values()) == PRODUCTS
    # Ultralytics keeps the last convolutions of the head in floating point, ModelOpt what gains nothing.
    assert found["int8"].share("INT8") > 0.85


def test_a_plan_larger_than_fp32s_is_no_finding_where_the_network_tells(gated: Project) -> None:
    sizes = {precision: gated.engine(precision).size_bytes for precision in PRECISIONS}
    assert sizes["fp16"] < sizes["fp32"] < sizes["int8"]
    assert gated.outcomes("accuracy") == dict.fromkeys(PRECISIONS, "NO_BASELINE")
    assert "precision-not-taken" not in {f.id for p in PRECISIONS for f in gated.verdict(p, "accuracy").findings}
    page = (gated.path / "reports" / "trtgate.html").read_text()
    assert "100 % of the network&#39;s convolutions and matrix products FP16; this TensorRT does not tell" in page


def test_builds_share_a_timing_cache(gated: Project) -> None:
    assert (gated.path / "cache" / "timing" / "nvidia-l4_11.4.0.cache").stat().st_size > 0


# What goes wrong


def build(folder: Path, weights: Path = WEIGHTS, precision: str = "fp32", before: str = "", **changes: Any) -> Done:
    """Run one build job."""
    settings = {"imgsz": 320, "backend": "tensorrt", "device": "0", "threads": 2, **changes}
    request = build_request(weights, folder / "output", precision, **settings)
    find = f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
    return run_job("build", request, folder / "job", before=find + before, module="build_without_gpu")


def test_a_precision_that_modelopt_did_not_write_is_found(tmp_path: Path) -> None:
    leave_it = """
import onnx
from modelopt.onnx import autocast
autocast.convert_to_mixed_precision = lambda path, **options: onnx.load(path)
"""
    answer = build(tmp_path, precision="fp16", before=leave_it).response
    found = EngineInspection.model_validate(answer["inspection"])
    assert precision_finding("fp16", found, 1, 2) == (
        "fp16 requested: 100 % of the network's convolutions and matrix products FP32; "
        "this TensorRT does not tell the precision of the layers; no layer is FP16"
    )
    assert read_engine(tmp_path / "output" / answer["artifact"])[0]["args"]["quantize"] == 16


def test_without_images_to_calibrate_on_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    data = write_data(tmp_path / "data.yaml", train=[str(tmp_path / "empty")])
    sentence = build(tmp_path, precision="int8", data=str(data)).sentence
    assert sentence.startswith(f"{data}: no images to calibrate on in split 'train' (")
    assert sentence.isprintable()


def test_an_operator_that_the_parser_refuses_is_named(tmp_path: Path) -> None:
    add_it = f"""
import sys, torch
sys.path.insert(0, {str(HERE)!r})
from odd_layers import Determined
checkpoint = torch.load({str(WEIGHTS)!r}, map_location="cpu", weights_only=False)
first = checkpoint["model"].model[0]
first.act = torch.nn.Sequential(first.act, Determined())
torch.save(checkpoint, "odd.pt")
"""
    offline = {"YOLO_OFFLINE": "True", "YOLO_CONFIG_DIR": str(tmp_path)}
    made = run_python(add_it, folder=tmp_path, **offline)
    assert made.returncode == 0, made.stderr
    sentence = build(tmp_path, tmp_path / "odd.pt").sentence
    assert sentence.startswith("odd.pt as fp32: TensorRT could not build it (")
    assert " while parsing node number " in sentence
    assert "[Det -> " in sentence
    assert sentence.isprintable()


@pytest.mark.parametrize(
    ("precision", "file"), [("fp32", "engine.engine"), ("fp16", "engine.fp16.onnx")], ids=["engine", "graph"]
)
def test_a_full_disk_is_one_sentence(precision: str, file: str, tmp_path: Path) -> None:
    export = tmp_path / "job" / "export"
    export.mkdir(parents=True)
    (export / file).symlink_to("/dev/full")
    sentence = build(tmp_path, precision=precision).sentence
    assert sentence == f"no space left on the disk of {tmp_path / 'job'}; free some and run again"


def test_the_tensor_behind_each_layer_can_be_marked_and_the_network_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = build_request(WEIGHTS, tmp_path / "out", "fp32", imgsz=320)
    assert run_job("build", request, tmp_path / "job").response
    graph = tmp_path / "out" / "engine.onnx"
    monkeypatch.syspath_prepend(HERE / "shim")
    import tensorrt as trt

    from pytest_trtgate.workers.explaining.marking import Marks

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    assert trt.OnnxParser(network, logger).parse_from_file(str(graph))
    config = builder.create_builder_config()
    marks = Marks(tmp_path / "copy.onnx")
    marks.mark(network, config, graph)
    assert len(marks.tensors) == len(marks.layers) == PRODUCTS
    assert builder.build_serialized_network(network, config) is not None
