"""The paired bootstrap: its average precision is Ultralytics' own, and its limits are those of resampled images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from average_precisions import average_precision
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_trtgate.judge.accuracy.average_precision import ImageRecords, RankedArm
from pytest_trtgate.judge.accuracy.bootstrap import Bootstrap, Drop, paired_bootstrap
from pytest_trtgate.records.verdict import Outcome

IMAGES = 40


def records(seed: int, *, images: int = IMAGES, classes: int = 4, objects: int = 90, false: int = 150) -> ImageRecords:
    """Objects on most images, found with a chance of 0.8 at a random IoU; false detections; many equal confidences."""
    truth = np.random.default_rng(seed // 100)
    target_cls = truth.integers(0, classes, objects)
    target_image = truth.integers(0, max(1, images - 5), objects)
    rng = np.random.default_rng(seed)
    found = np.flatnonzero(rng.random(objects) < 0.8)
    tp = rng.beta(6, 2, (len(found), 1)) >= np.arange(0.5, 1, 0.05)
    return ImageRecords(
        tp=np.concatenate([tp, np.zeros((false, 10), dtype=bool)]),
        conf=np.round(np.concatenate([rng.beta(4, 2, len(found)), rng.beta(1, 4, false)]), 2).astype(np.float32),
        # Class numbers beyond those of objects: detections of classes that no image has.
        pred_cls=np.concatenate([target_cls[found], rng.integers(0, classes + 2, false)]).astype(np.int32),
        pred_image=np.concatenate([target_image[found], rng.integers(0, images, false)]).astype(np.int32),
        target_cls=target_cls.astype(np.int32),
        target_image=target_image.astype(np.int32),
    )


def by_definition(records: ImageRecords) -> NDArray[np.float64]:
    """The 101-point average precision, written down naively (C x 10)."""
    rows = []
    for cls in np.unique(records.target_cls):
        own = np.flatnonzero(records.pred_cls == cls)
        own = own[np.argsort(-records.conf[own], kind="stable")]
        total = int((records.target_cls == cls).sum())
        row = []
        for iou in range(10):
            found = np.cumsum(records.tp[own, iou])
            precision = found / np.arange(1, len(own) + 1)
            heights = []
            for percent in range(100):
                beyond = [p for p, t in zip(precision, found, strict=True) if 100 * t > percent * total]
                heights.append(max(beyond, default=0.0))
            row.append((sum(heights) - heights[0] / 2) / 100)
        rows.append(row)
    return np.array(rows)


def resampled(records: ImageRecords, weights: NDArray[np.int64]) -> ImageRecords:
    """Repeat each image as often as its weight says."""
    p, t = weights[records.pred_image], weights[records.target_image]
    return ImageRecords(
        np.repeat(records.tp, p, axis=0),
        np.repeat(records.conf, p),
        np.repeat(records.pred_cls, p),
        np.repeat(records.pred_image, p),
        np.repeat(records.target_cls, t),
        np.repeat(records.target_image, t),
    )


def compare(reference: ImageRecords, engine: ImageRecords, **kwargs: int) -> Bootstrap:
    return paired_bootstrap(RankedArm.of(reference), RankedArm.of(engine), IMAGES, **{"replicates": 200, **kwargs})


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 60), st.integers(0, 80))
@settings(max_examples=15)
def test_average_precision_is_that_of_its_definition(seed: int, classes: int, objects: int, false: int) -> None:
    some = records(seed, classes=classes, objects=objects, false=false)
    classes_found, ap = average_precision(some)
    assert (classes_found == np.unique(some.target_cls)).all()
    np.testing.assert_allclose(ap, by_definition(some), atol=1e-12)


@pytest.mark.real
@pytest.mark.parametrize("seed", range(6))
def test_average_precision_equals_ultralytics(seed: int) -> None:
    from ultralytics.utils.metrics import ap_per_class

    some = records(seed, images=300, classes=9, objects=40 + 150 * seed, false=900)
    missing = replace(some, pred_cls=np.where(some.pred_cls == 1, 20, some.pred_cls))
    for case in (some, missing, replace(some, conf=np.full_like(some.conf, 0.5))):
        # Its sort is not stable: ranks, which do not tie, stand for the stable order.
        ranks = np.empty(len(case.conf))
        ranks[np.argsort(-case.conf, kind="stable")] = np.linspace(1, 0.001, len(case.conf))
        theirs = ap_per_class(case.tp, ranks, case.pred_cls, case.target_cls)
        classes, ap = average_precision(case)
        assert (classes == theirs[6]).all()
        np.testing.assert_allclose(ap, theirs[5], atol=1e-6)
        assert ap[:, 0].mean() == pytest.approx(theirs[5][:, 0].mean(), abs=1e-6)
        assert ap.mean() == pytest.approx(theirs[5].mean(), abs=1e-6)


def test_limits_are_quantiles_of_resampled_images() -> None:
    reference, engine = records(101), records(102)
    replicates = 150
    draws = np.random.default_rng(5)
    weights = [
        np.bincount(draws.integers(IMAGES, size=IMAGES, dtype=np.int32), minlength=IMAGES) for _ in range(replicates)
    ]
    ap = [[average_precision(resampled(arm, w))[1] for w in weights] for arm in (reference, engine)]
    for name, part in (("mAP50", slice(0, 1)), ("mAP50-95", slice(None))):
        drops = [a[:, part].mean() - b[:, part].mean() for a, b in zip(*ap, strict=True)]
        found = compare(reference, engine, replicates=replicates, seed=5).metrics[name]
        assert found.lower == pytest.approx(np.quantile(drops, 0.05), abs=1e-6)
        assert found.upper == pytest.approx(np.quantile(drops, 0.95), abs=1e-6)
        assert found.interval == pytest.approx(np.quantile(drops, [0.025, 0.975]), abs=1e-6)


def test_points_are_those_of_the_images_as_they_are() -> None:
    reference, engine = records(101), records(102)
    found = compare(reference, engine)
    before, after = average_precision(reference)[1], average_precision(engine)[1]
    assert found.metrics["mAP50-95"].reference == pytest.approx(before.mean())
    assert found.metrics["mAP50-95"].drop == pytest.approx(before.mean() - after.mean())
    assert [c.change.drop for c in found.classes] == pytest.approx(before.mean(axis=1) - after.mean(axis=1))


def test_equal_seeds_give_equal_results_however_many_threads_there_are() -> None:
    reference, engine = records(101), records(102)
    assert compare(reference, engine, threads=1) == compare(reference, engine, threads=3)
    assert compare(reference, engine, seed=1) != compare(reference, engine, seed=2)


def test_replicates_computed_in_parts_are_those_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, engine = records(101), records(102)
    whole = compare(reference, engine)
    monkeypatch.setattr("pytest_trtgate.judge.accuracy.bootstrap._WEIGHTS", 1)
    monkeypatch.setattr("pytest_trtgate.judge.accuracy.bootstrap._ROWS", 1)
    parts = compare(reference, engine)
    for name in whole.metrics:
        assert parts.metrics[name].interval == pytest.approx(whole.metrics[name].interval, abs=1e-6)


def test_how_many_detections_are_summed_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = records(101, objects=300, false=2000), records(102, objects=300, false=2000)
    whole = compare(*arms)
    monkeypatch.setattr("pytest_trtgate.judge.accuracy.average_precision._BLOCK", 1)
    monkeypatch.setattr("pytest_trtgate.judge.accuracy.average_precision._AREA", 1)
    assert compare(*arms) == whole


def test_large_classes_are_counted_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, engine = records(101), records(102)
    single = compare(reference, engine)
    monkeypatch.setattr("pytest_trtgate.judge.accuracy.average_precision._FLOAT32_OBJECTS", 0)
    double = compare(reference, engine)
    assert double.metrics["mAP50"].interval == pytest.approx(single.metrics["mAP50"].interval, abs=1e-6)


def test_an_arm_does_not_differ_from_itself() -> None:
    found = compare(records(101), records(101))
    assert {(m.drop, m.lower, m.upper) for m in found.metrics.values()} == {(0.0, 0.0, 0.0)}
    assert not any(c.significant for c in found.classes)
    assert found.metrics["mAP50"].outcome(0.001) is Outcome.PASS


def test_a_class_that_is_lost_is_significant_and_the_others_are_not() -> None:
    reference = records(101)
    lost = replace(reference, tp=reference.tp & (reference.pred_cls != 2)[:, None])
    found = compare(reference, lost)
    assert [c.significant for c in found.classes] == [c.cls == 2 for c in found.classes]
    assert max(found.classes, key=lambda c: c.change.drop).cls == 2
    assert found.metrics["mAP50"].outcome(0.01) is Outcome.FAIL


def test_a_class_in_a_single_image_is_never_significant() -> None:
    reference = records(101, objects=30)
    one = replace(
        reference,
        target_cls=np.append(reference.target_cls, 9),
        target_image=np.append(reference.target_image, 3),
        tp=np.append(reference.tp, np.ones((1, 10), dtype=bool), axis=0),
        conf=np.append(reference.conf, 0.9),
        pred_cls=np.append(reference.pred_cls, 9),
        pred_image=np.append(reference.pred_image, 3),
    )
    blind = replace(one, tp=one.tp & (one.pred_cls != 9)[:, None])
    last = compare(one, blind).classes[-1]
    assert (last.cls, last.images, last.instances) == (9, 1, 1)
    assert last.change.drop == pytest.approx(0.995)
    assert (last.p, last.significant) == (1.0, False)


def test_an_arm_without_any_detection_loses_everything() -> None:
    reference = records(101)
    none = replace(
        reference,
        tp=np.zeros((0, 10), dtype=bool),
        conf=np.zeros(0),
        pred_cls=np.zeros(0, dtype=int),
        pred_image=np.zeros(0, dtype=int),
    )
    found = compare(reference, none).metrics["mAP50"]
    assert (found.engine, found.drop) == (0.0, found.reference)


def test_replicates_without_any_object_are_left_out() -> None:
    one = records(301, objects=1, false=3)
    found = compare(one, one)
    assert found.metrics["mAP50"].interval == (0.0, 0.0)


@pytest.mark.parametrize(
    ("lower", "upper", "outcome"),
    [(-0.01, 0.004, Outcome.PASS), (0.006, 0.02, Outcome.FAIL), (0.001, 0.009, Outcome.INCONCLUSIVE)],
)
def test_limits_decide_the_population(lower: float, upper: float, outcome: Outcome) -> None:
    assert Drop(0.8, 0.795, 0.005, lower, upper, (lower, upper)).outcome(0.005) is outcome


def test_arms_of_different_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="different objects"):
        compare(records(101), records(201))


def test_records_that_do_not_fit_are_refused() -> None:
    some = records(101)
    with pytest.raises(ValueError, match="image numbers"):
        paired_bootstrap(RankedArm.of(some), RankedArm.of(some), 3)
    with pytest.raises(ValueError, match="belong together"):
        replace(some, conf=some.conf[1:])
    with pytest.raises(ValueError, match="of objects"):
        replace(some, target_image=some.target_image[1:])
    with pytest.raises(ValueError, match="NaN"):
        replace(some, conf=np.full_like(some.conf, np.nan))
    empty = replace(some, target_cls=some.target_cls[:0], target_image=some.target_image[:0])
    with pytest.raises(ValueError, match="no image has an object"):
        compare(empty, empty)
