"""Latency against a baseline: its engine timed in the same launches where that can be, else its stored sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from ...records import REFERENCE, ArmLaunch, Baseline, Check, Outcome, placebo_of, usable
from ...settings import PERCENTILES
from ...text import plural
from .candidate import Against, Candidate
from .decision import Quantity, ReplayDecision
from .platform import ControlChange, control_change
from .sequential import QUIETER, as_ratio, decide_launches, log_ratios
from .sessions import CONFIDENCE, EARLY_CONFIDENCE, SESSIONS_TO_TRUST, SessionChange, compare_sessions
from .wording import MEAN_OF_SESSIONS, MEDIAN, listed, ms, percent, unusable, would_have_caught

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
            checks.append(_replay_check(candidate, quantity))
    return checks


def _replay_check(candidate: Candidate, quantity: Quantity) -> Check:
    """Return the check of one percentile: its levels, and by how much it changed in each launch that decided."""
    arms = candidate.arm, candidate.replay
    value_ms, reference_ms = (median(candidate.per_launch_ms(quantity.name, arm)) for arm in arms)
    changes = [as_ratio(d) for d in log_ratios(*_beside(candidate, quantity.name))[: quantity.launches]]
    each = ", ".join(f"{change * 100:+.1f}" for change in changes)
    times = f"{MEDIAN} {ms(reference_ms)} -> {ms(value_ms)} ms, the baseline replayed beside it"
    of_launches = f"the change is the geometric mean of those in each launch: {each} %" if len(changes) > 1 else ""
    sentence = "; ".join(filter(None, (f"{candidate.arm}: {quantity.sentence}", times, of_launches)))
    return Check(
        name=quantity.name,
        against="baseline",
        value=value_ms,
        reference=reference_ms,
        statistics=(MEDIAN, MEDIAN),
        change=quantity.change,
        limit=quantity.threshold,
        unit="ratio",
        outcome=quantity.outcome or Outcome.INCONCLUSIVE,
        sentence=sentence + _improvement(quantity.improved, quantity.change),
    )


def judge_sessions(candidate: Candidate, against: Against) -> list[Check]:
    """Return a check per gated percentile, from the stored sessions of a baseline."""
    return [_judge_stored(candidate, against, name, threshold) for name, threshold in candidate.thresholds.items()]


def one_launch_leaves(candidate: Candidate, against: Against) -> list[str]:
    """Return the gated percentiles that a single launch does not pass by the stored sessions of a baseline."""
    return [
        name
        for name, threshold in candidate.thresholds.items()
        if _judge_stored(candidate, against, name, threshold, EARLY_CONFIDENCE).outcome is not Outcome.PASS
    ]


def _judge_stored(
    candidate: Candidate, against: Against, name: str, threshold: float, confidence: float = CONFIDENCE
) -> Check:
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
    found = compare_sessions(own, stored, threshold, confidence)
    control = _checkpoint(candidate, against.baseline, name, threshold, confidence)
    return _session_check(arm, name, *weigh(found, control, against.busy), against)


@dataclass(frozen=True)
class Checkpoint:
    """The ``.pt`` as a control: itself since the stored sessions, and an engine beside it, launch by launch."""

    itself: ControlChange
    engine: SessionChange

    @property
    def said(self) -> str:
        """Both in words."""
        change = self.itself.change
        moved = f"the same .pt is {percent(abs(change))} {'slower' if change > 0 else 'faster'}"
        limits = f"{self.engine.lower * 100:.1f} % and {self.engine.upper * 100:.1f} %"
        return f"{moved}, and beside it the engine {self.engine.moved} (one-sided 95 % limits {limits})"


def weigh(found: SessionChange, control: Checkpoint | None, busy: str) -> tuple[SessionChange, str]:
    """Judge a change against stored sessions by what the ``.pt`` did meanwhile.

    Where the ``.pt`` surely changed, the machine did, for better or worse, and the engine is judged beside it. Where it
    did not, or is too noisy to tell, the engine is judged by itself; and with fewer than three sessions a slow-down
    fails only where it shows beside the ``.pt`` as well.

    Args:
        found: The engine against its stored sessions.
        control: The ``.pt``; None where none tells.
        busy: What kept the machine busy, if anything; it explains less than twice the time, and only where no ``.pt``
            tells.

    Returns:
        What was found with the outcome that this comes to, and why that is not its own; mostly empty.
    """
    if control is None:
        if found.significant and busy and found.change < BUSY_EXPLAINS:
            return replace(found, outcome=Outcome.INCONCLUSIVE), f"{busy}: it may be the machine"
        return found, ""
    beside = control.engine
    if not control.itself.is_sure:
        confirmed = found.significant and beside.significant
        return (replace(found, outcome=Outcome.FAIL) if confirmed else found), ""
    outcome = Outcome.FAIL if beside.significant else beside.outcome
    if outcome is Outcome.FAIL and found.outcome is Outcome.PASS:
        # The machine became faster and the engine slower, or the .pt alone became faster: none can tell.
        outcome = Outcome.INCONCLUSIVE
    said = control.said + (": it may be the machine" if outcome is Outcome.INCONCLUSIVE else "")
    improved = found.improved and beside.improved
    return replace(found, outcome=outcome, detectable=None, improved=improved), said


def _checkpoint(
    candidate: Candidate, baseline: Baseline, name: str, threshold: float, confidence: float
) -> Checkpoint | None:
    """Return what the ``.pt`` tells, from the stored sessions that timed the same bytes; None where none does."""
    both = [launch for launch in candidate.launches if REFERENCE in launch.arms]
    if not both:
        return None
    context, percentile = candidate.context, PERCENTILES[name]
    sha256 = both[0].arms[REFERENCE].sha256
    same = [s for s in baseline.sessions if s.reference and s.reference_sha256 == sha256]
    timed = baseline.model_copy(update={"sessions": tuple(same)})
    then_ms = timed.reference_ms(sha256, context, percentile)
    engine_then_ms = timed.per_session_ms(context, percentile)
    beside = candidate.latency.model_copy(update={"launches": tuple(both)})
    now_ms, engine_ms = (beside.per_launch_ms(arm, context, percentile) for arm in (REFERENCE, candidate.arm))
    stored = list(zip(engine_then_ms, then_ms, strict=False))
    if len(then_ms) != len(engine_then_ms) or not stored or not all(map(usable, (now_ms, *then_ms, *engine_then_ms))):
        return None
    ratios = compare_sessions(
        _ratios(engine_ms, now_ms), [_ratios(*session) for session in stored], threshold, confidence
    )
    return Checkpoint(control_change(REFERENCE, now_ms, then_ms), ratios)


def _ratios(times: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the ratio of each launch that has both: the first launches have."""
    return [time / other for time, other in zip(times, others, strict=False)]


def _session_check(arm: str, name: str, found: SessionChange, why: str, against: Against) -> Check:
    over = found.change >= found.threshold
    earlier_run, note = against.earlier_run, against.note
    reference, value = (MEDIAN, "") if earlier_run else (MEAN_OF_SESSIONS, f"{MEDIAN} ")
    sentence = (
        f"{arm}: {name} {found.moved} ({reference} {ms(found.reference_ms)} -> {value}{ms(found.value_ms)} ms), "
        f"{'more than ' if over else ''}{percent(found.threshold)} allowed"
    )
    if not earlier_run:
        sentence += f"; {found.sessions} stored session{'s' if found.sessions > 1 else ''}"
    sentence += f", one-sided 95 % limits {found.lower * 100:.1f} % and {found.upper * 100:.1f} %"
    if why:
        sentence += f", but {why}"
    elif found.outcome is Outcome.INCONCLUSIVE and found.significant:
        sentence += f", with fewer than {SESSIONS_TO_TRUST} stored sessions it may be the machine"
    elif found.outcome is Outcome.INCONCLUSIVE and over:
        sentence += "; one more session of the same engine might be as slow"
    elif found.outcome is Outcome.INCONCLUSIVE:
        sentence += "; so it may be slower than allowed, and more stored sessions would tell"
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
