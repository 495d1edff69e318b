"""Accuracies that need not be measured again: the same bytes on the same data, with the same versions and machine.

``<cache root>/results/<key>/`` holds a record and its per-image arrays. Latency is never kept: it is always measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from ..errors import RecordError
from ..records import (
    AccuracyRecord,
    FileRecord,
    file_sha256,
    load,
    save,
)
from .engines import STALE_S

_RECORD, _ARRAYS = "accuracy.json", "per_image.npz"
_NEW = ".new-"


class StoredAccuracy(FileRecord):
    """An accuracy and the SHA-256 of the per-image arrays that are stored with it."""

    accuracy: AccuracyRecord
    arrays_sha256: str


class ResultCache:
    """Accuracies by key under one folder.

    Args:
        root: The folder of the engine cache; results are in a folder of their own inside it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "results"

    def get(self, key: str, arrays: Path) -> AccuracyRecord | None:
        """Return a stored accuracy and copy its per-image arrays to ``arrays``; None where there is none to be used."""
        entry = self.root / key
        try:
            stored = load(entry / _RECORD, StoredAccuracy)
            arrays.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry / _ARRAYS, arrays)
            if file_sha256(arrays) != stored.arrays_sha256:
                return None
            os.utime(entry)
        except (RecordError, OSError):
            return None
        return stored.accuracy.model_copy(update={"reused": True})

    def put(self, key: str, record: AccuracyRecord, arrays: Path) -> None:
        """Store an accuracy in place of any older one; where it cannot be stored, a later run measures it again."""
        with contextlib.suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.root))
            try:
                new = folder / "new"
                new.mkdir()
                shutil.copyfile(arrays, new / _ARRAYS)
                digest = file_sha256(new / _ARRAYS)
                save(new / _RECORD, StoredAccuracy(accuracy=record, arrays_sha256=digest))
                with contextlib.suppress(FileNotFoundError):
                    (self.root / key).rename(folder / "old")
                new.rename(self.root / key)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def prune(self, older_than_s: float) -> int:
        """Delete results that were not used for ``older_than_s`` seconds, and abandoned ones; return how many."""
        gone = 0
        for entry in self.root.glob("*"):
            limit_s = STALE_S if entry.name.startswith(_NEW) else older_than_s
            with contextlib.suppress(OSError):  # replaced or deleted meanwhile
                if time.time() - entry.stat().st_mtime >= limit_s:
                    shutil.rmtree(entry)
                    gone += 1
        return gone
