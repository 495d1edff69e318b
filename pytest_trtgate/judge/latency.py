"""Latency: an engine against absolute budgets, against another arm of the same launches, and against its baseline.

The unit is the launch: percentiles are taken per launch, and launches are compared by their median, since samples
inside one process agree with each other far better than two processes do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from ..records import Context, LatencyRecord
from ..run_record import Baseline, Check, Outcome
from ..settings import PERCENTILES, Limit, Speedup

SESSIONS_TO_TRUST = 3
"""With fewer stored sessions, a slow-down under twice the threshold cannot be told from one session's offset."""


def judge_latency(
    latency: LatencyRecord,
    arm: str,
    context: Context,
    limits: Mapping[str, Limit],
    speedup: Speedup | None,
    baseline: Baseline | None,
) -> list[Check]:
    """Judge one arm's launches.

    Args:
        latency: All launches of the model, in milliseconds.
        arm: The engine to judge.
        context: Which timing is gated.
        limits: Regression and budget per percentile (``p50``, ``p95``, ``p99``).
        speedup: The rule against another arm, or None.
        baseline: The stored launches to compare with, or None to leave that comparison out.

    Returns:
        One check per limit that applies.
    """
    checks = []
    for name, limit in limits.items():
        values = latency.per_launch_ms(arm, context, PERCENTILES[name])
        gated = limit.budget_ms is not None or (limit.regression is not None and baseline is not None)
        if gated and not _durations(values):
            checks.append(_unusable(name, "", f"{arm}: {name} was not measured ({_listed(values)})"))
            continue
        if limit.budget_ms is not None:
            checks.append(_budget(arm, name, median(values), limit.budget_ms))
        if limit.regression is not None and baseline is not None:
            stored = stored_ms(baseline, context, PERCENTILES[name])
            checks.append(_regression(arm, name, median(values), stored, limit.regression))
    if speedup is not None:
        checks.append(_speedup(latency, arm, context, speedup))
    return checks


def stored_ms(baseline: Baseline, context: Context, percent: int) -> list[float]:
    """Return one percentile per stored session: the median of its launches, in milliseconds, oldest first."""
    return [
        median(values)
        for session in baseline.sessions
        if (values := [t.quantile_ms(percent) for x in session.launches if (t := x.timings.get(context))])
    ]


def _budget(arm: str, name: str, value_ms: float, budget_ms: float) -> Check:
    over = value_ms > budget_ms
    relation = "over" if over else "within"
    return Check(
        name=name,
        against="budget",
        value=value_ms,
        reference=budget_ms,
        change=value_ms - budget_ms,
        limit=budget_ms,
        unit="ms",
        outcome=Outcome.FAIL if over else Outcome.PASS,
        sentence=f"{arm}: {name} {_ms(value_ms)} ms is {relation} its budget of {budget_ms:g} ms",
    )


def _regression(arm: str, name: str, value_ms: float, stored: list[float], threshold: float) -> Check:
    if not stored:
        sentence = f"{arm}: the baseline holds no {name} to compare with"
        return Check(name=name, against="baseline", limit=threshold, outcome=Outcome.NO_BASELINE, sentence=sentence)
    if not _durations(stored):
        return _unusable(name, "baseline", f"{arm}: the baseline's {name} is no duration ({_listed(stored)})")
    reference_ms = median(stored)
    change = value_ms / reference_ms - 1
    sure = len(stored) >= SESSIONS_TO_TRUST or change > 2 * threshold
    numbers = f"({_ms(reference_ms)} -> {_ms(value_ms)} ms)"
    sessions = f"{len(stored)} stored session{'s' if len(stored) > 1 else ''}"
    if change <= threshold:
        outcome = Outcome.PASS
        sentence = f"{arm}: {name} {_moved(change)} {numbers}, {_percent(threshold)} allowed; {sessions}"
        if change < -threshold:
            sentence += "; faster: accept with pytest --trt-baselines=update"
    elif sure:
        outcome = Outcome.FAIL
        sentence = f"{arm}: {name} {_moved(change)} {numbers}, more than {_percent(threshold)} allowed; {sessions}"
    else:
        outcome = Outcome.INCONCLUSIVE
        sentence = (
            f"{arm}: {name} {_moved(change)} {numbers}, more than {_percent(threshold)} allowed, but with {sessions} "
            f"under twice that may be the machine; record more sessions with pytest --trt-baselines=update"
        )
    return Check(
        name=name,
        against="baseline",
        value=value_ms,
        reference=reference_ms,
        change=change,
        limit=threshold,
        unit="ratio",
        outcome=outcome,
        sentence=sentence,
    )


def _speedup(latency: LatencyRecord, arm: str, context: Context, rule: Speedup) -> Check:
    """Judge the median over launches of the ratio inside a launch, where both arms met the same conditions."""
    pairs = [
        (launch.arms[rule.over].timings[context].quantile_ms(50), launch.arms[arm].timings[context].quantile_ms(50))
        for launch in latency.launches
        if rule.over in launch.arms
    ]
    if not pairs:
        return Check(
            name="speed-up",
            against=rule.over,
            limit=rule.at_least,
            unit="ratio",
            outcome=Outcome.INCONCLUSIVE,
            sentence=f"{arm}: the speed-up over {rule.over} was not judged, since {rule.over} is not in this run",
        )
    if not _durations([value for pair in pairs for value in pair]):
        return _unusable("speed-up", rule.over, f"{arm}: p50 of {arm} or {rule.over} was not measured ({pairs})")
    ratio = median(math.exp(math.log(other) - math.log(own)) for other, own in pairs)
    short = ratio < rule.at_least
    return Check(
        name="speed-up",
        against=rule.over,
        value=ratio,
        reference=rule.at_least,
        change=ratio,
        limit=rule.at_least,
        unit="ratio",
        outcome=Outcome.FAIL if short else Outcome.PASS,
        sentence=f"{arm}: {ratio:.2f} x as fast as {rule.over} at p50, {'less than' if short else 'at least'} "
        f"{rule.at_least:g} x asked for",
    )


def _unusable(name: str, against: str, sentence: str) -> Check:
    return Check(name=name, against=against, unit="ms", outcome=Outcome.ERROR, sentence=sentence)


def _durations(values: Sequence[float]) -> bool:
    """Return whether there are values and all are finite and more than 0."""
    return bool(values) and all(math.isfinite(v) and v > 0 for v in values)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(map(_ms, values)) or "no launches"


def _ms(value: float) -> str:
    """Return three significant digits, and no fewer than the whole part."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.3g} %"


def _moved(change: float) -> str:
    if change == 0:
        return "is unchanged"
    return f"is {abs(change) * 100:.1f} % {'slower' if change > 0 else 'faster'}"
