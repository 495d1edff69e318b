"""Latency against stored sessions, where the baseline engine itself can no longer run beside the candidate.

A stored number carries its session's offset, which no number of launches averages away. So the unit here is the
session, and a new one is compared with the interval in which one more session of the same engine would fall (Hahn and
Meeker, Statistical Intervals, section 4.7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

from ...records import Outcome
from ..distributions import student_t_quantile, student_t_upper_tail
from .decision import Change
from .design import CONFIDENCE, POWER
from .sequential import as_ratio

SESSIONS_TO_TRUST = 3
"""With fewer stored sessions their spread is unknown."""
LEVEL = 0.005
"""Of the one-sided test that fails a slow-down of at least the threshold."""
LEVEL_AT_TWICE = 0.05
"""The same for a slow-down of at least twice the threshold."""


@dataclass(frozen=True, kw_only=True)
class SessionChange(Change):
    """A new session against the stored ones.

    With fewer than three sessions, it has improved where it is faster by at least twice the threshold.

    Attributes:
        outcome: Never None.
        sessions: How many are stored.
        value_ms: Median over the new launches.
        reference_ms: Geometric mean over stored sessions of their medians.
    """

    outcome: Outcome
    sessions: int
    value_ms: float
    reference_ms: float


def compare_sessions(
    candidate_ms: Sequence[float], stored_ms: Sequence[Sequence[float]], threshold: float
) -> SessionChange:
    """Judge one quantity of a new session against stored sessions.

    PASS under the threshold. From there on, FAIL where one more session of the same engine would hardly be as slow: at
    level 0.005, or at 0.05 from twice the threshold; else INCONCLUSIVE. With fewer than three sessions their spread is
    unknown: FAIL from twice the threshold, INCONCLUSIVE under it.

    Args:
        candidate_ms: One quantile per new launch, in milliseconds.
        stored_ms: Per stored session, the same quantile per launch, in milliseconds.
        threshold: The smallest slow-down worth failing for, as a ratio more than 0.

    Raises:
        ValueError: There is no launch or no session, or a time or the threshold is not a number more than 0.
    """
    if not 0 < threshold < math.inf:
        raise ValueError(f"the threshold is {threshold}, not a ratio more than 0")
    new, stored = _log_median(candidate_ms), [_log_median(session) for session in stored_ms]
    if not stored:
        raise ValueError("no stored session to compare with")
    count = len(stored)
    mean = math.fsum(stored) / count
    change, limit = new - mean, math.log1p(threshold)
    trusted = count >= SESSIONS_TO_TRUST
    scale = margin = math.inf
    p = 1.0
    if count > 1:
        # The new session has a spread of its own, and the mean of the stored ones is not exact.
        scale = math.sqrt(math.fsum((x - mean) ** 2 for x in stored) / (count - 1) * (1 + 1 / count))
        margin = student_t_quantile(CONFIDENCE, count - 1) * scale
        t = change / scale if scale else math.copysign(math.inf, change if change else -1)
        p = student_t_upper_tail(t, count - 1)
    outcome = _outcome(change, limit, p if trusted else None)
    return SessionChange(
        outcome=outcome,
        sessions=count,
        threshold=threshold,
        value_ms=math.exp(new),
        reference_ms=math.exp(mean),
        change=as_ratio(change),
        lower=as_ratio(change - margin),
        upper=as_ratio(change + margin),
        p=p,
        detectable=_detectable(scale, count, limit) if outcome is Outcome.PASS and trusted else None,
        improved=change <= -limit and change + margin < 0 if trusted else change <= -2 * limit,
    )


def _outcome(change: float, limit: float, p: float | None) -> Outcome:
    """Judge a change and its limit, both logs; ``p`` is None where the spread of the sessions is not known."""
    if change < limit:
        return Outcome.PASS
    twice = change >= 2 * limit
    fails = twice if p is None else p <= LEVEL or (twice and p <= LEVEL_AT_TWICE)
    return Outcome.FAIL if fails else Outcome.INCONCLUSIVE


def _detectable(scale: float, count: int, limit: float) -> float:
    """Return the slow-down whose measured value fails 9 times in 10, if the spread is what it seems."""
    at_once = max(limit, student_t_quantile(1 - LEVEL, count - 1) * scale)
    at_twice = max(2 * limit, student_t_quantile(1 - LEVEL_AT_TWICE, count - 1) * scale)
    return as_ratio(min(at_once, at_twice) + NormalDist().inv_cdf(POWER) * scale)


def _log_median(times_ms: Sequence[float]) -> float:
    if not times_ms or not all(0 < x < math.inf for x in times_ms):
        raise ValueError(f"not times of one session: {list(times_ms)}")
    return math.log(median(times_ms))
