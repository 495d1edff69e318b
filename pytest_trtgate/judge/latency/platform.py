"""What became slower or faster for all since the stored sessions: the machine, its driver or its power, not an engine.

Two arms of a run are the same as in the stored sessions, byte by byte: the accepted engine, which is timed again, and
the ``.pt``. They are controls. What both of them gained or lost is no engine's doing, and no comparison inside the run
can see it, since it moves all arms alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...records import REFERENCE, Baseline, Context, LatencyRecord, replay_of, usable
from .fitness import why_unfit
from .sequential import as_ratio
from .sessions import Shift

CONFIDENCE = 0.99
"""Of the two-sided limits. A machine that did not change is called changed in 0.8 % of simulated runs at most where
sessions spread by 2 %, and in 2.2 % where they spread by 3 %."""
LIKE_STORED = 0.9
"""Of the two-sided limits by a single launch. Where they do not hold what was stored, more launches are made, to be
judged at the confidence above. It misses what they would tell in 6 % of simulated runs at most."""


ALONE = 0.5
"""From this change on, an engine of the same bytes is told of though the ``.pt`` did not change with it."""


@dataclass(frozen=True, kw_only=True)
class ControlChange:
    """How much slower an arm is that has the bytes it had in the stored sessions.

    Attributes:
        arm: Its name in this run.
        then_ms: Geometric mean over the stored sessions of their medians.
        now_ms: Median over the launches.
        change: The slow-down, as a ratio: 0.15 is 15 % slower, -0.15 faster.
        lower: The lower 99 % limit of it.
        upper: The upper one.
        sessions: How many sessions are stored.
    """

    arm: str
    then_ms: float
    now_ms: float
    change: float
    lower: float
    upper: float
    sessions: int

    @property
    def is_sure(self) -> bool:
        """Whether it changed by more than sessions of one machine differ."""
        return self.lower > 0 or self.upper < 0


@dataclass(frozen=True, kw_only=True)
class PlatformChange:
    """What all controls share since the stored sessions.

    Attributes:
        controls: The accepted engine and the ``.pt``, or the one of them that could be compared.
        change: The slow-down that all share, as a ratio: the smallest of theirs; 0 where one is slower, one faster.
        lower: The lowest of their lower limits: the shared slow-down is at least this.
        upper: The highest of their upper limits.
        confidence: Of these limits, two-sided.
    """

    controls: tuple[ControlChange, ...]
    change: float
    lower: float
    upper: float
    confidence: float = CONFIDENCE

    @property
    def sessions(self) -> int:
        """The fewest stored sessions that a control was compared with."""
        return min(control.sessions for control in self.controls)

    @property
    def is_sure(self) -> bool:
        """Whether every control changed, all in one direction, by more than sessions of one machine differ."""
        return self.lower > 0 or self.upper < 0

    @property
    def alone(self) -> ControlChange | None:
        """The accepted engine, where it surely changed by far and the ``.pt`` did not change with it; else None.

        Its bytes are what they were, so what is around it changed: threads, libraries, or what runs beside it.
        """
        engine = self.controls[0]
        far = abs(math.log1p(engine.change)) >= math.log1p(ALONE)
        return engine if engine.arm != REFERENCE and engine.is_sure and far and not self.is_sure else None


def platform_change(
    latency: LatencyRecord,
    baseline: Baseline,
    context: Context = "engine",
    percent: int = 50,
    confidence: float = CONFIDENCE,
) -> PlatformChange | None:
    """Return by how much a model's launches are slower, for all arms alike, than a baseline's stored sessions.

    Every control is compared with the interval in which one more session of it would fall. All have to be out of
    theirs, so that the chance of a false alarm is at most that of one of them.

    Args:
        latency: The launches of a model.
        baseline: One of its cells': the accepted engine is found by its bytes, be it replayed or built again.
        context: Which timing.
        percent: Which percentile.
        confidence: Of the two-sided limits.

    Returns:
        None where no arm has the bytes of then, no session is stored, or a launch was not fit to be judged.
    """
    precision = baseline.cell.precision
    engines = [arm for arm in (replay_of(precision), precision) if _has_bytes(latency, arm, baseline.engine_sha256)]
    stored = {arm: baseline.per_session_ms(context, percent) for arm in engines[:1]}
    if checkpoint := latency.of_arm(REFERENCE):
        sha256 = checkpoint[0].arms[REFERENCE].sha256
        stored[REFERENCE] = baseline.reference_ms(sha256, context, percent)
    controls = tuple(
        control_change(arm, now, then, confidence)
        for arm, then in stored.items()
        if usable(now := latency.per_launch_ms(arm, context, percent)) and then and all(map(usable, then))
    )
    if not controls or why_unfit(latency):
        return None
    return shared(controls, confidence)


def shared(controls: tuple[ControlChange, ...], confidence: float = CONFIDENCE) -> PlatformChange:
    """Return what some controls share; there is at least one."""
    changes = [control.change for control in controls]
    least = 0.0 if min(changes) < 0 < max(changes) else min(changes, key=abs)
    lower, upper = min(control.lower for control in controls), max(control.upper for control in controls)
    return PlatformChange(controls=controls, change=least, lower=lower, upper=upper, confidence=confidence)


def control_change(
    arm: str, now_ms: Sequence[float], stored_ms: Sequence[Sequence[float]], confidence: float = CONFIDENCE
) -> ControlChange:
    """Compare the launches of an arm with stored sessions of the same bytes.

    Args:
        arm: Its name.
        now_ms: One percentile per launch, in milliseconds.
        stored_ms: The same per stored session and launch; at least one session.
        confidence: Of the two-sided limits.
    """
    shift = Shift.of(now_ms, stored_ms)
    lower, upper = shift.limits((1 + confidence) / 2)
    return ControlChange(
        arm=arm,
        then_ms=math.exp(shift.then),
        now_ms=math.exp(shift.then + shift.change),
        change=as_ratio(shift.change),
        lower=lower,
        upper=upper,
        sessions=len(stored_ms),
    )


def _has_bytes(latency: LatencyRecord, arm: str, sha256: str) -> bool:
    return any(launch.arms[arm].sha256 == sha256 for launch in latency.of_arm(arm))
