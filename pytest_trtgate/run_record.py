"""What a run decided, what it compared with, and the record of it all: ``run.json``."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from statistics import median
from typing import Any, Literal

from pydantic import Field

from .figures import AccuracyFigures, Course
from .media_records import CellPictures, VideoRecord
from .record_base import FileRecord, Record
from .records import (
    CONTEXTS,
    AccuracyRecord,
    AccuracySettings,
    Cell,
    Context,
    EngineRecord,
    Environment,
    LatencyRecord,
    LayerProfile,
    LayerTime,
    MachineState,
    Timing,
)
from .tasks import Head


class Outcome(str, Enum):
    """How a judgement ended, from best to worst."""

    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_BASELINE = "NO_BASELINE"
    INCOMPATIBLE = "INCOMPATIBLE"
    FAIL = "FAIL"
    ERROR = "ERROR"

    def __str__(self) -> str:
        return self.value

    @property
    def rank(self) -> int:
        """Position from best (0) to worst."""
        return list(Outcome).index(self)


BUSY = "machine-busy"
"""Id of the finding that other work used the machine."""
ALLOW_BUSY = "--allow-busy"
"""What has a run accepted though the machine was busy."""


class Check(Record):
    """One judged quantity: ``value`` against ``reference``, and the ``change`` between them against ``limit``.

    ``against`` is ``pt``, ``baseline``, ``budget``, ``finding`` or the name of another arm. ``unit`` is the unit
    of ``change`` and ``limit``: ``points`` for a drop in accuracy, ``ratio`` for a relative slow-down or a speed-up,
    ``ms``, ``mJ`` (energy per inference) or ``MB`` for a budget. ``low`` and ``high`` are limits of ``change``: a
    two-sided 95 % interval, or the two one-sided 95 % limits where those decided, as in accuracy's population mode.
    ``statistics`` says of what ``value`` and ``reference`` are made, where they are made of several values.
    """

    name: str
    against: str
    value: float | None = None
    reference: float | None = None
    statistics: tuple[str, str] | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    unit: Literal["points", "ratio", "ms", "mJ", "MB"] = "points"
    outcome: Outcome
    sentence: str


class Finding(Record):
    """Something that experience says to look at, named by ``id``; ``severity`` says whether it fails the run."""

    id: str
    severity: Literal["warn", "fail"]
    sentence: str
    remedy: str = ""


class EarlyFinding(Record):
    """What was found before anything was built, and which verdicts it concerns; an empty field means all of them."""

    finding: Finding
    models: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    def concerns(self, cell: Cell, subject: str) -> bool:
        """Return whether a verdict on a cell is concerned; any subject is, where none is given."""
        pairs = ((self.models, cell.model), (self.precisions, cell.precision), (self.subjects, subject))
        return all(not wanted or not one or one in wanted for wanted, one in pairs)


class Preflight(FileRecord):
    """What was found before anything was built, and how long that took."""

    findings: tuple[EarlyFinding, ...] = ()
    seconds: float = 0.0

    @property
    def busy(self) -> str:
        """What kept the machine busy before anything was measured, as the end of a sentence; empty where it was quiet.

        A user who switched the finding off has it empty too.
        """
        return " and ".join(one.finding.sentence for one in self.findings if one.finding.id == BUSY)


class Verdict(FileRecord):
    """What was decided of one cell's accuracy or latency, with the numbers that decided it.

    ``failed`` is the outcome after the user's policy: a missing baseline may be a failure or a note, and a failure may
    be waived for a while; ``waived`` says until when and why. ``accept`` is what would let all that the run gates pass,
    ``accept_cell`` a command for this cell alone.
    """

    cell: Cell
    subject: Literal["accuracy", "latency"]
    outcome: Outcome
    failed: bool
    summary: str
    checks: tuple[Check, ...] = ()
    findings: tuple[Finding, ...] = ()
    accept: str = ""
    accept_cell: str = ""
    rerun: str = ""
    log_tail: str = ""
    waived: str = ""


class BaselineLaunch(Record):
    """One launch of a stored session, for one arm."""

    timings: dict[Context, Timing]
    state: MachineState = MachineState()


class BaselineSession(Record):
    """One accepted run's launches, and what the ``.pt`` of ``reference_sha256`` took in them."""

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

    ``head``: where the engine's boxes were thinned out; None where that is not known, and for a classifier.
    ``latest_ms``: for who reads the file, medians over the launches of the last session; nothing is judged by them.
    ``sessions``: the last 20, oldest first. ``layers``: the slowest of the engine's, where it was profiled.
    """

    cell: Cell
    environment: Environment
    engine_sha256: str
    cache_key: str
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
        """Return one percentile per launch of each stored session that has it, in milliseconds, oldest first."""
        return _per_session_ms((session.launches for session in self.sessions), context, percent)

    def reference_ms(self, sha256: str, context: Context, percent: int) -> list[list[float]]:
        """Return the same of the ``.pt`` with these bytes, of the sessions that timed it."""
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


Phase = Literal["start", "imports", "load", "warm-up", "images", "work", "write"]
"""Parts of a job: its process starts, imports libraries, loads models, warms up, waits for images to be decoded, does
what it is for, and writes what it found."""


class JobRecord(FileRecord):
    """One piece of work in a process of its own.

    ``began_s``: when it began, in seconds since the epoch; None in records of older versions.

    ``phases``: how many seconds of it each phase took, as its process says. What is left of ``seconds`` is the wait for
    the device and the end of the process. Empty where the job failed. ``ahead_s``: how long its process had imported
    before the job began, beside other work; not part of ``seconds``. Of copies of one process, the first tells.
    """

    name: str
    kind: str
    seconds: float
    ok: bool
    began_s: float | None = None
    log: str = ""
    phases: dict[Phase, float] = Field(default_factory=dict)
    ahead_s: float = 0.0


INTERRUPTED = "the run was interrupted"
"""What a run's ``unfinished`` says where it did not come to its end."""


class RunRecord(FileRecord):
    """Everything one run planned, measured and decided: ``run.json``, the source of every report.

    Engines, baselines, profiles, pictures, figures and courses are keyed by :attr:`Cell.key`, latencies by model name;
    accuracies are one per model and arm, videos one per model and clip. Courses are of the gated context.
    ``accept_cells`` is a command for all cells at once that a verdict has a command for, where those are several.
    """

    run_id: str
    plugin_version: str
    command: str
    started_at: str
    seconds: float
    environment: Environment
    settings: dict[str, Any]
    cells: tuple[Cell, ...]
    engines: dict[str, EngineRecord] = Field(default_factory=dict)
    accuracies: tuple[AccuracyRecord, ...] = ()
    latencies: dict[str, LatencyRecord] = Field(default_factory=dict)
    baselines: dict[str, BaselineUse] = Field(default_factory=dict)
    profiles: dict[str, LayerProfile] = Field(default_factory=dict)
    pictures: dict[str, CellPictures] = Field(default_factory=dict)
    videos: tuple[VideoRecord, ...] = ()
    preflight: Preflight = Preflight()
    figures: dict[str, AccuracyFigures] = Field(default_factory=dict)
    courses: dict[str, tuple[Course, ...]] = Field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    accept_cells: str = ""
    jobs: tuple[JobRecord, ...] = ()
    notes: tuple[str, ...] = ()
    unfinished: str = ""

    def accuracy(self, model: str, arm: str) -> AccuracyRecord | None:
        """Return the accuracy of one arm of one model, or None where it was not measured."""
        return next((a for a in self.accuracies if a.model == model and a.arm == arm), None)

    def counts(self) -> dict[Outcome, int]:
        """Return how many verdicts ended in each outcome; outcomes that did not occur are 0."""
        return {outcome: sum(v.outcome is outcome for v in self.verdicts) for outcome in Outcome}

    def findings(self) -> tuple[Finding, ...]:
        """Return what preflight and verdicts found, those that fail the run first; what several found stands once.

        What concerns nothing that was measured or judged is left out, unless nothing was.
        """
        about = {(v.cell, v.subject) for v in self.verdicts}
        about |= {(cell, "accuracy") for cell in self.cells if cell.key in self.engines}
        about |= {(cell, "latency") for cell in self.cells if cell.model in self.latencies}
        early = [e for e in self.preflight.findings if not about or any(e.concerns(*one) for one in about)]
        found = dict.fromkeys(one.finding for one in early)
        found |= dict.fromkeys(finding for verdict in self.verdicts for finding in verdict.findings)
        return tuple(sorted(found, key=lambda finding: finding.severity))

    @property
    def failed(self) -> bool:
        """Whether any verdict failed the run."""
        return any(v.failed for v in self.verdicts)
