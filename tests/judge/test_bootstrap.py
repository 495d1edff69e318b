"""The paired bootstrap: its average precision is Ultralytics' own, and its limits are those of resampled images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from average_precisions import average_precision
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_example import IMAGES, compare, records
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

from pytest_trtgate.judge.accuracy.average_precision import ImageRecords, RankedArm
from pytest_trtgate.judge.accuracy.bootstrap import Drop, paired_bootstrap
from pytest_trtgate.records.verdict import Outcome


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


def weighted(records: ImageRecords, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same of images with weights."""
    rows = []
    for cls in np.unique(records.target_cls):
        own = np.flatnonzero(records.pred_cls == cls)
        own = own[np.argsort(-records.conf[own], kind="stable")]
        weight = weights[records.pred_image[own]].astype(float)
        total = weights[records.target_image[records.target_cls == cls]].sum(dtype=float)
        row = []
        for iou in range(10):
            found = np.cumsum(weight * records.tp[own, iou])
            precision = found / np.cumsum(weight)
            heights = [max(precision[100 * found > percent * total], default=0.0) for percent in range(100)]
            row.append((sum(heights) - heights[0] / 2) / 100)
        rows.append(row)
    return np.array(rows)


def size_of_unseen(records: ImageRecords) -> float:
    """How much images matter that have many objects, or objects of rare classes: a mean is 1."""
    matter = np.zeros(IMAGES)
    for image, cls in zip(records.target_image, records.target_cls, strict=True):
        matter[image] += IMAGES / len(set(records.target_cls)) / (records.target_cls == cls).sum()
    assert matter.mean() == pytest.approx(1)
    return float((matter**3).sum() / (matter**2).sum())


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


def test_limits_are_those_of_weighted_images_and_one_that_was_not_seen() -> None:
    reference, engine = records(101), records(102)
    replicates = 150
    weights = np.random.default_rng(5).standard_exponential((replicates, IMAGES + 1), dtype=np.float32)
    more = weights[:, -1] * size_of_unseen(reference)
    unseen = more / (more + weights[:, :-1].sum(axis=1))
    ap = [np.array([weighted(arm, w) for w in weights]) for arm in (reference, engine)]
    for name, part in (("mAP50", slice(0, 1)), ("mAP50-95", slice(None))):
        before, after = (arm[:, :, part].mean(axis=(1, 2)) for arm in ap)
        least = before - after - unseen * np.maximum(before - after, 0)
        found = compare(reference, engine, replicates=replicates, seed=5).metrics[name]
        lost = before - after * (1 - unseen)
        assert (found.upper, found.interval[1]) == pytest.approx(np.quantile(lost, [0.95, 0.975]), abs=5e-5)
        for p, limit in ((0.05, found.lower), (0.025, found.interval[0])):
            by_t = found.drop + stdtrit(IMAGES - 1, p) * least.std(ddof=1)
            assert limit == pytest.approx(min(np.quantile(least, p), by_t), abs=5e-5)


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
    for name, drop in compare(*arms).metrics.items():
        assert drop.interval == pytest.approx(whole.metrics[name].interval, abs=1e-5)


def test_an_arm_that_does_not_differ_from_itself_may_differ_on_three_images_in_as_many_as_there_are() -> None:
    found = compare(records(101), records(101), replicates=2000)
    assert {(m.drop, m.lower) for m in found.metrics.values()} == {(0.0, 0.0)}
    for drop in found.metrics.values():
        assert 3 / IMAGES < drop.upper / drop.engine < 3 / IMAGES * size_of_unseen(records(101))
        assert (drop.outcome(drop.upper + 1e-6), drop.outcome(0.01)) == (Outcome.PASS, Outcome.INCONCLUSIVE)
    assert not any(c.significant for c in found.classes)


def test_the_limit_of_a_share_of_images_is_that_of_clopper_and_pearson() -> None:
    # One object an image, found first by the .pt in all, by the engine in all but two.
    target = np.zeros(IMAGES, dtype=int)
    every = ImageRecords(
        np.ones((IMAGES, 10), bool), np.ones(IMAGES), target, np.arange(IMAGES), target, np.arange(IMAGES)
    )
    seen = slice(2, None)
    some = replace(
        every, tp=every.tp[seen], conf=every.conf[seen], pred_cls=target[seen], pred_image=every.pred_image[seen]
    )
    drop = compare(every, some, replicates=4000).metrics["mAP50"]
    assert drop.upper == pytest.approx(betaincinv(3, IMAGES - 2, 0.95), abs=0.01)
    assert drop.lower < 2 / IMAGES < drop.upper


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
    assert last.change.lower < -0.5
    unchanged = compare(one, one).classes[-1].change
    assert (unchanged.lower, unchanged.drop) == (0.0, 0.0)
    assert unchanged.upper > 0.9


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
