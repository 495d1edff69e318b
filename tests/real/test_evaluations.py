"""Evaluations, with the real torch, Ultralytics and ONNX Runtime."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from material import (
    METRICS,
    PRECISIONS,
    Done,
    Material,
    accuracy_request,
    run_job,
    run_python,
)

from pytest_trtgate.data import label_of
from pytest_trtgate.records.files import file_sha256

pytestmark = pytest.mark.real
Evaluations = tuple[Done, dict[str, dict[str, np.ndarray]]]


@pytest.mark.parametrize("arm", ["pt", *PRECISIONS])
def test_metrics_are_those_of_ultralytics(evaluations: Evaluations, plain: dict[str, Any], arm: str) -> None:
    answer = evaluations[0].accuracy(arm)
    assert answer.metrics.keys() == METRICS
    # The checkpoint is evaluated on several images at a time, which moves the last digits of its scores.
    assert answer.metrics == pytest.approx(plain[arm], abs=1e-6 if arm == "pt" else 1e-9)
    # Zeros would be equal too. How far above zero INT8 is hangs on the processor: its sums saturate without VNNI.
    assert min(answer.metrics.values()) > 0


def test_an_fp32_engine_is_as_accurate_as_its_checkpoint(
    evaluations: Evaluations,
) -> None:
    pt, fp32 = (evaluations[0].accuracy(arm).metrics for arm in ("pt", "fp32"))
    assert fp32 == pytest.approx(pt, abs=1e-3)


def test_per_image_records_give_the_metrics_again(evaluations: Evaluations, tmp_path: Path) -> None:
    records, metrics = evaluations[1]["fp32"], evaluations[0].accuracy("fp32").metrics
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
    assert map50_95 == pytest.approx(metrics["mAP50-95"], abs=1e-6)
    assert map50 == pytest.approx(metrics["mAP50"], abs=1e-6)


def test_per_image_records_name_images_and_classes(evaluations: Evaluations, material: Material) -> None:
    records = evaluations[1]["pt"]
    assert records["images"].tolist() == [f"images/test/{path.name}" for path in material.images()]
    assert records["names"].tolist() == ["dark", "bright"]


def test_ground_truth_boxes_are_the_labels_in_pixels(evaluations: Evaluations, material: Material) -> None:
    records = evaluations[1]["pt"]
    for index, image in enumerate(material.images()):
        labels = np.loadtxt(material.data.parent / "labels" / "test" / f"{image.stem}.txt", ndmin=2)
        width, height = (80, 60) if index % 2 else (72, 96)
        centers, sizes = labels[:, 1:3] * (width, height), labels[:, 3:5] * (width, height)
        mine = records["target_image"] == index
        assert records["target_cls"][mine].tolist() == labels[:, 0].tolist()
        expected = np.hstack([centers - sizes / 2, centers + sizes / 2])
        assert records["target_box"][mine] == pytest.approx(expected, abs=0.05)


def test_each_true_positive_has_its_object_under_its_box(
    evaluations: Evaluations,
) -> None:
    records = evaluations[1]["pt"]
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


def test_each_class_has_its_counts_and_its_metrics(evaluations: Evaluations, material: Material) -> None:
    rows = [path.read_text().split("\n") for path in (material.data.parent / "labels" / "test").iterdir()]
    answer = evaluations[0].accuracy("pt")
    for index, found in enumerate(answer.classes):
        counts = [sum(row.startswith(f"{index} ") for row in image) for image in rows]
        assert (found.images, found.instances) == (sum(count > 0 for count in counts), sum(counts))
        assert found.metrics.keys() == METRICS
    assert answer.instances == sum(found.instances for found in answer.classes)
    assert answer.metrics["mAP50"] == pytest.approx(np.mean([c.metrics["mAP50"] for c in answer.classes]))


def test_a_class_without_objects_has_no_metrics(accuracies: dict[str, Done]) -> None:
    dark, bright = accuracies["one-class"].accuracy("int8").classes
    assert dark.metrics.keys() == METRICS
    assert (bright.name, bright.images, bright.instances, bright.metrics) == ("bright", 0, 0, {})


def test_damaged_images_are_left_out_and_named(accuracies: dict[str, Done], material: Material) -> None:
    answer = accuracies["damaged"].accuracy("int8")
    assert answer.images == 1
    assert [Path(name).name for name in answer.unreadable] == ["broken.png"]


def test_an_evaluation_tells_what_it_has_read(evaluations: Evaluations, material: Material) -> None:
    done, read = evaluations[0], evaluations[0].response["read"]
    artifacts = [arm["artifact"] for arm in json.loads((done.folder / "request.json").read_text())["arms"]]
    files = [*artifacts, *(str(file) for image in material.images() for file in (image, label_of(image)))]
    assert read.keys() == set(files)
    assert read == {name: file_sha256(Path(name)) if Path(name).exists() else "" for name in files}


def test_an_evaluation_tells_an_image_that_it_left_out(accuracies: dict[str, Done]) -> None:
    [(name, sha256)] = [item for item in accuracies["damaged"].response["read"].items() if "broken.png" in item[0]]
    assert sha256 == file_sha256(Path(name))


def test_an_evaluation_tells_how_far_it_is(evaluations: Evaluations) -> None:
    assert evaluations[0].progress[-1].startswith("evaluating missing, pt, nan, broken, fp32, fp16, int8: ")
    assert evaluations[0].progress[-1].endswith("/12 images")


def test_an_image_is_decoded_once_for_all_arms(evaluations: Evaluations, material: Material) -> None:
    decoded = (evaluations[0].folder / "decoded.txt").read_text().splitlines()
    assert sorted(line for line in decoded if line.endswith(".png")) == [str(path) for path in material.images()]


def test_arms_that_cannot_be_evaluated_say_why_and_leave_the_others_alone(evaluations: Evaluations) -> None:
    done = evaluations[0]
    assert list(done.response["arms"]) == ["pt", *PRECISIONS]
    assert "no.onnx: no such file" in done.failure("missing")
    assert "broken.onnx: not a readable engine" in done.failure("broken")
    nan = done.failure("nan")
    assert "nan: the engine returned NaN or infinite values for" in nan
    assert "of 12 images, first images/test/test-" in nan
    assert 0 < int(nan.split(" values for ")[1].split()[0]) < 12


def test_an_old_label_cache_is_not_believed(plain: dict[str, Any], material: Material, tmp_path: Path) -> None:
    data = plain["data"]
    label = data.parent / "labels" / "test" / "test-00.txt"
    assert (data.parent / "labels" / "test.cache").exists()
    old = label.stat()
    swapped = [str(1 - int(row[0])) + row[1:] for row in label.read_text().splitlines()]
    label.write_text("\n".join(swapped) + "\n")
    os.utime(label, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert label.stat().st_size == old.st_size
    done = run_job("accuracy", accuracy_request({"pt": material.weights}, data, tmp_path), tmp_path / "job")
    assert done.accuracy("pt")
    records = np.load(tmp_path / "pt.npz")
    seen = records["target_cls"][records["target_image"] == 0]
    assert seen.tolist() == [int(row[0]) for row in swapped]


def test_a_slow_machine_loses_no_boxes(evaluations: Evaluations, material: Material, tmp_path: Path) -> None:
    # Non-maximum suppression gives up on the rest of a batch when this clock says that it took too long.
    clock = "import itertools, time\n_ticks = itertools.count(1e9, 100.0)\ntime.time = lambda: next(_ticks)"
    request = accuracy_request({"pt": material.weights}, material.data, tmp_path, batch=4)
    done = run_job("accuracy", request, tmp_path / "job", before=clock)
    assert done.accuracy("pt").metrics == pytest.approx(evaluations[0].accuracy("pt").metrics, abs=1e-3)


@pytest.mark.parametrize(
    ("request_name", "words"),
    [
        ("batch", ["int8: the engine takes a batch of 1, not of the 2 asked for"]),
        ("imgsz", ["int8: the engine takes images of 64x64 pixels, not the 128x128"]),
        ("stride", ["int8: Ultralytics evaluates images of 96x96 pixels, not the 65x65 asked for"]),
        ("classes", ["int8: the model has 2 classes, but", "third.yaml has 3"]),
        ("no-images", ["split 'test' has no usable images"]),
        ("no-objects", ["split 'test' has no labelled objects"]),
        ("crowd", ["holds 301 objects, more than max_det = 300; set max_det to at least 301"]),
    ],
)
def test_an_evaluation_that_cannot_be_is_one_sentence(
    accuracies: dict[str, Done], request_name: str, words: list[str]
) -> None:
    sentence = accuracies[request_name].failure("int8")
    assert all(word in sentence for word in words), sentence
    assert sentence.isprintable()
