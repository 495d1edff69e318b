"""The jobs with the real torch, Ultralytics and ONNX Runtime, run as the launcher runs them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from material import (
    IMGSZ,
    Done,
    Material,
    accuracy_request,
    build_request,
    home_of,
    latency_request,
    make_material,
    run_job,
    run_jobs,
    run_python,
    write_data,
)

from pytest_trtgate.jobs.contract import AccuracyResponse, BuildResponse, LatencyResponse
from pytest_trtgate.records import Launch

pytestmark = pytest.mark.real

PRECISIONS = ("fp32", "fp16", "int8")
METRICS = {"mAP50", "mAP50-95", "precision", "recall"}
# Records what the process tries: connections, and which image files it decodes (label scans only look at headers).
WATCH = """
import socket, sys
import numpy
def _refuse(kind):
    def refuse(*args, **kwargs):
        with open(sys.argv[-1] + "/network.txt", "a") as file:
            print(kind, args[-1], file=file)
        raise OSError("no network in this test")
    return refuse
socket.socket.connect = _refuse("connect")
socket.create_connection = _refuse("create_connection")
socket.getaddrinfo = _refuse("getaddrinfo")
_fromfile = numpy.fromfile
def _watched(file, *args, **kwargs):
    with open(sys.argv[-1] + "/decoded.txt", "a") as log:
        print(file, file=log)
    return _fromfile(file, *args, **kwargs)
numpy.fromfile = _watched
"""


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


@pytest.fixture(scope="session")
def evaluations(
    material: Material, fp32: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Done, dict[str, np.ndarray]]]:
    """Return, by arm, an evaluation that has run and its per-image records."""
    folder = tmp_path_factory.mktemp("evaluations")
    found = {}
    for arm, artifact in (("pt", material.weights), ("fp32", fp32)):
        request = accuracy_request(artifact, material.data, folder / f"{arm}.npz", arm)
        done = run_job("accuracy", request, folder / arm, before=WATCH)
        assert done.response
        found[arm] = (done, dict(np.load(folder / f"{arm}.npz")))
    return found


@pytest.fixture(scope="session")
def plain(material: Material, fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what Ultralytics itself says of a copy of the dataset, where it leaves its caches."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copytree(material.data.parent, folder / "data")
    data = write_data(folder / "data" / "data.yaml")
    code = f"""
import json, sys
from ultralytics import YOLO
from ultralytics.utils.metrics import ap_per_class
import numpy as np
found = dict()
for arm, artifact in (("pt", {str(material.weights)!r}), ("fp32", {str(fp32)!r})):
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


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Building


def test_a_build_leaves_one_engine_in_the_output_folder(builds: dict[str, tuple[Done, Path]]) -> None:
    done, engine = builds["fp32"]
    assert BuildResponse.model_validate(done.response).artifact == engine.name
    assert [path.name for path in engine.parent.iterdir()] == ["engine.onnx"]


def test_a_build_tells_what_is_in_the_engine(builds: dict[str, tuple[Done, Path]]) -> None:
    metadata = builds["fp32"][0].response["metadata"]
    assert (metadata["task"], metadata["batch"], metadata["imgsz"]) == ("detect", 1, [IMGSZ, IMGSZ])
    assert metadata["names"] == {"0": "dark", "1": "bright"}


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.6), ("int8", 0.45)])
def test_lower_precisions_make_smaller_engines(
    builds: dict[str, tuple[Done, Path]], precision: str, share: float
) -> None:
    done, engine = builds[precision]
    assert done.response
    assert engine.stat().st_size < share * builds["fp32"][1].stat().st_size


def test_only_int8_is_calibrated(builds: dict[str, tuple[Done, Path]], material: Material) -> None:
    images = {precision: done.response["calibration_images"] for precision, (done, _) in builds.items()}
    assert images == {"fp32": None, "fp16": None, "int8": [str(path) for path in material.images("train")]}


def test_a_build_tells_how_far_calibration_is(builds: dict[str, tuple[Done, Path]]) -> None:
    assert "calibrating INT8 on 12 images: " in " ".join(builds["int8"][0].progress)


def test_calibration_images_are_those_that_were_read(material: Material, tmp_path: Path) -> None:
    # Of the 6 images in half of the split, a batch of 4 leaves 2 over, and which ones is up to a shuffle.
    more = {"data": str(material.data), "fraction": 0.5, "batch": 4}
    request = build_request(material.weights, tmp_path / "output", "int8", **more)
    done = run_job("build", request, tmp_path / "job", before=WATCH)
    images = done.response["calibration_images"]
    assert len(images) == 4
    assert set(images) <= {str(path) for path in material.images("train")[:6]}
    assert set(images) == set((tmp_path / "job" / "decoded.txt").read_text().split())


@pytest.fixture(scope="session")
def refused_builds(material: Material, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    folder = tmp_path_factory.mktemp("refused-builds")
    (folder / "text.pt").write_text("these are no weights")
    (folder / "empty" / "images").mkdir(parents=True)
    empty = write_data(folder / "data.yaml", root=material.data.parent, train=[str(folder / "empty")])
    make_segmenter = """
from ultralytics import YOLO
YOLO("yolo11n-seg.yaml", task="segment").save("segment.pt")
"""
    made = run_python(make_segmenter, folder=folder, YOLO_OFFLINE="True", YOLO_CONFIG_DIR=str(folder))
    assert made.returncode == 0, made.stderr

    def ask(weights: Path = material.weights, precision: str = "fp32", **changes: Any) -> dict[str, Any]:
        return build_request(weights, folder / "output", precision, **changes)

    requests = {
        "text": ask(folder / "text.pt"),
        "missing": ask(folder / "missing.pt"),
        "segment": ask(folder / "segment.pt"),
        "backend": ask(backend="openvino"),
        "reserved": ask(export_args={"half": True}),
        "argument": ask(export_args={"nonsense": 1}),
        "opset": ask(export_args={"opset": 3}),
        "stride": ask(imgsz=IMGSZ + 1),
        "empty": ask(precision="int8", data=str(empty)),
    }
    return run_jobs("build", requests, folder)


@pytest.mark.parametrize(
    ("request_name", "words"),
    [
        ("text", ["text.pt: not a YOLO checkpoint that Ultralytics", "can load ("]),
        ("missing", ["missing.pt: no such file"]),
        ("segment", ["segment.pt: its task is segment", "detect models only"]),
        ("backend", ["backend 'openvino' cannot build engines", "onnxruntime"]),
        ("reserved", ["export_args: 'half' is decided by pytest-trtgate"]),
        ("argument", ["tiny.pt as fp32: Ultralytics could not export it to ONNX", "nonsense"]),
        ("opset", ["tiny.pt as fp32: Ultralytics could not export it to ONNX", "opset=3"]),
        ("stride", ["the engine takes images of 96x96 pixels, not the 65x65"]),
        ("empty", ["no images to calibrate on in split 'train'", "data.yaml"]),
    ],
)
def test_a_build_that_cannot_be_is_one_sentence(
    refused_builds: dict[str, Done], request_name: str, words: list[str]
) -> None:
    sentence = refused_builds[request_name].sentence
    assert all(word in sentence for word in words), sentence
    assert sentence.isprintable()


# Accuracy


@pytest.mark.parametrize("arm", ["pt", "fp32"])
def test_metrics_are_those_of_ultralytics(
    evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]], plain: dict[str, Any], arm: str
) -> None:
    answer = AccuracyResponse.model_validate(evaluations[arm][0].response)
    assert answer.metrics.keys() == METRICS
    assert answer.metrics == pytest.approx(plain[arm], abs=1e-9)
    assert answer.metrics["mAP50"] > 0.05


def test_an_fp32_engine_is_as_accurate_as_its_checkpoint(
    evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]],
) -> None:
    pt, fp32 = (evaluations[arm][0].response["metrics"] for arm in ("pt", "fp32"))
    assert fp32 == pytest.approx(pt, abs=1e-3)


def test_per_image_records_give_the_metrics_again(
    evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]], tmp_path: Path
) -> None:
    done, records = evaluations["fp32"]
    np.savez(tmp_path / "records.npz", **records)
    code = """
import numpy as np
from ultralytics.utils.metrics import ap_per_class
r = np.load("records.npz")
ap = ap_per_class(r["tp"], r["conf"], r["pred_cls"], r["target_cls"], names=dict(enumerate(r["names"])))[5]
print("mAP", ap.mean(), ap[:, 0].mean())
"""
    found = run_python(code, folder=tmp_path, YOLO_OFFLINE="True", YOLO_CONFIG_DIR=str(tmp_path)).stdout
    map50_95, map50 = map(float, found.split("mAP")[-1].split())
    assert map50_95 == pytest.approx(done.response["metrics"]["mAP50-95"], abs=1e-6)
    assert map50 == pytest.approx(done.response["metrics"]["mAP50"], abs=1e-6)


def test_per_image_records_name_images_and_classes(
    evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]], material: Material
) -> None:
    records = evaluations["pt"][1]
    assert records["images"].tolist() == [f"images/test/{path.name}" for path in material.images()]
    assert records["names"].tolist() == ["dark", "bright"]


def test_ground_truth_boxes_are_the_labels_in_pixels(
    evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]], material: Material
) -> None:
    records = evaluations["pt"][1]
    for index, image in enumerate(material.images()):
        labels = np.loadtxt(material.data.parent / "labels" / "test" / f"{image.stem}.txt", ndmin=2)
        width, height = (80, 60) if index % 2 else (72, 96)
        centers, sizes = labels[:, 1:3] * (width, height), labels[:, 3:5] * (width, height)
        mine = records["target_image"] == index
        assert records["target_cls"][mine].tolist() == labels[:, 0].tolist()
        expected = np.hstack([centers - sizes / 2, centers + sizes / 2])
        assert records["target_box"][mine] == pytest.approx(expected, abs=0.05)


def test_each_true_positive_has_its_object_under_its_box(
    evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]],
) -> None:
    records = evaluations["pt"][1]
    hits = np.flatnonzero(records["tp"][:, 0])
    assert len(hits) > 10
    for hit in hits:
        same = (records["target_image"] == records["pred_image"][hit]) & (
            records["target_cls"] == records["pred_cls"][hit]
        )
        # Ultralytics matches before it clips boxes to the picture, and in letterboxed pixels.
        assert max(iou(records["pred_box"][hit], box) for box in records["target_box"][same]) > 0.45


def iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    areas = [np.prod(box[2:] - box[:2]) for box in (a, b)]
    return float(np.prod(sides) / (sum(areas) - np.prod(sides)))


def test_each_class_has_its_counts_and_its_metrics(
    evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]], material: Material
) -> None:
    rows = [path.read_text().split("\n") for path in (material.data.parent / "labels" / "test").iterdir()]
    answer = AccuracyResponse.model_validate(evaluations["pt"][0].response)
    for index, found in enumerate(answer.classes):
        counts = [sum(row.startswith(f"{index} ") for row in image) for image in rows]
        assert (found.images, found.instances) == (sum(count > 0 for count in counts), sum(counts))
        assert found.metrics.keys() == METRICS
    assert answer.instances == sum(found.instances for found in answer.classes)
    assert answer.metrics["mAP50"] == pytest.approx(np.mean([c.metrics["mAP50"] for c in answer.classes]))


def test_a_class_without_objects_has_no_metrics(accuracies: dict[str, Done]) -> None:
    dark, bright = AccuracyResponse.model_validate(accuracies["one-class"].response).classes
    assert dark.metrics.keys() == METRICS
    assert (bright.name, bright.images, bright.instances, bright.metrics) == ("bright", 0, 0, {})


def test_damaged_images_are_left_out_and_named(accuracies: dict[str, Done], material: Material) -> None:
    answer = accuracies["damaged"].response
    assert answer["images"] == 1
    assert [Path(name).name for name in answer["unreadable"]] == ["broken.png"]


def test_an_evaluation_tells_how_far_it_is(evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]]) -> None:
    assert any(line.startswith("evaluating fp32: ") for line in evaluations["fp32"][0].progress)
    assert evaluations["fp32"][0].progress[-1].endswith("/12 images")


def test_an_old_label_cache_is_not_believed(plain: dict[str, Any], material: Material, tmp_path: Path) -> None:
    data = plain["data"]
    label = data.parent / "labels" / "test" / "test-00.txt"
    assert (data.parent / "labels" / "test.cache").exists()
    old = label.stat()
    swapped = [str(1 - int(row[0])) + row[1:] for row in label.read_text().splitlines()]
    label.write_text("\n".join(swapped) + "\n")
    os.utime(label, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert label.stat().st_size == old.st_size
    done = run_job("accuracy", accuracy_request(material.weights, data, tmp_path / "records.npz"), tmp_path / "job")
    assert done.response
    records = np.load(tmp_path / "records.npz")
    seen = records["target_cls"][records["target_image"] == 0]
    assert seen.tolist() == [int(row[0]) for row in swapped]


def test_a_slow_machine_loses_no_boxes(
    evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]], material: Material, tmp_path: Path
) -> None:
    # Non-maximum suppression gives up on the rest of a batch when this clock says that it took too long.
    clock = "import itertools, time\n_ticks = itertools.count(1e9, 100.0)\ntime.time = lambda: next(_ticks)"
    request = accuracy_request(material.weights, material.data, tmp_path / "records.npz", "pt", batch=4)
    done = run_job("accuracy", request, tmp_path / "job", before=clock)
    assert done.response["metrics"] == pytest.approx(evaluations["pt"][0].response["metrics"], abs=1e-3)


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
        return accuracy_request(artifact, data, folder / "records.npz", "int8", **settings)

    box = "0 0.5 0.5 0.4 0.4\n"
    damaged = dataset("damaged", box)
    (folder / "damaged" / "images" / "test" / "broken.png").write_bytes(b"\x89PNG")
    crowd = "".join(f"0 0.5 0.5 {0.1 + n / 1000} 0.4\n" for n in range(301))
    third = write_data(folder / "third.yaml", root=material.data.parent, names=("dark", "bright", "other"))
    requests = {
        "one-class": ask(material.weights, dataset("one-class", box)),
        "damaged": ask(material.weights, damaged),
        "nan": ask(poison(fp32, folder / "nan.onnx")),
        "batch": ask(fp32, batch=2),
        "imgsz": ask(fp32, imgsz=2 * IMGSZ),
        "stride": ask(material.weights, imgsz=IMGSZ + 1),
        "classes": ask(fp32, third),
        "no-images": ask(fp32, dataset("no-images", box, images=0)),
        "no-objects": ask(fp32, dataset("no-objects", "")),
        "crowd": ask(fp32, dataset("crowd", crowd)),
        "no-engine": ask(folder / "missing.onnx"),
    }
    return run_jobs("accuracy", requests, folder)


@pytest.mark.parametrize(
    ("request_name", "words"),
    [
        ("nan", ["int8: the engine returned NaN or infinite values for", "of 12 images, first images/test/test-"]),
        ("batch", ["int8: the engine takes a batch of 1, not of the 2 asked for"]),
        ("imgsz", ["int8: the engine takes images of 64x64 pixels, not the 128x128"]),
        ("stride", ["int8: Ultralytics evaluates images of 96x96 pixels, not the 65x65 asked for"]),
        ("classes", ["int8: the model has 2 classes, but", "third.yaml has 3"]),
        ("no-images", ["split 'test' has no usable images"]),
        ("no-objects", ["split 'test' has no labelled objects"]),
        ("crowd", ["holds 301 objects, more than max_det = 300; set max_det to at least 301"]),
        ("no-engine", ["missing.onnx", "no such file"]),
    ],
)
def test_an_evaluation_that_cannot_be_is_one_sentence(
    accuracies: dict[str, Done], request_name: str, words: list[str]
) -> None:
    sentence = accuracies[request_name].sentence
    assert all(word in sentence for word in words), sentence
    assert sentence.isprintable()


def test_only_images_with_broken_numbers_are_counted(accuracies: dict[str, Done]) -> None:
    count = int(accuracies["nan"].sentence.split(" values for ")[1].split()[0])
    assert 0 < count < 12


# Latency


def test_a_launch_times_every_arm_in_every_context(launch: tuple[Done, Launch, Path]) -> None:
    arms = launch[1].arms
    assert list(arms) == ["pt", "fp32", "placebo"]
    for arm in arms.values():
        assert set(arm.timings) == {"engine", "end-to-end", "preprocess", "inference", "postprocess"}
        assert arm.warmup_iterations >= 20
        for timing in arm.timings.values():
            assert 0 < timing.min_ms <= timing.quantiles_ms[0] <= timing.quantiles_ms[-1] <= timing.max_ms


def test_a_launch_keeps_every_duration(launch: tuple[Done, Launch, Path]) -> None:
    _, record, samples = launch
    assert record.samples == samples.name
    with np.load(samples) as arrays:
        assert len(arrays.files) == 2 * 3 * 5
        for name, arm in record.arms.items():
            for context, timing in arm.timings.items():
                durations = arrays[f"{name}/{context}"]
                assert durations.dtype == np.int64
                assert len(durations) == timing.n
                assert timing.quantile_ms(50) == pytest.approx(np.median(durations) / 1e6)
                assert (np.diff(arrays[f"{name}/{context}/at"]) > 0).all()


def test_stages_add_up_to_the_whole(launch: tuple[Done, Launch, Path]) -> None:
    with np.load(launch[2]) as arrays:
        stages = sum(arrays[f"fp32/{stage}"] for stage in ("preprocess", "inference", "postprocess"))
        assert (stages == arrays["fp32/end-to-end"]).all()


def test_images_per_second_count_the_whole_way(launch: tuple[Done, Launch, Path]) -> None:
    arm = launch[1].arms["fp32"]
    assert arm.images_per_second == pytest.approx(1000 / arm.timings["end-to-end"].mean_ms)


def test_arms_take_turns_in_blocks(launch: tuple[Done, Launch, Path]) -> None:
    with np.load(launch[2]) as arrays:
        starts = [(at, arm) for arm in launch[1].arms for at in arrays[f"{arm}/engine/at"].tolist()]
    assert min(starts)[0] >= 0
    order = [arm for _, arm in sorted(starts)]
    blocks = [order[i : i + 10] for i in range(0, len(order), 10)]
    assert len(blocks) == 12
    assert all(len(set(block)) == 1 for block in blocks)
    turns = [block[0] for block in blocks]
    assert all(set(turns[i : i + 3]) == {"pt", "fp32", "placebo"} for i in range(0, 12, 3))


def test_a_launch_tells_how_far_it_is(launch: tuple[Done, Launch, Path]) -> None:
    assert launch[0].progress[0] == "launch 1: loading pt, fp32, placebo"


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


@pytest.mark.parametrize(
    ("request_name", "words"),
    [
        ("nan", ["int8: it returned NaN or infinite values in warm-up"]),
        ("imgsz", ["int8: the engine takes images of 64x64 pixels, not the 128x128"]),
        ("image", ["broken.png: cannot be decoded"]),
        ("no-images", ["no images to time inference on"]),
        ("engine", ["broken.onnx: not a readable engine"]),
    ],
)
def test_a_launch_that_cannot_be_is_one_sentence(
    launches: dict[str, Done], request_name: str, words: list[str]
) -> None:
    sentence = launches[request_name].sentence
    assert all(word in sentence for word in words), sentence
    assert sentence.isprintable()


def test_a_slow_arm_gets_fewer_samples_but_never_under_30(launches: dict[str, Done]) -> None:
    arm = LatencyResponse.model_validate(launches["slow"].response).launch.arms["fp32"]
    assert {context: timing.n for context, timing in arm.timings.items()} == {"engine": 30}


def test_images_per_second_count_all_images_of_a_batch(launches: dict[str, Done]) -> None:
    arm = LatencyResponse.model_validate(launches["batch"].response).launch.arms["pt"]
    assert arm.images_per_second == pytest.approx(5 * 1000 / arm.timings["end-to-end"].mean_ms)


def test_end_to_end_gives_the_boxes_that_ultralytics_predicts(material: Material, fp32: Path, tmp_path: Path) -> None:
    arms = {"pt": material.weights, "fp32": fp32}
    request = latency_request(arms, material.images(), tmp_path / "samples.npz", conf=0.02)
    code = f"""
import json
from pathlib import Path
from pytest_trtgate.jobs.contract import LatencyRequest
from pytest_trtgate.jobs.worker import prepare
request = LatencyRequest.model_validate({request!r})
folder = Path.cwd()
prepare(folder, 1)
from pytest_trtgate.jobs import yolo, arms
import torch
from ultralytics import YOLO
yolo.isolate(1)
batch = arms.decode(request)[1]
for arm, asked in zip(arms.load_arms(request, folder, lambda arm, load: load()), request.arms):
    arm.aim(batch)
    with torch.inference_mode():
        tensor = arm.preprocess(batch)
        ours = arm.postprocess(arm.infer(tensor), tensor, batch)[0].boxes.data
    theirs = YOLO(asked.artifact, task="detect").predict(
        request.images[1], imgsz=request.imgsz, conf=request.conf, iou=request.iou, max_det=request.max_det,
        rect=False, device="cpu", verbose=False)[0].boxes.data
    print("equal", arm.name, len(ours), torch.equal(ours, theirs))
"""
    done = run_python(code, folder=tmp_path)
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("equal")]
    assert [(arm, same) for arm, _, same in found] == [("pt", "True"), ("fp32", "True")], done.stdout + done.stderr
    assert all(int(boxes) > 0 for _, boxes, _ in found)


# All jobs


def test_threads_are_what_was_asked_for_everywhere(material: Material, fp32: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from pytest_trtgate.jobs.worker import prepare
prepare(Path.cwd(), 2)
from pytest_trtgate.jobs import yolo
yolo.isolate(2)
yolo.pin_onnxruntime(2)
import torch, onnxruntime
from ultralytics.utils.torch_utils import select_device
select_device("cpu")
print("torch", torch.get_num_threads(), torch.get_num_interop_threads())
from ultralytics.nn.autobackend import AutoBackend
for name, session in dict(
    plain=onnxruntime.InferenceSession({str(fp32)!r}),
    options=onnxruntime.InferenceSession({str(fp32)!r}, onnxruntime.SessionOptions()),
    keyword=onnxruntime.InferenceSession({str(fp32)!r}, sess_options=onnxruntime.SessionOptions()),
    backend=AutoBackend({str(fp32)!r}).backend.session,
).items():
    options = session.get_session_options()
    spinning = options.get_session_config_entry("session.force_spinning_stop")
    print(name, options.intra_op_num_threads, options.inter_op_num_threads, spinning)
"""
    done = run_python(code, folder=tmp_path)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.count(" ") in {2, 3})
    expected = {"torch": "2 1", **dict.fromkeys(("plain", "options", "keyword", "backend"), "2 1 1")}
    assert {name: found.get(name) for name in expected} == expected, done.stdout + done.stderr


@pytest.fixture
def folders(
    builds: dict[str, tuple[Done, Path]],
    evaluations: dict[str, tuple[Done, dict[str, np.ndarray]]],
    launch: tuple[Done, Launch, Path],
) -> list[Path]:
    """Return the folder of each job that ran undisturbed."""
    return [done.folder for done, *_ in (*builds.values(), *evaluations.values(), launch)]


def test_no_job_tries_the_network(folders: list[Path]) -> None:
    assert [(folder / "network.txt") for folder in folders if (folder / "network.txt").exists()] == []


def test_no_job_writes_into_the_home_of_the_user(folders: list[Path]) -> None:
    assert [path for folder in folders for path in home_of(folder).rglob("*")] == []


def test_no_job_touches_the_dataset(folders: list[Path], untouched: dict[str, str], material: Material) -> None:
    assert digests(material.data.parent) == untouched


def test_no_job_writes_beside_the_weights(folders: list[Path], material: Material) -> None:
    assert {path.name for path in material.weights.parent.glob("tiny*")} == {"tiny.pt"}
