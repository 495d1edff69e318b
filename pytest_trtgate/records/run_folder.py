"""The folder of one run: where its jobs work, and where its processes share what they have already done."""

from __future__ import annotations

import glob
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import filelock

from ..errors import JobError, RecordError, TrtGateError
from .base import Failure, FileRecord
from .files import load, save
from .run import RunRecord

R = TypeVar("R", bound=FileRecord)
RECORD_NAME = "run.json"
"""Name of a finished run's record in its folder."""
_ABANDONED_S = 24 * 3600
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


def new_run_id() -> str:
    """Return a name for a run that sorts by time and is unique among sessions that start at once."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"


def run_folder_of(report: Path) -> Path:
    """Return the folder that holds the runs' folders, beside the report."""
    return report.parent / f"{report.stem}-runs"


def load_run(path: Path) -> RunRecord:
    """Read the record of a run.

    Raises:
        RecordError: As of :func:`load`; of a run whose folder was deleted for newer ones, the message says so.
    """
    if _RUN_ID.fullmatch(path.parent.name) and not path.parent.exists():
        raise RecordError(
            f"{path}: the run is not kept any more; once keep_runs newer ones (5 by default) have as many verdicts, a "
            f"run is removed: measure again, and set keep_runs higher where that is too soon"
        )
    return load(path, RunRecord)


class Workspace:
    """One run's folder.

    Args:
        root: The folder that holds the runs, each in a folder of its own.
        run_id: This run's name.

    Attributes:
        path: The folder.
        traced: What builds of several precisions begin with; gone when the run ends.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.root = root
        self.run_id = run_id
        self.path = root / run_id
        self.traced = self.path / "traced"
        self._known: dict[str, FileRecord] = {}

    def job_folder(self, name: str) -> Path:
        """Return the folder in which the job of that name works."""
        return self.path / "jobs" / name

    def once(self, name: str, model: type[R], compute: Callable[[], R]) -> R:
        """Return the record ``name`` of this run; of all processes that ask, the first computes it and the rest wait.

        A failure is kept as well: work that failed once in a run is not tried again in it.

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
        """Return the record ``wanted`` of this run; where there is none, all that are missing are computed in one go.

        Args:
            group: What the names have in common: of all processes that ask for one of the group, one computes.
            names: What is computed together with ``wanted``, which is one of them.
            wanted: The name of the record.
            model: What the records are.
            compute: Yields a record or a failure for each of the names that it is given.

        Raises:
            JobError: The work on ``wanted`` failed, here or in another process of this run.
            RecordError: The run's folder cannot be written.
        """
        found = self._kept(wanted, model)
        if found is None:
            records = self.path / "records"
            with self._writing():
                self._make_root()
                records.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(records / f"{group}.lock"):
                if not self._is_kept(wanted):
                    self._compute([name for name in names if not self._is_kept(name)], compute)
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
                if not self._is_kept(name):
                    self._keep(name, JobError(name, str(error)))

    def _is_kept(self, name: str) -> bool:
        records = self.path / "records"
        return (records / f"{name}.failure.json").exists() or (records / f"{name}.json").exists()

    def _kept(self, name: str, model: type[R]) -> R | Failure | None:
        """Return what was computed once, or why it could not be; None before that. It is read once per process."""
        known = self._known.get(name)
        if known is None and self._is_kept(name):
            records = self.path / "records"
            failed = records / f"{name}.failure.json"
            known = load(failed, Failure) if failed.exists() else load(records / f"{name}.json", model)
            self._known[name] = known
        return known if isinstance(known, (model, Failure)) else None

    def _keep(self, name: str, found: FileRecord | JobError) -> None:
        records = self.path / "records"
        if isinstance(found, JobError):
            kept = Failure(job=found.job, reason=found.reason, log_tail=found.log_tail)
            self._save(records / f"{name}.failure.json", kept)
        else:
            self._save(records / f"{name}.json", found)

    def put(self, name: str, record: FileRecord) -> None:
        """Store a record under a name, over an earlier one.

        Raises:
            RecordError: It cannot be written.
        """
        self._save(self.path / "records" / f"{name}.json", record)

    def get(self, name: str, model: type[R]) -> R | None:
        """Return the record of that name, None where there is none; computes nothing and waits for nobody."""
        path = self.path / "records" / f"{name}.json"
        return load(path, model) if path.is_file() else None

    def _save(self, path: Path, record: FileRecord) -> None:
        with self._writing():
            self._make_root()
            save(path, record)

    def _make_root(self) -> None:
        """Make the folder of the runs where there is none, as one that git leaves alone."""
        if not self.root.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / ".gitignore").write_text("*\n")

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
                yield load(path, model)

    def discard_older(self, keep: int) -> None:
        """Delete each run that ``keep`` newer ones have as many verdicts as; a run of a few tests outdates no full one.

        What is no run, or may still go on, is left alone.
        """
        runs = [p for p in self.root.iterdir() if _RUN_ID.fullmatch(p.name)] if self.root.is_dir() else []
        newer: list[int] = []
        for run in sorted(runs, reverse=True):
            verdicts = len(list((run / "records").glob("verdict-*.json")))
            outdated = sum(count >= verdicts for count in newer) >= keep
            if outdated and run != self.path and _is_over(run):
                shutil.rmtree(run, ignore_errors=True)
            newer.append(verdicts)


def _is_over(run: Path) -> bool:
    """Return whether a run has left its record, or has not been heard of for a day."""
    if (run / RECORD_NAME).is_file():
        return True
    try:
        return time.time() - run.stat().st_mtime > _ABANDONED_S
    except OSError:
        return False  # deleted meanwhile
