"""Jobs that have run, for the tests of this folder, with the real torch, Ultralytics and ONNX Runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forking_launcher import ForkingLauncher
from material import (
    IMGSZ,
    PRECISIONS,
    WATCH,
    Done,
    Material,
    accuracy_request,
    build_request,
    digests,
    latency_request,
    make_material,
    run_job,
    run_jobs,
    run_python,
    write_data,
)

from pytest_trtgate.jobs.contract import LatencyResponse
from pytest_trtgate.records.latency import Launch


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkingLauncher]:
    launcher = ForkingLauncher()
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="session")
def untouched(material: Material) -> dict[str, str]:
    """Return the digest of each file of the dataset, before any job has run."""
    return digests(material.data.parent)


@pytest.fixture(scope="session")
def builds(
    material: Material, untouched: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Done, Path]]:
    """Return, by precision, a build that has run and the engine it made."""
    folder = tmp_path_factory.mktemp("builds")
    done = {}
    for precision in PRECISIONS:
        output = folder / "cache" / precision
        more: dict[str, Any] = {"data": str(material.data)} if precision == "int8" else {}
        request = build_request(material.weights, output, precision, **more)
        done[precision] = (run_job("build", request, folder / precision, before=WATCH), output / "engine.onnx")
    return done


@pytest.fixture(scope="session")
def fp32(builds: dict[str, tuple[Done, Path]]) -> Path:
    done, engine = builds["fp32"]
    assert done.response
    return engine


def poison(engine: Path, output: Path) -> Path:
    """Copy an engine such that it returns NaN for pictures whose mean is under the median of ours."""
    import onnx
    from onnx import helper

    model = onnx.load(engine)
    graph = model.graph
    name = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["sound" if output == name else output for output in node.output]
    graph.initializer.extend(
        [
            helper.make_tensor("axes", onnx.TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("limit", onnx.TensorProto.FLOAT, [1], [0.5]),
            helper.make_tensor("zero", onnx.TensorProto.FLOAT, [1], [0.0]),
            helper.make_tensor("shape", onnx.TensorProto.INT64, [3], [1, 1, 1]),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
            helper.make_node("Sub", ["mean", "limit"], ["above"]),
            helper.make_node("Sqrt", ["above"], ["root"]),
            helper.make_node("Mul", ["root", "zero"], ["nothing"]),
            helper.make_node("Reshape", ["nothing", "shape"], ["added"]),
            helper.make_node("Add", ["sound", "added"], [name]),
        ]
    )
    onnx.save(model, output)
    return output


@pytest.fixture(scope="session")
def evaluations(
    material: Material,
    untouched: dict[str, str],
    builds: dict[str, tuple[Done, Path]],
    fp32: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Done, dict[str, dict[str, np.ndarray]]]:
    """Return a job that evaluated all arms, and three that cannot be, in one pass; and per-image records by arm."""
    folder = tmp_path_factory.mktemp("evaluations")
    engines = {precision: engine for precision, (_, engine) in builds.items()}
    (folder / "broken.onnx").write_bytes(fp32.read_bytes()[:5000])
    bad = {"nan": poison(fp32, folder / "nan.onnx"), "missing": folder / "no.onnx", "broken": folder / "broken.onnx"}
    request = accuracy_request(
        {"missing": bad.pop("missing"), "pt": material.weights, **bad, **engines}, material.data, folder
    )
    tell_all = "from pytest_trtgate.workers import worker; worker.PROGRESS_INTERVAL_S = 0"
    done = run_job("accuracy", request, folder / "job", before=f"{WATCH}\n{tell_all}")
    assert done.response
    return done, {arm: dict(np.load(folder / f"{arm}.npz")) for arm in ("pt", *engines)}


@pytest.fixture(scope="session")
def plain(
    material: Material, builds: dict[str, tuple[Done, Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Return what Ultralytics itself says, arm by arm, of a copy of the dataset, where it leaves its caches."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copytree(material.data.parent, folder / "data")
    data = write_data(folder / "data" / "data.yaml")
    artifacts = {"pt": str(material.weights), **{precision: str(engine) for precision, (_, engine) in builds.items()}}
    code = f"""
import json, sys
from ultralytics import YOLO
from ultralytics.utils.metrics import ap_per_class
import numpy as np
found = dict()
for arm, artifact in {artifacts!r}.items():
    box = YOLO(artifact, task="detect").val(
        data={str(data)!r}, split="test", imgsz={IMGSZ}, batch=1, conf=0.001, iou=0.3, max_det=300, rect=False,
        device="cpu", plots=False, workers=0, project={str(folder / "runs")!r}).box
    figures = dict(zip(("mAP50", "mAP50-95", "precision", "recall"), (box.map50, box.map, box.mp, box.mr)))
    found[arm] = {{name: float(value) for name, value in figures.items()}}
json.dump(found, open("found.json", "w"))
"""
    offline = {"YOLO_OFFLINE": "True", "YOLO_CONFIG_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    done = run_python(code, folder=folder, **offline)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"data": data, **json.loads((folder / "found.json").read_text())}


@pytest.fixture(scope="session")
def launch(material: Material, fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Launch, Path]:
    """Return a launch of the checkpoint and two copies of one engine, its record and its samples."""
    folder = tmp_path_factory.mktemp("launch")
    samples = folder / "samples.npz"
    arms = {"pt": material.weights, "fp32": fp32, "placebo": fp32}
    done = run_job("latency", latency_request(arms, material.images(), samples), folder / "job", before=WATCH)
    return done, LatencyResponse.model_validate(done.response).launch, samples


@pytest.fixture(scope="session")
def refused_builds(material: Material, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    folder = tmp_path_factory.mktemp("refused-builds")
    (folder / "text.pt").write_text("these are no weights")
    (folder / "empty" / "images").mkdir(parents=True)
    empty = write_data(folder / "data.yaml", root=material.data.parent, train=[str(folder / "empty")])
    make_others = """
from ultralytics import YOLO
YOLO("yolo26n-sem.yaml", task="semantic").save("semantic.pt")
YOLO("yolo11n-cls.yaml", task="classify").save("classify.pt")
"""
    made = run_python(make_others, folder=folder, YOLO_OFFLINE="True", YOLO_CONFIG_DIR=str(folder))
    assert made.returncode == 0, made.stderr

    def ask(weights: Path = material.weights, precision: str = "fp32", **changes: Any) -> dict[str, Any]:
        return build_request(weights, folder / "output", precision, **changes)

    requests = {
        "text": ask(folder / "text.pt"),
        "missing": ask(folder / "missing.pt"),
        "semantic": ask(folder / "semantic.pt"),
        "classify": ask(folder / "classify.pt", export_args={"nms": True}),
        "backend": ask(backend="openvino"),
        "reserved": ask(export_args={"half": True}),
        "argument": ask(export_args={"nonsense": 1}),
        "opset": ask(export_args={"opset": 3}),
        "stride": ask(imgsz=IMGSZ + 1),
        "empty": ask(precision="int8", data=str(empty)),
    }
    return run_jobs("build", requests, folder)


@pytest.fixture(scope="session")
def accuracies(material: Material, fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Return evaluations of odd datasets and unfit engines, by name."""
    folder = tmp_path_factory.mktemp("accuracies")

    def dataset(name: str, labels: str, images: int = 1) -> Path:
        for kind in ("images", "labels"):
            (folder / name / kind / "test").mkdir(parents=True)
        for image in material.images()[:images]:
            shutil.copy(image, folder / name / "images" / "test")
            (folder / name / "labels" / "test" / f"{image.stem}.txt").write_text(labels)
        return write_data(folder / name / "data.yaml", train=[str(folder / name / "images" / "test")])

    def ask(artifact: Path, data: Path = material.data, **settings: Any) -> dict[str, Any]:
        return accuracy_request({"int8": artifact}, data, folder, **settings)

    box = "0 0.5 0.5 0.4 0.4\n"
    damaged = dataset("damaged", box)
    (folder / "damaged" / "images" / "test" / "broken.png").write_bytes(b"\x89PNG")
    crowd = "".join(f"0 0.5 0.5 {0.1 + n / 1000} 0.4\n" for n in range(301))
    third = write_data(folder / "third.yaml", root=material.data.parent, names=("dark", "bright", "other"))
    requests = {
        "one-class": ask(material.weights, dataset("one-class", box)),
        "damaged": ask(material.weights, damaged),
        "batch": ask(fp32, batch=2),
        "imgsz": ask(fp32, imgsz=2 * IMGSZ),
        "stride": ask(material.weights, imgsz=IMGSZ + 1),
        "classes": ask(fp32, third),
        "no-images": ask(fp32, dataset("no-images", box, images=0)),
        "no-objects": ask(fp32, dataset("no-objects", "")),
        "crowd": ask(fp32, dataset("crowd", crowd)),
    }
    return run_jobs("accuracy", requests, folder)


@pytest.fixture(scope="session")
def launches(material: Material, fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Return odd and unfit launches, by name."""
    folder = tmp_path_factory.mktemp("launches")
    images = material.images()

    def ask(arms: dict[str, Path], pictures: list[Path] = images, **changes: Any) -> dict[str, Any]:
        return latency_request(arms, pictures, folder / "samples.npz", **changes)

    (folder / "broken.png").write_bytes(b"\x89PNG")
    (folder / "broken.onnx").write_bytes(fp32.read_bytes()[:5000])
    requests = {
        "slow": ask({"fp32": fp32}, samples=200, max_seconds=0.001, contexts=["engine"]),
        "batch": ask({"pt": material.weights}, batch=5, samples=12),
        "nan": ask({"pt": material.weights, "int8": poison(fp32, folder / "nan.onnx")}),
        "imgsz": ask({"pt": material.weights, "int8": fp32}, imgsz=2 * IMGSZ),
        "image": ask({"pt": material.weights}, [folder / "broken.png"]),
        "no-images": ask({"pt": material.weights}, []),
        "engine": ask({"int8": folder / "broken.onnx"}),
    }
    return run_jobs("latency", requests, folder)
