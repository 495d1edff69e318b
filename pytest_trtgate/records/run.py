"""The record of a whole run: ``run.json``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .accuracy import AccuracyRecord
from .base import FileRecord
from .baseline import AccuracyUse, BaselineUse
from .cell import Cell, Environment
from .engine import EngineRecord
from .explanation import Explanation
from .figures import AccuracyFigures, Course
from .latency import LatencyRecord, LayerProfile
from .media import CellPictures, VideoRecord
from .names import InnerPath, Name
from .verdict import Finding, Outcome, Preflight, Verdict

Phase = Literal["start", "imports", "load", "warm-up", "images", "work", "write"]
"""Parts of a job: its process starts, imports libraries, loads models, warms up, waits for images to be decoded, works,
and writes its answer."""


class JobRecord(FileRecord):
    """One job, in a process of its own.

    ``began_s``: when it began, in seconds since the epoch; None in older records. ``phases``: seconds of each phase,
    empty if the job failed; the rest of ``seconds`` is the wait for the device and the end of the process. ``ahead_s``:
    how long its process imported before the job began, not part of ``seconds``; of several copies of a process, the
    first reports it.
    """

    name: str
    kind: str
    seconds: float
    ok: bool
    began_s: float | None = None
    log: InnerPath = ""
    phases: dict[Phase, float] = Field(default_factory=dict)
    ahead_s: float = 0.0


INTERRUPTED = "the run was interrupted"
"""``RunRecord.unfinished`` of an interrupted run."""


class RunRecord(FileRecord):
    """Everything one run planned, measured and decided: ``run.json``, the source of every report.

    Engines, baselines, profiles, pictures, figures, explanations and courses are keyed by :attr:`Cell.key`, latencies
    by model name; there is one accuracy per model and arm, and one video per model and clip. Courses are of the gated
    context.
    ``accept_cells``: one command for all cells whose verdicts offer a command, if there are several.
    """

    run_id: Name
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
    accuracy_baselines: dict[str, AccuracyUse] = Field(default_factory=dict)
    profiles: dict[str, LayerProfile] = Field(default_factory=dict)
    pictures: dict[str, CellPictures] = Field(default_factory=dict)
    videos: tuple[VideoRecord, ...] = ()
    preflight: Preflight = Preflight()
    figures: dict[str, AccuracyFigures] = Field(default_factory=dict)
    courses: dict[str, tuple[Course, ...]] = Field(default_factory=dict)
    explanations: dict[str, Explanation] = Field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    accept_cells: str = ""
    jobs: tuple[JobRecord, ...] = ()
    notes: tuple[str, ...] = ()
    unfinished: str = ""

    def other_builds(self, model: str, precision: str) -> list[AccuracyRecord]:
        """Return the accuracies of further builds of an engine, which ``accuracy.builds`` asks for."""
        return [a for a in self.accuracies if a.model == model and a.arm.startswith(f"{precision}-")]

    def accuracy(self, model: str, arm: str) -> AccuracyRecord | None:
        """Return the accuracy of one arm of one model; None if not measured."""
        return next((a for a in self.accuracies if a.model == model and a.arm == arm), None)

    def counts(self) -> dict[Outcome, int]:
        """Return how many verdicts ended in each outcome."""
        return {outcome: sum(v.outcome is outcome for v in self.verdicts) for outcome in Outcome}

    def findings(self) -> tuple[Finding, ...]:
        """Return the findings of preflight and verdicts, each once, those that fail the run first.

        An early finding that concerns nothing measured or judged is left out, unless nothing was.
        """
        about = {(v.cell, v.subject) for v in self.verdicts}
        about |= {(cell, "accuracy") for cell in self.cells if cell.key in self.engines}
        about |= {(cell, "latency") for cell in self.cells if cell.model in self.latencies}
        early = [e for e in self.preflight.findings if not about or any(e.concerns(*one) for one in about)]
        found = dict.fromkeys(one.finding for one in early)
        found |= dict.fromkeys(finding for verdict in self.verdicts for finding in verdict.findings)
        return tuple(sorted(found, key=lambda finding: finding.severity))

    @property
    def has_checkpoint(self) -> bool:
        """Whether any model of the run is a checkpoint, and not an ONNX file as the reference of given engines."""
        models = [str(one.get("path") if isinstance(one, dict) else one) for one in self.settings.get("models") or ()]
        return not models or not all(model.lower().endswith(".onnx") for model in models)

    @property
    def failed(self) -> bool:
        """Whether any verdict failed the run."""
        return any(v.failed for v in self.verdicts)
