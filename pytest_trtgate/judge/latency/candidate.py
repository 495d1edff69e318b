"""An engine to judge by its launches, and the baseline to judge it against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...records import Baseline, Context, LatencyRecord, Launch, is_replayed, replay_of, usable
from ...settings import PERCENTILES, Limit


@dataclass(frozen=True)
class Candidate:
    """An engine to judge.

    Attributes:
        latency: The launches of its model, in milliseconds.
        arm: The engine's precision.
        context: Which timing is gated.
        limits: Regression and budget per percentile (``p50``, ``p95``, ``p99``).
        family: How many percentiles the run gates against baselines, in all its cells: they share a level.
        baseline: Whose sessions tell how much launches differ on this machine; None if there are none.
    """

    latency: LatencyRecord
    arm: str
    context: Context
    limits: Mapping[str, Limit]
    family: int = 1
    baseline: Baseline | None = None

    @property
    def thresholds(self) -> dict[str, float]:
        """Per percentile that is gated against the baseline, the smallest slow-down worth failing for, as a ratio."""
        return {name: limit.regression for name, limit in self.limits.items() if limit.regression is not None}

    @property
    def budgets_ms(self) -> dict[str, float]:
        """Per percentile that has one, its budget."""
        return {name: limit.budget_ms for name, limit in self.limits.items() if limit.budget_ms is not None}

    @property
    def launches(self) -> tuple[Launch, ...]:
        """The launches that timed the engine."""
        return self.latency.of_arm(self.arm)

    @property
    def replay(self) -> str:
        """The arm that is the engine's stored baseline engine."""
        return replay_of(self.arm)

    @property
    def is_replayed(self) -> bool:
        """Whether that was timed beside it."""
        return is_replayed(self.latency, self.arm)

    def stored_ms(self, name: str) -> list[list[float]]:
        """Return one percentile of each launch of each stored session, in milliseconds."""
        sessions = self.baseline.per_session_ms(self.context, PERCENTILES[name]) if self.baseline is not None else []
        return [session for session in sessions if usable(session)]

    def per_launch_ms(self, name: str, arm: str = "") -> tuple[float, ...]:
        """Return one percentile of each launch that timed the engine, or another arm."""
        return self.latency.per_launch_ms(arm or self.arm, self.context, PERCENTILES[name])


@dataclass(frozen=True)
class Against:
    """A baseline to compare with.

    Attributes:
        baseline: Its record.
        same_engine: The candidate's bytes are the baseline's.
        note: Why the baseline engine was not timed, for the sentences.
        busy: What kept the machine busy before the launches; empty where it was quiet. What was timed side by side met
            the same, while a slow-down since a stored session may be no more than that, unless the ``.pt`` of both
            tells otherwise.
        earlier_run: The baseline is one earlier run, which nobody has accepted: the sentences call it that.
    """

    baseline: Baseline
    same_engine: bool = False
    note: str = ""
    busy: str = ""
    earlier_run: bool = False

    @property
    def name(self) -> str:
        """What the sentences call it."""
        return "the earlier run" if self.earlier_run else "the baseline"
