"""The judge of accuracy: an engine against its checkpoint, and against what was accepted before."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_example import CELL, HERE, HOW, accuracy

from pytest_trtgate.judge import worst
from pytest_trtgate.judge.accuracy.parity import AGAIN, judge_accepted, judge_parity, of_other_instructions
from pytest_trtgate.records.accuracy import ClassAccuracy
from pytest_trtgate.records.baseline import Baseline
from pytest_trtgate.records.cell import Cell, Environment
from pytest_trtgate.records.verdict import Check, Outcome

ACCEPTED = Baseline(
    cell=CELL,
    environment=HERE,
    engine_sha256="",
    cache_key="none",
    accuracy={"mAP50-95": 0.8},
    reference_accuracy={},
    accuracy_settings=HOW,
    images=4,
    data_digest="d",
)


def parity(reference: float, value: float, tolerance: float = 0.01) -> Check:
    """Judge one metric of an engine against its checkpoint."""
    [check] = judge_parity(accuracy("pt", reference), accuracy("int8", value), {"mAP50-95": tolerance})
    return check


# Accuracy


def test_a_drop_of_exactly_the_tolerance_passes() -> None:
    assert parity(0.80, 0.79, 0.01).outcome is Outcome.PASS


def test_a_drop_of_more_than_the_tolerance_fails() -> None:
    check = parity(0.80, 0.7899, 0.01)
    assert check.outcome is Outcome.FAIL
    assert check.sentence == "int8: mAP50-95 fell 0.0101 (0.8000 -> 0.7899), more than 0.0100 allowed; 4 images"


def test_a_gain_passes() -> None:
    check = parity(0.80, 0.85)
    assert check.outcome is Outcome.PASS
    assert "rose 0.0500" in check.sentence


def test_no_change_passes_a_tolerance_of_zero() -> None:
    assert parity(0.80, 0.80, 0.0).outcome is Outcome.PASS
    assert parity(0.80, 0.7999, 0.0).outcome is Outcome.FAIL


@pytest.mark.parametrize(("reference", "value"), [(math.nan, 0.8), (0.8, math.nan), (0.8, -math.inf)])
def test_an_accuracy_that_is_no_number_is_an_error(reference: float, value: float) -> None:
    assert parity(reference, value).outcome is Outcome.ERROR


def test_a_metric_that_was_not_measured_is_an_error() -> None:
    [check] = judge_parity(accuracy("pt", 0.8), accuracy("int8", 0.8), {"recall": 0.01})
    assert check.outcome is Outcome.ERROR
    assert check.sentence == "int8: recall was not measured (None -> None)"


def test_a_checkpoint_that_finds_nothing_is_a_failure() -> None:
    check = parity(0.0, 0.0)
    assert check.outcome is Outcome.FAIL
    assert check.sentence == (
        "int8: the .pt itself finds nothing: all its metrics are 0, so there is nothing to compare; look at its "
        "weights, at the classes of the data, and at imgsz"
    )
    zero = accuracy("pt", 0.0)
    some = zero.model_copy(update={"metrics": {**zero.metrics, "recall": 0.1}})
    [check] = judge_parity(some, accuracy("int8", 0.0), {"mAP50": 0.01})
    assert check.sentence == "int8: the .pt itself has mAP50 0, so there is nothing to compare; 4 images"


@pytest.mark.parametrize("value", [0.0, 0.004])
def test_a_tolerance_that_even_an_engine_that_finds_nothing_would_keep_earns_no_pass(value: float) -> None:
    check = parity(0.004, value)
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "even an engine that finds nothing would lose no more than the 0.0100 allowed" in check.sentence
    assert parity(0.004, value, 1).outcome is Outcome.PASS  # so that a metric can be left unjudged


def test_arms_that_were_evaluated_differently_are_an_error() -> None:
    other = HOW.model_copy(update={"conf": 0.25})
    [check] = judge_parity(accuracy("pt", 0.8), accuracy("int8", 0.8, how=other), {"mAP50": 0.01})
    assert check.outcome is Outcome.ERROR
    [check] = judge_parity(accuracy("pt", 0.8), accuracy("int8", 0.8, images=3), {"mAP50": 0.01})
    assert check.outcome is Outcome.ERROR


def test_the_class_that_lost_most_is_named() -> None:
    reference = accuracy("pt", 0.8, circle=0.9, square=0.7)
    [check] = judge_parity(reference, accuracy("int8", 0.7, circle=0.85, square=0.6), {"mAP50-95": 0.01})
    assert check.sentence.endswith("4 images; worst class square -0.100")


def test_the_class_that_lost_most_is_that_of_the_metric_that_fell() -> None:
    classes = {"circle": ({"mAP50": 0.9, "mAP50-95": 0.8}, {"mAP50": 0.7, "mAP50-95": 0.8})}
    classes["square"] = ({"mAP50": 0.9, "mAP50-95": 0.8}, {"mAP50": 0.9, "mAP50-95": 0.5})
    arms = []
    for arm in (0, 1):
        rows = [ClassAccuracy(name=n, images=1, instances=1, metrics=both[arm]) for n, both in classes.items()]
        arms.append(accuracy("int8", 0.8 - 0.1 * arm).model_copy(update={"classes": tuple(rows)}))
    limits = {"mAP50": 0.01, "mAP50-95": 0.2}
    fallen, passing = judge_parity(*arms, limits)
    assert fallen.sentence.endswith("; worst class circle -0.200")
    assert passing.sentence.endswith("; worst class square -0.300")


@pytest.mark.parametrize("value", [0.8, 0.85])
def test_of_a_metric_that_did_not_fall_no_class_is_named(value: float) -> None:
    reference = accuracy("pt", 0.8, circle=0.9, square=0.7)
    [check] = judge_parity(reference, accuracy("int8", value, circle=0.95, square=0.6), {"mAP50-95": 0.01})
    assert "worst class" not in check.sentence


def test_each_gated_metric_has_a_check_of_its_own() -> None:
    checks = judge_parity(accuracy("pt", 0.8), accuracy("int8", 0.7), {"mAP50": 0.2, "mAP50-95": 0.01})
    assert [(c.name, str(c.outcome)) for c in checks] == [("mAP50", "PASS"), ("mAP50-95", "FAIL")]


def test_an_accuracy_under_the_accepted_one_fails_though_it_equals_its_checkpoint() -> None:
    accepted = ACCEPTED.model_copy(update={"reference_accuracy": {"mAP50-95": 0.79}})
    [check] = judge_accepted(accepted, accuracy("pt", 0.7), accuracy("int8", 0.7), {"mAP50-95": 0.01})
    assert check.outcome is Outcome.FAIL
    assert check.against == "baseline"
    assert "fell 0.1000 since the baseline (0.8000 -> 0.7000)" in check.sentence
    assert check.sentence.endswith("; the .pt itself fell 0.0900")


OLD, NEW = (HERE.model_copy(update={"instructions": names}) for names in (("avx2",), ("avx2", "avx512_vnni")))


def since(then: Environment, now: Environment, cell: Cell = CELL) -> list[str]:
    """Return what is said of an accuracy that is compared with one of another machine."""
    checks = judge_accepted(ACCEPTED, accuracy("pt", 0.8), accuracy("int8", 0.7), {"mAP50-95": 0.01})
    told = of_other_instructions(checks, cell, then, now)
    assert [check.outcome for check in told] == [Outcome.FAIL]
    return [check.sentence for check in told]


def test_an_int8_accuracy_of_other_instructions_is_said_to_be() -> None:
    [sentence] = since(OLD, NEW)
    assert sentence.endswith(
        "; it was measured with other CPU instructions (avx2, here avx2 avx512_vnni), "
        "on which INT8 of ONNX Runtime depends"
    )
    [sentence] = since(HERE.model_copy(update={"instructions": ()}), OLD)
    assert "(none of avx2 " in sentence


@pytest.mark.parametrize(
    ("then", "now", "change"),
    [
        (OLD, OLD, {}),
        (HERE, NEW, {}),  # a record that does not tell
        (OLD, HERE, {}),
        (OLD, NEW, {"precision": "fp16"}),
        (OLD, NEW, {"backend": "tensorrt"}),
    ],
)
def test_of_instructions_that_do_not_differ_or_matter_nothing_is_said(
    then: Environment, now: Environment, change: dict[str, str]
) -> None:
    assert "instructions" not in since(then, now, CELL.model_copy(update=change))[0]


def test_a_metric_that_the_baseline_does_not_have_makes_it_incompatible() -> None:
    (check,) = judge_accepted(ACCEPTED, accuracy("pt", 0.7), accuracy("int8", 0.7), {"mAP50": 0.01})
    assert check.outcome is Outcome.INCOMPATIBLE
    assert check.sentence == "int8: accuracy is incompatible with the baseline, which has no mAP50: " + AGAIN


@given(st.floats(0.011, 1), st.floats(0, 0.01))
def test_a_drop_of_exactly_any_tolerance_passes(reference: float, tolerance: float) -> None:
    assert parity(reference, reference - tolerance, tolerance).outcome is Outcome.PASS


@given(st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_losing_more_never_turns_a_failure_into_a_pass(ref: float, value: float, loss: float, tolerance: float) -> None:
    assert parity(ref, value - loss, tolerance).outcome.rank >= parity(ref, value, tolerance).outcome.rank


# Together


@given(st.lists(st.sampled_from(list(Outcome)), min_size=1))
def test_the_worst_check_decides(outcomes: list[Outcome]) -> None:
    checks = [Check(name="x", against="x", outcome=outcome, sentence="") for outcome in outcomes]
    assert worst(checks).rank == max(outcome.rank for outcome in outcomes)
