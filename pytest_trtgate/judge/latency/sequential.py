"""Latency against a baseline engine that ran beside the candidate: a verdict, or how many launches more it takes.

The unit is the launch, and all the judge sees of it is d = log(candidate) - log(baseline) of each gated quantity (log
p50, log p95), since samples inside one process agree with each other far better than two processes do. Three or four
launches screen, where they agree; what they do not clear is confirmed by paired t-tests after 5, 8 and 12. The three
tests together have level 0.00025, so that twenty quantities of one run share 0.005 (Bonferroni over looks and
quantities; a run that gates more has smaller levels), and a failure must besides be worth failing for. Launches that
resemble the launch before count for less: the more they do, the slower an engine must be to fail, and the wider are
its limits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ...records import Outcome
from ..distributions import holm, student_t_quantile, student_t_upper_tail
from .decision import Placebo, Quantity, ReplayDecision
from .design import (
    CONFIDENCE,
    LAG_FAILS,
    LAG_WIDENS,
    LOOKS,
    MAX_LAUNCHES,
    PLACEBO_LAUNCHES,
    PLACEBO_LEVEL,
    PLACEBO_SHARE,
    SCREEN,
    SCREENS,
    Look,
    Screen,
    detectable,
    share_of_level,
)

QUIETER = "measure again on a quieter machine"
MORE_LAUNCHES = f"allow more launches (latency.max_launches, up to {MAX_LAUNCHES}), or {QUIETER}"


def log_ratios(
    candidate_ms: Sequence[Sequence[float]],
    baseline_ms: Sequence[Sequence[float]],
    second_ms: Sequence[Sequence[float]] = (),
) -> list[float]:
    """Return d = log(candidate) - log(baseline) per launch: the median over the parts of the launch.

    A machine that changes its speed in the middle of a launch moves the quantiles of the whole launch, and those of
    each arm at another moment; inside a part it moves all arms alike.

    Args:
        candidate_ms: One quantile per launch and part of it; any unit will do, if all have the same.
        baseline_ms: The same of the baseline engine, as many.
        second_ms: The same of its second copy, in the last launches only. There the baseline is the geometric mean of
            both copies, which costs nothing and has less spread than one.

    Returns:
        As many; NaN where a time is not a number more than 0.

    Raises:
        ValueError: The lengths do not fit.
    """
    alone = len(baseline_ms) - len(second_ms)
    if len(candidate_ms) != len(baseline_ms) or alone < 0:
        lengths = f"{len(candidate_ms)}, {len(baseline_ms)} and {len(second_ms)}"
        raise ValueError(f"candidate, baseline and its second copy have {lengths} launches")
    first = [_median_ratio(c, b) for c, b in zip(candidate_ms, baseline_ms, strict=True)]
    second = [_median_ratio(c, b) for c, b in zip(candidate_ms[alone:], second_ms, strict=True)]
    return first[:alone] + [(a + b) / 2 for a, b in zip(first[alone:], second, strict=True)]


def _median_ratio(times: Sequence[float], others: Sequence[float]) -> float:
    ratios = [_log_ratio(time, other) for time, other in zip(times, others, strict=True)]
    return median(ratios) if all(map(math.isfinite, ratios)) else math.nan


def _log_ratio(time: float, other: float) -> float:
    if not (0 < time < math.inf and 0 < other < math.inf):
        return math.nan
    ratio = time / other
    return math.log(ratio) if 0 < ratio < math.inf else math.nan


def as_ratio(change: float) -> float:
    """Return a change of a logarithm as a ratio: 0.0198 as 0.02."""
    return math.inf if change > 700 else math.expm1(change)


def decide_launches(
    d: Mapping[str, Sequence[float]],
    thresholds: Mapping[str, float],
    placebo: Mapping[str, Sequence[float]] | None = None,
    *,
    last: bool = False,
    family: int = 1,
) -> ReplayDecision:
    """Judge the launches so far, or ask for more.

    A quantity keeps the verdict of the first look that gave it one. The cell fails as soon as one quantity fails, and
    passes when all have passed.

    Args:
        d: Per gated quantity, d of each launch in the order of the launches; all of one length.
        thresholds: Per gated quantity, the smallest slow-down worth failing for, as a ratio more than 0.
        placebo: Per gated quantity, log(second copy) - log(first copy) of the launches after the screen.
        last: No more launches can be had: what is undecided is INCONCLUSIVE.
        family: How many quantities the run gates, in all its cells.

    Raises:
        ValueError: There is no quantity, a threshold is missing or not a number more than 0, or the lengths differ.
    """
    placebo = placebo or {}
    launches = _require_sound(d, thresholds, placebo)
    if not all(math.isfinite(x) for values in (*d.values(), *placebo.values()) for x in values):
        return ReplayDecision(Outcome.ERROR, None, {q: _unusable(q, d[q], thresholds[q]) for q in d})

    def first(count: int) -> dict[str, _Sample]:
        beside = max(0, count - SCREEN)
        return {
            q: _Sample.of(q, values[:count], thresholds[q], placebo.get(q, ())[:beside], family)
            for q, values in d.items()
        }

    decided: dict[str, Quantity] = {}
    for screen in SCREENS:
        if launches < screen.launches:
            return _sum_up(first(launches), decided, screen.launches, last)
        passed = {q: s for q, s in first(screen.launches).items() if q not in decided and s.passes(screen)}
        decided |= {q: s.judged(Outcome.PASS) for q, s in passed.items()}
        if len(decided) == len(d):
            break
    for look in LOOKS:
        if len(decided) == len(d):
            break
        if launches < look.launches:
            return _sum_up(first(launches), decided, look.launches, last)
        samples = first(look.launches)
        if reason := _why_copies_differ(_judge_placebo(placebo, thresholds, look.launches - SCREEN)):
            return _sum_up(samples, decided, look.launches, True, reason)
        found = {q: s.judged(outcome) for q, s in samples.items() if q not in decided and (outcome := s.at(look))}
        decided |= found
        if any(q.outcome is Outcome.FAIL for q in decided.values()):
            return _sum_up(samples, decided, look.launches, True, "undecided when another quantity failed")
    return _sum_up(first(MAX_LAUNCHES), decided, MAX_LAUNCHES, True)


@dataclass(frozen=True)
class _Sample:
    """Mean, standard deviation and p of one quantity's first launches, in logs.

    ``lag``: the lag-1 autocorrelation of d and of the copies of the baseline beside it, from 0.
    """

    name: str
    launches: int
    mean: float
    spread: float
    threshold: float
    lag: float = 0.0
    family: int = 1

    @classmethod
    def of(
        cls, name: str, values: Sequence[float], threshold: float, copies: Sequence[float] = (), family: int = 1
    ) -> _Sample:
        n = len(values)
        # fsum is exact, so that no verdict depends on rounding.
        mean = math.fsum(values) / n if n else math.nan
        spread = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1)) if n > 1 else math.inf
        return cls(name, n, mean, spread, threshold, lag(values, copies), family)

    @property
    def limit(self) -> float:
        return math.log1p(self.threshold)

    @property
    def error(self) -> float:
        return self.spread / math.sqrt(self.launches) if self.launches else math.inf

    @property
    def t(self) -> float:
        if self.error == 0:
            return math.copysign(math.inf, self.mean) if self.mean else -math.inf
        return self.mean / self.error

    @property
    def p(self) -> float:
        return student_t_upper_tail(self.t, self.launches - 1) if self.launches > 1 else 1.0

    @property
    def margin(self) -> float:
        if self.launches < 2:
            return math.inf
        return student_t_quantile(CONFIDENCE, self.launches - 1) * self.error * (1 + LAG_WIDENS * self.lag)

    def passes(self, screen: Screen) -> bool:
        return self.mean < self.limit * screen.mean and self.spread < self.limit * screen.spread

    def at(self, look: Look) -> Outcome | None:
        least = self.limit * look.least * (1 + LAG_FAILS * self.lag)
        if self.p <= look.level * share_of_level(self.family) and self.mean >= least:
            return Outcome.FAIL
        return Outcome.PASS if self.mean + self.margin < self.limit else None

    def judged(self, outcome: Outcome | None, reason: str = "") -> Quantity:
        passed = outcome is Outcome.PASS
        return Quantity(
            name=self.name,
            outcome=outcome,
            launches=self.launches,
            threshold=self.threshold,
            change=as_ratio(self.mean),
            lower=as_ratio(self.mean - self.margin),
            upper=as_ratio(self.mean + self.margin),
            p=self.p,
            detectable=detectable(self.spread, self.launches, self.threshold, self.family) if passed else None,
            improved=passed and self.mean <= -self.limit and self.mean + self.margin < 0,
            reason=reason,
        )


def lag(*series: Sequence[float]) -> float:
    """Return how far the values of some series resemble the value before, from 0 (not at all) to 1."""
    products = squares = 0.0
    for values in series:
        mean = math.fsum(values) / max(1, len(values))
        centred = [x - mean for x in values]
        products += math.fsum(a * b for a, b in itertools.pairwise(centred))
        squares += math.fsum(x * x for x in centred)
    return max(0.0, products / squares) if squares else 0.0


def _sum_up(
    samples: Mapping[str, _Sample],
    decided: Mapping[str, Quantity],
    look: int,
    last: bool,
    reason: str = "",
) -> ReplayDecision:
    """Sum up: what has no verdict yet is INCONCLUSIVE if this was the last look, else needs launches up to ``look``.

    ``reason`` says why it has none; by default, there were too few launches, or the machine was not quiet.
    """
    open_outcome = Outcome.INCONCLUSIVE if last else None
    if last and not reason:
        reason = MORE_LAUNCHES if look < MAX_LAUNCHES else QUIETER
    quantities = {
        q: decided.get(q) or sample.judged(open_outcome, reason if last else "") for q, sample in samples.items()
    }
    found = [q.outcome for q in quantities.values() if q.outcome is not None]
    if len(found) < len(quantities):
        return ReplayDecision(None, look, quantities)
    return ReplayDecision(max(found, key=lambda outcome: outcome.rank), None, quantities)


def _judge_placebo(
    placebo: Mapping[str, Sequence[float]], thresholds: Mapping[str, float], launches: int
) -> dict[str, Placebo]:
    """Compare the copies of the baseline engine in the first launches after the screen.

    They differ where that is significant (Holm over the quantities) and a quarter of the threshold: on a quiet
    machine a difference that no verdict hangs on is soon significant.
    """
    samples = {
        q: _Sample.of(q, values[:launches], thresholds[q])
        for q, values in placebo.items()
        if len(values[:launches]) >= PLACEBO_LAUNCHES
    }
    p_values = [2 * min(s.p, 1 - s.p) if s.error else float(s.mean == 0) for s in samples.values()]
    return {
        q: Placebo(as_ratio(s.mean), p, rejected and abs(s.mean) >= s.limit * PLACEBO_SHARE)
        for (q, s), p, rejected in zip(samples.items(), p_values, holm(p_values, PLACEBO_LEVEL), strict=True)
    }


def _why_copies_differ(copies: Mapping[str, Placebo]) -> str:
    """Return why launches in which two copies of one engine differ cannot be judged by; empty where none differ."""
    for name, copy in copies.items():
        if copy.differs:
            seen = f"{abs(copy.change) * 100:.2g} % at {name} (p {copy.p:.2g})"
            return f"two copies of the baseline engine differ by {seen}: unfit to judge; {QUIETER}"
    return ""


def _unusable(name: str, d: Sequence[float], threshold: float) -> Quantity:
    bad = [str(i) for i, x in enumerate(d, start=1) if not math.isfinite(x)]
    reason = f"launch {', '.join(bad)} gave no usable time" if bad else "not judged, since another quantity has no time"
    nan = math.nan
    return Quantity(
        name=name,
        outcome=Outcome.ERROR,
        launches=len(d),
        threshold=threshold,
        change=nan,
        lower=nan,
        upper=nan,
        p=nan,
        reason=reason,
    )


def _require_sound(
    d: Mapping[str, Sequence[float]], thresholds: Mapping[str, float], placebo: Mapping[str, Sequence[float]]
) -> int:
    """Return the number of launches; raise ValueError where quantities, thresholds and copies do not fit."""
    if not d:
        raise ValueError("no quantity to judge")
    for q in d:
        if not 0 < thresholds.get(q, math.nan) < math.inf:
            raise ValueError(f"the threshold of {q} is {thresholds.get(q)}, not a ratio more than 0")
    lengths = {len(values) for values in d.values()}
    if len(lengths) > 1:
        raise ValueError(f"the quantities have different numbers of launches: {sorted(lengths)}")
    launches = lengths.pop()
    for q, values in placebo.items():
        if q not in d or len(values) > max(0, launches - SCREEN):
            raise ValueError(
                f"placebo of {q}: {len(values)} launches, but {launches} launches in all, {SCREEN} without"
            )
    return launches
