"""Baselines: what accepted runs measured of one cell, session by session."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from pydantic import Field

from .accuracy import AccuracySettings
from .base import FileRecord, Record
from .cell import CONTEXTS, Cell, Context, Environment
from .latency import LayerTime, MachineState, Timing
from .names import Name
from .tasks import Head
from .verdict import Outcome


class BaselineLaunch(Record):
    """One launch of a stored session, for one arm."""

    timings: dict[Context, Timing]
    state: MachineState = MachineState()


class BaselineSession(Record):
    """The launches of one accepted run, and in ``reference`` those of its ``.pt``."""

    recorded_at: str
    commit: str | None = None
    threads: int
    launches: tuple[BaselineLaunch, ...]
    reference_sha256: str = ""
    reference: tuple[BaselineLaunch, ...] = ()

    def levels_ms(self) -> dict[str, float]:
        """Return p50 and p95, medians over the launches to the microsecond, by names such as ``.pt end-to-end p50``."""
        arms = {"": self.launches, ".pt ": self.reference}
        return {
            f"{arm}{context} p{percent}": round(median(levels), 3)
            for arm, launches in arms.items()
            for context in CONTEXTS
            for percent in (50, 95)
            for levels in _per_session_ms((launches,), context, percent)
        }


class Baseline(FileRecord):
    """What an accepted run measured of one cell on one kind of machine.

    ``head``: where the engine's boxes are suppressed; None if unknown, and for a classifier. ``latest_ms``: medians
    over the launches of the last session, for readers of the file; no verdict uses them. ``sessions``: the last 20,
    oldest first. ``layers``: the slowest layers of a profiled engine.
    """

    cell: Cell
    environment: Environment
    engine_sha256: str
    cache_key: Name
    head: Head | None = None
    accuracy: dict[str, float]
    reference_accuracy: dict[str, float]
    latest_ms: dict[str, float] = Field(default_factory=dict)
    accuracy_settings: AccuracySettings | None = None
    images: int
    data_digest: str = ""
    sessions: tuple[BaselineSession, ...] = ()
    layers: tuple[LayerTime, ...] = ()

    def per_session_ms(self, context: Context, percent: int) -> list[list[float]]:
        """Return one percentile in milliseconds, per launch of each stored session that has it, oldest first."""
        return _per_session_ms((session.launches for session in self.sessions), context, percent)

    def reference_ms(self, sha256: str, context: Context, percent: int) -> list[list[float]]:
        """Return the same for the ``.pt`` with this SHA-256, from the sessions that timed it."""
        found = (session.reference for session in self.sessions if session.reference_sha256 == sha256)
        return _per_session_ms(found, context, percent)


def _per_session_ms(
    sessions: Iterable[tuple[BaselineLaunch, ...]], context: Context, percent: int
) -> list[list[float]]:
    timings = [[x.timings[context] for x in launches if context in x.timings] for launches in sessions]
    return [[timing.quantile_ms(percent) for timing in session] for session in timings if session]


class BaselineUse(FileRecord):
    """The baseline that a cell was judged against, as the report shows it."""

    path: str
    outcome: Outcome
    note: str = ""
    baseline: Baseline | None = None
