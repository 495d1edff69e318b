"""Baselines: what accepted runs measured, one JSON per cell, in git."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from ..errors import BaselineError, RecordError
from ..records import (
    REFERENCE,
    AccuracyRecord,
    Baseline,
    BaselineLaunch,
    BaselineSession,
    BaselineUse,
    Cell,
    EngineRecord,
    Environment,
    LatencyRecord,
    LayerProfile,
    Outcome,
    RunRecord,
    load,
    save,
)

KEEP_SESSIONS = 20
KEEP_LAYERS = 30
"""So many of the slowest layers are kept: the rest explains little, and the file is read by people."""


@dataclass(frozen=True)
class Measured:
    """What a run measured of one cell, complete enough for a baseline; ``reference`` is the accuracy of the ``.pt``."""

    cell: Cell
    engine: EngineRecord
    reference: AccuracyRecord
    accuracy: AccuracyRecord
    session: BaselineSession
    profile: LayerProfile | None = None

    @classmethod
    def of(cls, run: RunRecord, cell: Cell) -> Measured | None:
        """Return what a run has of a cell; None unless that is an engine, both accuracies and launches."""
        engine, latency = run.engines.get(cell.key), run.latencies.get(cell.model)
        reference, accuracy = run.accuracy(cell.model, REFERENCE), run.accuracy(cell.model, cell.precision)
        session = latency and session_of(latency, cell, run)
        if engine is None or not session or reference is None or accuracy is None:
            return None
        return cls(cell, engine, reference, accuracy, session, run.profiles.get(cell.key))


def session_of(latency: LatencyRecord, cell: Cell, run: RunRecord) -> BaselineSession | None:
    """Return a run's launches of one cell as a session to be stored; None where none timed it."""
    launches, references = latency.of_arm(cell.precision), latency.of_arm(REFERENCE)
    if not all(launch.arms[cell.precision].timings for launch in launches) or not launches:
        return None
    return BaselineSession(
        recorded_at=run.started_at,
        commit=run.environment.commit,
        threads=launches[0].threads,
        launches=tuple(
            BaselineLaunch(timings=launch.arms[cell.precision].timings, state=launch.after) for launch in launches
        ),
        reference_sha256=references[0].arms[REFERENCE].sha256 if references else "",
        reference=tuple(BaselineLaunch(timings=launch.arms[REFERENCE].timings) for launch in references),
    )


class BaselineStore:
    """The baselines under one folder, seen from one kind of machine.

    Args:
        root: The folder, usually ``baselines/`` in the project.
        environment: The machine that baselines are compared with.
    """

    def __init__(self, root: Path, environment: Environment) -> None:
        self.root = root
        self.environment = environment

    def path(self, cell: Cell) -> Path:
        """Return where the baseline of a cell is, or would be."""
        return self.root / self.environment.machine / _relative(cell)

    def find(self, cell: Cell) -> BaselineUse:
        """Return the baseline of a cell that this kind of machine has, or where else there is one.

        Raises:
            BaselineError: The file is damaged, of a newer schema, or of another cell.
        """
        path = self.path(cell)
        if not path.exists():
            return self._elsewhere(cell)
        try:
            baseline = load(path, Baseline)
        except RecordError as error:
            raise BaselineError(f"{error}; restore it, or replace it with pytest --trt-baselines=update") from error
        if baseline.cell.on_any_gpu != cell.on_any_gpu:
            raise BaselineError(f"{path}: is the baseline of {baseline.cell.key}, not of {cell.key}")
        return BaselineUse(path=str(path), outcome=Outcome.PASS, baseline=baseline)

    def has_any(self, cell: Cell) -> bool:
        """Return whether any kind of machine has a baseline of a cell."""
        return bool(self._of_all(cell))

    def _of_all(self, cell: Cell) -> list[Path]:
        return sorted(self.root.glob(f"*/{glob.escape(_relative(cell))}"))

    def _elsewhere(self, cell: Cell) -> BaselineUse:
        others = self._of_all(cell)
        if not others:
            return BaselineUse(path=str(self.path(cell)), outcome=Outcome.NO_BASELINE, note="no baseline yet")
        machines = ", ".join(p.relative_to(self.root).parts[0] for p in others)
        note = f"baselines exist for {machines}, this machine is {self.environment.machine}"
        return BaselineUse(path=str(self.path(cell)), outcome=Outcome.NO_BASELINE, note=note)

    def write(self, measured: Measured, before: Baseline | None, *, join: bool) -> Path:
        """Store what a run measured of a cell, and return the file.

        Args:
            measured: What it measured.
            before: The baseline of the same engine on the same machine, if there is one. Its layers stay where the run
                has none.
            join: Whether the launches join the sessions of that; else they replace them.

        Raises:
            BaselineError: The file cannot be written.
        """
        engine, accuracy, profile = measured.engine, measured.accuracy, measured.profile
        path = self.path(measured.cell)
        earlier = before.sessions if before and join else ()
        layers = profile.layers[:KEEP_LAYERS] if profile and profile.layers else before.layers if before else ()
        baseline = Baseline(
            cell=measured.cell,
            environment=self.environment,
            engine_sha256=engine.sha256,
            cache_key=engine.cache_key,
            head=engine.head,
            accuracy=accuracy.metrics,
            reference_accuracy=measured.reference.metrics,
            latest_ms=measured.session.levels_ms(),
            accuracy_settings=accuracy.settings,
            images=accuracy.images,
            data_digest=accuracy.data_digest,
            sessions=(*earlier, measured.session)[-KEEP_SESSIONS:],
            layers=layers,
        )
        try:
            save(path, baseline)
        except OSError as error:
            raise BaselineError(f"{path}: cannot be written ({error.strerror})") from error
        return path


def _relative(cell: Cell) -> str:
    return f"{cell.model}/{cell.precision}-{cell.imgsz}-b{cell.batch}.json"
