"""What a job has read: the SHA-256 of each file that its answer rests on, taken as it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..records import file_sha256, stamp

READ: dict[str, str] = {}
"""The SHA-256 of the files that this process has read, by path; empty of those that were missing."""
CHANGED = "changed while it was read"
"""Stands for the SHA-256 of a file that had more than one."""


@contextmanager
def noting(path: str | Path) -> Iterator[None]:
    """Note the SHA-256 of a file that is read meanwhile."""
    file = Path(path)
    before, sha256 = stamp(file), _sha256(file)
    try:
        yield
    finally:
        if stamp(file) != before and _sha256(file) != sha256:
            sha256 = CHANGED
        note(path, sha256)


def note(path: str | Path, sha256: str) -> None:
    """Note the SHA-256 of what was read of a file."""
    READ[str(path)] = sha256 if READ.get(str(path), sha256) == sha256 else CHANGED


def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError:
        return ""
