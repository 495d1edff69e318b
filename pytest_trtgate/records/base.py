"""The bases of all records. Each file carries ``schema_version``, and a reader refuses a newer schema.

Names ending in ``_ms`` are in milliseconds; moments are ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from ..errors import JobError
from .names import Name

SCHEMA_VERSION = 1


class Record(BaseModel):
    """Base of all records: frozen, and strict about the names of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants", defer_build=True)


class FileRecord(Record):
    """Base of the records that are files on disk.

    ``depths``: where set, a file has a line per field, and of the fields named here one per entry, that deep.
    """

    depths: ClassVar[Mapping[str, int] | None] = None
    schema_version: int = SCHEMA_VERSION


class Failure(FileRecord):
    """Why a job gave no result."""

    job: str
    reason: str
    log_tail: str = ""

    @classmethod
    def of(cls, error: JobError) -> Failure:
        """Return a failed job as a record."""
        return cls(job=error.job, reason=error.reason, log_tail=error.log_tail)


class Trouble(Record):
    """How many files have something wrong, and the first of them with what is wrong."""

    count: int = 0
    first: str = ""


class FileDigest(Record):
    """One file of a cache entry."""

    name: Name
    sha256: str
    size_bytes: int
