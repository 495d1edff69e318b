"""Latency against a baseline: its engine timed in the same launches where that can be, else its stored sessions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import geometric_mean, median

from ...records import REFERENCE, ArmLaunch, Baseline, Check, Outcome, placebo_of, usable
from ...settings import PERCENTILES
from ...text import plural
from .candidate import Against, Candidate
from .decision import Quantity, ReplayDecision
from .sequential import QUIETER, decide_launches, log_ratios
from .sessions import SESSIONS_TO_TRUST, SessionChange, compare_sessions
from .wording import MEAN, MEAN_OF_SESSIONS, MEDIAN, listed, ms, percent, unusable, would_have_caught

ACCEPT = "accept with pytest --trt-baselines=update"
IDENTICAL_CHECK = "engine"
"""The name of the one check that a comparison of two engines with the same bytes consists of."""
BUSY_EXPLAINS = 1.0
"""From this change on a slow-down is not put down to a busy machine: it takes twice as long."""


def decide_regression(candidate: Candidate, *, last: bool) -> ReplayDecision | None:
    """Decide by the launches that timed a candidate beside its baseline engine; None without such launches or limits.

    ``last``: no more launches can be had.
    """
    thresholds = candidate.thresholds
    if not thresholds or not candidate.is_replayed:
        return None
    d: dict[str, Sequence[float]] = {}
    copies: dict[str, Sequence[float]] = {}
    for name in thresholds:
        own, baseline, second = _beside(candidate, name)
        d[name] = log_ratios(own, baseline, second)
        copies[name] = log_ratios(second, baseline[len(baseline) - len(second) :])
    return decide_launches(d, thresholds, copies, last=last, family=candidate.family)


def _beside(candidate: Candidate, name: str) -> tuple[list[tuple[float, ...]], ...]:
    """Return one percentile of the arm, its baseline engine and the copy of that, of the launches that have both.

    The median is that of each part of a launch, other percentiles are those of the whole: a part has too few samples.
    """
    arm, replay, context = candidate.arm, candidate.replay, candidate.context
    launches = [launch.arms for launch in candidate.latency.of_arm(replay) if arm in launch.arms]

    def percentile_ms(one: ArmLaunch) -> tuple[float, ...]:
        course_ms = one.course_ms.get(context, ()) if name == "p50" else ()
        return course_ms or (one.timings[context].quantile_ms(PERCENTILES[name]),)

    beside = (arm, replay, placebo_of(replay))
    return tuple([percentile_ms(arms[wanted]) for arms in launches if wanted in arms] for wanted in beside)


def judge_replay(candidate: Candidate) -> list[Check]:
    """Return a check per gated percentile, from the launches that timed the arm beside its baseline engine."""
    found = decide_regression(candidate, last=True)
    checks = []
    for name, quantity in found.quantities.items() if found else ():
        if quantity.outcome is Outcome.ERROR:
            checks.append(unusable(name, "baseline", f"{candidate.arm}: {quantity.sentence}"))
        else:
            values_ms = [median(parts) for parts in _beside(candidate, name)[0]]
            checks.append(_replay_check(candidate.arm, quantity, geometric_mean(values_ms)))
    return checks


def _replay_check(arm: str, quantity: Quantity, value_ms: float) -> Check:
    # Both are geometric means over launches, so that they differ by the very change that was judged.
    reference_ms = value_ms / (1 + quantity.change)
    times = f"{MEAN} {ms(reference_ms)} -> {ms(value_ms)} ms, the baseline replayed beside it"
    sentence = f"{arm}: {quantity.sentence}; {times}"
    return Check(
        name=quantity.name,
        against="baseline",
        value=value_ms,
        reference=reference_ms,
        statistics=(MEAN, MEAN),
        change=quantity.change,
        limit=quantity.threshold,
        unit="ratio",
        outcome=quantity.outcome or Outcome.INCONCLUSIVE,
        sentence=sentence + _improvement(quantity.improved, quantity.change),
    )


def judge_sessions(candidate: Candidate, against: Against) -> list[Check]:
    """Return a check per gated percentile, from the stored sessions of a baseline."""
    return [_judge_stored(candidate, against, name, threshold) for name, threshold in candidate.thresholds.items()]


def _judge_stored(candidate: Candidate, against: Against, name: str, threshold: float) -> Check:
    arm = candidate.arm
    own = candidate.per_launch_ms(name)
    stored = against.baseline.per_session_ms(candidate.context, PERCENTILES[name])
    if not usable(own):
        return unusable(name, "baseline", f"{arm}: {name} was not measured ({listed(own)})")
    if not stored:
        sentence = f"{arm}: {against.name} holds no {name} to compare with"
        return Check(name=name, against="baseline", limit=threshold, outcome=Outcome.NO_BASELINE, sentence=sentence)
    if not all(map(usable, stored)):
        bad = listed([value for session in stored for value in session])
        return unusable(name, "baseline", f"{arm}: {name} of {against.name} is no duration ({bad})")
    found = compare_sessions(own, stored, threshold)
    beside = _reference_change(candidate, against.baseline, name, threshold)
    return _session_check(arm, name, *blame_machine(found, beside, against.busy), against)


def blame_machine(found: SessionChange, reference_change: float | None, busy: str) -> tuple[SessionChange, str]:
    """Take a failure back where it may be the machine.

    Args:
        found: A change against stored sessions.
        reference_change: By how much the same ``.pt`` became slower at the same time, a ratio; None where none tells.
        busy: What kept the machine busy, if anything; it explains less than twice the time, and only where no ``.pt``
            tells.

    Returns:
        What was found, INCONCLUSIVE instead of FAIL where there is an excuse, and the excuse.
    """
    if found.outcome is not Outcome.FAIL:
        return found, ""
    needed = found.threshold if found.sessions >= SESSIONS_TO_TRUST else 2 * found.threshold
    if reference_change is None:
        machine = busy if found.change < BUSY_EXPLAINS else ""
    else:
        lost = reference_change > 0 and (1 + found.change) / (1 + reference_change) - 1 < needed
        machine = f"the same .pt is {percent(reference_change)} slower too" if lost else ""
    return (replace(found, outcome=Outcome.INCONCLUSIVE), machine) if machine else (found, "")


def _reference_change(candidate: Candidate, baseline: Baseline, name: str, threshold: float) -> float | None:
    """Return by how much the ``.pt`` became slower than in the stored sessions, as a ratio; None where none tells."""
    launches = candidate.latency.of_arm(REFERENCE)
    if not launches:
        return None
    own = candidate.per_launch_ms(name, REFERENCE)
    stored = baseline.reference_ms(launches[0].arms[REFERENCE].sha256, candidate.context, PERCENTILES[name])
    if not stored or not usable(own) or not all(map(usable, stored)):
        return None
    return compare_sessions(own, stored, threshold).change


def _session_check(arm: str, name: str, found: SessionChange, machine: str, against: Against) -> Check:
    over = found.outcome is not Outcome.PASS
    earlier_run, note = against.earlier_run, against.note
    reference, value = (MEDIAN, "") if earlier_run else (MEAN_OF_SESSIONS, f"{MEDIAN} ")
    sentence = (
        f"{arm}: {name} {found.moved} ({reference} {ms(found.reference_ms)} -> {value}{ms(found.value_ms)} ms), "
        f"{'more than ' if over else ''}{percent(found.threshold)} allowed"
    )
    if not earlier_run:
        sentence += f"; {found.sessions} stored session{'s' if found.sessions > 1 else ''}"
    if math.isfinite(found.upper):
        sentence += f", one-sided 95 % limits {found.lower * 100:.1f} % and {found.upper * 100:.1f} %"
    if machine:
        sentence += f", but {machine}: it may be the machine"
    elif found.outcome is Outcome.INCONCLUSIVE:
        few = found.sessions < SESSIONS_TO_TRUST
        sentence += ", under twice that it may be the machine" if few else "; one more of them might be as slow"
    if found.outcome is Outcome.INCONCLUSIVE:
        sentence += f"; {QUIETER}"
    if found.outcome is Outcome.PASS and found.detectable is not None:
        sentence += f"; {would_have_caught(found.detectable)}"
    return Check(
        name=name,
        against="baseline",
        value=found.value_ms,
        reference=found.reference_ms,
        statistics=(MEDIAN, reference),
        change=found.change,
        limit=found.threshold,
        unit="ratio",
        outcome=found.outcome,
        sentence=sentence
        + (f"; {note}" if note else "")
        + _improvement(found.improved and not earlier_run, found.change),
    )


def identical(candidate: Candidate) -> Check:
    """Return the check of an engine whose bytes are the baseline's: it cannot have become slower."""
    times = {name: candidate.per_launch_ms(name) for name in candidate.thresholds}
    shown = ", ".join(f"{name} {ms(median(values))} ms" for name, values in times.items() if values)
    shown = f"{shown} ({MEDIAN})" if shown else "no percentile is gated"
    said = f"identical engine, byte by byte the baseline's; {shown}; {plural(len(candidate.launches), 'launch')}"
    return Check(name=IDENTICAL_CHECK, against="baseline", outcome=Outcome.PASS, sentence=f"{candidate.arm}: {said}")


def _improvement(improved: bool, change: float) -> str:
    return f"; faster by {percent(-change)}: {ACCEPT}" if improved else ""
