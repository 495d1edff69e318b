"""Latency against stored sessions, where the baseline engine itself can no longer run beside the candidate.

A stored number carries its session's offset, which no number of launches averages away. So the unit here is the
session, and a new one is compared with the interval in which one more session of the same engine would fall (Hahn and
Meeker, Statistical Intervals, section 4.7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from ...records import Outcome
from ..distributions import student_t_quantile, student_t_upper_tail
from .decision import Change
from .design import POWER
from .sequential import as_ratio

SESSIONS_TO_TRUST = 3
"""With fewer stored sessions, no slow-down fails that the ``.pt`` does not confirm."""
LEVEL = 0.004
"""Of the one-sided test that fails a slow-down of at least the threshold. Where sessions spread by more than is assumed
of them at first, false alarms are more: up to 0.8 % in the simulations of a spread of 2 %, and 1.5 % of 3 %."""
CONFIDENCE = 0.95
"""The level of the one-sided limits."""
EARLY_CONFIDENCE = 0.99
"""Of the limits by which a single launch is enough to pass: more launches are a second chance."""
SESSION_SPREAD = 0.015
"""How much sessions of one machine differ (the standard deviation of logs), as far as few of them can tell."""
SESSION_SPREAD_DF = 3
"""So many degrees of freedom that is worth; each stored session adds one, and soon outweighs it."""


@dataclass(frozen=True)
class Shift:
    """A new session against stored ones, in logs.

    Sessions differ by a spread of which one or two tell nothing. So the estimate starts from a spread of 1.5 %, and
    what the launches of one session leave unknown, and each stored session draws it to what it was here.
    """

    now: tuple[float, ...]
    stored: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, now: Sequence[float], stored: Sequence[Sequence[float]]) -> Shift:
        """Return the shift of durations, or of ratios, per launch.

        Raises:
            ValueError: There is no launch or no session, or one of them is not a number more than 0.
        """
        for session in (now, *stored):
            if not session or not all(0 < x < math.inf for x in session):
                raise ValueError(f"not times of one session: {list(session)}")
        if not stored:
            raise ValueError("no stored session to compare with")
        return cls(tuple(map(math.log, now)), tuple(tuple(map(math.log, session)) for session in stored))

    @property
    def df(self) -> int:
        """The degrees of freedom of the spread."""
        return SESSION_SPREAD_DF + len(self.stored) - 1

    @property
    def then(self) -> float:
        """The mean of the stored sessions."""
        return math.fsum(map(median, self.stored)) / len(self.stored)

    @property
    def change(self) -> float:
        """The new session less the stored ones."""
        return median(self.now) - self.then

    @cached_property
    def launch_spread(self) -> float | None:
        """How much launches of one session differ, by the stored sessions; None where none has two launches."""
        known = [_spread(session) for session in self.stored if len(session) > 1]
        return math.sqrt(math.fsum(x * x for x in known) / len(known)) if known else None

    @cached_property
    def scale(self) -> float:
        """The spread of that: the new session has one of its own, and the mean of the stored ones is not exact.

        A single launch differs from its session's level by the spread between launches, which stored sessions of
        several launches each do not show in their medians.
        """
        launch = self.launch_spread or 0.0
        before = math.fsum(_variance_of_level(session, launch) for session in self.stored) / len(self.stored)
        own = _variance_of_level(self.now, launch)
        prior = SESSION_SPREAD**2 + max(before, own)
        squares = math.fsum((median(session) - self.then) ** 2 for session in self.stored)
        known = (SESSION_SPREAD_DF * prior + squares) / self.df * (1 + 1 / len(self.stored))
        return math.sqrt(known + (max(0.0, own - before) if len(self.now) == 1 else 0.0))

    @property
    def p(self) -> float:
        """One-sided p of a slow-down above 0."""
        return student_t_upper_tail(self.change / self.scale, self.df)

    def limits(self, confidence: float) -> tuple[float, float]:
        """Return the lower and upper limit of the change, one-sided, as ratios."""
        margin = student_t_quantile(confidence, self.df) * self.scale
        return as_ratio(self.change - margin), as_ratio(self.change + margin)


@dataclass(frozen=True, kw_only=True)
class SessionChange(Change):
    """A new session against the stored ones.

    Attributes:
        outcome: Never None.
        sessions: How many are stored.
        significant: Whether it is slower by at least the threshold, and than one more session would be.
        value_ms: Median over the new launches.
        reference_ms: Geometric mean over stored sessions of their medians.
    """

    outcome: Outcome
    sessions: int
    significant: bool
    value_ms: float
    reference_ms: float


def compare_sessions(
    candidate_ms: Sequence[float],
    stored_ms: Sequence[Sequence[float]],
    threshold: float,
    confidence: float = CONFIDENCE,
) -> SessionChange:
    """Judge one quantity of a new session against stored sessions.

    PASS where the upper limit is under the threshold. FAIL where the slow-down is at least the threshold and one more
    session of the same engine would hardly be as slow, from three stored sessions on. Else INCONCLUSIVE.

    Args:
        candidate_ms: One quantile per new launch, in milliseconds.
        stored_ms: Per stored session, the same quantile per launch, in milliseconds.
        threshold: The smallest slow-down worth failing for, as a ratio more than 0.
        confidence: Of the one-sided limits.

    Raises:
        ValueError: There is no launch or no session, or a time or the threshold is not a number more than 0.
    """
    if not 0 < threshold < math.inf:
        raise ValueError(f"the threshold is {threshold}, not a ratio more than 0")
    shift = Shift.of(candidate_ms, stored_ms)
    limit = math.log1p(threshold)
    lower, upper = shift.limits(confidence)
    significant = shift.change >= limit and shift.p <= LEVEL
    trusted = len(stored_ms) >= SESSIONS_TO_TRUST
    outcome = Outcome.FAIL if significant and trusted else Outcome.PASS if upper < threshold else Outcome.INCONCLUSIVE
    return SessionChange(
        outcome=outcome,
        sessions=len(stored_ms),
        significant=significant,
        threshold=threshold,
        value_ms=math.exp(median(shift.now)),
        reference_ms=math.exp(shift.then),
        change=as_ratio(shift.change),
        lower=lower,
        upper=upper,
        p=shift.p,
        detectable=_detectable(shift, limit) if trusted and outcome is Outcome.PASS else None,
        improved=shift.change <= -limit and upper < 0,
    )


def _detectable(shift: Shift, limit: float) -> float:
    """Return the slow-down whose measured value fails 9 times in 10, if the spread is what it seems."""
    fails = max(limit, student_t_quantile(1 - LEVEL, shift.df) * shift.scale)
    return as_ratio(fails + student_t_quantile(POWER, shift.df) * shift.scale)


def _variance_of_level(logs: Sequence[float], launch_spread: float) -> float:
    """Return the variance of a session's median launch, by its launches; a median's is pi / 2 times a mean's.

    Of a single launch it is that between launches, as other sessions have it.
    """
    if len(logs) == 1:
        return launch_spread**2
    return math.pi / 2 * _spread(logs) ** 2 / len(logs)


def _spread(logs: Sequence[float]) -> float:
    """Return the spread of launches: their median deviation, 1.48 of which are a normal standard deviation.

    As little as the median does it mind one launch that was held up.
    """
    middle = median(logs)
    return 1.4826 * median(abs(x - middle) for x in logs)
