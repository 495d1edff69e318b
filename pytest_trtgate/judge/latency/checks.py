"""Latency: an engine against absolute budgets, against another arm of the same launches, and against its baseline.

The unit is the launch: percentiles are taken per launch, and launches are compared, since samples inside one process
agree with each other far better than two processes do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from ...records import Baseline, Check, Context, LatencyRecord, Outcome, is_replayed, placebo_of, replay_of, usable
from ...settings import PERCENTILES, Limit, Speedup
from ...text import plural
from .budget import LAUNCHES, BudgetDecision, LaunchCount, judge_budget
from .design import MAX_LAUNCHES
from .fitness import doubted, why_unfit
from .regression import IDENTICAL, decision, identical, judge_replay, judge_sessions
from .sequential import MORE_LAUNCHES, QUIETER
from .wording import MEDIAN, listed, ms, unusable

SAME_BYTES = "the engine is the baseline's, byte by byte"


@dataclass(frozen=True)
class Need:
    """How many launches more one arm needs, which arms are to be timed in them, and what is not decided yet.

    ``confirms``: those so far all point to a failure, which the others are to confirm.
    """

    more: int
    arms: frozenset[str]
    why: str = field(default="", compare=False)
    confirms: bool = field(default=False, compare=False)


def judge_latency(
    latency: LatencyRecord,
    arm: str,
    context: Context,
    limits: Mapping[str, Limit],
    speedup: Speedup | None,
    baseline: Baseline | None,
    *,
    same_engine: bool = False,
    note: str = "",
    busy: str = "",
) -> list[Check]:
    """Judge one arm's launches, as the last that can be had.

    Args:
        latency: All launches of the model, in milliseconds.
        arm: The engine to judge.
        context: Which timing is gated.
        limits: Regression and budget per percentile (``p50``, ``p95``, ``p99``).
        speedup: The rule against another arm, or None.
        baseline: What to compare with, or None to leave that comparison out. Where its engine was timed beside the arm,
            the two are compared launch by launch, else the arm with the stored sessions.
        same_engine: The engine's bytes are the baseline's.
        note: Why the baseline engine was not timed, for the sentences.
        busy: What kept the machine busy before the launches; empty where it was quiet. What was timed side by side met
            the same, while a slow-down since a stored session may be no more than that, unless the ``.pt`` of both
            tells otherwise.

    Returns:
        One check per limit that applies; one for the whole comparison with a baseline of the same bytes where nothing
        but the engine is gated.
    """
    checks = [
        _budget(latency, arm, context, name, limit.budget_ms)
        for name, limit in limits.items()
        if limit.budget_ms is not None
    ]
    if baseline is not None and same_engine and context == "engine":
        checks.append(identical(latency, arm, context, limits))
    elif baseline is not None and is_replayed(latency, arm):
        checks += judge_replay(latency, arm, context, limits)
    elif baseline is not None:
        # What is around an engine may have become slower; timed beside itself, the engine would not tell.
        checks += judge_sessions(latency, arm, context, limits, baseline, SAME_BYTES if same_engine else note, busy)
    if speedup is not None:
        checks.append(_speedup(latency, arm, context, speedup))
    why = why_unfit(latency)
    return [check if check.name == IDENTICAL else doubted(check, why) for check in checks]


def still_needed(latency: LatencyRecord, arm: str, context: Context, limits: Mapping[str, Limit]) -> Need | None:
    """Return what launches an arm still needs before it can be judged; None where it can be, or never will be.

    Args:
        latency: The launches so far.
        arm: The engine's precision.
        context: Which timing is gated.
        limits: Regression and budget per percentile.
    """
    if why_unfit(latency):
        return None
    needs = []
    if is_replayed(latency, arm):
        found = decision(latency, arm, context, limits, last=False)
        if found is not None and found.outcome is Outcome.FAIL:
            return None  # no budget makes up for it
        if found is not None and found.needs_launches is not None:
            replay = replay_of(arm)
            arms = {arm, replay, placebo_of(replay)} if found.needs_placebo else {arm, replay}
            beside = sum(arm in launch.arms for launch in latency.of_arm(replay))
            undecided = [q for q in found.quantities.values() if q.outcome is None]
            failing = [q for q in undecided if q.points_to_failure]
            why = ", ".join(q.undecided for q in failing or undecided)
            needs.append(Need(found.needs_launches - beside, frozenset(arms), why, bool(failing)))
    for name, limit in limits.items():
        if limit.budget_ms is not None:
            launches = _launches_for(_counts(latency, arm, context, name), PERCENTILES[name])
            if launches is not None:
                level_ms = median(latency.per_launch_ms(arm, context, PERCENTILES[name]))
                why = f"{name} {ms(level_ms)} ms is near its budget of {limit.budget_ms:g} ms"
                needs.append(Need(launches - len(latency.of_arm(arm)), frozenset({arm}), why))
    if not needs:
        return None
    why = ", ".join(need.why for need in needs)
    together: frozenset[str] = frozenset().union(*(need.arms for need in needs))
    return Need(max(1, min(need.more for need in needs)), together, why, all(need.confirms for need in needs))


def _counts(latency: LatencyRecord, arm: str, context: Context, name: str) -> list[LaunchCount]:
    return [
        LaunchCount(inside.timings[context].n, inside.over_budget[name])
        for launch in latency.of_arm(arm)
        if name in (inside := launch.arms[arm]).over_budget
    ]


def _decide_budget(counts: Sequence[LaunchCount], percentile: int) -> BudgetDecision:
    """Judge a budget by the launches so far, dealt to three groups that must agree.

    What a launch is too short to prove is proved by more launches rather than by longer ones: they cost the same, and
    inferences of several processes are more independent than as many of one. Three groups of four launches have four
    times the inferences of three launches.
    """
    groups = [counts[start::LAUNCHES] for start in range(min(LAUNCHES, len(counts)))]
    together = [LaunchCount(sum(x.inferences for x in group), sum(x.over for x in group)) for group in groups]
    return judge_budget(together, percentile, _shortest(counts))


def _launches_for(counts: Sequence[LaunchCount], percentile: int) -> int | None:
    """Return how many launches in all a budget needs, or None where no more are of use."""
    found = _decide_budget(counts, percentile) if counts else None
    if found is None or found.needs_inferences is None:
        return found.needs_launches if found else None
    return LAUNCHES * math.ceil(found.needs_inferences / _shortest(counts))


def _shortest(counts: Sequence[LaunchCount]) -> int:
    return min(count.inferences for count in counts)


def _budget(latency: LatencyRecord, arm: str, context: Context, name: str, budget_ms: float) -> Check:
    values = latency.per_launch_ms(arm, context, PERCENTILES[name])
    counts = _counts(latency, arm, context, name)
    if not counts or not usable(values):
        return unusable(name, "budget", f"{arm}: {name} was not measured ({listed(values)})")
    outcome = _decide_budget(counts, PERCENTILES[name]).outcome or Outcome.INCONCLUSIVE
    relation = {Outcome.PASS: "is within", Outcome.FAIL: "is over"}.get(outcome, "cannot be told from")
    over, total = sum(count.over for count in counts), sum(count.inferences for count in counts)
    value_ms = median(values)
    doubt = ""
    if outcome is Outcome.INCONCLUSIVE:
        advice = MORE_LAUNCHES if len(counts) < MAX_LAUNCHES else QUIETER
        doubt = f"; {100 - PERCENTILES[name]} % may, and whether more or fewer do is not proved; {advice}"
    return Check(
        name=name,
        against="budget",
        value=value_ms,
        reference=budget_ms,
        statistics=(MEDIAN, ""),
        change=value_ms - budget_ms,
        limit=budget_ms,
        unit="ms",
        outcome=outcome,
        sentence=f"{arm}: {name} {ms(value_ms)} ms ({MEDIAN}) {relation} its budget of {budget_ms:g} ms; "
        f"{over} of {total} inferences took longer, {plural(len(counts), 'launch')}{doubt}",
    )


def _speedup(latency: LatencyRecord, arm: str, context: Context, rule: Speedup) -> Check:
    """Judge the median over launches of the ratio inside a launch, where both arms met the same conditions."""
    pairs = [
        (launch.arms[rule.over].timings[context].quantile_ms(50), launch.arms[arm].timings[context].quantile_ms(50))
        for launch in latency.of_arm(arm)
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
    if not usable([value for pair in pairs for value in pair]):
        return unusable("speed-up", rule.over, f"{arm}: p50 of {arm} or {rule.over} was not measured ({pairs})")
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
        sentence=f"{arm}: {ratio:.2f} x as fast as {rule.over} at p50 ({MEDIAN}), "
        f"{'less than' if short else 'at least'} {rule.at_least:g} x asked for",
    )
