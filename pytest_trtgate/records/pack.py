"""The manifest of a release pack: an engine that passed, and the evidence for it."""

from __future__ import annotations

from typing import Any

from .base import FileDigest, FileRecord, Record
from .cell import Cell, Environment
from .engine import Calibration
from .given import Layout
from .names import Name
from .tasks import Task
from .verdict import Subject, Verdict


class EvaluationData(Record):
    """The images that an engine was evaluated on; ``digest`` is of all of them and of their labels."""

    split: str
    images: int
    instances: int
    digest: str


class PackManifest(FileRecord):
    """The manifest of a release pack: ``manifest.json``. It has the same bytes whenever the same run is promoted.

    Attributes:
        run_id: The run that judged the engine; ``started_at`` says when it began.
        plugin_version: The version of pytest-trtgate that ran it.
        commit: The commit of the project that was gated; None outside of a repository.
        cell: What the engine is.
        artifact: The engine's file in the pack.
        report: The page in the pack.
        weights_sha256: The SHA-256 of the checkpoint; empty if unknown.
        calibration: The images that an INT8 engine was calibrated on, by their digest; None for others.
        data: The images that it was evaluated on.
        environment: Machine, GPU, driver and versions of the run.
        settings: The settings of the run, limits among them.
        task: What the network does, which tells what the metrics are of.
        metrics: The engine's accuracy, by metric; ``reference_metrics`` is that of the checkpoint.
        verdicts: The verdicts on accuracy and latency, with the numbers and limits that decided them.
        waived: Whichever of them failed and is waived; empty where all passed.
        given: How the outputs of an engine that was given are laid out; None of one that the run built.
        sidecar_sha256: The SHA-256 of what described that beside it; empty where nothing did.
    """

    run_id: Name
    started_at: str
    plugin_version: str
    commit: str | None
    cell: Cell
    artifact: FileDigest
    report: FileDigest
    weights_sha256: str
    calibration: Calibration | None
    data: EvaluationData
    environment: Environment
    settings: dict[str, Any]
    task: Task
    metrics: dict[str, float]
    reference_metrics: dict[str, float]
    verdicts: tuple[Verdict, ...]
    waived: tuple[Subject, ...] = ()
    given: Layout | None = None
    sidecar_sha256: str = ""

    @property
    def files(self) -> tuple[FileDigest, ...]:
        """The files whose digests it has: all but itself, the list of sums and the signature."""
        return self.artifact, self.report
