"""Records by key in a folder, what they share with other cached files, and what is deleted when nobody uses it."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ..errors import RecordError
from ..records import FileRecord, load, save

R = TypeVar("R", bound=FileRecord)
STALE_S = 24 * 3600
"""What was being written for so long has been abandoned; no build takes as long."""


class Store:
    """Records by key, a file each, that a run can do without: what cannot be read or stored is computed again.

    Args:
        folder: Where they are; made with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / f"{key}.json"

    def get(self, key: str, model: type[R]) -> R | None:
        """Return the record of a key, which counts as use; None where there is none that can be read."""
        with suppress(OSError):  # none yet, or another user's
            os.utime(self.path(key))
        try:
            return load(self.path(key), model)
        except RecordError:
            return None

    def put(self, key: str, record: FileRecord) -> None:
        """Store a record in place of any older one."""
        with suppress(OSError):
            save(self.path(key), record)

    def prune(self, older_than_s: float) -> int:
        """Delete records that were not used for so long; return how many."""
        return prune_folder(self.folder, older_than_s)


def prune_folder(folder: Path, older_than_s: float) -> int:
    """Delete the entries of a folder that were not used for so long, and what was abandoned while it was written.

    Args:
        folder: The folder; it need not exist. Names that begin with a dot are of what is being written.
        older_than_s: Seconds without use.

    Returns:
        How many were deleted.
    """
    gone = 0
    for entry in folder.glob("*"):
        limit_s = STALE_S if entry.name.startswith(".") else older_than_s
        with suppress(OSError):  # replaced or deleted meanwhile, or another user's
            if time.time() - entry.stat().st_mtime >= limit_s:
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
                gone += 1
    return gone
