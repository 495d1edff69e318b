"""The judge of latency where a baseline engine was timed in the same launches, and of launches that were not fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_example import int8, launches, stored

from pytest_trtgate.judge.latency.candidate import Against
from pytest_trtgate.judge.latency.checks import Need, judge_latency, still_needed
from pytest_trtgate.judge.latency.fitness import unfit
from pytest_trtgate.records.base import Failure
from pytest_trtgate.records.latency import LatencyRecord, Launch, MachineState
from pytest_trtgate.records.verdict import Check, Outcome
from pytest_trtgate.settings.latency import Limit

LIMITS = {"p50": Limit(regression=0.02), "p95": Limit(regression=0.05), "p99": Limit()}
BESIDE = frozenset({"int8", "baseline-int8"})
CONFIRM = BESIDE | {"baseline-int8-placebo"}


def beside(ratios: Sequence[float], copies: Sequence[float] = ()) -> LatencyRecord:
    """Return launches in which the engine is so many times as slow as its baseline, in the last also the copy."""
    # Each launch at a speed of its own, which both share.
    speeds = [4.0 + 0.3 * (i % 4) for i in range(len(ratios))]
    record = launches(int8=[s * r for s, r in zip(speeds, ratios, strict=True)], **{"baseline-int8": speeds})
    found = list(record.launches)
    for index, ratio in enumerate(copies, start=len(ratios) - len(copies)):
        [copy] = launches(placebo=[speeds[index] * ratio]).launches
        found[index] = found[index].model_copy(
            update={"arms": {**found[index].arms, "baseline-int8-placebo": copy.arms["placebo"]}}
        )
    return record.model_copy(update={"launches": tuple(found)})


def judged(record: LatencyRecord) -> list[Check]:
    """Judge the engine against a baseline whose stored sessions are far from what was measured."""
    return judge_latency(int8(record, LIMITS), None, Against(stored(1.0, 1.0, 1.0)))


def outcomes(record: LatencyRecord) -> list[str]:
    """Return the outcome of each check."""
    return [str(check.outcome) for check in judged(record)]


def test_only_the_ratio_inside_a_launch_counts() -> None:
    checks = judged(beside([1.001, 0.999, 1.002]))
    assert [(c.name, str(c.outcome)) for c in checks] == [("p50", "PASS"), ("p95", "PASS")]
    assert checks[0].change == pytest.approx(0.0007, abs=0.0001)
    assert (checks[0].value, checks[0].reference) == (pytest.approx(4.2957), pytest.approx(4.3))
    assert checks[0].sentence.startswith("int8: p50 is 0.0666 % slower, 2 % allowed; 3 launches, one-sided 99 % limits")
    assert checks[0].sentence.endswith(
        "; median of launches 4.3 -> 4.3 ms, the baseline replayed beside it; the change is the geometric mean of "
        "those in each launch: +0.1, -0.1, +0.2 %"
    )


def test_the_medians_of_the_parts_of_a_launch_are_compared_where_it_has_them() -> None:
    def with_course(launch: Launch) -> Launch:
        course_ms = {"int8": (4.0, 5.0, 5.1), "baseline-int8": (4.0, 5.0, 5.0)}
        arms = {n: a.model_copy(update={"course_ms": {"engine": course_ms[n]}}) for n, a in launch.arms.items()}
        return launch.model_copy(update={"arms": arms})

    record = beside([1.3, 1.3, 1.3])
    p50, p95 = judged(record.model_copy(update={"launches": tuple(map(with_course, record.launches))}))
    assert (str(p50.outcome), p50.change) == ("PASS", 0)
    assert p50.sentence.endswith("in each launch: +0.0, +0.0, +0.0 %")
    assert p95.change == pytest.approx(0.3)


def test_a_suspicion_asks_for_another_launch_with_a_placebo() -> None:
    assert still_needed(int8(beside([1.03, 1.031, 1.032]), LIMITS)) == Need(1, CONFIRM)
    assert still_needed(int8(beside([1.0, 1.0, 1.0]), LIMITS)) is None
    assert still_needed(int8(beside([1.03]), LIMITS)) == Need(2, BESIDE)


def test_a_slow_down_is_confirmed_and_ends_the_launches() -> None:
    record = beside([1.2, 1.21, 1.2, 1.205, 1.2], [1.0, 1.0])
    assert outcomes(record) == ["FAIL", "FAIL"]
    assert still_needed(int8(record, LIMITS)) is None


def test_a_failed_engine_takes_no_launches_for_its_budget() -> None:
    record = beside([1.2, 1.21, 1.2, 1.205, 1.2], [1.0, 1.0])
    both = [
        launch.model_copy(
            update={"arms": {**launch.arms, "int8": launch.arms["int8"].model_copy(update={"over_budget": {"p95": 0}})}}
        )
        for launch in record.launches
    ]
    limits = {**LIMITS, "p95": Limit(regression=0.05, budget_ms=8.0)}
    assert still_needed(int8(record.model_copy(update={"launches": tuple(both)}), limits)) is None


def test_copies_that_differ_make_it_inconclusive() -> None:
    ratios = [1.03, 1.031, 1.032, 1.03, 1.06, 1.0, 1.05, 1.01]
    record = beside(ratios, [1.1, 1.101, 1.1, 1.102, 1.1])
    assert outcomes(record)[0] == "INCONCLUSIVE"
    assert "two copies of the baseline engine differ by 10 % at p50" in judged(record)[0].sentence


def test_launches_without_the_baseline_engine_do_not_count_against_it() -> None:
    first, more = beside([1.0, 1.001, 0.999]), launches(int8=[40.0] * 3)
    record = first.model_copy(update={"launches": (*first.launches, *more.launches)})
    assert outcomes(record) == ["PASS", "PASS"]
    assert "; 3 launches" in judged(record)[0].sentence


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_a_ratio_that_is_none_is_an_error(bad: float) -> None:
    checks = judged(beside([1.0, bad, 1.0]))
    assert [str(check.outcome) for check in checks] == ["ERROR", "ERROR"]
    assert "launch 2 gave no usable time" in checks[0].sentence


def test_the_change_is_the_geometric_mean_of_those_that_are_listed() -> None:
    check = judged(beside([1.5, 1.0, 0.8]))[0]
    assert check.sentence.endswith("; the change is the geometric mean of those in each launch: +50.0, +0.0, -20.0 %")
    assert check.change == pytest.approx((1.5 * 1.0 * 0.8) ** (1 / 3) - 1, abs=1e-6)


def test_a_baseline_engine_that_failed_meanwhile_is_not_compared_with() -> None:
    failed = {"baseline-int8": Failure(job="x", reason="x")}
    record = beside([1.1, 1.11, 1.1]).model_copy(update={"failures": failed})
    assert still_needed(int8(record, LIMITS)) is None
    assert "3 stored sessions" in judged(record)[0].sentence


def test_an_identical_engine_passes_whatever_it_takes() -> None:
    record = launches(int8=[9.0] * 3)
    [check] = judge_latency(int8(record, LIMITS), None, Against(stored(4.0), same_engine=True))
    assert (check.name, str(check.outcome)) == ("engine", "PASS")
    levels = "p50 9 ms, p95 9 ms (median of launches)"
    assert check.sentence == f"int8: identical engine, byte by byte the baseline's; {levels}; 3 launches"


ratios = st.lists(st.floats(0.9, 1.15), min_size=3, max_size=12)


@given(ratios, st.floats(1, 1.2))
def test_being_slower_never_turns_a_failure_into_a_pass(found: list[float], factor: float) -> None:
    before, after = judged(beside(found)), judged(beside([ratio * factor for ratio in found]))
    for then, now in zip(before, after, strict=True):
        assert not (then.outcome is Outcome.FAIL and now.outcome is Outcome.PASS)


@given(st.integers(3, 12))
def test_equal_engines_never_fail(count: int) -> None:
    assert outcomes(beside([1.0] * count)) == ["PASS", "PASS"]


# Launches that were not fit


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ({}, ""),
        ({"other_processes": 0, "load_average": 99.0, "cpu_mhz": 400.0}, ""),
        ({"throttle_reasons": ("power cap",)}, "the device held its clocks back (power cap)"),
        ({"other_processes": 2}, "other processes computed on the device (2)"),
        (
            {"throttle_reasons": ("power cap",), "other_processes": 1},
            "the device held its clocks back (power cap) and other processes computed on the device (1)",
        ),
    ],
)
@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_launch_is_unfit_where_its_device_says_so(seen: dict[str, Any], why: str, when: str) -> None:
    [launch] = launches(int8=[4.0]).launches
    state = MachineState(**seen)
    assert unfit(launch.model_copy(update={when: (state,) if when == "during" else state})) == why


def test_nothing_is_judged_by_an_unfit_launch() -> None:
    slow = beside([1.1, 1.11, 1.1])
    first, second, third = slow.launches
    throttled = second.model_copy(update={"after": MachineState(throttle_reasons=("power cap",))})
    slow = slow.model_copy(update={"launches": (first, throttled, third)})
    assert outcomes(slow) == ["INCONCLUSIVE", "INCONCLUSIVE"]
    assert judged(slow)[0].sentence.endswith("; not judged, since the device held its clocks back (power cap)")
    assert still_needed(int8(slow, LIMITS)) is None
    [same] = judge_latency(int8(slow, LIMITS), None, Against(stored(4.0), same_engine=True))
    assert str(same.outcome) == "PASS"
