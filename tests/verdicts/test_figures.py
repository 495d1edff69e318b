"""What a run record keeps for the report to draw: curves, confidences, intervals and launches over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from average_precisions import average_precision
from fake_jobs import Behaviour
from project import Project
from records_example import cell, latency

from pytest_trtgate.judge.accuracy.agreement import Detections, agreement
from pytest_trtgate.judge.accuracy.average_precision import ImageRecords, RankedArm, precision_recall
from pytest_trtgate.verdicts.figures import PARTS, courses

INT8 = "--trt-precision=int8"
SURE = {"pt": {"score": 0.9}, "int8": {"score": 0.72}}


def records(hits: list[bool], objects: int, cls: int = 0) -> ImageRecords:
    """Return one class in one image: detections of falling confidence, right or wrong at every IoU."""
    n = len(hits)
    return ImageRecords(
        tp=np.tile(np.array(hits, dtype=bool)[:, None], (1, 10)),
        conf=np.linspace(0.9, 0.1, n),
        pred_cls=np.full(n, cls),
        pred_image=np.zeros(n, dtype=int),
        target_cls=np.full(objects, cls),
        target_image=np.zeros(objects, dtype=int),
    )


def test_curve_is_the_envelope_of_precision_at_each_recall() -> None:
    curve = precision_recall(RankedArm.of(records([True, False, True, True], 4)))[0]
    # One of four objects at precision 1, up to three of four at 3/4, the fourth never.
    assert curve[:13].tolist() == [1.0] * 13
    assert curve[13:38].tolist() == [0.75] * 25
    assert curve[38:].tolist() == [0.0] * 13


def test_area_under_the_curve_is_the_average_precision() -> None:
    rng = np.random.default_rng(3)
    n, m = 200, 400
    arm = ImageRecords(
        tp=np.sort(rng.random((n, 10)) < 0.6, axis=1)[:, ::-1],
        conf=rng.random(n),
        pred_cls=rng.integers(0, 3, n),
        pred_image=rng.integers(0, 50, n),
        target_cls=rng.integers(0, 3, m),
        target_image=rng.integers(0, 50, m),
    )
    curves = precision_recall(RankedArm.of(arm))
    areas = (curves[:, :-1] + curves[:, 1:]).mean(axis=1) / 2
    assert areas == pytest.approx(average_precision(arm)[1].mean(axis=0), abs=0.012)


def test_class_that_was_never_found_pulls_the_curve_down() -> None:
    found, missed = records([True, True], 2), records([], 2, cls=1)
    both = ImageRecords(
        *(np.concatenate([getattr(found, name), getattr(missed, name)]) for name in ImageRecords.__dataclass_fields__)
    )
    assert precision_recall(RankedArm.of(both))[0].tolist() == [0.5] * 51
    assert not precision_recall(RankedArm.of(records([], 0))).any()


def test_confidences_of_matched_boxes_are_counted_in_both_arms() -> None:
    def arm(conf: list[float]) -> Detections:
        boxes = np.array([[20.0 * i, 0, 20.0 * i + 9, 9] for i in range(len(conf))])
        return Detections(np.zeros(len(conf), dtype=int), np.zeros(len(conf), dtype=int), np.array(conf), boxes)

    found = agreement([(arm([0.97, 0.97, 0.31, 0.1]), arm([0.93, 0.62, 0.28, 0.1]))], conf=0.25)
    assert [(i, n) for i, n in enumerate(found.scores_before) if n] == [(6, 1), (19, 2)]
    assert [(i, n) for i, n in enumerate(found.scores_after) if n] == [(5, 1), (12, 1), (18, 1)]


def test_launch_is_cut_into_parts_that_hide_no_sample(tmp_path: Path) -> None:
    took = np.arange(1, 97) * 1_000_000
    took[50] = 900_000_000
    at = np.arange(96) * 2_000_000_000
    launch = latency().launches[0].model_copy(update={"samples": "samples.npz"})
    np.savez(tmp_path / "samples.npz", **{"int8/engine": took, "int8/engine/at": at + 7_000, "pt/engine/at": at})
    record = latency().model_copy(update={"launches": (launch,)})
    (course,) = courses(tmp_path, record, [cell("int8")], "engine")[cell("int8").key]
    assert len(course.at_s) == len(course.p50_ms) == PARTS == 24
    assert course.at_s[:3] == (0.0, 8.0, 16.0)
    assert course.p50_ms[:2] == (2.5, 6.5)
    assert (course.low_ms[0], course.high_ms[0]) == (1.0, 4.0)
    assert max(course.high_ms) == 900.0
    np.savez(tmp_path / "samples.npz", **{"int8/engine": took, "int8/engine/at": at[:50]})
    assert courses(tmp_path, record, [cell("int8")], "engine") == {}


def test_launch_whose_samples_are_damaged_is_left_out(tmp_path: Path) -> None:
    place, took = tmp_path / "samples.npz", np.arange(4000)
    np.savez_compressed(place, **{"int8/engine": took, "int8/engine/at": took})
    launch = latency().launches[0].model_copy(update={"samples": place.name})
    record = latency().model_copy(update={"launches": (launch,)})
    assert courses(tmp_path, record, [cell("int8")], "engine")
    content = bytearray(place.read_bytes())
    begin = 30 + int.from_bytes(content[26:28], "little") + int.from_bytes(content[28:30], "little")
    content[begin : begin + 9] = b"\xff" * 9  # no compressed data begin so
    place.write_bytes(content)
    assert courses(tmp_path, record, [cell("int8")], "engine") == {}


def test_launch_whose_samples_are_gone_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    assert courses(tmp_path, latency(), [cell("int8")], "engine") == {}


def test_run_keeps_what_its_report_draws(project: Project) -> None:
    project.weights(Behaviour(seen=SURE))
    project.run(INT8).assert_outcomes(passed=2)
    (key,) = project.record.figures
    figures = project.record.figures[key]
    assert set(figures.classes) == {c.name for c in project.record.accuracies[0].classes}
    assert [curve.iou for curve in figures.curves] == [0.5, 0.75]
    assert figures.scores is not None
    assert [sum(figures.scores.reference), sum(figures.scores.engine)] == [8, 8]
    assert figures.scores.engine.index(8) < figures.scores.reference.index(8)
    assert [len(course.p50_ms) for course in project.record.courses[key]] == [24] * 3
    page = project.page
    for caption in ("Drop per class", "Precision over recall", "Confidence of matched boxes", "Latency over time"):
        assert f"<b>{caption}</b>" in page


def test_arrays_that_cannot_be_read_cost_the_figures_and_nothing_else(project: Project) -> None:
    project.run(INT8).assert_outcomes(passed=2)
    assert project.record.figures == {}
    assert "<b>Precision over recall</b>" not in project.page
