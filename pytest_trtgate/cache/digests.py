"""Digests of files that have not changed since they were last read: looked up, not computed again.

``<cache root>/digests/<key>.json`` holds what was computed of one dataset's files. A file counts as unchanged while its
size, inode, time of modification and time of change are; the last of these cannot be set by a program, as ``touch``
sets the one before it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import RecordError
from ..records import FileRecord, file_sha256, key_sha256, load, save

SETTLED_NS = 2_000_000_000
"""A file changed so shortly before it was read may be changed again without its times showing it."""
Stamp = tuple[int, int, int, int]
"""Size, inode, time of modification and time of change of a file; times in nanoseconds."""


class DigestTable(FileRecord):
    """The files of a dataset by path: the stamp that each had when it was read, and what was computed of it."""

    files: dict[str, tuple[Stamp, str]]


class FileFacts:
    """What is computed of files, such as their digests, by path.

    Args:
        cache_root: The folder of the engine cache; what is known is in a folder of its own inside it.
        what: What tells this table from others: the dataset, and how a fact is computed.
        compute: Returns the fact of a file.
        fresh: Whether to believe nothing that was stored by an earlier run.
    """

    def __init__(
        self, cache_root: Path, what: dict[str, Any], compute: Callable[[Path], str], fresh: bool = False
    ) -> None:
        self.store = cache_root / "digests" / f"{key_sha256(what)[:32]}.json"
        self._compute = compute
        self._known = {} if fresh else self._stored()
        with contextlib.suppress(OSError):  # none yet, or another user's
            os.utime(self.store)
        self._seen: dict[str, tuple[Stamp, str]] = {}
        self._new = False

    def of(self, path: Path) -> str:
        """Return the fact of a file.

        Raises:
            OSError: The file cannot be read.
        """
        name, now_ns, stamp = str(path), time.time_ns(), _stamp(path)
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            self._seen[name] = known
            return known[1]
        fact = self._compute(path)
        if _stamp(path) == stamp and max(stamp[2:]) < now_ns - SETTLED_NS:
            self._known[name] = self._seen[name] = (stamp, fact)
            self._new = True
        return fact

    def save(self) -> None:
        """Store what is known, where any of it is new; where it cannot be stored, a later run reads the files again."""
        if not self._new:
            return
        others = {name: known for name, known in self._stored().items() if name not in self._seen}
        with contextlib.suppress(OSError):
            files = {name: known for name, known in others.items() if Path(name).exists()} | self._seen
            save(self.store, DigestTable(files=files))
        self._new = False

    def _stored(self) -> dict[str, tuple[Stamp, str]]:
        try:
            return load(self.store, DigestTable, own=True).files
        except RecordError:  # none yet, or damaged
            return {}


class FileDigests(FileFacts):
    """The SHA-256 of files, by path.

    Args:
        cache_root: The folder of the engine cache.
        source: The data YAML whose files these are.
        fresh: Whether to believe nothing that was stored by an earlier run.
    """

    def __init__(self, cache_root: Path, source: Path, fresh: bool = False) -> None:
        super().__init__(cache_root, {"source": str(source)}, lambda path: file_sha256(path), fresh)

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file's bytes, in hexadecimal; raises as :meth:`of`."""
        return self.of(path)


def prune_digests(cache_root: Path, older_than_s: float) -> None:
    """Delete the digests of datasets that were not used for ``older_than_s`` seconds."""
    for store in (cache_root / "digests").glob("*"):
        with contextlib.suppress(OSError):  # deleted meanwhile, or another user's
            if time.time() - store.stat().st_mtime >= older_than_s:
                store.unlink()


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
