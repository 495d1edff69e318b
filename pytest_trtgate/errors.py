"""The exceptions of pytest-trtgate: one tree, so that one ``except TrtGateError`` catches everything of ours."""

from __future__ import annotations

from pathlib import Path


class TrtGateError(Exception):
    """Root of all errors raised by pytest-trtgate. Its text is one sentence: what, where, and what is allowed."""


class SettingsError(TrtGateError):
    """A setting is unknown, malformed or out of range. Under pytest it ends the run with exit code 4."""


class DataError(SettingsError):
    """The weights or the dataset named by the settings cannot be used."""


class CacheError(TrtGateError):
    """The engine cache cannot be read or written."""


class RecordError(TrtGateError):
    """A file that should hold a record is missing, damaged, or written by a newer pytest-trtgate."""


class BaselineError(RecordError):
    """A baseline file cannot be used."""


class ChangedError(TrtGateError):
    """A file that is measured is not what it was when the run first read it."""

    def __init__(self, path: Path, how: str = "changed") -> None:
        super().__init__(
            f"{path} {how} during this run; nothing that was measured since is judged or stored: run again, and leave "
            f"it alone meanwhile"
        )
        self.path = path


class JobError(TrtGateError):
    """A job failed in its own process.

    Attributes:
        job: Name of the job, such as ``build-shapes-int8``.
        reason: What happened, in one sentence without the log.
        log_tail: The last lines that the process wrote, empty where it wrote none.
    """

    def __init__(self, job: str, reason: str, log_tail: str = "") -> None:
        super().__init__(f"{job}: {reason}")
        self.job = job
        self.reason = reason
        self.log_tail = log_tail


class JobTimeoutError(JobError):
    """A job ran past its limit and was ended."""


class MachineLostError(JobError):
    """The machine of a job is gone, which tells nothing of what the job did there."""


def reason_of(error: TrtGateError) -> str:
    """Return what happened, without the name of the job where one failed."""
    return error.reason if isinstance(error, JobError) else str(error)
