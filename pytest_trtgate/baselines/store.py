"""Baselines: what accepted runs measured, one JSON per cell, in git."""

from __future__ import annotations

from pathlib import Path

from ..errors import BaselineError, RecordError
from ..machine import differences
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
    load,
    save,
)

KEEP_SESSIONS = 20
KEEP_LAYERS = 30
"""So many of the slowest layers are kept: the rest explains little, and the file is read by people."""


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
        """Return the baseline of a cell, and whether this machine's latencies may be compared with it.

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
        differing = differences(self.environment, baseline.environment)
        if differing:
            note = "latency is not comparable: " + "; ".join(differing)
            return BaselineUse(path=str(path), outcome=Outcome.INCOMPATIBLE, note=note, baseline=baseline)
        return BaselineUse(path=str(path), outcome=Outcome.PASS, baseline=baseline)

    def _elsewhere(self, cell: Cell) -> BaselineUse:
        others = sorted(self.root.glob(f"*/{_glob_escape(_relative(cell))}"))
        if not others:
            return BaselineUse(path=str(self.path(cell)), outcome=Outcome.NO_BASELINE, note="no baseline yet")
        machines = ", ".join(p.relative_to(self.root).parts[0] for p in others)
        note = f"baselines exist for {machines}, this machine is {self.environment.machine}"
        return BaselineUse(path=str(self.path(cell)), outcome=Outcome.NO_BASELINE, note=note)

    def write(
        self,
        cell: Cell,
        engine: EngineRecord,
        reference: AccuracyRecord,
        accuracy: AccuracyRecord,
        latency: LatencyRecord,
        recorded_at: str,
        join: bool,
        profile: LayerProfile | None = None,
    ) -> Path:
        """Store what a run measured of a cell.

        Args:
            cell: The cell.
            engine: Its engine.
            reference: Accuracy of the ``.pt``.
            accuracy: Accuracy of the engine.
            latency: The run's launches.
            recorded_at: When they were made.
            join: Whether the launches join the stored sessions, which must be of the same engine; else they replace
                them.
            profile: Its layers; without, those that are stored stay while the engine is the same.

        Returns:
            The file that was written.

        Raises:
            BaselineError: The file cannot be written.
        """
        session = self.session(cell, latency, recorded_at)
        path = self.path(cell)
        before = self.of_engine(cell, engine)
        earlier = before.sessions if before and join else ()
        layers = profile.layers[:KEEP_LAYERS] if profile and profile.layers else before.layers if before else ()
        baseline = Baseline(
            cell=cell,
            environment=self.environment,
            engine_sha256=engine.sha256,
            cache_key=engine.cache_key,
            head=engine.head,
            accuracy=accuracy.metrics,
            reference_accuracy=reference.metrics,
            latest_ms=session.levels_ms(),
            accuracy_settings=accuracy.settings,
            images=accuracy.images,
            data_digest=accuracy.data_digest,
            sessions=(*earlier, session)[-KEEP_SESSIONS:],
            layers=layers,
        )
        try:
            save(path, baseline)
        except OSError as error:
            raise BaselineError(f"{path}: cannot be written ({error.strerror})") from error
        return path

    def session(self, cell: Cell, latency: LatencyRecord, recorded_at: str) -> BaselineSession:
        """Return a run's launches of one cell as a session to be stored."""
        launches, references = latency.of_arm(cell.precision), latency.of_arm(REFERENCE)
        return BaselineSession(
            recorded_at=recorded_at,
            commit=self.environment.commit,
            threads=launches[0].threads,
            launches=tuple(
                BaselineLaunch(timings=launch.arms[cell.precision].timings, state=launch.after) for launch in launches
            ),
            reference_sha256=references[0].arms[REFERENCE].sha256 if references else "",
            reference=tuple(BaselineLaunch(timings=launch.arms[REFERENCE].timings) for launch in references),
        )

    def of_engine(self, cell: Cell, engine: EngineRecord) -> Baseline | None:
        """Return what is stored of the cell on this kind of machine, if it is of the engine's bytes."""
        try:
            use = self.find(cell)
        except BaselineError:
            return None  # a damaged file is being replaced
        if use.baseline is None or use.outcome is not Outcome.PASS or use.baseline.engine_sha256 != engine.sha256:
            return None
        return use.baseline


def _relative(cell: Cell) -> str:
    return f"{cell.model}/{cell.precision}-{cell.imgsz}-b{cell.batch}.json"


def _glob_escape(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
