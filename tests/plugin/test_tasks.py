"""Tasks other than detection, heads, and several models in one run, as the gate judges and reports them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_jobs import Behaviour
from page_reader import lines
from project import SETTINGS, Project, png

from pytest_trtgate.data.dataset import load_dataset
from pytest_trtgate.errors import DataError
from pytest_trtgate.judge.accuracy.agreement import Detections, agreement
from pytest_trtgate.judge.accuracy.classification import Classified, classified_agreement, compare_classified
from pytest_trtgate.judge.accuracy.parity import judge_parity
from pytest_trtgate.records.accuracy import AccuracyRecord, AccuracySettings
from pytest_trtgate.records.baseline import Baseline
from pytest_trtgate.records.files import load, save
from pytest_trtgate.records.tasks import GATED, METRICS, TASKS, head_of
from pytest_trtgate.records.verdict import Outcome
from pytest_trtgate.report.numbers import CellNumbers
from pytest_trtgate.report.page.accuracy_view import metric_table

HOW = AccuracySettings(split="test", imgsz=64, batch=1, conf=0.001, iou=0.7, max_det=300)


def accuracy(task: str, head: str | None = None, **metrics: float) -> AccuracyRecord:
    """Return the accuracy of an arm over two classes."""
    return AccuracyRecord.model_validate(
        {
            "model": "m",
            "arm": "int8",
            "task": task,
            "head": head,
            "settings": HOW,
            "images": 8,
            "instances": 8,
            "metrics": metrics,
            "classes": [{"name": n, "images": 4, "instances": 4, "metrics": metrics} for n in "ab"],
            "per_image": "",
            "seconds": 1.0,
        }
    )


def classified(top: list[list[int]], target: list[int], conf: float = 0.9) -> Classified:
    return Classified(np.array(top), np.full(len(target), conf), np.array(target))


# What is measured of each task


def test_every_task_gates_what_stands_for_it() -> None:
    assert GATED["detect"] == GATED["obb"] == ("mAP50", "mAP50-95")
    assert GATED["segment"] == ("mAP50", "mAP50-95", "mask mAP50", "mask mAP50-95")
    assert GATED["pose"] == ("mAP50", "mAP50-95", "pose mAP50", "pose mAP50-95")
    assert GATED["classify"] == METRICS["classify"] == ("top1", "top5")
    assert all(set(GATED[task]) <= set(METRICS[task]) for task in TASKS)


@pytest.mark.parametrize(
    ("metadata", "head"),
    [
        ({"task": "detect", "end2end": False, "args": {"nms": None}}, "nms"),
        ({"task": "detect", "end2end": True, "args": {"nms": False}}, "nms-free"),
        ({"task": "detect", "end2end": True, "args": {"nms": True}}, "nms-in-engine"),
        ({"task": "detect", "end2end": False, "head": "RTDETRDecoder"}, "nms-free"),
        ({"task": "classify", "end2end": False}, None),
    ],
)
def test_the_head_of_an_engine_is_read_from_its_metadata(metadata: dict[str, object], head: str | None) -> None:
    assert head_of(metadata) == head


# Classifiers


def test_drops_of_a_classifier_are_those_of_its_images_and_classes() -> None:
    target = [0, 0, 1, 1]
    reference = classified([[0, 1], [0, 2], [1, 0], [1, 2]], target)
    engine = classified([[0, 1], [2, 0], [2, 0], [1, 2]], target)
    found = compare_classified(reference, engine, replicates=400)
    assert (found.metrics["top1"].reference, found.metrics["top1"].engine) == (1.0, 0.5)
    assert (found.metrics["top5"].reference, found.metrics["top5"].engine) == (1.0, 0.75)
    assert [(c.cls, c.images, c.change.drop) for c in found.classes] == [(0, 2, 0.5), (1, 2, 0.5)]
    low, high = found.metrics["top1"].interval
    assert -0.2 < low < 0 < 0.5 < high <= 1


def test_the_bootstrap_of_a_classifier_is_that_of_a_mean_of_differences() -> None:
    rng = np.random.default_rng(3)
    target = rng.integers(5, size=300)
    arms = [np.where(rng.random(300) < right, target, (target + 1) % 5) for right in (0.9, 0.8)]
    reference, engine = (classified([[int(t)] for t in arm], target.tolist()) for arm in arms)
    found = compare_classified(reference, engine, replicates=2000)
    change = (arms[0] == target).astype(float) - (arms[1] == target)
    half_width = 1.96 * change.std() / np.sqrt(300)
    low, high = found.metrics["top1"].interval
    assert low == pytest.approx(change.mean() - half_width, abs=0.01)
    # And as much as an image that was not seen may be of.
    assert high == pytest.approx(change.mean() + half_width + 1 / 300, abs=0.01)
    again = compare_classified(reference, engine, replicates=2000)
    assert again.metrics == found.metrics


def test_classifiers_of_other_images_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different classes"):
        compare_classified(classified([[0], [1]], [0, 1]), classified([[0], [1]], [1, 0]))


def test_classifiers_agree_where_they_name_the_same_class() -> None:
    one = classified([[0, 1], [1, 0], [2, 0]], [0, 0, 0], conf=0.9)
    other = classified([[0, 2], [0, 1], [2, 1]], [0, 0, 0], conf=0.6)
    found = classified_agreement(one, other)
    assert (found.detections, found.shared) == (3, 2)
    assert (found.score_before, found.score_after) == (0.9, 0.6)


# Rotated boxes


@pytest.mark.parametrize(
    ("change", "same"),
    [([0, 0, 0, 0, 0], True), ([1, 0, 0, 0, 0.05], True), ([0, 0, 0, 0, np.pi / 2], False), ([30, 0, 0, 0, 0], False)],
)
def test_rotated_boxes_agree_by_their_own_likeness(change: list[float], same: bool) -> None:
    # The upright boxes around a long one and the same turned by a right angle at 45 degrees are equal.
    box = np.array([[50.0, 50.0, 60.0, 8.0, np.pi / 4]])
    one, other = (
        Detections(np.array([0]), np.array([0]), np.array([0.9]), found) for found in (box, box + np.array([change]))
    )
    assert agreement([(one, other)], 0.25).shared == int(same)


# Judging


def test_the_worst_class_of_a_classifier_is_told() -> None:
    reference = accuracy("classify", top1=0.9, top5=1.0)
    engine = accuracy("classify", top1=0.8, top5=1.0)
    (check,) = judge_parity(reference, engine, {"top1": 0.05})
    assert check.outcome is Outcome.FAIL
    assert "top1 fell 0.1000" in check.sentence
    assert "worst class b -0.100" in check.sentence


def test_an_engine_is_not_judged_by_a_checkpoint_with_another_head() -> None:
    reference, engine = (accuracy("detect", head, mAP50=0.5) for head in ("nms", "nms-free"))
    (check,) = judge_parity(reference, engine, {"mAP50": 0.1})
    assert check.outcome is Outcome.ERROR
    assert "built for nms-free, the .pt was evaluated with nms" in check.sentence
    inside = accuracy("detect", "nms-in-engine", mAP50=0.5)
    assert judge_parity(reference, inside, {"mAP50": 0.1})[0].outcome is Outcome.PASS


# Datasets of folders


def folders(root: Path) -> Path:
    for split in ("train", "valid", "test"):
        for number, name in enumerate(("dog", "cat")):
            (root / split / name).mkdir(parents=True)
            png(root / split / name / "0.png", 100 * number + len(split))
    return root


def test_a_classification_dataset_is_a_folder_per_split_and_class(tmp_path: Path) -> None:
    dataset = load_dataset(folders(tmp_path / "set"))
    assert dataset.names == {0: "cat", 1: "dog"}
    assert [str(p.relative_to(tmp_path)) for p in dataset.images("val")] == [
        "set/valid/cat/0.png",
        "set/valid/dog/0.png",
    ]
    assert dataset.write_resolved(tmp_path / "out" / "data.yaml") == tmp_path / "set"


def test_an_image_that_moves_to_another_class_changes_the_digest(tmp_path: Path) -> None:
    root = folders(tmp_path / "set")
    before = load_dataset(root).digest("test")
    (root / "test" / "cat").rename(root / "test" / "dot")
    # The order of the images and their bytes are the same.
    assert load_dataset(root).digest("test") != before


@pytest.mark.parametrize(
    ("made", "words"), [("test/cat", "and no folder 'train'"), ("train", "no folder of images per class")]
)
def test_a_folder_that_is_no_classification_dataset_is_one_sentence(tmp_path: Path, made: str, words: str) -> None:
    (tmp_path / made).mkdir(parents=True)
    with pytest.raises(DataError, match=words):
        load_dataset(tmp_path)


# Whole runs


def test_models_of_different_tasks_are_gated_in_one_run_by_their_own_rules(project: Project) -> None:
    folders(project.path / "set")
    project.weights(Behaviour(drop={"int8": 0.03}), "boxes.pt")
    project.weights(Behaviour(drop={"int8": 0.03}, task="segment"), "masks.pt")
    project.weights(Behaviour(drop={"int8": 0.03}, task="classify"), "classes.pt")
    models = """
models = [
    "boxes.pt",
    { path = "masks.pt", imgsz = 96, accuracy = { int8 = { "mask mAP50" = 0.05, "mask mAP50-95" = 0.05 } } },
    { path = "classes.pt", data = "set", imgsz = 64, accuracy = { top1 = 0.05, top5 = 0.05 } },
]
"""
    project.settings('[accuracy]\nmAP50 = 0.5\n"mAP50-95" = 0.5\n', base=models + SETTINGS.split("\n", 2)[2])
    project.tests("def test_accuracy(trtgate):\n    trtgate.check_accuracy()\n")
    result = project.run("--trt-precision=int8", "-v")
    result.assert_outcomes(passed=3)
    sizes = {cell.model: cell.imgsz for cell in project.record.cells}
    assert sizes == {"boxes": 320, "masks": 96, "classes": 64}
    judged = {v.cell.model: [c.name for c in v.checks if c.against == "pt"] for v in project.record.verdicts}
    assert judged == {"boxes": [*GATED["detect"]], "masks": [*GATED["segment"]], "classes": [*GATED["classify"]]}
    # One table; where metrics differ, each number says which it is.
    result.stdout.fnmatch_lines(["model*metric*", "masks int8*0.7200 mask mAP50-95*", "classes int8*0.7200 top1*"])
    page = project.page
    assert "mask mAP50-95 per class" in page
    masks = next(cell for cell in project.record.cells if cell.model == "masks")
    tolerances = {row["Metric"]: row["Allowed"] for row in lines(metric_table(CellNumbers(project.record, masks)))}
    assert next(iter(tolerances)) == "mask mAP50-95"
    assert (tolerances["mAP50"], tolerances["mask mAP50"]) == ("0.5000", "0.0500")

    # The preflight looks at each dataset once, and says which.
    told = {early.finding.sentence: early.models for early in project.record.preflight.findings}
    assert told["data.yaml: split 'test' has 4 images, fewer than 100"] == ("boxes", "masks")
    assert told["set: split 'test' has 2 images, fewer than 100"] == ("classes",)

    # What one model has of its own wins over the general settings, and the command line over both.
    other = models.replace("0.05", "0.01") + SETTINGS.split("\n", 2)[2]
    project.settings('[accuracy]\nmAP50 = 0.5\n"mAP50-95" = 0.5\n', base=other)
    result = project.run("--trt-precision=int8", "--trt-imgsz=128")
    result.assert_outcomes(passed=1, failed=2)
    assert {cell.imgsz for cell in project.record.cells} == {128}
    accept = next(v.accept for v in project.record.verdicts if v.cell.model == "masks")
    one, other = (f'accuracy.int8."mask {metric}" = 0.0300 of masks' for metric in ("mAP50", "mAP50-95"))
    assert accept == f"set {one} and {other} in models"


def test_all_tests_of_one_engine_run_before_those_of_the_next(project: Project) -> None:
    project.weights(Behaviour(), "other.pt")
    project.settings(base=SETTINGS.replace('"shapes.pt"', '"shapes.pt", "other.pt"'))
    listed = project.run("--collect-only", "-q", "--trt-precision=fp32,int8").stdout.str()
    cells = re.findall(r"test_gate\.py::\w+\[(.+)\]", listed)
    order = ["shapes-fp32", "shapes-int8", "other-fp32", "other-int8"]
    assert cells == [cell for cell in order for _ in range(2)]


def test_a_tolerance_for_a_metric_that_the_model_does_not_have_is_an_error(project: Project) -> None:
    project.settings('[accuracy]\n"mask mAP50" = 0.1\n')
    project.run("--trt-precision=fp32", "-k", "accuracy").assert_outcomes(failed=1)
    verdict = project.verdict("fp32", "accuracy")
    assert verdict.outcome is Outcome.ERROR
    assert 'accuracy."mask mAP50" is set, but shapes is a detect model; it has mAP50, ' in verdict.summary


def test_models_without_any_data_are_named(project: Project) -> None:
    project.weights(Behaviour(), "other.pt")
    text = 'models = [{ path = "shapes.pt", data = "data/data.yaml" }, "other.pt"]\ncache_dir = "cache"\n'
    project.settings(base=text)
    result = project.run()
    assert "no dataset for model 'other'" in result.stdout.str() + result.stderr.str()


def test_an_engine_is_not_compared_with_a_baseline_for_another_head(accepted: Project) -> None:
    (path,) = (accepted.path / "baselines").rglob("fp16-320-b1.json")
    baseline = load(path, Baseline)
    assert baseline.head == "nms"
    accepted.settings("\n[export]\nnms = false\n")
    result = accepted.run("--trt-precision=fp16")
    assert accepted.engine("fp16").head == "nms-free"
    assert accepted.outcomes("accuracy") == accepted.outcomes("latency") == {"fp16": "INCOMPATIBLE"}
    for subject, words in (
        (
            "latency",
            "the engine is built for nms-free, the baseline's for nms (export.nms): set that as it was, or accept",
        ),
        ("accuracy", "whose evaluation settings differ (nms False and None)"),
    ):
        assert words in accepted.verdict("fp16", subject).summary
    assert result.ret == 0

    # A baseline of an earlier version does not say.
    save(path, baseline.model_copy(update={"head": None}))
    accepted.settings()
    accepted.run("--trt-precision=fp16")
    assert accepted.outcomes("latency") == {"fp16": "PASS"}


def test_suppression_inside_an_engine_is_that_of_the_evaluation(project: Project) -> None:
    project.settings("\n[export]\nnms = true\n[validation]\niou = 0.6\n")
    project.run("--trt-precision=fp32", "-k", "accuracy").assert_outcomes(passed=1)
    (request,) = project.run_folders()[-1].glob("jobs/build-*/request.json")
    assert json.loads(request.read_text())["export_args"] == {
        "simplify": True,
        "nms": True,
        "conf": 0.25,
        "iou": 0.6,
        "max_det": 300,
    }
    assert {a.settings.conf for a in project.record.accuracies} == {0.25}
    assert project.engine("fp32").key_parts["export"]["conf"] == 0.25
