"""The judge's statistics: distribution functions, launches against a replayed baseline, stored sessions, budgets."""

from __future__ import annotations

import math
import runpy
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from judge_example import timing

from pytest_trtgate.judge import distributions as dist
from pytest_trtgate.judge.latency.budget import BudgetDecision, BudgetLaunch, judge_budget
from pytest_trtgate.judge.latency.decision import ReplayDecision
from pytest_trtgate.judge.latency.design import MAX_LAUNCHES, SCREEN, detectable, simulate_outcomes
from pytest_trtgate.judge.latency.sequential import decide_launches, log_ratios
from pytest_trtgate.judge.latency.sessions import compare_sessions
from pytest_trtgate.judge.latency.wording import would_have_caught
from pytest_trtgate.records.verdict import Outcome

clopper_pearson = runpy.run_path(str(Path(__file__).parents[2] / "bench" / "proportions.py"))["clopper_pearson"]

# Computed with mpmath at 40 digits.
T_TAILS = [
    (0.25, 1, 0.422020869622630675),
    (2.5, 2, 0.0648058601107554046),
    (5, 4, 0.00374521694063726228),
    (4.5, 7, 0.00139916503892131486),
    (3.3, 11, 0.00353899508222988267),
    (0.001, 11, 0.499610010313850526),
    (60, 3, 5.09979683665987738e-6),
    (12, 199, 1.28998033739656252e-25),
    (200, 7, 1.03109529959682729e-14),
]
T_QUANTILES = [
    (0.95, 2, 2.91998558035372569),
    (0.95, 4, 2.13184678632665032),
    (0.975, 7, 2.36462425159278534),
    (0.999, 4, 7.17318221978230848),
    (0.9985, 7, 4.44212511931235414),
    (0.9975, 11, 3.49661417325367169),
    (0.6, 30, 0.255605364951912772),
]
BINOMIAL_TAILS = [
    (1, 90, 0.05, 0.990111635290341009),
    (14, 500, 0.05, 0.994492245308268256),
    (40, 500, 0.05, 0.00270095718170489549),
    (2, 459, 0.01, 0.944081781775952835),
    (100, 2000, 0.05, 0.514325491592382185),
    (3, 7, 0.25, 0.24359130859375),
]
PROPORTIONS = [
    (0, 3000, 0.90, 0, 0.000998079011996587),
    (3, 10, 0.95, 0.0667395111777345, 0.652452850059997),
    (10, 10, 0.95, 0.691502892181239, 1),
    (5, 20000, 0.95, 8.11791428026708e-5, 0.000583319348912662),
]
CLOSE = pytest.approx


@pytest.mark.parametrize(("t", "df", "tail"), T_TAILS)
def test_t_tails_have_ten_digits(t: float, df: int, tail: float) -> None:
    assert dist.student_t_upper_tail(t, df) == CLOSE(tail, rel=1e-11)
    assert dist.student_t_upper_tail(-t, df) == CLOSE(1 - tail, rel=1e-11)


@pytest.mark.parametrize(("p", "df", "t"), T_QUANTILES)
def test_t_quantiles_have_ten_digits(p: float, df: int, t: float) -> None:
    assert dist.student_t_quantile(p, df) == CLOSE(t, rel=1e-11)
    assert dist.student_t_quantile(1 - p, df) == CLOSE(-t, rel=1e-11)


def test_the_ends_of_the_t_distribution_are_exact() -> None:
    assert dist.student_t_upper_tail(0, 5) == 0.5
    assert dist.student_t_upper_tail(math.inf, 5) == 0
    assert dist.student_t_upper_tail(-math.inf, 5) == 1
    assert dist.student_t_upper_tail(1e-200, 5) == 0.5
    assert dist.student_t_upper_tail(1e200, 5) == 0
    assert dist.student_t_quantile(0.5, 5) == CLOSE(0, abs=1e-15)


@given(st.floats(0.0001, 0.9999), st.integers(1, 60))
def test_a_t_quantile_leaves_its_probability_below(p: float, df: int) -> None:
    assert 1 - dist.student_t_upper_tail(dist.student_t_quantile(p, df), df) == CLOSE(p, rel=1e-9)


@pytest.mark.parametrize(("k", "n", "p", "tail"), BINOMIAL_TAILS)
def test_binomial_tails_have_ten_digits(k: int, n: int, p: float, tail: float) -> None:
    assert dist.binomial_upper_tail(k, n, p) == CLOSE(tail, rel=1e-11)
    assert dist.binomial_lower_tail(k - 1, n, p) == CLOSE(1 - tail, rel=1e-11)


def naive_lower_tail(k: int, n: int, p: Fraction) -> Fraction:
    return sum((math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k + 1)), Fraction(0))


@given(st.integers(0, 120), st.integers(-2, 122), st.integers(0, 1000))
@example(1, 0, 1000)
@example(0, 0, 500)
def test_binomial_tails_equal_the_sum_of_their_terms(n: int, k: int, thousandths: int) -> None:
    p = Fraction(thousandths / 1000)
    lower = naive_lower_tail(min(k, n), n, p)
    assert dist.binomial_lower_tail(k, n, float(p)) == CLOSE(float(lower), rel=1e-11, abs=1e-300)
    assert dist.binomial_upper_tail(k + 1, n, float(p)) == CLOSE(float(1 - lower), rel=1e-11, abs=1e-300)


@pytest.mark.parametrize(("k", "n", "confidence", "lower", "upper"), PROPORTIONS)
def test_limits_of_a_proportion_are_clopper_and_pearsons(
    k: int, n: int, confidence: float, lower: float, upper: float
) -> None:
    assert clopper_pearson(k, n, confidence) == CLOSE((lower, upper), rel=1e-10)


@pytest.mark.parametrize(
    "call",
    [
        lambda: dist.student_t_upper_tail(math.nan, 3),
        lambda: dist.student_t_upper_tail(1, 0),
        lambda: dist.student_t_quantile(1, 3),
        lambda: dist.student_t_quantile(0.5, math.nan),
        lambda: dist.binomial_upper_tail(1, -1, 0.5),
        lambda: dist.binomial_lower_tail(1, 2, 1.5),
        lambda: clopper_pearson(3, 2),
        lambda: clopper_pearson(0, 0),
        lambda: clopper_pearson(1, 2, 1),
    ],
)
def test_arguments_out_of_range_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"is|no proportion"):
        call()  # type: ignore[operator]


def test_holm_stops_at_the_first_p_that_is_too_large() -> None:
    assert dist.holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert dist.holm([0.02, math.nan], 0.05) == [True, False]
    assert dist.holm([], 0.05) == []


@pytest.mark.real
def test_distributions_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for t in (-3.0, 0.1, 2.0, 8.0, 50.0):
        for df in (1, 2, 4, 7, 11, 100):
            assert dist.student_t_upper_tail(t, df) == CLOSE(stats.t.sf(t, df), rel=1e-9)
    for n, p in ((90, 0.05), (2000, 0.01), (500, 0.5)):
        for k in range(0, n, 7):
            assert dist.binomial_upper_tail(k, n, p) == CLOSE(stats.binom.sf(k - 1, n, p), rel=1e-9, abs=1e-290)


THRESHOLD = 0.02
noise = st.floats(-0.05, 0.05)
runs = st.lists(noise, min_size=1, max_size=MAX_LAUNCHES + 2)


def judge(d: Sequence[float], *, last: bool = False) -> ReplayDecision:
    return decide_launches({"p50": d}, {"p50": THRESHOLD}, last=last)


def test_three_launches_clear_an_equal_engine() -> None:
    decision = judge([0.001, -0.002, 0.003])
    assert decision.outcome is Outcome.PASS
    assert decision.quantities["p50"].launches == SCREEN
    assert "3 launches" in decision.quantities["p50"].sentence


def test_a_suspicion_asks_for_a_fourth_launch_and_then_for_more_with_a_placebo() -> None:
    decision = judge([0.03, 0.028, 0.035])
    assert decision.outcome is None
    assert decision.needs_launches == 4
    assert decision.needs_placebo
    asked = [judge([0.03, 0.028, 0.035] * 3, last=False).needs_launches]
    assert asked == [12]
    assert [judge([0.03, 0.028, 0.035, 0.03, 0.028][:n]).needs_launches for n in (4, 5)] == [5, 8]


def test_four_launches_clear_what_three_leave_open() -> None:
    assert judge([0.01, 0.0, -0.003]).needs_launches == 4
    decision = judge([0.01, 0.0, -0.003, -0.004])
    assert (decision.outcome, decision.quantities["p50"].launches) == (Outcome.PASS, 4)


def test_a_confirmed_slow_down_fails_and_says_by_how_much() -> None:
    decision = judge([0.06, 0.065, 0.059, 0.063, 0.061])
    assert decision.outcome is Outcome.FAIL
    assert decision.needs_launches is None
    quantity = decision.quantities["p50"]
    assert quantity.change == CLOSE(math.expm1(0.0616))
    assert quantity.lower < quantity.change < quantity.upper
    assert quantity.p < 0.001
    expected = (
        "p50 is 6.35 % slower, more than 2 % allowed; 5 launches, one-sided 99 % limits 5.9 % and 6.8 %, p 2.8e-07"
    )
    assert quantity.sentence == expected


def test_a_significant_slow_down_under_the_threshold_passes() -> None:
    decision = judge([0.012, 0.011, 0.013, 0.012, 0.012])
    assert decision.outcome is Outcome.PASS
    assert decision.quantities["p50"].p < 0.001


def test_what_twelve_launches_cannot_tell_is_inconclusive() -> None:
    decision = judge([0.05, -0.02] * 6)
    assert decision.outcome is Outcome.INCONCLUSIVE
    assert decision.quantities["p50"].sentence == (
        "p50 is 1.51 % slower, 2 % allowed, but by 12 launches (one-sided 99 % limits, p 0.091) anything from 1.4 % "
        "faster to 4.5 % slower is possible; measure again on a quieter machine"
    )
    assert decision.quantities["p50"].undecided == (
        "p50 is 1.51 % slower (from 1.4 % faster to 4.5 % slower by 12 launches, 2 % allowed)"
    )


def test_where_no_more_launches_can_be_had_a_suspicion_is_inconclusive() -> None:
    assert judge([0.03, 0.028, 0.035], last=True).outcome is Outcome.INCONCLUSIVE
    assert "anything from 1.7 % to 4.7 % slower is possible; allow more launches (latency.max_launches, up to 12)" in (
        judge([0.03, 0.028, 0.035], last=True).quantities["p50"].sentence
    )
    [alone] = judge([0.03], last=True).quantities.values()
    assert (alone.outcome, alone.span) == (Outcome.INCONCLUSIVE, "")
    assert alone.sentence.startswith("p50 is 3.05 % slower, 2 % allowed; 1 launch; allow more launches")


@pytest.mark.parametrize(
    ("d", "why"),
    [
        (
            [0.008, 0.009, 0.01],
            "2 % allowed, but it is from 0.5 % to 1.3 % slower by 3 launches (one-sided 99 % limits, "
            "p 0.002), it takes 5, 8 or 12 launches to tell; ",
        ),
        (
            [0.04, 0.042, 0.041],
            "more than 2 % allowed, but it is from 3.8 % to 4.6 % slower by 3 launches (one-sided 99 % limits, "
            "p 9.9e-05), it takes 5, 8 or 12 launches to tell; ",
        ),
        (
            [0.03, 0.035, 0.032, 0.04, 0.036],
            "more than 2 % allowed, but it is from 2.9 % to 4.2 % slower by 5 launches (one-sided 99 % limits, "
            "p 1.8e-05), which is not sure enough to fail; ",
        ),
    ],
)
def test_what_lies_wholly_on_one_side_of_the_limit_says_why_it_is_not_decided(d: list[float], why: str) -> None:
    [quantity] = judge(d, last=True).quantities.values()
    assert quantity.outcome is Outcome.INCONCLUSIVE
    assert why in quantity.sentence


@pytest.mark.parametrize("launches", [0, 1, 2])
def test_fewer_than_three_launches_decide_nothing(launches: int) -> None:
    decision = judge([0.5] * launches)
    assert (decision.outcome, decision.needs_launches, decision.needs_placebo) == (None, SCREEN, False)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_launch_without_a_usable_time_is_an_error_that_names_it(bad: float) -> None:
    decision = decide_launches({"p50": [0.0, bad, 0.0], "p95": [0.0] * 3}, {"p50": 0.02, "p95": 0.05})
    assert decision.outcome is Outcome.ERROR
    assert "launch 2 gave no usable time" in decision.quantities["p50"].sentence
    assert "another quantity" in decision.quantities["p95"].sentence


def test_launches_without_any_spread_are_judged_by_their_mean() -> None:
    assert judge([0.0] * 3).outcome is Outcome.PASS
    assert judge([0.03] * 5).outcome is None
    assert judge([0.03] * 12).outcome is Outcome.FAIL
    assert judge([0.05] * 5).outcome is Outcome.FAIL
    assert judge([0.01] * 5).outcome is Outcome.PASS
    assert judge([-0.03] * 3).quantities["p50"].improved


def test_a_gain_beyond_the_threshold_is_reported_as_one() -> None:
    assert judge([-0.03, -0.031, -0.029]).quantities["p50"].improved
    assert not judge([-0.08, 0.03, -0.04]).quantities["p50"].improved
    assert not judge([-0.01, -0.011, -0.009]).quantities["p50"].improved


def test_the_cell_fails_with_its_first_failing_quantity() -> None:
    d = {"p50": [0.0] * 5, "p95": [0.15, 0.151, 0.15, 0.152, 0.15], "p99": [0.1, -0.05, 0.3, 0.1, 0.1]}
    decision = decide_launches(d, {"p50": 0.02, "p95": 0.05, "p99": 0.1})
    assert decision.outcome is Outcome.FAIL
    found = [decision.quantities[q].outcome for q in d]
    assert found == [Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE]
    assert decision.quantities["p50"].launches == SCREEN


def test_the_quantities_of_a_run_share_its_level() -> None:
    slow = [0.05, 0.062, 0.045, 0.055, 0.06]
    assert 0.00002 < judge(slow).quantities["p50"].p < 0.00004
    for family, outcome in ((1, Outcome.FAIL), (20, Outcome.FAIL), (40, None)):
        assert decide_launches({"p50": slow}, {"p50": THRESHOLD}, family=family).outcome is outcome


def test_launches_that_resemble_the_launch_before_prove_less() -> None:
    apart = [0.026, 0.022, 0.027, 0.023, 0.028, 0.024, 0.027, 0.022, 0.026, 0.023, 0.028, 0.024]
    assert judge(apart).outcome is Outcome.FAIL
    assert judge(sorted(apart)).outcome is Outcome.INCONCLUSIVE


def test_the_limits_of_launches_that_resemble_the_launch_before_are_wider() -> None:
    apart = [0.01, 0.03, 0.012, 0.028, 0.01, 0.03, 0.012, 0.028, 0.01, 0.03, 0.012, 0.028]
    found, sorted_found = (judge(d).quantities["p50"] for d in (apart, sorted(apart)[:3] + sorted(apart)[:2:-1]))
    assert (found.launches, sorted_found.launches) == (12, 12)
    assert sorted_found.upper > found.upper


def test_copies_that_resemble_the_launch_before_count_too() -> None:
    apart = [0.026, 0.022, 0.027, 0.023, 0.028, 0.024, 0.027, 0.022, 0.026, 0.023, 0.028, 0.024]
    wanders = [0.01 * math.sin(i / 2) for i in range(9)]
    assert decide_launches({"p50": apart}, {"p50": THRESHOLD}, {"p50": wanders}).outcome is Outcome.INCONCLUSIVE


def test_copies_of_one_engine_that_differ_make_the_machine_unfit() -> None:
    d = {"p50": [0.03, 0.0, 0.04, 0.05, 0.01, 0.03, 0.03, 0.03]}
    alike = {"p50": [0.001, -0.001, 0.0, 0.002, 0.001]}
    assert decide_launches(d, {"p50": 0.02}, alike).outcome is not Outcome.INCONCLUSIVE
    decision = decide_launches(d, {"p50": 0.02}, {"p50": [0.011, 0.01, 0.012, 0.01, 0.011]})
    assert decision.outcome is Outcome.INCONCLUSIVE
    assert "copies of the baseline engine differ by 1.1 % at p50" in decision.quantities["p50"].sentence


def test_copies_that_differ_by_less_than_matters_are_no_hindrance() -> None:
    d = {"p50": [0.03, 0.0, 0.04, 0.05, 0.01, 0.03, 0.03, 0.03]}
    decision = decide_launches(d, {"p50": 0.02}, {"p50": [0.0011, 0.001, 0.0012, 0.001, 0.0011]})
    assert decision.outcome is not Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("d", "thresholds", "placebo"),
    [
        ({}, {}, None),
        ({"p50": [0.0]}, {}, None),
        ({"p50": [0.0]}, {"p50": 0.0}, None),
        ({"p50": [0.0]}, {"p50": math.nan}, None),
        ({"p50": [0.0], "p95": []}, {"p50": 0.02, "p95": 0.05}, None),
        ({"p50": [0.0] * 4}, {"p50": 0.02}, {"p50": [0.0] * 2}),
        ({"p50": [0.0] * 4}, {"p50": 0.02}, {"p95": [0.0]}),
    ],
)
def test_what_cannot_be_judged_is_refused(d: object, thresholds: object, placebo: object) -> None:
    with pytest.raises(ValueError, match=r"quantit|threshold|placebo"):
        decide_launches(d, thresholds, placebo)  # type: ignore[arg-type]


@given(runs, st.randoms(use_true_random=False))
def test_the_order_of_the_first_launches_changes_nothing(d: list[float], random: object) -> None:
    first = d[:SCREEN]
    random.shuffle(first)  # type: ignore[attr-defined]
    assert judge(first).outcome is judge(d[:SCREEN]).outcome


@given(runs, st.floats(1e-6, 0.2))
def test_a_slower_candidate_never_turns_fail_into_pass(d: list[float], slower: float) -> None:
    before, after = judge(d), judge([x + slower for x in d])
    if before.outcome is Outcome.FAIL:
        assert after.outcome is Outcome.FAIL
    if after.outcome is Outcome.PASS:
        assert before.outcome is Outcome.PASS


@given(runs, st.integers(0, MAX_LAUNCHES + 2))
def test_later_launches_never_change_a_verdict(d: list[float], cut: int) -> None:
    early = judge(d[:cut])
    if early.outcome is not None:
        assert judge(d).outcome is early.outcome
    elif early.needs_launches is not None and len(d) >= early.needs_launches:
        assert judge(d).outcome is not None or judge(d).needs_launches > early.needs_launches  # type: ignore[operator]


def test_a_screen_whose_launches_disagree_passes_nothing() -> None:
    assert judge([0.005, -0.005, 0.0]).outcome is Outcome.PASS
    assert judge([0.01, -0.01, 0.0]).needs_launches == 4
    assert judge([0.01, -0.01, 0.0, 0.0]).outcome is Outcome.PASS
    assert judge([0.03, -0.03, 0.0, 0.0]).needs_launches == 5


parts = st.lists(st.floats(0.5, 500), min_size=3, max_size=3)
times = st.lists(parts, min_size=MAX_LAUNCHES, max_size=MAX_LAUNCHES)


@given(times)
def test_identical_samples_never_fail(samples: list[list[float]]) -> None:
    decision = judge(log_ratios(samples, samples))
    assert decision.outcome is Outcome.PASS
    assert decision.quantities["p50"].moved == "is unchanged"


@given(times, times, st.integers(-40, 40))
def test_scaling_all_times_by_a_constant_changes_nothing(
    a: list[list[float]], b: list[list[float]], power: int
) -> None:
    def scaled(launches: list[list[float]]) -> list[list[float]]:
        return [[x * 2.0**power for x in launch] for launch in launches]

    assert judge(log_ratios(scaled(a), scaled(b))) == judge(log_ratios(a, b))


def test_a_machine_that_changes_its_speed_inside_a_launch_does_not_change_the_ratio() -> None:
    slow_from_the_third, slow_at_first = [1.0, 1.0, 1.4, 1.4], [1.4, 1.0, 1.0, 1.0]
    for speeds in (slow_from_the_third, slow_at_first):
        assert log_ratios([[1.03 * s for s in speeds]], [speeds]) == CLOSE([math.log(1.03)])


def test_a_part_of_a_launch_in_which_one_arm_was_held_up_does_not_count() -> None:
    assert log_ratios([[1.0, 9.0, 1.1, 1.1, 1.1]], [[1.0] * 5]) == CLOSE([math.log(1.1)])


def test_a_second_copy_of_the_baseline_halves_its_noise_where_it_ran() -> None:
    d = log_ratios([[1.0], [1.0], [1.0]], [[1.0], [1.0], [2.0]], [[4.0], [8.0]])
    assert d == CLOSE([0, -math.log(2), -math.log(4)])


def test_times_that_are_none_have_no_ratio() -> None:
    bad = log_ratios([[0.0], [math.nan], [1.0], [1.0, 1.0]], [[1.0], [1.0], [-1.0], [1.0, math.inf]])
    assert all(math.isnan(x) for x in bad)
    with pytest.raises(ValueError, match="2, 1 and 0 launches"):
        log_ratios([[1.0], [2.0]], [[1.0]])


def test_simulated_runs_are_judged_as_single_ones() -> None:
    rng = np.random.default_rng(4)
    d = rng.normal(0, 0.014, (150, MAX_LAUNCHES)) + rng.choice([0, 0.02, 0.03, 0.06], (150, 1))
    copies = rng.normal(0, 0.01, (150, MAX_LAUNCHES - SCREEN)) + rng.choice([0, 0.02], (150, 1))
    for family in (1, 200):
        simulated = simulate_outcomes(d, THRESHOLD, copies, family)
        for i, (failed, passed, launches) in enumerate(zip(*simulated, strict=True)):
            beside = {"p50": copies[i].tolist()}
            decision = decide_launches({"p50": d[i].tolist()}, {"p50": THRESHOLD}, beside, family=family)
            assert (decision.outcome is Outcome.FAIL) == failed
            assert (decision.outcome is Outcome.PASS) == passed
            assert decision.quantities["p50"].launches == launches


def test_what_a_run_would_have_caught_is_caught_nine_times_in_ten() -> None:
    spread = 0.01
    caught = detectable(spread, launches=100_000, threshold=THRESHOLD)
    noise = np.random.default_rng(1).normal(0, spread, (20_000, 2 * MAX_LAUNCHES - SCREEN))
    d = noise[:, :MAX_LAUNCHES] + math.log1p(caught)
    assert simulate_outcomes(d, THRESHOLD, noise[:, MAX_LAUNCHES:])[0].mean() == CLOSE(0.9, abs=0.03)


def test_what_a_run_would_have_caught_grows_with_what_is_unknown() -> None:
    assert detectable(0.0, 3, THRESHOLD) == CLOSE(THRESHOLD, rel=0.01)
    assert detectable(0.01, 12, THRESHOLD) < detectable(0.01, 5, THRESHOLD) < detectable(0.01, 3, THRESHOLD)
    assert detectable(0.01, 5, THRESHOLD) < detectable(0.02, 5, THRESHOLD) < detectable(0.1, 5, THRESHOLD)
    assert detectable(0.02, 5, THRESHOLD) < detectable(0.02, 5, THRESHOLD, family=300)


def test_what_a_run_would_have_caught_is_rounded_up() -> None:
    said = [
        would_have_caught(ratio).split(" %")[0].split()[-1] for ratio in (0.0201, 0.02, 0.1201, 0.12, 1.331, 0.09999)
    ]
    assert said == ["2.1", "2.0", "13", "12", "134", "10.0"]


QUIET = [[1.0], [1.001], [0.999], [1.0]]
LOUD = [[1.0], [1.05], [0.95], [1.02]]


@pytest.mark.parametrize(
    ("stored", "value", "outcome"),
    [
        (QUIET * 2, 1.0, Outcome.PASS),
        (QUIET * 2, 1.01, Outcome.INCONCLUSIVE),
        (QUIET * 2, 1.04, Outcome.FAIL),
        (LOUD, 1.03, Outcome.INCONCLUSIVE),
        (LOUD, 1.5, Outcome.FAIL),
        ([[1.0]] * 3, 1.08, Outcome.FAIL),
        ([[1.0]] * 3, 1.05, Outcome.INCONCLUSIVE),
        ([[1.0]] * 2, 1.5, Outcome.INCONCLUSIVE),
        ([[1.0]] * 2, 0.98, Outcome.PASS),
        ([[1.0]], 1.0, Outcome.INCONCLUSIVE),
    ],
)
def test_without_a_replay_the_spread_of_stored_sessions_decides(
    stored: list[list[float]], value: float, outcome: Outcome
) -> None:
    assert compare_sessions([value], stored, THRESHOLD).outcome is outcome


@given(st.lists(st.floats(0.9, 1.1), min_size=1, max_size=2), st.floats(0.5, 5))
def test_under_three_sessions_none_fails(stored: list[float], value: float) -> None:
    found = compare_sessions([value], [[x] for x in stored], THRESHOLD)
    assert found.outcome is not Outcome.FAIL
    assert (found.outcome is Outcome.PASS) == (found.upper < THRESHOLD)


def test_more_sessions_sharpen_what_can_be_told() -> None:
    found = [compare_sessions([1.0], [[1.0]] * count, THRESHOLD) for count in (1, 2, 3, 5, 10, 20)]
    widths = [change.upper - change.lower for change in found]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] / 4
    caught = [change.detectable for change in found if change.detectable is not None]
    assert caught == sorted(caught, reverse=True)
    assert len(caught) > 1


def test_a_session_is_its_median_launch() -> None:
    found = compare_sessions([1.0, 9.0, 1.01], [[1.0, 1.0, 5.0]] * 3, THRESHOLD)
    assert (found.value_ms, found.reference_ms) == CLOSE((1.01, 1.0))


def test_a_session_whose_launches_differ_says_less() -> None:
    quiet, loud = (compare_sessions(now, [[1.0]] * 3, THRESHOLD) for now in ([1.0, 1.001, 0.999], [1.0, 1.3, 0.7]))
    assert loud.upper - loud.lower > 5 * (quiet.upper - quiet.lower)


def test_a_gain_over_stored_sessions_is_reported_as_one() -> None:
    assert compare_sessions([0.9], QUIET, THRESHOLD).improved
    assert compare_sessions([0.9], QUIET[:1], THRESHOLD).improved
    assert not compare_sessions([0.97], QUIET[:1], THRESHOLD).improved


@pytest.mark.parametrize(("new", "stored"), [([], [[1.0]]), ([1.0], []), ([1.0], [[]]), ([math.nan], [[1.0]])])
def test_sessions_without_times_are_refused(new: list[float], stored: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="session"):
        compare_sessions(new, stored, THRESHOLD)


def test_tolerance_factors_are_those_of_the_tables() -> None:
    # Hahn and Meeker, Statistical Intervals, table A.12d.
    assert [round(dist.tolerance(0.95, 0.99, n), 2) for n in (5, 12)] == [6.58, 3.41]
    assert dist.tolerance(0.5, 0.99, 8) == CLOSE(dist.student_t_quantile(0.99, 7) / math.sqrt(8))


def test_chi_squared_quantiles_are_those_of_the_tables() -> None:
    assert [round(dist.chi_squared_quantile(0.05, df), 3) for df in (2, 11)] == [0.103, 4.575]
    for p, df in ((0.0, 2), (0.5, 0)):
        with pytest.raises(ValueError, match=r"p is|df is"):
            dist.chi_squared_quantile(p, df)


def budget(
    *levels_ms: float,
    over: int = 0,
    n: int = 500,
    budget_ms: float = 8.0,
    stored_ms: Sequence[Sequence[float]] = (),
) -> BudgetDecision:
    """Judge the p95 of launches against a budget of 8 ms."""
    launches = [BudgetLaunch(timing(ms).model_copy(update={"n": n}), over) for ms in levels_ms]
    return judge_budget(launches, 95, budget_ms, stored_ms)


def test_three_launches_that_agree_decide_a_budget() -> None:
    assert budget(7.0, 7.01, 7.02).outcome is Outcome.PASS
    assert budget(9.0, 9.1, 8.9, over=100).outcome is Outcome.FAIL


def test_fewer_launches_ask_for_the_rest() -> None:
    assert (budget(7.0).outcome, budget(7.0).needs_launches, budget(7.0).upper_ms) == (None, 3, math.inf)
    assert (budget(7.0, 7.0).outcome, budget(7.0, 7.0).needs_launches) == (None, 3)


CALM = ((5.0, 5.02, 4.98), (5.03, 5.01, 5.02), (4.97, 5.0, 4.99))


def test_one_launch_passes_a_budget_that_is_far_away_by_what_stored_launches_differ() -> None:
    found = budget(5.0, stored_ms=CALM)
    assert (found.outcome, found.launches, found.needs_launches) == (Outcome.PASS, 1, None)
    assert 0 < found.lower_ms < 5.0 < found.upper_ms < 8.0


@pytest.mark.parametrize(
    ("ms", "over", "n", "stored_ms"),
    [
        (5.0, 0, 500, CALM[:2]),  # two sessions tell too little
        (6.5, 0, 500, CALM),  # not far away
        (5.0, 0, 500, [[5.0, 6.0, 4.5], [5.5, 4.0, 5.0], [4.4, 6.1, 5.2]]),  # launches differ by more
        (5.0, 40, 500, CALM),  # more were over it than a p95 under it leaves
        (5.0, 0, 80, CALM),  # too few inferences
        (20.0, 500, 500, CALM),  # it may have been held up: others confirm a failure
    ],
)
def test_one_launch_does_not_decide_another_budget(
    ms: float, over: int, n: int, stored_ms: Sequence[Sequence[float]]
) -> None:
    found = budget(ms, over=over, n=n, stored_ms=stored_ms)
    assert (found.outcome, found.needs_launches) == (None, 3)


def test_further_launches_take_back_what_one_passed() -> None:
    assert budget(5.0, 12.0, stored_ms=CALM).outcome is None
    assert budget(5.0, 12.0, 12.0, over=400, stored_ms=CALM).outcome is not Outcome.PASS
    assert budget(5.0, 5.0, stored_ms=CALM).outcome is Outcome.PASS


def test_launches_that_differ_prove_a_budget_where_there_are_enough() -> None:
    levels = [7.0, 7.2, 6.9, 7.1, 7.0, 7.2, 6.9, 7.1]
    assert (budget(*levels[:3]).outcome, budget(*levels[:3]).needs_launches) == (None, 5)
    assert budget(*levels[:5], budget_ms=7.8).needs_launches == 8
    assert (budget(*levels).outcome, budget(*levels).launches) == (Outcome.PASS, 5)
    assert (budget(*levels, budget_ms=7.8).outcome, budget(*levels, budget_ms=7.8).launches) == (Outcome.PASS, 8)


def test_a_budget_that_is_near_takes_all_launches() -> None:
    assert budget(*[7.7] * 8).needs_launches == 12
    assert budget(*[7.7] * 12).outcome is Outcome.PASS
    assert budget(*[7.7, 7.9] * 6).outcome is Outcome.INCONCLUSIVE


def test_launches_that_follow_each_other_prove_less() -> None:
    levels = [7.0 + 0.1 * i for i in range(12)]
    mixed = levels[::2] + levels[1::2]
    shuffled = [mixed[i * 5 % 12] for i in range(12)]
    assert budget(*levels).outcome is Outcome.INCONCLUSIVE
    assert budget(*levels).upper_ms > budget(*shuffled).upper_ms


def test_a_few_inferences_prove_no_budget_however_the_launches_agree() -> None:
    assert budget(*[7.0] * 3, n=29).needs_launches == 5
    assert budget(*[7.0] * 3, n=30).outcome is Outcome.PASS
    assert budget(*[7.0] * 12, n=30, over=2).outcome is Outcome.INCONCLUSIVE
    assert budget(*[9.0] * 12, over=20).outcome is Outcome.INCONCLUSIVE
