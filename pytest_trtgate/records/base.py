"""The bases of all records. Each file carries ``schema_version``, and a reader refuses a newer schema.

Names ending in ``_ms`` are in milliseconds; moments are ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from ..errors import JobError
from .names import Name

SCHEMA_VERSION = 1


class Record(BaseModel):
    """Base of all records: frozen, and strict about the names of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants", defer_build=True)


R = TypeVar("R", bound=Record)


def reworded(record: R, change: Callable[[str], str]) -> R:
    """Return a record with all of its texts changed."""
    return type(record).model_validate(_reworded(record.model_dump(), change))


def _reworded(value: Any, change: Callable[[str], str]) -> Any:
    if type(value) is str:  # an enumeration's is none
        return change(value)
    if isinstance(value, dict):
        return {key: _reworded(one, change) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_reworded(one, change) for one in value)
    return value


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
