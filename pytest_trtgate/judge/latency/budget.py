"""Absolute budgets: whether a quantile of the latency is within a limit, by launches.

Inferences of one process agree with each other far better than two processes do, so the unit is the launch and its
quantile. What is to be within the budget is the quantile of all inferences of all launches that there could be. Where
launches differ, the slow ones are in it: for the p95 of all, nearly the p95 of launches' own p95. So the upper limit is
one under which the p-quantile of launches is (a tolerance limit; Hahn and Meeker, Statistical Intervals, section 4.6),
and the lower that of their mean. Both suppose launches that are about normal and independent. A kind of launch that has
not come yet, no rule sees: of a machine with a slow launch in three, three launches in a row show none in three runs of
ten. So a budget that is near takes all the launches that there may be.

Few inferences hold few slow ones, whatever the launches say. If the p-quantile were just the budget, a share 1 - p of
independent inferences would be over it, and how many of n are would follow a binomial distribution (Conover, Practical
Nonparametric Statistics, section 3.2): a verdict needs as few or as many as that leaves hardly any chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import stdev

from ...records import Outcome, Timing
from ..distributions import binomial_lower_tail, binomial_upper_tail, student_t_quantile, tolerance
from .design import LAG_WIDENS
from .sequential import lag

CONFIDENCE = 0.99
"""Of the one-sided limits at each look, and of what the number of slow inferences must prove."""
LOOKS = (3, 5, 8, 12)
"""Launches after which a budget is judged."""
LEAST_SHARE = 0.8
"""The upper limit is one of at least this share of launches, for p50 too: launches may wander off together."""
NEAR = 0.05
"""A budget nearer than this share to what was measured is judged by the last look alone."""
FAR = 0.25
"""A budget that one launch meets is at least so far away, in logs, however little stored launches differ."""
SESSIONS = 3
"""So many stored sessions tell what one launch leaves open."""


@dataclass(frozen=True)
class BudgetLaunch:
    """The inferences of one launch, and how many of them took longer than the budget."""

    timing: Timing
    over: int


@dataclass(frozen=True)
class BudgetDecision:
    """Where a budget stands.

    Attributes:
        outcome: None where more is to be measured.
        launches: How many it was judged by.
        level_ms: Geometric mean over launches of their percentiles.
        lower_ms: One-sided 99 % lower limit of that; 0 by a single launch without stored sessions.
        upper_ms: One-sided 99 % upper limit of the percentile of all launches; infinite likewise.
        needs_launches: How many launches in all are needed, where there are too few; else None.
        sessions: How many stored sessions tell how much launches differ; 0 where the launches themselves do.
    """

    outcome: Outcome | None
    launches: int
    level_ms: float
    lower_ms: float
    upper_ms: float
    needs_launches: int | None = None
    sessions: int = 0


def judge_budget(
    launches: Sequence[BudgetLaunch], percent: int, budget_ms: float, stored_ms: Sequence[Sequence[float]] = ()
) -> BudgetDecision:
    """Judge a budget by the launches so far, or ask for more.

    Args:
        launches: In the order of time; at least one.
        percent: The percentile, 1 to 99.
        budget_ms: The budget.
        stored_ms: The percentile of each launch of each stored session, in milliseconds.

    Returns:
        PASS where the upper limit of the percentile is under the budget and few enough inferences were over it, FAIL
        where the lower limit is over it and enough were; the first look that tells decides. INCONCLUSIVE where the
        last does not.

    """
    if len(stored_ms) >= SESSIONS and len(launches) < LOOKS[0]:  # more launches tell themselves how they differ
        early = _at(launches, percent, budget_ms, FAR, stored_ms)
        if early.outcome is Outcome.PASS:
            return early
    for look in LOOKS:
        found = _at(launches[:look], percent, budget_ms, near=NEAR if look < LOOKS[-1] else 0.0)
        if len(launches) < look:
            return replace(found, outcome=None, needs_launches=look)
        if found.outcome is not Outcome.INCONCLUSIVE:
            break
    return found


def _at(
    launches: Sequence[BudgetLaunch],
    percent: int,
    budget_ms: float,
    near: float,
    stored_ms: Sequence[Sequence[float]] = (),
) -> BudgetDecision:
    """Judge by all of some launches, a budget nearer than ``near`` as INCONCLUSIVE."""
    levels = [math.log(launch.timing.quantile_ms(percent)) for launch in launches]
    level, of_launches = math.fsum(levels) / len(levels), max(percent / 100, LEAST_SHARE)
    below, above = _margins_of_one(stored_ms, of_launches) if stored_ms else _margins(levels, of_launches)
    gap, share = math.log(budget_ms) - level, (100 - percent) / 100
    over, n = sum(x.over for x in launches), sum(x.timing.n for x in launches)
    outcome = Outcome.INCONCLUSIVE
    if gap > max(above, near) and binomial_lower_tail(over, n, share) <= 1 - CONFIDENCE:
        outcome = Outcome.PASS
    elif -gap > max(below, near) and binomial_upper_tail(over, n, share) <= 1 - CONFIDENCE:
        outcome = Outcome.FAIL
    upper_ms = math.exp(level + above) if above < math.inf else math.inf
    sessions = len(stored_ms)
    return BudgetDecision(outcome, len(launches), math.exp(level), math.exp(level - below), upper_ms, sessions=sessions)


def _margins(levels: Sequence[float], share: float) -> tuple[float, float]:
    """Return how far the lower limit is from the mean of some logs, and the upper limit of that share of their like."""
    n = len(levels)
    if n < 2:
        return math.inf, math.inf
    spread = stdev(levels) * (1 + LAG_WIDENS * lag(levels))
    return student_t_quantile(CONFIDENCE, n - 1) * spread / math.sqrt(n), tolerance(share, CONFIDENCE, n) * spread


def _margins_of_one(stored_ms: Sequence[Sequence[float]], share: float) -> tuple[float, float]:
    """Return the same of a single launch, which differs from the mean of its like as stored launches do.

    Launches of one session resemble each other: as many as there are sessions count.
    """
    n, spread = len(stored_ms), stdev(math.log(value) for session in stored_ms for value in session)
    below = student_t_quantile(CONFIDENCE, n - 1) * spread
    return below, below + tolerance(share, CONFIDENCE, n) * spread
