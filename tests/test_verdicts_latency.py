"""The judge of latency: an engine against its baseline, its budgets and other arms of the same launches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_trtgate.judge.latency import judge_latency
from pytest_trtgate.records import ArmLaunch, Cell, Environment, LatencyRecord, Launch, Timing
from pytest_trtgate.run_record import Baseline, BaselineLaunch, BaselineSession, Check, Outcome
from pytest_trtgate.settings import Limit, Speedup

CELL = Cell(model="m", precision="int8", imgsz=320, batch=1, backend="onnxruntime", device="cpu")
HERE = Environment(
    machine="x",
    os="x",
    arch="x",
    python="3",
    cpu="x",
    cpu_count=1,
    memory_bytes=1,
    backend="onnxruntime",
    backend_version="1.31",
    device="cpu",
    versions={},
)
FIVE_PERCENT = {"p50": Limit(regression=0.05)}


def timing(ms: float) -> Timing:
    """Return durations that are all the same."""
    return Timing(n=1, mean_ms=ms, min_ms=ms, max_ms=ms, quantiles_ms=(ms,) * 99)


def launches(**arms: Sequence[float]) -> LatencyRecord:
    """Return launches of arms, each with its milliseconds by launch; an arm may stop before the last launch."""
    found = []
    for index in range(max(map(len, arms.values()))):
        inside = {
            name: ArmLaunch(
                arm=name,
                sha256="",
                warmup_iterations=0,
                warmup_stable=True,
                images_per_second=1,
                timings={"engine": timing(values[index])},
            )
            for name, values in arms.items()
            if index < len(values)
        }
        found.append(Launch(index=index, seed=0, threads=1, block=1, started_at="", seconds=1, arms=inside))
    return LatencyRecord(model="m", imgsz=320, batch=1, launches=tuple(found))


def stored(*sessions: float) -> Baseline:
    """Return a baseline with one launch per session."""
    return Baseline(
        cell=CELL,
        environment=HERE,
        engine_sha256="",
        cache_key="",
        accuracy={},
        reference_accuracy={},
        images=0,
        sessions=tuple(
            BaselineSession(recorded_at="", threads=1, launches=(BaselineLaunch(timings={"engine": timing(ms)}),))
            for ms in sessions
        ),
    )


def regression(value: float, *sessions: float, limit: float = 0.05) -> Check:
    """Judge the p50 of an engine against stored sessions."""
    limits = {"p50": Limit(regression=limit)}
    [check] = judge_latency(launches(int8=[value]), "int8", "engine", limits, None, stored(*sessions))
    return check


def budget(values: Sequence[float], limit_ms: float) -> Check:
    """Judge the p95 of an engine's launches against a budget."""
    [check] = judge_latency(launches(int8=values), "int8", "engine", {"p95": Limit(budget_ms=limit_ms)}, None, None)
    return check


def speedup(at_least: float, over: str = "fp16", **arms: Sequence[float]) -> Check:
    """Judge the speed-up of the INT8 engine over another arm."""
    rule = Speedup(over=over, at_least=at_least)  # type: ignore[arg-type]
    [check] = judge_latency(launches(**arms), "int8", "engine", {}, rule, None)
    return check


# Latency against a baseline


@pytest.mark.parametrize(
    ("value", "sessions", "outcome"),
    [
        (4.0, [4.0], Outcome.PASS),
        (4.19, [4.0], Outcome.PASS),
        (4.3, [4.0], Outcome.INCONCLUSIVE),
        (4.3, [4.0, 4.0], Outcome.INCONCLUSIVE),
        (4.3, [4.0, 4.0, 4.0], Outcome.FAIL),
        (4.5, [4.0], Outcome.FAIL),
        (2.0, [4.0], Outcome.PASS),
        (4.3, [3.0, 4.0, 9.0], Outcome.FAIL),
    ],
)
def test_a_slow_down_is_judged_by_threshold_and_stored_sessions(
    value: float, sessions: list[float], outcome: Outcome
) -> None:
    assert regression(value, *sessions).outcome is outcome


def test_a_slow_down_is_told_in_numbers() -> None:
    sentence = "int8: p50 is 10.0 % slower (4 -> 4.4 ms), more than 5 % allowed; 3 stored sessions"
    assert regression(4.4, 4.0, 4.0, 4.0).sentence == sentence


def test_times_of_seconds_are_written_out() -> None:
    assert "(1234 -> 2468 ms)" in regression(2468.4, 1234.2).sentence


def test_a_faster_engine_is_offered_as_the_new_baseline() -> None:
    assert "faster: accept with pytest --trt-baselines=update" in regression(2.0, 4.0).sentence


def test_a_baseline_without_that_timing_is_no_baseline() -> None:
    assert regression(4.0).outcome is Outcome.NO_BASELINE


def test_one_slow_launch_of_three_does_not_decide() -> None:
    latency = launches(int8=[4.0, 9.0, 4.0])
    [check] = judge_latency(latency, "int8", "engine", FIVE_PERCENT, None, stored(4.0, 4.0, 4.0))
    assert check.outcome is Outcome.PASS


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_a_time_that_is_no_duration_is_an_error(bad: float) -> None:
    assert regression(bad, 4.0).outcome is Outcome.ERROR
    assert regression(4.0, bad).outcome is Outcome.ERROR
    assert budget([bad], 5.0).outcome is Outcome.ERROR
    assert speedup(1.0, int8=[bad], fp16=[4.0]).outcome is Outcome.ERROR
    assert speedup(1.0, int8=[4.0], fp16=[bad]).outcome is Outcome.ERROR


times = st.floats(0.01, 1000)
sessions = st.lists(times, min_size=1, max_size=6)


@given(times, sessions, st.integers(-8, 8))
def test_the_unit_of_time_does_not_matter(value: float, base: list[float], power: int) -> None:
    factor = 2.0**power  # exact, so that nothing moves over the threshold by rounding
    scaled = regression(value * factor, *(ms * factor for ms in base))
    assert scaled.outcome is regression(value, *base).outcome


@given(st.lists(times, min_size=1, max_size=5), st.integers(1, 6))
def test_an_engine_that_equals_its_baseline_never_fails(values: list[float], count: int) -> None:
    base = stored(*[sorted(values)[len(values) // 2]] * count)
    odd = values if len(values) % 2 else [*values, sorted(values)[len(values) // 2]]
    [check] = judge_latency(launches(int8=odd), "int8", "engine", FIVE_PERCENT, None, base)
    assert check.outcome is Outcome.PASS


@given(times, sessions, st.floats(1, 10))
def test_being_slower_never_helps_against_a_baseline(value: float, base: list[float], factor: float) -> None:
    assert regression(value * factor, *base).outcome.rank >= regression(value, *base).outcome.rank


# Budgets and speed-ups


def test_a_budget_holds_for_the_median_of_the_launches() -> None:
    assert budget([7.0, 9.0, 7.0], 8.0).outcome is Outcome.PASS
    assert budget([9.0, 7.0, 9.0], 8.0).outcome is Outcome.FAIL


def test_a_budget_of_exactly_the_latency_passes() -> None:
    assert budget([8.0], 8.0).outcome is Outcome.PASS


def test_a_budget_is_told_in_numbers() -> None:
    assert budget([8.123], 8.0).sentence == "int8: p95 8.12 ms is over its budget of 8 ms"


def test_a_budget_needs_no_baseline() -> None:
    limits = {"p50": Limit(regression=0.05, budget_ms=5.0), "p95": Limit(regression=0.05)}
    checks = judge_latency(launches(int8=[4.0]), "int8", "engine", limits, None, None)
    assert [(c.name, c.against) for c in checks] == [("p50", "budget")]


def test_a_speed_up_is_judged_inside_each_launch() -> None:
    assert speedup(1.5, int8=[2.0, 20.0, 2.0], fp16=[3.0, 30.0, 3.0]).outcome is Outcome.PASS
    assert speedup(1.6, int8=[2.0, 20.0, 2.0], fp16=[3.0, 30.0, 3.0]).outcome is Outcome.FAIL


def test_a_speed_up_is_told_in_numbers() -> None:
    assert (
        speedup(2.0, int8=[2.0], fp16=[3.0]).sentence == "int8: 1.50 x as fast as fp16 at p50, less than 2 x asked for"
    )


def test_a_speed_up_over_an_arm_that_is_not_there_is_inconclusive() -> None:
    assert speedup(1.0, int8=[2.0], fp32=[3.0]).outcome is Outcome.INCONCLUSIVE


def test_a_speed_up_uses_the_launches_that_have_both_arms() -> None:
    assert speedup(1.5, int8=[2.0, 2.0, 2.0], fp16=[3.0]).value == pytest.approx(1.5)


@given(times, times, st.floats(1, 10))
def test_being_slower_never_helps_a_budget_or_a_speed_up(value: float, other: float, factor: float) -> None:
    slower = value * factor
    assert budget([slower], other).outcome.rank >= budget([value], other).outcome.rank
    before = speedup(1.0, int8=[value], fp16=[other]).outcome
    assert speedup(1.0, int8=[slower], fp16=[other]).outcome.rank >= before.rank
