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

from .errors import JobError, RecordError, TrtGateError
from .record_base import Failure, FileRecord
from .recordfile import load, save

R = TypeVar("R", bound=FileRecord)
RECORD_NAME = "run.json"
"""Name of a finished run's record in its folder."""
_ABANDONED_S = 24 * 3600
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


def new_run_id() -> str:
    """Return a name for a run that sorts by time and is unique among sessions that start at once."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"


class Workspace:
    """One run's folder.

    Args:
        root: The folder that holds the runs, each in a folder of its own.
        run_id: This run's name.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.root = root
        self.run_id = run_id
        self.path = root / run_id

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
        records = self.path / "records"
        with self._writing():
            records.mkdir(parents=True, exist_ok=True)
        done, failed = records / f"{name}.json", records / f"{name}.failure.json"
        with filelock.FileLock(records / f"{name}.lock"):
            if failed.exists():
                failure = load(failed, Failure)
                raise JobError(failure.job, failure.reason, failure.log_tail)
            if done.exists():
                return load(done, model)
            try:
                record = compute()
            except JobError as error:
                self._save(failed, Failure(job=error.job, reason=error.reason, log_tail=error.log_tail))
                raise
            except TrtGateError as error:
                self._save(failed, Failure(job=name, reason=str(error)))
                raise JobError(name, str(error)) from error
            self._save(done, record)
            return record

    def put(self, name: str, record: FileRecord) -> None:
        """Store a record under a name, over an earlier one.

        Raises:
            RecordError: It cannot be written.
        """
        self._save(self.path / "records" / f"{name}.json", record)

    def _save(self, path: Path, record: FileRecord) -> None:
        with self._writing():
            save(path, record)

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
        """Delete all but the newest ``keep`` runs; what is no run, or may still go on, is left alone."""
        runs = sorted(p for p in self.root.iterdir() if _RUN_ID.fullmatch(p.name)) if self.root.is_dir() else []
        for old in runs[: -keep or None]:
            if old != self.path and _is_over(old):
                shutil.rmtree(old, ignore_errors=True)


def _is_over(run: Path) -> bool:
    """Return whether a run has left its record, or has not been heard of for a day."""
    if (run / RECORD_NAME).is_file():
        return True
    try:
        return time.time() - run.stat().st_mtime > _ABANDONED_S
    except OSError:
        return False  # deleted meanwhile
