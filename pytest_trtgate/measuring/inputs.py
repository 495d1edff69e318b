"""The files that a run measures: what they held when it first read them, and whether they still do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..cache import SETTLED_NS
from ..errors import ChangedError
from ..records import FileRecord, Stamp, Workspace, file_sha256, stamp


class Inputs:
    """The SHA-256 of files as they were when this process, or one of its jobs, first read them.

    What is measured is filed under these, so that it may not have been measured on others. To look again is cheap: a
    file whose size, inode, time of modification and time of change are what they were is not read again.
    """

    def __init__(self) -> None:
        self._first: dict[str, tuple[Stamp | None, str]] = {}

    def sha256(self, path: Path, compute: Callable[[Path], str] | None = None) -> str:
        """Return the SHA-256 that a file had at first, empty of one that was missing; ``compute`` returns the present.

        Raises:
            OSError: The file cannot be read.
        """
        known = self._first.get(str(path))
        if known is None:
            before = settled(path)
            found = before, (compute or file_sha256)(path) if path.exists() else ""
            known = self._first.setdefault(str(path), found)  # another thread may have been first
        return known[1]

    def expect(self, path: Path, sha256: str) -> None:
        """Note the SHA-256 that a file must have."""
        self._first.setdefault(str(path), (None, sha256))

    def check(self, paths: Iterable[Path]) -> None:
        """Check that files which were read are as they were then.

        Raises:
            ChangedError: One is not.
            OSError: One can no longer be read.
        """
        for path in paths:
            name = str(path)
            before, sha256 = self._first[name]
            now = stamp(name)
            if now is None or now != before:
                again = settled(path)
                self._compare(name, file_sha256(path) if path.exists() else "")
                self._first[name] = again, sha256

    def check_read(self, read: Mapping[str, str], *, all_known: bool = False) -> None:
        """Check the SHA-256 of files that a job has read; raise ChangedError where one had another before.

        ``all_known``: whether each was read here before the job, so that one which was not has been added.
        """
        for name, sha256 in read.items():
            self._first.setdefault(name, (None, "" if all_known else sha256))
            self._compare(name, sha256)

    def _compare(self, name: str, sha256: str) -> None:
        first = self._first[name][1]
        if sha256 != first:
            how = "changed" if first and sha256 else "was removed" if first else "was added"
            raise ChangedError(Path(name), how)


class Agreed(FileRecord):
    """The SHA-256 of an input, as the first process of a run found it."""

    sha256: str


def agree(workspace: Workspace, name: str, sha256: str, path: Path, how: str = "changed") -> None:
    """Check that all processes of a run find the same SHA-256 of an input; raise ChangedError where they do not."""
    kept = workspace.once(f"input-{name}", Agreed, lambda: Agreed(sha256=sha256))
    if kept.sha256 != sha256:
        raise ChangedError(path, how)


def settled(path: Path) -> Stamp | None:
    """Return the stamp of a file; None where it is so young that the file may change again and keep it."""
    found = stamp(path)
    return found if found and max(found[2:]) < time.time_ns() - SETTLED_NS else None
