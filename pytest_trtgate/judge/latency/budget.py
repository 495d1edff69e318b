"""Absolute budgets: whether a quantile of the latency is within a limit, whatever its distribution.

If the p-quantile of the latency were just the budget, a share 1 - p of inferences would be over it, and how many of n
are would follow a binomial distribution. Few enough over it prove the budget met, many enough prove it violated
(Conover, Practical Nonparametric Statistics, section 3.2). That holds for independent inferences; since those of one
process are not quite, three processes must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ...records import Outcome
from ..distributions import binomial_lower_tail, binomial_upper_tail

CONFIDENCE = 0.99
"""Of what one launch proves."""
LAUNCHES = 3
"""So many launches must agree."""
MAX_EXTENSION = 4
"""A launch that proves nothing is extended, to at most so many times its inferences."""


class Proof(Enum):
    """What one launch proves of a budget."""

    MEETS = "meets"
    VIOLATES = "violates"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class LaunchCount:
    """The inferences of one launch, and how many of them took longer than the budget."""

    inferences: int
    over: int


@dataclass(frozen=True)
class BudgetDecision:
    """Where a budget stands.

    Attributes:
        outcome: None where more is to be measured.
        needs_launches: How many launches in all are needed, where there are too few; else None.
        needs_inferences: How many inferences a launch needs, where they prove nothing yet; else None.
    """

    outcome: Outcome | None
    needs_launches: int | None = None
    needs_inferences: int | None = None


def proof_of(launch: LaunchCount, percent: int) -> Proof:
    """Return what one launch proves of the budget of a percentile.

    Raises:
        ValueError: The percentile is not from 1 to 99, or more inferences were over the budget than there were.
    """
    if not 0 <= launch.over <= launch.inferences:
        raise ValueError(f"{launch.over} of {launch.inferences} inferences cannot be over the budget")
    over = _share_over(percent)
    if binomial_lower_tail(launch.over, launch.inferences, over) <= 1 - CONFIDENCE:
        return Proof.MEETS
    if binomial_upper_tail(launch.over, launch.inferences, over) <= 1 - CONFIDENCE:
        return Proof.VIOLATES
    return Proof.UNDECIDED


def judge_budget(launches: Sequence[LaunchCount], percent: int, inferences: int) -> BudgetDecision:
    """Judge a budget, or ask for more launches or inferences.

    Args:
        launches: Counts of each launch.
        percent: The percentile, 1 to 99.
        inferences: How many a launch was meant to have; it is extended to at most four times as many,
            or to the fewest that can pass.

    Returns:
        PASS where all launches meet the budget, FAIL where all violate it, INCONCLUSIVE where they disagree or where
        launches as long as allowed prove nothing.
    """
    found = [proof_of(launch, percent) for launch in launches]
    proofs = set(found) - {Proof.UNDECIDED}
    if len(proofs) > 1:
        return BudgetDecision(Outcome.INCONCLUSIVE)
    if Proof.UNDECIDED in found:
        fewest = smallest_passing(percent)
        limit = max(MAX_EXTENSION * inferences, fewest)
        longest = max(x.inferences for x, e in zip(launches, found, strict=True) if e is Proof.UNDECIDED)
        if longest >= limit:
            return BudgetDecision(Outcome.INCONCLUSIVE)
        return BudgetDecision(None, needs_inferences=min(max(2 * longest, fewest), limit))
    if len(found) < LAUNCHES:
        return BudgetDecision(None, needs_launches=LAUNCHES)
    return BudgetDecision(Outcome.PASS if proofs == {Proof.MEETS} else Outcome.FAIL)


def smallest_passing(percent: int) -> int:
    """Return the fewest inferences that can prove a budget met, none of them over it: 90 for p95, 459 for p99."""
    over, n = _share_over(percent), 1
    while binomial_lower_tail(0, n, over) > 1 - CONFIDENCE:
        n += 1
    return n


def _share_over(percent: int) -> float:
    if not 1 <= percent <= 99:
        raise ValueError(f"percent is {percent}, not from 1 to 99")
    return (100 - percent) / 100
