"""Accuracies that need not be measured again: the same bytes on the same data, with the same versions and machine.

``<cache root>/results/<key>/`` holds a record and its per-image arrays. Latency is never kept: it is always measured.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import RecordError
from ..records import AccuracyRecord, FileRecord, file_sha256, open_regular
from .seal import UnsealedError, load_sealed, save_sealed

FOLDER = "results"
_RECORD, _ARRAYS = "accuracy.json", "per_image.npz"


class StoredAccuracy(FileRecord):
    """An accuracy and the SHA-256 of the per-image arrays that are stored with it."""

    accuracy: AccuracyRecord
    arrays_sha256: str


class AccuracyCache:
    """Accuracies by key, in a folder of the engine cache at ``root``; ``notify`` is told of what lacks its seal."""

    def __init__(self, root: Path, notify: Callable[[str], None] = lambda _: None) -> None:
        self.root = root / FOLDER
        self.notify = notify

    def has(self, key: str) -> bool:
        """Return whether there is an accuracy of that key, which may turn out to be of no use."""
        return (self.root / key / _RECORD).is_file()

    def get(self, key: str, arrays: Path) -> AccuracyRecord | None:
        """Return a stored accuracy and copy its per-image arrays to ``arrays``; None where there is none to be used."""
        entry = self.root / key
        try:
            stored = load_sealed(entry / _RECORD, f"{FOLDER}/{key}", StoredAccuracy)
            arrays.parent.mkdir(parents=True, exist_ok=True)
            with open_regular(entry / _ARRAYS) as file, arrays.open("wb") as copy:
                shutil.copyfileobj(file, copy)
            if file_sha256(arrays) != stored.arrays_sha256:
                return None
            with suppress(OSError):  # read-only, or another user's
                os.utime(entry)
        except UnsealedError as error:
            self.notify(f"not believed, and measured anew: {FOLDER}/{key[:12]}/{error}")
            return None
        except (RecordError, OSError):
            return None
        return stored.accuracy.model_copy(update={"reused": True})

    def put(self, key: str, record: AccuracyRecord, arrays: Path) -> None:
        """Store an accuracy in place of any older one; where it cannot be stored, a later run measures it again."""
        with suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
            try:
                new = folder / "new"
                new.mkdir()
                shutil.copyfile(arrays, new / _ARRAYS)
                digest = file_sha256(new / _ARRAYS)
                stored = StoredAccuracy(accuracy=record, arrays_sha256=digest)
                save_sealed(new / _RECORD, f"{FOLDER}/{key}", stored)
                with suppress(FileNotFoundError):
                    (self.root / key).rename(folder / "old")
                new.rename(self.root / key)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
