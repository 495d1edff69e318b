"""The judge of latency: an engine against its baseline, its budgets and other arms of the same launches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_example import int8, launches, stored, timing

from pytest_trtgate.judge.latency.candidate import Against
from pytest_trtgate.judge.latency.checks import Need, judge_latency, still_needed
from pytest_trtgate.judge.latency.sequential import MORE_LAUNCHES
from pytest_trtgate.judge.latency.wording import percent
from pytest_trtgate.records.baseline import BaselineLaunch
from pytest_trtgate.records.latency import LatencyRecord
from pytest_trtgate.records.verdict import Check, Outcome
from pytest_trtgate.settings.latency import Limit, Speedup


def regression(value: float, *sessions: float, limit: float = 0.05) -> Check:
    """Judge the p50 of an engine against stored sessions."""
    limits = {"p50": Limit(regression=limit)}
    [check] = judge_latency(int8(launches(int8=[value]), limits), None, Against(stored(*sessions)))
    return check


def counted(overs: Sequence[int], inferences: int = 500, value: float = 7.0) -> LatencyRecord:
    """Return launches of an INT8 engine of which so many inferences were over its p95 budget."""
    record = launches(int8=[value] * len(overs))
    found = []
    for launch, over in zip(record.launches, overs, strict=True):
        arm = launch.arms["int8"]
        timings = {"engine": arm.timings["engine"].model_copy(update={"n": inferences})}
        arm = arm.model_copy(update={"timings": timings, "over_budget": {"p95": over}})
        found.append(launch.model_copy(update={"arms": {"int8": arm}}))
    return record.model_copy(update={"launches": tuple(found)})


BUDGET = {"p95": Limit(budget_ms=8.0)}


def budget(overs: Sequence[int], inferences: int = 500, value: float = 7.0) -> Check:
    """Judge the p95 of launches against a budget of 8 ms, of which so many inferences were over it."""
    [check] = judge_latency(int8(counted(overs, inferences, value), BUDGET))
    return check


def needed(overs: Sequence[int], inferences: int = 500) -> Need | None:
    """Return what the same launches still need."""
    return still_needed(int8(counted(overs, inferences), BUDGET))


def speedup(at_least: float, over: str = "fp16", **arms: Sequence[float]) -> Check:
    """Judge the speed-up of the INT8 engine over another arm."""
    rule = Speedup(over=over, at_least=at_least)  # type: ignore[arg-type]
    [check] = judge_latency(int8(launches(**arms), {}), rule)
    return check


# Latency against a baseline


@pytest.mark.parametrize(
    ("value", "sessions", "outcome"),
    [
        (3.9, [4.0], Outcome.PASS),
        (4.1, [4.0], Outcome.INCONCLUSIVE),
        (8.0, [4.0], Outcome.INCONCLUSIVE),
        (8.0, [4.0, 4.0], Outcome.INCONCLUSIVE),
        (4.0, [4.0, 4.0, 4.0], Outcome.PASS),
        (4.1, [4.0, 4.0, 4.0], Outcome.INCONCLUSIVE),
        (4.4, [4.0, 4.0, 4.0], Outcome.FAIL),
        (2.0, [4.0], Outcome.PASS),
        (4.4, [3.9, 4.0, 4.1], Outcome.INCONCLUSIVE),
        (4.6, [3.9, 4.0, 4.1], Outcome.FAIL),
        (4.3, [3.0, 4.0, 9.0], Outcome.INCONCLUSIVE),
    ],
)
def test_a_slow_down_is_judged_by_threshold_and_stored_sessions(
    value: float, sessions: list[float], outcome: Outcome
) -> None:
    assert regression(value, *sessions).outcome is outcome


def test_a_budget_that_one_launch_decides_says_what_it_rests_on() -> None:
    sessions = stored(5.0, 5.02, 4.98)
    candidate = replace(int8(counted([0], value=5.0), BUDGET), baseline=sessions)
    [check] = judge_latency(candidate)
    assert check.outcome is Outcome.PASS
    assert "it rests on 1 launch and 3 stored sessions, which leave" in check.sentence
    assert still_needed(candidate) is None
    assert still_needed(replace(candidate, baseline=None)) is not None


def test_a_slow_down_is_told_in_numbers() -> None:
    levels = "mean of sessions 4 -> median of launches 4.6 ms"
    sentence = f"int8: p50 is 15 % slower ({levels}), more than 5 % allowed; 3 stored sessions"
    assert regression(4.6, 3.9, 4.0, 4.1).sentence == f"{sentence}, one-sided 95 % limits 9.9 % and 20.4 %"


def test_what_may_be_the_machine_is_said_to_be() -> None:
    again = "; measure again on a quieter machine"
    few = ", with fewer than 3 stored sessions it may be the machine"
    assert regression(5.0, 4.0).sentence.endswith(
        f"1 stored session, one-sided 95 % limits 18.9 % and 31.4 %{few}{again}"
    )
    assert regression(4.3, 3.9, 4.0, 4.1).sentence.endswith(
        f"; one more session of the same engine might be as slow{again}"
    )


def test_a_comparison_with_stored_sessions_says_what_it_would_have_caught() -> None:
    sentence = regression(4.0, 4.0, 4.0, 4.0).sentence
    assert sentence.endswith("; a slow-down of 8.1 % would have been caught 9 times in 10")


def test_sessions_too_few_to_fail_by_promise_to_catch_nothing() -> None:
    assert "caught" not in regression(3.9, 4.0).sentence
    assert "caught" not in regression(3.8, 4.0, 4.0).sentence


def test_a_comparison_with_stored_sessions_says_why_it_is_no_better() -> None:
    [check] = judge_latency(int8(launches(int8=[4.0])), None, Against(stored(4.0, 4.0, 4.0), note="no engine"))
    assert check.sentence.endswith("9 times in 10; no engine")


def test_times_of_seconds_are_written_out() -> None:
    assert "(mean of sessions 1234 -> median of launches 2468 ms)" in regression(2468.4, 1234.2).sentence


def test_a_faster_engine_is_offered_as_the_new_baseline() -> None:
    assert regression(2.0, 4.0).sentence.endswith("; faster by 50 %: accept with pytest --trt-baselines=update")
    assert "accept" not in regression(3.9, 4.0).sentence


def test_a_baseline_without_that_timing_is_no_baseline() -> None:
    assert regression(4.0).outcome is Outcome.NO_BASELINE


def test_one_slow_launch_of_three_does_not_decide() -> None:
    latency = launches(int8=[4.0, 9.0, 4.0])
    [check] = judge_latency(int8(latency), None, Against(stored(4.0, 4.0, 4.0)))
    assert check.outcome is Outcome.PASS


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_a_time_that_is_no_duration_is_an_error(bad: float) -> None:
    assert regression(bad, 4.0).outcome is Outcome.ERROR
    assert regression(4.0, bad).outcome is Outcome.ERROR
    assert budget([0] * 3, value=bad).outcome is Outcome.ERROR
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
    [check] = judge_latency(int8(launches(int8=odd)), None, Against(base))
    assert check.outcome is not Outcome.FAIL


@given(times, sessions, st.floats(1, 10))
def test_being_slower_never_helps_against_a_baseline(value: float, base: list[float], factor: float) -> None:
    assert regression(value * factor, *base).outcome.rank >= regression(value, *base).outcome.rank


# Budgets and speed-ups


def test_a_budget_holds_where_three_launches_prove_it() -> None:
    assert budget([5, 3, 4]).outcome is Outcome.PASS
    assert budget([60, 70, 65], value=9.0).outcome is Outcome.FAIL


def test_launches_and_inferences_that_disagree_on_a_budget_do_not_decide() -> None:
    assert budget([60, 70, 65]).outcome is Outcome.INCONCLUSIVE
    assert budget([5, 3, 4], value=9.0).outcome is Outcome.INCONCLUSIVE


def test_two_launches_do_not_prove_a_budget() -> None:
    assert budget([0, 0]).outcome is Outcome.INCONCLUSIVE
    assert needed([0, 0]) == Need(1, frozenset({"int8"}))


def test_short_launches_prove_a_budget_together() -> None:
    assert budget([0] * 3, inferences=20).outcome is Outcome.INCONCLUSIVE
    assert needed([0] * 3, inferences=20) == Need(2, frozenset({"int8"}))
    assert budget([0] * 5, inferences=20).outcome is Outcome.PASS
    assert needed([0] * 5, inferences=20) is None


def test_a_budget_that_is_too_near_takes_all_launches_and_no_more() -> None:
    assert needed([25] * 3) == Need(2, frozenset({"int8"}))
    assert needed([25] * 8) == Need(4, frozenset({"int8"}))
    assert needed([25] * 12) is None
    assert budget([25] * 12).outcome is Outcome.INCONCLUSIVE


def test_a_budget_is_told_in_numbers() -> None:
    rests = "it rests on 3 launches, which leave 9 to 9 ms possible (one-sided 99 % limits)"
    assert budget([60, 70, 65], value=9.0).sentence == (
        f"int8: p95 9 ms (median of launches) is over its budget of 8 ms; 195 of 1500 inferences took longer; {rests}"
    )
    assert budget([25] * 12).sentence == (
        "int8: p95 7 ms (median of launches) cannot be told from its budget of 8 ms; 300 of 6000 inferences took "
        "longer; it rests on 12 launches, which leave 7 to 7 ms possible (one-sided 99 % limits); measure again "
        "on a quieter machine"
    )
    assert budget([0]).sentence.endswith(f"it rests on 1 launch; {MORE_LAUNCHES}")


def test_a_budget_counts_the_inferences_of_the_launches_that_decided() -> None:
    assert "; 3 of 1500 inferences took longer; it rests on 3 launches" in budget([1, 1, 1, 90, 90]).sentence


def test_a_budget_without_any_count_is_an_error() -> None:
    limits = {"p95": Limit(budget_ms=8.0)}
    [check] = judge_latency(int8(launches(int8=[4.0]), limits))
    assert check.outcome is Outcome.ERROR


def test_a_budget_needs_no_baseline() -> None:
    limits = {"p50": Limit(regression=0.05), "p95": Limit(regression=0.05, budget_ms=5.0)}
    checks = judge_latency(int8(counted([0] * 3), limits))
    assert [(c.name, c.against) for c in checks] == [("p95", "budget")]


def test_a_speed_up_is_judged_inside_each_launch() -> None:
    assert speedup(1.5, int8=[2.0, 20.0, 2.0], fp16=[3.0, 30.0, 3.0]).outcome is Outcome.PASS
    assert speedup(1.6, int8=[2.0, 20.0, 2.0], fp16=[3.0, 30.0, 3.0]).outcome is Outcome.FAIL


def test_a_speed_up_is_told_in_numbers() -> None:
    said = "int8: 1.50 x as fast as fp16 at p50 (median of launches), less than 2 x asked for"
    assert speedup(2.0, int8=[2.0], fp16=[3.0]).sentence == said


def test_a_speed_up_over_an_arm_that_is_not_there_is_inconclusive() -> None:
    assert speedup(1.0, int8=[2.0], fp32=[3.0]).outcome is Outcome.INCONCLUSIVE


def test_a_speed_up_uses_the_launches_that_have_both_arms() -> None:
    assert speedup(1.5, int8=[2.0, 2.0, 2.0], fp16=[3.0]).value == pytest.approx(1.5)


@given(times, times, st.floats(1, 10))
def test_being_slower_never_helps_a_speed_up(value: float, other: float, factor: float) -> None:
    before = speedup(1.0, int8=[value], fp16=[other]).outcome
    assert speedup(1.0, int8=[value * factor], fp16=[other]).outcome.rank >= before.rank


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.data())
def test_being_slower_never_helps_a_budget(overs: list[int], data: st.DataObject) -> None:
    more = [data.draw(st.integers(over, 60)) for over in overs]
    assert budget(more, 60).outcome.rank >= budget(overs, 60).outcome.rank


@pytest.mark.parametrize(
    ("engine_ms", "pt_ms", "sha256", "outcome"),
    [
        (20.0, 40.0, "same", Outcome.INCONCLUSIVE),
        (20.0, 30.0, "same", Outcome.FAIL),
        (20.0, 20.0, "same", Outcome.FAIL),
        (20.0, 15.0, "same", Outcome.FAIL),
        (20.0, 40.0, "other", Outcome.INCONCLUSIVE),
        (10.0, 40.0, "same", Outcome.PASS),
    ],
)
def test_a_slow_down_that_the_same_checkpoint_has_too_may_be_the_machine(
    engine_ms: float, pt_ms: float, sha256: str, outcome: Outcome
) -> None:
    check = beside_checkpoint(engine_ms, pt_ms, sha256)
    assert check.outcome is outcome
    limits = "one-sided 95 % limits -4.9 % and 5.1 %"
    too = f"but the same .pt is 100 % slower, and beside it the engine is unchanged ({limits})"
    assert (f"{too}: it may be the machine" in check.sentence) is (
        sha256 == "same" and (engine_ms, pt_ms) == (20.0, 40.0)
    )


def test_a_faster_machine_hides_no_slower_engine() -> None:
    hidden = beside_checkpoint(10.0, 15.0, "same", sessions=5)
    assert hidden.outcome is Outcome.INCONCLUSIVE
    assert "the same .pt is 25 % faster, and beside it the engine is 33.3 % slower" in hidden.sentence
    assert beside_checkpoint(10.5, 15.0, "same", sessions=5).outcome is Outcome.FAIL


def test_a_slower_machine_makes_no_engine_slower() -> None:
    assert beside_checkpoint(11.5, 23.0, "same", sessions=5).outcome is Outcome.PASS
    assert beside_checkpoint(11.5, 20.0, "same", sessions=5).outcome is Outcome.FAIL


def test_what_only_the_machine_gained_is_not_offered_as_the_new_baseline() -> None:
    assert "accept with" not in beside_checkpoint(8.0, 16.0, "same", sessions=5).sentence
    assert "; faster by 40 %: accept with" in beside_checkpoint(6.0, 16.0, "same", sessions=5).sentence


def test_a_stored_session_without_a_checkpoint_hides_no_other() -> None:
    check = beside_checkpoint(11.5, 23.0, "same", sessions=5, without=1)
    assert check.outcome is Outcome.PASS
    assert "the same .pt is 15 % slower" in check.sentence


def test_a_noisy_checkpoint_excuses_no_slower_engine() -> None:
    assert (
        beside_checkpoint(10.9, 22.0, "same", sessions=5, pt_then=(17.0, 24.0, 20.0, 23.0, 16.0)).outcome
        is Outcome.FAIL
    )


def test_a_busy_machine_is_no_excuse_where_the_same_checkpoint_tells_what_the_machine_did() -> None:
    assert beside_checkpoint(20.0, 20.0, "same", BUSY) == beside_checkpoint(20.0, 20.0, "same")
    assert beside_checkpoint(20.0, 20.0, "other", BUSY).outcome is Outcome.INCONCLUSIVE


BUSY = "the load average is 9 on 2 cores"


def beside_checkpoint(
    engine_ms: float,
    pt_ms: float,
    sha256: str,
    busy: str = "",
    sessions: int = 1,
    pt_then: Sequence[float] = (),
    without: int = 0,
) -> Check:
    """Return the verdict on launches of an engine and a ``.pt``, that took 10 and 20 ms in the stored sessions.

    ``without``: so many of the first sessions did not time the ``.pt``.
    """
    before = stored(*[10.0] * sessions)
    found = [
        session.model_copy(
            update={"reference_sha256": sha256, "reference": (BaselineLaunch(timings={"engine": timing(ms)}),)}
        )
        for session, ms in zip(before.sessions, pt_then or [20.0] * sessions, strict=True)
    ]
    found[:without] = [session.model_copy(update={"reference": ()}) for session in found[:without]]
    now = launches(int8=[engine_ms] * 3, pt=[pt_ms] * 3)
    named = tuple(
        launch.model_copy(
            update={"arms": {**launch.arms, "pt": launch.arms["pt"].model_copy(update={"sha256": "same"})}}
        )
        for launch in now.launches
    )
    against = Against(before.model_copy(update={"sessions": tuple(found)}), busy=busy)
    (check,) = judge_latency(int8(now.model_copy(update={"launches": named})), None, against)
    return check


def test_a_slow_down_since_a_stored_session_may_be_what_else_kept_the_machine_busy() -> None:
    def judged(value: float) -> Check:
        base = stored(4.0, 4.0, 4.0)
        [check] = judge_latency(int8(launches(int8=[value])), None, Against(base, busy=BUSY))
        return check

    assert judged(7.9).outcome is Outcome.INCONCLUSIVE
    assert ", but the load average is 9 on 2 cores: it may be the machine" in judged(7.9).sentence
    assert judged(8.1).outcome is Outcome.FAIL
    assert judged(4.0) == regression(4.0, 4.0, 4.0, 4.0)


def test_percents_keep_their_whole_part() -> None:
    assert [percent(ratio) for ratio in (0.0012, 0.152, 9.99, 13.253)] == ["0.12 %", "15.2 %", "999 %", "1325 %"]
