"""The folder of one run: its jobs work there, and its processes share their records there."""

from __future__ import annotations

import glob
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ..errors import JobError, RecordError, TrtGateError
from ..locks import Lock
from .base import Failure, FileRecord
from .files import load, save
from .run import RunRecord

R = TypeVar("R", bound=FileRecord)
RECORD_NAME = "run.json"
"""Name of a finished run's record in its folder."""
_RUNS_ON = Path("records", "runs-on.lock")
"""File that each process of a run holds, so that none takes its folder away, whatever the clocks say."""
_ABANDONED_S = 24 * 3600
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4,16}")


def new_run_id() -> str:
    """Return a name for a run that sorts by time and that no other run has."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(8)}"


def run_folder_of(report: Path) -> Path:
    """Return the folder that holds the runs' folders, beside the report."""
    return report.parent / f"{report.stem}-runs"


def load_run(path: str | Path) -> RunRecord:
    """Read the record of a run, such as ``reports/run.json``.

    Raises:
        RecordError: As of :func:`load`; of a run whose folder was deleted for newer ones, the message says so.
    """
    path = Path(path)
    if _RUN_ID.fullmatch(path.parent.name) and not path.parent.exists():
        raise RecordError(
            f"{path}: the run is not kept any more; once keep_runs newer ones (5 by default) have as many verdicts, a "
            f"run is removed: measure again, and raise keep_runs to keep runs longer"
        )
    return load(path, RunRecord)


class Workspace:
    """One run's folder.

    Args:
        root: The folder that holds the runs, each in a folder of its own.
        run_id: This run's name.

    Attributes:
        path: The folder.
        traced: Folder of the traced graphs that builds of several precisions share; gone when the run ends.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.root = root
        self.run_id = run_id
        self.path = root / run_id
        self.traced = self.path / "traced"
        self._known: dict[str, FileRecord] = {}
        self._runs_on = Lock(self.path / _RUNS_ON, shared=True)

    def close(self) -> None:
        """Let other runs delete the folder, once it is old."""
        self._runs_on.release()

    def job_folder(self, name: str) -> Path:
        """Return the folder in which the job of that name works."""
        return self.path / "jobs" / name

    def once(self, name: str, model: type[R], compute: Callable[[], R]) -> R:
        """Return the record ``name`` of this run: the first process that asks computes it, the others wait for it.

        A failure is kept too: a run does not try again what failed in it.

        Raises:
            JobError: The work failed, here or in another process of this run.
            RecordError: The run's folder cannot be written.
        """

        def one(missing: list[str]) -> Iterator[tuple[str, R | JobError]]:
            try:
                yield name, compute()
            except JobError as error:
                yield name, error

        return self.once_together(name, [name], name, model, one)

    def once_together(
        self,
        group: str,
        names: list[str],
        wanted: str,
        model: type[R],
        compute: Callable[[list[str]], Iterator[tuple[str, R | JobError]]],
    ) -> R:
        """Return the record ``wanted`` of this run; if it is missing, compute all missing ``names`` in one go.

        Args:
            group: Name of the group of names, of which one process computes at a time.
            names: Names to compute together, ``wanted`` among them.
            wanted: The name of the record.
            model: Type of the records.
            compute: Yields a record or a failure for each name that it is given.

        Raises:
            JobError: The work on ``wanted`` failed, here or in another process of this run.
            RecordError: The run's folder cannot be written.
        """
        found = self._kept(wanted, model)
        if found is None:
            lock = Lock(self.path / "records" / f"{group}.lock")
            with self._writing():
                self._make_root()
                lock.acquire()
            try:
                if not self.has(wanted):
                    self._compute([name for name in names if not self.has(name)], compute)
            finally:
                lock.release()
            found = self._kept(wanted, model)
        if isinstance(found, Failure):
            raise JobError(found.job, found.reason, found.log_tail)
        if not isinstance(found, model):
            raise RecordError(f"{self.path}: the run's folder lost {wanted}.json")
        return found

    def _compute(self, missing: list[str], compute: Callable[[list[str]], Iterator[tuple[str, R | JobError]]]) -> None:
        try:
            for name, found in compute(missing):
                self._keep(name, found)
        except TrtGateError as error:
            for name in missing:
                if not self.has(name):
                    self._keep(name, JobError(name, str(error)))

    def _file(self, name: str) -> Path:
        return self.path / "records" / f"{name}.json"

    def has(self, name: str) -> bool:
        """Return whether the record of that name is there, or its failure."""
        return self._file(f"{name}.failure").exists() or self._file(name).exists()

    def _kept(self, name: str, model: type[R]) -> R | Failure | None:
        """Return a record that was computed once, or its failure; None before that. Each process reads it once."""
        known = self._known.get(name)
        if known is None and self.has(name):
            known = self.get(f"{name}.failure", Failure) or load(self._file(name), model, own=True)
            self._known[name] = known
        return known if isinstance(known, (model, Failure)) else None

    def _keep(self, name: str, found: FileRecord | JobError) -> None:
        if isinstance(found, JobError):
            self.put(f"{name}.failure", Failure.of(found))
        else:
            self.put(name, found)

    def job_age_s(self, name: str) -> float:
        """Return how long ago the job of that name was asked for; 0 where it was not."""
        try:
            return max(0.0, time.time() - (self.job_folder(name) / "request.json").stat().st_mtime)
        except OSError:
            return 0.0

    def put(self, name: str, record: FileRecord) -> None:
        """Store a record under a name, over an earlier one.

        Raises:
            RecordError: It cannot be written.
        """
        self._known.pop(name, None)
        with self._writing():
            self._make_root()
            save(self._file(name), record)

    def get(self, name: str, model: type[R]) -> R | None:
        """Return the record of that name, None where there is none; computes nothing and waits for nobody."""
        known = self._known.get(name)
        if isinstance(known, model):
            return known
        return load(self._file(name), model, own=True) if self._file(name).is_file() else None

    def _make_root(self) -> None:
        """Make the folder of the runs, which git ignores, and of this one, where they are missing."""
        if not self.root.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / ".gitignore").write_text("*\n")
        (self.path / "records").mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # where there are no locks, age alone tells
            self._runs_on.take()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecordError(f"{self.path}: the run's folder cannot be written ({error.strerror})") from error

    def all(self, prefix: str, model: type[R]) -> Iterator[R]:
        """Yield the records whose names start with ``prefix``, in order of their names."""
        for path in sorted((self.path / "records").glob(f"{glob.escape(prefix)}*.json")):
            if not path.name.endswith(".failure.json"):
                yield load(path, model, own=True)

    def discard_older(self, keep: int) -> None:
        """Delete each run that has no more verdicts than each of ``keep`` newer ones: a short run outdates no full one.

        Runs that may still go on stay, and so do folders of other kinds.
        """
        runs = list(filter(_is_run, self.root.iterdir())) if self.root.is_dir() else []
        newer: list[int] = []
        for run in sorted(runs, reverse=True):
            verdicts = len(list((run / "records").glob("verdict-*.json")))
            outdated = sum(count >= verdicts for count in newer) >= keep
            if outdated and run != self.path and _is_over(run, self.path):
                shutil.rmtree(run, ignore_errors=True)
            newer.append(verdicts)


def _is_run(path: Path) -> bool:
    """Return whether a path is the folder of a run, by its name and by what is in it."""
    return (
        _RUN_ID.fullmatch(path.name) is not None
        and not path.is_symlink()
        and any((path / name).exists() for name in ("records", "jobs", RECORD_NAME))
    )


def _is_over(run: Path, ours: Path) -> bool:
    """Return whether a run has left its record, or had written nothing for a day when ours last wrote something.

    Both times are by the clock that stamps the files: that of this machine may be another, or wrong.
    """
    if (run / RECORD_NAME).is_file():
        return True
    lock = Lock(run / _RUNS_ON)
    try:
        return ours.stat().st_mtime - run.stat().st_mtime > _ABANDONED_S and lock.take()
    except OSError:
        return False  # deleted meanwhile
    finally:
        lock.release()
