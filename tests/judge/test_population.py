"""Accuracy with intervals: shown in contract mode, decisive in population mode."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from average_precisions import average_precision
from fake_jobs import Behaviour
from judge_example import IMAGES, accuracy, compare, records
from project import ACCURACY_TEST, TESTS, Project

from pytest_trtgate.baselines.acceptance import with_tolerances_of
from pytest_trtgate.cli import main
from pytest_trtgate.errors import RecordError
from pytest_trtgate.judge.accuracy.average_precision import ImageRecords
from pytest_trtgate.judge.accuracy.bootstrap import Bootstrap
from pytest_trtgate.judge.accuracy.parity import _four_digits, judge_parity
from pytest_trtgate.records.accuracy import ClassAccuracy
from pytest_trtgate.records.verdict import Check, Outcome
from pytest_trtgate.settings import recorded_settings
from pytest_trtgate.verdicts import evidence
from pytest_trtgate.verdicts.evidence import gather

INT8 = "--trt-precision=int8"
POPULATION = '[accuracy]\nmode = "population"\n'
SURE = {"pt": {"score": 0.9}, "int8": {"score": 0.9}}
WORSE = {**SURE, "int8": {"score": 0.9, "missed": 1}}


@pytest.fixture
def project(project: Project) -> Project:
    """A project with one test, of its accuracy."""
    project.tests(ACCURACY_TEST)
    return project


@pytest.fixture(scope="module")
def comparison() -> Bootstrap:
    """Two arms on forty images, the engine a little worse."""
    reference = records(700)
    some = np.arange(len(reference.conf)) % 7 > 0
    worse = {name: getattr(reference, name)[some] for name in ("tp", "conf", "pred_cls", "pred_image")}
    return compare(reference, replace(reference, **worse))


def judged(
    comparison: Bootstrap | None,
    tolerance: float,
    population: bool = True,
    name: str = "mAP50-95",
    confirm_below: int = 0,
) -> Check:
    """Judge the engine of a comparison by one metric."""
    classes = {f"c{c.cls}": c.change for c in comparison.classes} if comparison else {}
    arms = []
    for arm, which in (("pt", "reference"), ("int8", "engine")):
        value = getattr(comparison.metrics["mAP50-95"], which) if comparison else 0.5
        rows = tuple(
            ClassAccuracy(name=n, images=1, instances=1, metrics={"mAP50-95": getattr(change, which)})
            for n, change in classes.items()
        )
        one = accuracy(arm, value, images=IMAGES)
        arms.append(one.model_copy(update={"classes": rows, "metrics": {**one.metrics, "recall": 0.5}}))
    how = {"population": population, "confirm_below": confirm_below}
    [check] = judge_parity(arms[0], arms[1], {name: tolerance}, comparison, **how)
    return check


# The judge


def test_a_drop_that_is_surely_allowed_passes(comparison: Bootstrap) -> None:
    drop = comparison.metrics["mAP50-95"]
    check = judged(comparison, drop.upper + 1e-6)
    assert check.outcome is Outcome.PASS
    assert (check.low, check.high) == (drop.lower, drop.upper)
    assert f"40 images, 95 % interval {drop.interval[0]:.4f} to {drop.interval[1]:.4f}, one-sided" in check.sentence
    assert f"one-sided 95 % limits {drop.lower:.4f} and {drop.upper:.4f}" in check.sentence


def test_a_drop_that_is_surely_too_large_fails(comparison: Bootstrap) -> None:
    assert judged(comparison, comparison.metrics["mAP50-95"].lower - 1e-6).outcome is Outcome.FAIL


def test_a_drop_whose_limits_are_on_both_sides_is_inconclusive(comparison: Bootstrap) -> None:
    drop = comparison.metrics["mAP50-95"]
    for tolerance in (drop.lower + 1e-6, drop.upper - 1e-6):
        check = judged(comparison, tolerance)
        assert check.outcome is Outcome.INCONCLUSIVE
        assert "these images cannot tell" in check.sentence


def test_in_contract_mode_the_interval_is_shown_and_decides_nothing(comparison: Bootstrap) -> None:
    drop = comparison.metrics["mAP50-95"]
    assert drop.interval[1] > drop.drop
    check = judged(comparison, drop.drop, population=False)
    assert check.outcome is Outcome.PASS
    assert (check.low, check.high) == drop.interval
    assert f"40 images, 95 % interval {drop.interval[0]:.4f} to {drop.interval[1]:.4f}; worst class" in check.sentence


def test_a_failure_on_few_images_is_confirmed_by_its_lower_limit(comparison: Bootstrap) -> None:
    drop = comparison.metrics["mAP50-95"]
    assert drop.lower > 0
    for lower, below, outcome in (
        (drop.lower, IMAGES + 1, Outcome.FAIL),
        (0.0, IMAGES + 1, Outcome.INCONCLUSIVE),
        (0.0, IMAGES, Outcome.FAIL),
    ):
        metrics = {**comparison.metrics, "mAP50-95": replace(drop, lower=lower)}
        other = replace(comparison, metrics=metrics)
        check = judged(other, drop.drop - 1e-3, population=False, confirm_below=below)
        assert check.outcome is outcome
        assert ("its one-sided 95 % lower limit is 0.0000" in check.sentence) is (outcome is Outcome.INCONCLUSIVE)
        # What is within its tolerance passes, whatever its limits.
        assert judged(other, drop.drop, population=False, confirm_below=below).outcome is Outcome.PASS


def test_a_metric_without_an_interval_is_judged_on_the_images_in_either_mode(comparison: Bootstrap) -> None:
    for population in (True, False):
        check = judged(comparison, 0.0, population, "recall")
        assert (check.outcome, check.low, check.high) == (Outcome.PASS, None, None)


def test_the_worst_class_is_called_significant_only_where_it_is(comparison: Bootstrap) -> None:
    worst = max(comparison.classes, key=lambda c: c.change.drop)
    assert worst.change.drop > 0
    for significant, said in ((True, "(significant)"), (False, "(within chance)")):
        classes = tuple(replace(c, significant=significant) if c == worst else c for c in comparison.classes)
        sentence = judged(replace(comparison, classes=classes), 1.0).sentence
        assert sentence.endswith(f"worst class c{worst.cls} -{worst.change.drop:.3f} {said}")


# Through the gate


def test_the_verdict_shows_the_interval_where_images_were_recorded(project: Project) -> None:
    project.weights(Behaviour(seen=SURE))
    project.run(INT8, "--trt-baselines=add").assert_outcomes(passed=1)
    for check in project.verdict("int8", "accuracy").checks:
        assert check.low == 0.0
        assert check.high == pytest.approx(0.6, abs=0.02)  # 1 - 0.025 ** (1 / 4): an image in 4 may be lost unseen
        assert f"4 images, 95 % interval 0.0000 to {check.high:.4f}" in check.sentence
        assert f"0.0000 to {check.high:.4f}" in project.page


def test_without_records_of_the_images_a_contract_is_judged_all_the_same(project: Project) -> None:
    project.run(INT8).assert_outcomes(passed=1)
    assert all(check.low is None for check in project.verdict("int8", "accuracy").checks)


def test_without_records_of_the_images_a_population_cannot_be_judged(project: Project) -> None:
    project.settings(POPULATION)
    project.run(INT8).assert_outcomes(failed=1)
    verdict = project.verdict("int8", "accuracy")
    assert str(verdict.outcome) == "ERROR"
    assert "accuracy.mode 'population' cannot be judged: " in verdict.summary
    assert "per_image.npz: no per-image records to be used" in verdict.summary


def test_an_engine_that_lost_nothing_passes_in_the_population(project: Project) -> None:
    project.weights(Behaviour(seen=SURE))
    # As much as may be lost of what was seen in none of 4 images.
    project.settings(f'{POPULATION}[accuracy.int8]\n"mAP50" = 0.6\n"mAP50-95" = 0.6\n')
    project.run(INT8).assert_outcomes(passed=1)
    assert "surely less than" in project.verdict("int8", "accuracy").checks[0].sentence


@pytest.mark.parametrize(("policy", "failed"), [("warn", 0), ("fail", 1)])
def test_too_few_images_to_tell_are_inconclusive_and_the_policy_decides(
    project: Project, policy: str, failed: int
) -> None:
    project.weights(Behaviour(seen=WORSE))
    project.settings(POPULATION, top=f'inconclusive = "{policy}"')
    project.run(INT8, "--trt-baselines=add").assert_outcomes(passed=1 - failed, failed=failed)
    assert project.outcomes("accuracy") == {"int8": "INCONCLUSIVE"}


def test_the_tolerance_that_is_offered_in_the_population_lets_the_drop_pass(project: Project) -> None:
    project.weights(Behaviour(seen=WORSE))
    project.settings(POPULATION)
    project.run(INT8, "--trt-baselines=add")
    verdict = project.verdict("int8", "accuracy")
    tolerances = {c.name: float(c.high or 0) for c in verdict.checks}
    offered = float(verdict.accept.split(" = ")[1].split()[0])
    assert offered > tolerances["mAP50"]
    project.settings(f'{POPULATION}[accuracy.int8]\n"mAP50" = {offered}\n"mAP50-95" = {offered}\n')
    project.run(INT8).assert_outcomes(passed=1)


@pytest.mark.parametrize(("below", "outcome", "status"), [("", "INCONCLUSIVE", 0), ("confirm_below = 0", "FAIL", 1)])
def test_one_lost_image_of_four_does_not_fail_by_itself_unless_asked_for(
    project: Project, capsys: pytest.CaptureFixture[str], below: str, outcome: str, status: int
) -> None:
    project.tests(TESTS)
    project.weights(Behaviour(drop={"int8": 0.2}, seen=WORSE))
    project.settings(f"[accuracy]\n{below}\n")
    project.run(INT8)
    assert outcome in [str(check.outcome) for check in project.verdict("int8", "accuracy").checks]
    # Under other tolerances the record alone is judged, by the same rule.
    project.settings(f'[accuracy]\n{below}\n[accuracy.int8]\n"mAP50" = 0.01\n"mAP50-95" = 0.02\n')
    capsys.readouterr()
    assert main(["baseline", "accept", "reports/run.json"]) == status
    assert "by the tolerances of now" not in capsys.readouterr().out


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.PASS, Outcome.INCONCLUSIVE])
def test_only_what_was_undecided_is_excused_under_other_tolerances(project: Project, outcome: Outcome) -> None:
    project.weights(Behaviour(drop={"int8": 0.2}, seen=WORSE))
    project.run(INT8, "--trt-baselines=add")
    run = project.record
    verdict = project.verdict("int8", "accuracy")
    checks = tuple(c.model_copy(update={"outcome": outcome, "low": -0.01, "high": 0.4}) for c in verdict.checks)
    run = run.model_copy(update={"verdicts": (verdict.model_copy(update={"checks": checks}),)})
    settings = recorded_settings(run.settings, project.path)
    [now] = with_tolerances_of(settings, run, run.cells)[0].verdicts
    excused = outcome is Outcome.INCONCLUSIVE
    assert {c.outcome for c in now.checks} == {Outcome.INCONCLUSIVE if excused else Outcome.FAIL}


# Reading


def test_more_detections_are_drawn_less_often(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.weights(Behaviour(seen=SURE))
    project.run(INT8)
    [folder] = project.run_folders()
    arms = [project.record.accuracy("shapes", arm) for arm in ("pt", "int8")]
    assert arms[0] is not None
    assert arms[1] is not None
    monkeypatch.setattr(evidence, "SHOWN_WORK", 16 * 300)
    assert gather(folder, arms[0], arms[1], 0.25, decides=False).comparison.replicates == 300
    assert gather(folder, arms[0], arms[1], 0.25, decides=True).comparison.replicates == evidence.REPLICATES
    monkeypatch.setattr(evidence, "SHOWN_WORK", 1)
    found = gather(folder, arms[0], arms[1], 0.25, decides=False)
    assert found.comparison.replicates == evidence.FEWEST_REPLICATES


@pytest.mark.parametrize("spoil", ["other images", "other objects", "truncated", "missing"])
def test_records_that_cannot_be_compared_are_one_sentence(project: Project, spoil: str) -> None:
    project.weights(Behaviour(seen=SURE))
    project.run(INT8)
    [folder] = project.run_folders()
    arms = [project.record.accuracy("shapes", arm) for arm in ("pt", "int8")]
    assert arms[0] is not None
    assert arms[1] is not None
    path = folder / arms[1].per_image
    if spoil == "missing":
        path.unlink()
    elif spoil == "truncated":
        os.truncate(path, 300)
    else:
        with np.load(path) as arrays:
            changed = {name: arrays[name] for name in arrays}
        changed["images" if spoil == "other images" else "target_cls"][0] = "9.png" if spoil == "other images" else 1
        np.savez(path, **changed)
    with pytest.raises(RecordError, match=r"per_image\.npz: ") as caught:
        gather(folder, arms[0], arms[1], 0.25, decides=False)
    assert "\n" not in str(caught.value)


def test_detections_of_one_confidence_are_ranked_as_ultralytics_ranks_them(tmp_path: Path) -> None:
    some = records(300, false=600)
    coarse = np.round(some.conf, 1)
    arrays = {name: getattr(some, name) for name in ("tp", "pred_cls", "pred_image", "target_cls", "target_image")}
    boxes = np.zeros((len(coarse), 4))
    np.savez(tmp_path / "a.npz", conf=coarse, pred_box=boxes, images=np.arange(IMAGES).astype(str), **arrays)
    arm = accuracy("pt", 0.5).model_copy(update={"per_image": "a.npz"})
    order = np.argsort(-coarse)
    assert not np.array_equal(order, np.argsort(-coarse, kind="stable"))
    ranked = {name: value if name.startswith("target") else value[order] for name, value in arrays.items()}
    expected = average_precision(ImageRecords(conf=coarse[order], **ranked))[1].mean()
    found = gather(tmp_path, arm, arm, 0.25, decides=False).comparison.metrics["mAP50-95"].reference
    assert found == pytest.approx(expected, abs=1e-12)


def test_limits_next_to_nothing_have_no_sign() -> None:
    assert [_four_digits(value) for value in (-0.00004, 0.00004, -0.0001, 0.5)] == [
        "0.0000",
        "0.0000",
        "-0.0001",
        "0.5000",
    ]
