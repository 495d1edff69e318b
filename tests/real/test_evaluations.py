"""Evaluations, with the real torch, Ultralytics and ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from material import (
    METRICS,
    Done,
    Material,
    accuracy_request,
    run_job,
    run_python,
)

from pytest_trtgate.jobs.contract import AccuracyResponse

pytestmark = pytest.mark.real


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
