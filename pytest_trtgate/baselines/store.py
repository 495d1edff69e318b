"""Baselines: what accepted runs measured, in git; per cell one JSON of its accuracy, and one per kind of machine."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import BaselineError, RecordError
from ..judge.latency.sessions import SESSIONS_TO_TRUST
from ..machine import former_machine
from ..records import (
    NONE_YET,
    REFERENCE,
    Accepted,
    AccuracyBaseline,
    AccuracyRecord,
    AccuracyUse,
    Baseline,
    BaselineLaunch,
    BaselineSession,
    BaselineUse,
    Built,
    Cell,
    EngineRecord,
    Environment,
    LatencyRecord,
    LayerProfile,
    Outcome,
    RunRecord,
    as_json,
    load,
    read_text,
    save,
    usable,
)

KEEP_SESSIONS = 20
KEEP_BYTES = 8000
"""So large a file may be: people read it. Beyond that the oldest sessions go, but for :data:`SESSIONS_TO_TRUST`."""
KEEP_LAYERS = 15
"""So many of the slowest layers are kept: the rest explains little."""
ACCURACY = "accuracy"
"""The folder of accuracies, beside those of kinds of machines."""
RESTORE = "restore it, or replace it with pytest --trt-baselines=update"
B = TypeVar("B", bound=Accepted)


@dataclass(frozen=True)
class Measured:
    """What a run measured and judged of one cell; ``reference`` is the accuracy of the ``.pt``.

    Accuracies or the session are None where the run did not judge them.
    """

    cell: Cell
    engine: EngineRecord
    reference: AccuracyRecord | None
    accuracy: AccuracyRecord | None
    session: BaselineSession | None
    recorded_at: str
    profile: LayerProfile | None = None

    @classmethod
    def of(cls, run: RunRecord, cell: Cell) -> Measured | None:
        """Return what a run has of a cell; None where something that it judged is missing."""
        judged = {verdict.subject for verdict in run.verdicts if verdict.cell == cell}
        engine, latency = run.engines.get(cell.key), run.latencies.get(cell.model)
        reference, accuracy = (run.accuracy(cell.model, arm) for arm in (REFERENCE, cell.precision))
        session = session_of(latency, cell, run) if latency and "latency" in judged else None
        if "accuracy" not in judged or reference is None:
            accuracy = None
        if session is None and engine is not None and not engine.runs:
            judged.discard("latency")  # predictions may come without times
        complete = ("accuracy" not in judged or accuracy) and ("latency" not in judged or session)
        # Of a record that was edited: what is stored has to be read again.
        metrics = [v for one in (reference, accuracy) if one and accuracy for v in one.metrics.values()]
        arms = [*session.launches, *session.reference] if session else []
        times = [timing.quantiles_ms for arm in arms for timing in arm.timings.values()]
        can_be_stored = all(0 <= value <= 1 for value in metrics) and all(map(usable, times))
        if engine is None or not judged or not complete or not can_be_stored:
            return None
        return cls(cell, engine, reference, accuracy, session, run.started_at, run.profiles.get(cell.key))

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the checkpoint; empty if unknown."""
        known = self.session.reference_sha256 if self.session else ""
        return str(self.engine.key_parts.get("weights", known))


def session_of(latency: LatencyRecord, cell: Cell, run: RunRecord) -> BaselineSession | None:
    """Return a run's launches of one cell as a session to be stored; None where none timed it."""
    launches, references = latency.of_arm(cell.precision), latency.of_arm(REFERENCE)
    if not all(launch.arms[cell.precision].timings for launch in launches) or not launches:
        return None
    return BaselineSession(
        recorded_at=run.started_at,
        commit=run.environment.commit,
        threads=launches[0].threads,
        busy=run.preflight.busy,
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

    @property
    def _here(self) -> Environment:
        """The machine; the commit is that of a session or of an accuracy."""
        return self.environment.model_copy(update={"commit": None})

    def path(self, cell: Cell) -> Path:
        """Return where the baseline of a cell's latency is, or would be."""
        return self.root / self.environment.machine / _relative(cell)

    def accuracy_path(self, cell: Cell) -> Path:
        """Return where the baseline of a cell's accuracy is, or would be."""
        return self.root / ACCURACY / cell.model / f"{_shape(cell)}-{cell.backend}.json"

    def there(self, cell: Cell) -> Path | None:
        """Return the file with the latency of a cell on this kind of machine, by the name that it has or had."""
        former = self.root / former_machine(self.environment) / _relative(cell)
        return next((path for path in (self.path(cell), former) if path.exists()), None)

    def find(self, cell: Cell) -> BaselineUse:
        """Return the latency of a cell that this kind of machine has, or where else there is one.

        Raises:
            BaselineError: The file is damaged, of a newer schema, or of another cell.
        """
        path = self.there(cell)
        if path is None:
            return BaselineUse(path=str(self.path(cell)), outcome=Outcome.NO_BASELINE, note=self._elsewhere(cell))
        baseline = load_baseline(path, Baseline)
        _check_cell(path, baseline.cell.on_any_gpu, cell.on_any_gpu)
        return BaselineUse(path=str(path), outcome=Outcome.PASS, baseline=baseline)

    def find_accuracy(self, cell: Cell) -> AccuracyUse:
        """Return the accepted accuracy of a cell: of this backend, else of another, whichever machine it is of.

        Files of older versions have it beside the latency of a machine.

        Raises:
            BaselineError: The file is damaged, of a newer schema, or of another cell.
        """
        own = self.accuracy_path(cell)
        others = sorted(own.parent.glob(f"{glob.escape(_shape(cell))}-*.json"))
        if own.exists():
            return AccuracyUse(path=str(own), outcome=Outcome.PASS, baseline=_accuracy_in(own, cell))
        here = self.there(cell)
        older = [here] if here else []
        older += [path for path in self._of_machines(cell) if path != here]
        of_backend = [path for path in older if _backend_of(path) == cell.backend]
        for path in [*of_backend, *others, *older]:
            try:
                accuracy = _accuracy_in(path, cell)
            except BaselineError:
                if path == here:
                    raise
                continue
            if accuracy is not None:
                return AccuracyUse(path=str(path), outcome=Outcome.PASS, baseline=accuracy)
        return AccuracyUse(path=str(own), outcome=Outcome.NO_BASELINE, note=self._other_shape(cell))

    def former_name(self, cell: Cell, weights_sha256: Mapping[str, str]) -> str:
        """Return the name under which there are baselines of a cell's checkpoint, if none of its models has that now.

        Args:
            cell: The cell.
            weights_sha256: The SHA-256 of each model's checkpoint.
        """
        names = tuple(_shape(cell) + end for end in ".-")
        found = (path for path in self.root.glob("*/*/*.json") if path.name.startswith(names))
        others = (path for path in sorted(found) if path.parts[-2] not in weights_sha256)
        sha256 = weights_sha256[cell.model]
        return next((one.cell.model for path in others if (one := any_baseline(path)) and one.is_of(sha256)), "")

    def has_any(self, cell: Cell) -> bool:
        """Return whether there is an accuracy of a cell, or any kind of machine has a latency of it."""
        accuracies = self.accuracy_path(cell).parent.glob(f"{glob.escape(_shape(cell))}-*.json")
        return bool(self._of_machines(cell)) or any(accuracies)

    def _of_machines(self, cell: Cell) -> list[Path]:
        return sorted(self.root.glob(f"*/{glob.escape(_relative(cell))}"))

    def _elsewhere(self, cell: Cell) -> str:
        others = self._of_machines(cell)
        if not others:
            return self._other_shape(cell)
        machines = ", ".join(path.relative_to(self.root).parts[0] for path in others)
        return f"baselines exist for {machines}, this machine is {self.environment.machine}"

    def _other_shape(self, cell: Cell) -> str:
        """Return that there is none yet, and of which image sizes and batches there are some."""
        files = sorted(self.root.glob(f"*/{glob.escape(cell.model)}/{cell.precision}-*-b*.json"))
        found = (re.match(r"[^-]+-(\d+)-b(\d+)[.-]", path.name) for path in files)
        there = dict.fromkeys((int(shape[1]), int(shape[2])) for shape in found if shape)
        there.pop((cell.imgsz, cell.batch), None)
        others = [f"imgsz {size} at batch {batch}" for size, batch in there]
        this = f"this is imgsz {cell.imgsz} at batch {cell.batch}"
        return f"{NONE_YET}; there are some of {', '.join(others)}, {this}" if others else NONE_YET

    def write(self, measured: Measured, before: Baseline | None, accepted: Sequence[str] = (), *, join: bool) -> Path:
        """Store the latency that a run measured of a cell, and return the file.

        Args:
            measured: What it measured.
            before: The baseline of the same engine on the same machine, if there is one. Its layers stay where the run
                has none.
            accepted: What was judged of it, in sentences.
            join: Whether the launches join the sessions of that; else they replace them.

        Raises:
            BaselineError: The file cannot be written.
        """
        engine, profile, session = measured.engine, measured.profile, measured.session
        assert session is not None
        layers = profile.layers[:KEEP_LAYERS] if profile and profile.layers else before.layers if before else ()
        baseline = Baseline(
            cell=measured.cell.on(),  # the folder names the machine
            environment=self._here,
            engine_sha256=engine.sha256,
            weights_sha256=measured.weights_sha256,
            built=Built.of(engine),
            accepted=tuple(accepted),
            cache_key=engine.cache_key,
            head=engine.head,
            sessions=(*(seen_from(self.environment, before) if before and join else ()), session)[-KEEP_SESSIONS:],
            layers=layers,
        )
        self._take_accuracy(measured.cell)
        return save_baseline(self.path(measured.cell), fitting(baseline))

    def _take_accuracy(self, cell: Cell) -> None:
        """Keep the accuracy that an older version stored beside a latency that is replaced."""
        older = any_baseline(self.path(cell)) if self.path(cell).exists() else None
        accuracy = AccuracyBaseline.of(older) if isinstance(older, Baseline) else None
        if accuracy is not None and not self.accuracy_path(cell).exists():
            save_baseline(self.accuracy_path(cell), accuracy)

    def write_accuracy(self, measured: Measured, accepted: Sequence[str] = ()) -> Path:
        """Store the accuracy that a run measured of a cell, and return the file; arguments and errors as above."""
        accuracy, reference = measured.accuracy, measured.reference
        assert accuracy is not None
        assert reference is not None
        baseline = AccuracyBaseline(
            cell=measured.cell.on(),  # the folder names the machine
            environment=self._here,
            engine_sha256=measured.engine.sha256,
            weights_sha256=measured.weights_sha256,
            built=Built.of(measured.engine),
            accepted=tuple(accepted),
            accuracy=accuracy.metrics,
            reference_accuracy=reference.metrics,
            accuracy_settings=accuracy.settings,
            images=accuracy.images,
            data_digest=accuracy.data_digest,
            recorded_at=measured.recorded_at,
            commit=self.environment.commit,
        )
        return save_baseline(self.accuracy_path(measured.cell), baseline)


def seen_from(now: Environment, before: Baseline) -> Iterator[BaselineSession]:
    """Yield stored sessions that tell what was otherwise on their machine than it is now."""
    here = now.platform
    for session in before.sessions:
        then = dict.fromkeys(here, "") | before.platform_of(session)
        platform = {name: value for name, value in then.items() if value != here.get(name, "")}
        yield session.model_copy(update={"platform": platform})


def fitting(baseline: Baseline) -> Baseline:
    """Return a baseline without the oldest sessions that would make its file larger than people read."""
    while len(baseline.sessions) > SESSIONS_TO_TRUST and len(as_json(baseline)) > KEEP_BYTES:
        baseline = baseline.model_copy(update={"sessions": baseline.sessions[1:]})
    return baseline


def save_baseline(path: Path, baseline: Accepted) -> Path:
    """Write a baseline, and return its file.

    Raises:
        BaselineError: It cannot be written.
    """
    try:
        save(path, baseline)
    except OSError as error:
        raise BaselineError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def load_baseline(path: Path, kind: type[B]) -> B:
    """Return a baseline that is a file.

    Raises:
        BaselineError: It is damaged, of a newer schema, or holds what a merge could not decide.
    """
    try:
        return load(path, kind)
    except RecordError as error:
        why = "holds conflict markers of a merge; run trtgate baseline resolve, which makes one of both sides"
        said = f"{path}: {why}" if has_conflict(path) else f"{error}; {RESTORE}"
        raise BaselineError(said) from error


def load_either(path: Path) -> AccuracyBaseline | Baseline:
    """Return a baseline of either kind that is a file; raises as above."""
    if path.parts[-3] == ACCURACY:
        return load_baseline(path, AccuracyBaseline)
    return load_baseline(path, Baseline)


def any_baseline(path: Path) -> AccuracyBaseline | Baseline | None:
    """Return a baseline of either kind that is a file; None where it is damaged."""
    with suppress(BaselineError):
        return load_either(path)
    return None


def has_conflict(path: Path) -> bool:
    """Return whether a file holds the marks of a merge that Git could not do."""
    try:
        return re.search(r"^<{7} ", read_text(path), re.MULTILINE) is not None
    except OSError:
        return False


def _accuracy_in(path: Path, cell: Cell) -> AccuracyBaseline | None:
    """Return the accuracy in a file, which may be of another backend and, of an older version, of a machine."""
    if path.parts[-3] == ACCURACY:
        accuracy: AccuracyBaseline | None = load_baseline(path, AccuracyBaseline)
    else:
        accuracy = AccuracyBaseline.of(load_baseline(path, Baseline))
    if accuracy is not None:
        _check_cell(path, accuracy.cell.model_copy(update={"backend": cell.backend, "device": cell.device}), cell)
    return accuracy


def _check_cell(path: Path, stored: Cell, cell: Cell) -> None:
    if stored.on() != cell.on():
        raise BaselineError(f"{path}: is the baseline of {stored.key}, not of {cell.key}")


def _backend_of(path: Path) -> str:
    """Return the backend in the name of a machine's folder: ``cpu-x86_64-intel-xeon-2c_onnxruntime-1.32``."""
    return path.parts[-3].rpartition("_")[2].partition("-")[0]


def _shape(cell: Cell) -> str:
    return f"{cell.precision}-{cell.imgsz}-b{cell.batch}"


def _relative(cell: Cell) -> str:
    return f"{cell.model}/{_shape(cell)}.json"
