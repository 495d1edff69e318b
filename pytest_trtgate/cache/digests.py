"""Digests of files that have not changed since they were last read: looked up, not computed again.

``<cache root>/digests/<key>.json`` holds those of one dataset. A file counts as unchanged while its stamp is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..records import FileRecord, Stamp, file_sha256, key_sha256, stamp
from .store import Store

FOLDER = "digests"
SETTLED_NS = 2_000_000_000
"""A file that was changed so shortly before it was read may be changed again at the same times."""


class DigestTable(FileRecord):
    """The files of a dataset by path: the stamp that each had when it was read, and what was computed of it."""

    files: dict[str, tuple[Stamp, str]]


class FileFacts:
    """A fact that ``compute`` returns of each file, such as its digest.

    ``what`` tells this table from others in the engine cache: the dataset, and how the fact is computed. A ``fresh``
    table believes nothing that an earlier run has left.
    """

    def __init__(
        self,
        cache_root: Path,
        what: dict[str, Any],
        compute: Callable[[Path], str],
        fresh: bool = False,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store, self._key = Store(cache_root / FOLDER, notify=notify), key_sha256(what)[:32]
        self._compute = compute
        self._known = {} if fresh else self._stored()
        self._seen: dict[str, tuple[Stamp, str]] = {}
        self._new = False

    def of(self, path: Path) -> str:
        """Return the fact of a file.

        Raises:
            OSError: The file cannot be read.
        """
        name, now_ns, found = str(path), time.time_ns(), stamp(path)
        known = self._known.get(name)
        if known is not None and known[0] == found:
            self._seen[name] = known
            return known[1]
        fact = self._compute(path)
        if found is not None and stamp(path) == found and max(found[2:]) < now_ns - SETTLED_NS:
            self._known[name] = self._seen[name] = (found, fact)
            self._new = True
        return fact

    def save(self) -> None:
        """Store what is known, where any of it is new."""
        if not self._new:
            return
        others = {name: known for name, known in self._stored().items() if name not in self._seen}
        files = {name: known for name, known in others.items() if Path(name).exists()} | self._seen
        self._store.put(self._key, DigestTable(files=files))
        self._new = False

    def _stored(self) -> dict[str, tuple[Stamp, str]]:
        stored = self._store.get(self._key, DigestTable)
        return stored.files if stored else {}


class FileDigests(FileFacts):
    """The SHA-256 of the files of the data YAML ``source``, in hexadecimal."""

    def __init__(
        self, cache_root: Path, source: Path, fresh: bool = False, notify: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__(cache_root, {"source": str(source)}, file_sha256, fresh, notify)

    sha256 = FileFacts.of
