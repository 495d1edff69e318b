"""Latency: an engine against absolute budgets, against another arm of the same launches, and against its baseline.

The unit is the launch: percentiles are taken per launch, and launches are compared, since samples inside one process
agree with each other far better than two processes do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from statistics import median

from ...records import Check, Outcome, placebo_of, usable
from ...settings import PERCENTILES, Speedup
from ...text import plural
from .budget import BudgetDecision, BudgetLaunch, judge_budget
from .candidate import Against, Candidate
from .decision import ReplayDecision
from .design import MAX_LAUNCHES
from .fitness import doubted, why_unfit
from .regression import decide_regression, identical, judge_replay, judge_sessions
from .sequential import MORE_LAUNCHES, QUIETER
from .wording import MEDIAN, listed, ms, unusable

SAME_AS_BASELINE = "the engine is the baseline's, byte by byte"


@dataclass(frozen=True)
class Need:
    """How many more launches one arm needs, which arms they are to time, and what is undecided.

    ``confirms``: those so far all point to a failure, which the others are to confirm.
    """

    more: int
    arms: frozenset[str]
    why: str = field(default="", compare=False)
    confirms: bool = field(default=False, compare=False)


def judge_latency(candidate: Candidate, speedup: Speedup | None = None, against: Against | None = None) -> list[Check]:
    """Judge the launches of an engine, as the last that can be had.

    Args:
        candidate: The engine.
        speedup: The rule against another arm, or None.
        against: The baseline, or None to leave that comparison out. Where its engine was timed beside the candidate,
            the two are compared launch by launch, else the candidate with the stored sessions.

    Returns:
        One check per limit that applies; one for the whole comparison with a baseline of the same bytes where nothing
        but the engine is gated.
    """
    why = why_unfit(candidate.latency)

    def by_time(checks: Iterable[Check]) -> list[Check]:
        return [doubted(check, why) for check in checks]

    checks = by_time(_budget(candidate, name, budget_ms) for name, budget_ms in candidate.budgets_ms.items())
    if against is not None and against.same_engine and candidate.context == "engine":
        checks.append(identical(candidate))
    elif against is not None and candidate.is_replayed:
        checks += by_time(judge_replay(candidate))
    elif against is not None:
        # What is around an engine may have become slower; timed beside itself, the engine would not tell.
        note = SAME_AS_BASELINE if against.same_engine else against.note
        checks += by_time(judge_sessions(candidate, replace(against, note=note)))
    if speedup is not None:
        checks += by_time([_speedup(candidate, speedup)])
    return checks


def still_needed(candidate: Candidate) -> Need | None:
    """Return what launches an engine still needs before it can be judged; None where it can be, or never will be."""
    if why_unfit(candidate.latency):
        return None
    replay = decide_regression(candidate, last=False)
    if replay is not None and replay.outcome is Outcome.FAIL:
        return None  # no budget makes up for it
    needs = [_replay_need(candidate, replay)] if replay is not None and replay.needs_launches is not None else []
    needs += [need for name in candidate.budgets_ms if (need := _budget_need(candidate, name))]
    if not needs:
        return None
    why = ", ".join(need.why for need in needs)
    together: frozenset[str] = frozenset().union(*(need.arms for need in needs))
    return Need(max(1, min(need.more for need in needs)), together, why, all(need.confirms for need in needs))


def _replay_need(candidate: Candidate, found: ReplayDecision) -> Need:
    """Return what the undecided comparison ``found`` with the baseline engine still needs."""
    arm, replay = candidate.arm, candidate.replay
    arms = {arm, replay, placebo_of(replay)} if found.needs_placebo else {arm, replay}
    beside = sum(arm in launch.arms for launch in candidate.latency.of_arm(replay))
    undecided = [q for q in found.quantities.values() if q.outcome is None]
    failing = [q for q in undecided if q.points_to_failure]
    why = ", ".join(q.undecided for q in failing or undecided)
    return Need((found.needs_launches or 0) - beside, frozenset(arms), why, bool(failing))


def _budget_need(candidate: Candidate, name: str) -> Need | None:
    """Return what the budget of a percentile still needs; None where no more launches are of use."""
    found = _decide_budget(candidate, name)
    if found is None or found.needs_launches is None:
        return None
    why = f"{name} {ms(found.level_ms)} ms is near its budget of {candidate.budgets_ms[name]:g} ms"
    return Need(found.needs_launches - len(candidate.launches), frozenset({candidate.arm}), why)


def _counted(candidate: Candidate, name: str) -> list[BudgetLaunch]:
    return [
        BudgetLaunch(inside.timings[candidate.context], inside.over_budget[name])
        for launch in candidate.launches
        if name in (inside := launch.arms[candidate.arm]).over_budget
    ]


def _decide_budget(candidate: Candidate, name: str) -> BudgetDecision | None:
    """Return where the budget of a percentile stands; None where it was not measured."""
    counted = _counted(candidate, name)
    if not counted or not usable(candidate.per_launch_ms(name)):
        return None
    return judge_budget(counted, PERCENTILES[name], candidate.budgets_ms[name], candidate.stored_ms(name))


def _budget(candidate: Candidate, name: str, budget_ms: float) -> Check:
    found, counted = _decide_budget(candidate, name), _counted(candidate, name)
    if found is None:
        values = listed(candidate.per_launch_ms(name))
        return unusable(name, "budget", f"{candidate.arm}: {name} was not measured ({values})")
    level_ms = median(candidate.per_launch_ms(name))
    outcome = found.outcome or Outcome.INCONCLUSIVE
    relation = {Outcome.PASS: "is within", Outcome.FAIL: "is over"}.get(outcome, "cannot be told from")
    over, total = (sum(of) for of in zip(*((x.over, x.timing.n) for x in counted[: found.launches]), strict=True))
    said = f"{over} of {total} inferences took longer; it rests on {plural(found.launches, 'launch')}"
    if found.sessions:
        said += f" and {plural(found.sessions, 'stored session')}"
    if math.isfinite(found.upper_ms):
        said += f", which leave {ms(found.lower_ms)} to {ms(found.upper_ms)} ms possible (one-sided 99 % limits)"
    if outcome is Outcome.INCONCLUSIVE:
        said += f"; {MORE_LAUNCHES if len(counted) < MAX_LAUNCHES else QUIETER}"
    return Check(
        name=name,
        against="budget",
        value=level_ms,
        reference=budget_ms,
        statistics=(MEDIAN, ""),
        change=level_ms - budget_ms,
        limit=budget_ms,
        unit="ms",
        outcome=outcome,
        sentence=f"{candidate.arm}: {name} {ms(level_ms)} ms ({MEDIAN}) {relation} its budget of "
        f"{budget_ms:g} ms; {said}",
    )


def _speedup(candidate: Candidate, rule: Speedup) -> Check:
    """Judge the median over launches of the ratio inside a launch, where both arms met the same conditions."""
    arm, context = candidate.arm, candidate.context
    pairs = [
        (launch.arms[rule.over].timings[context].quantile_ms(50), launch.arms[arm].timings[context].quantile_ms(50))
        for launch in candidate.launches
        if rule.over in launch.arms
    ]
    if pairs and not usable([value for pair in pairs for value in pair]):
        return unusable("speed-up", rule.over, f"{arm}: p50 of {arm} or {rule.over} was not measured ({pairs})")
    ratio = median(math.exp(math.log(other) - math.log(own)) for other, own in pairs) if pairs else None
    if ratio is None:
        outcome = Outcome.INCONCLUSIVE
        sentence = f"the speed-up over {rule.over} was not judged, since {rule.over} is not in this run"
    else:
        outcome = Outcome.FAIL if ratio < rule.at_least else Outcome.PASS
        relation = "less than" if ratio < rule.at_least else "at least"
        sentence = f"{ratio:.2f} x as fast as {rule.over} at p50 ({MEDIAN}), {relation} {rule.at_least:g} x asked for"
    return Check(
        name="speed-up",
        against=rule.over,
        value=ratio,
        reference=None if ratio is None else rule.at_least,
        change=ratio,
        limit=rule.at_least,
        unit="ratio",
        outcome=outcome,
        sentence=f"{arm}: {sentence}",
    )
