"""Records by key in a folder, and what becomes of cached files that nobody uses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ..errors import RecordError
from ..records import FileRecord
from .place import clock_of, is_own
from .seal import UnsealedError, load_sealed, save_sealed

R = TypeVar("R", bound=FileRecord)
STALE_S = 24 * 3600
"""After so many seconds what was being written has been abandoned; no build takes as long."""
MONTH_S = 30 * 86400


class Store:
    """Records by key, a file each, that a run can do without: what cannot be read or stored is computed again.

    A ``fresh`` store believes nothing that an earlier run has left. ``notify`` is told of what lacks its seal.
    """

    def __init__(self, folder: Path, fresh: bool = False, notify: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder
        self.fresh = fresh
        self.notify = notify

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / f"{key}.json"

    def get(self, key: str, model: type[R]) -> R | None:
        """Return the record of a key, which counts as use; None where there is none to be believed."""
        if self.fresh:
            return None
        with suppress(OSError):  # none yet, or another user's
            os.utime(self.path(key))
        try:
            return load_sealed(self.path(key), self._place(key), model)
        except UnsealedError as error:
            self.notify(f"not believed, and looked at anew: {self.folder.name}/{error}")
            with suppress(OSError):
                self.path(key).unlink()
        except RecordError:
            pass
        return None

    def put(self, key: str, record: FileRecord) -> None:
        """Store a record in place of any older one."""
        with suppress(OSError):
            save_sealed(self.path(key), self._place(key), record)

    def _place(self, key: str) -> str:
        return f"{self.folder.name}/{key}"


class SurveyStore(Store):
    """What was seen of splits, checkpoints and the deployed engine, and how long jobs took; forgotten when unused.

    That is when nobody asked for it in a month.
    """

    def __init__(self, root: Path, fresh: bool, notify: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(root / "preflight", fresh, notify)

    def put(self, key: str, record: FileRecord) -> None:
        """Store what was seen, and delete what is forgotten."""
        super().put(key, record)
        prune_folder(self.folder, MONTH_S)


class ComparisonStore(Store):
    """What was made of two arms' records of each image."""

    FOLDER = "comparisons"

    def __init__(self, root: Path, fresh: bool, notify: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(root / self.FOLDER, fresh, notify)


def old_in(folder: Path, older_than_s: float) -> Iterator[Path]:
    """Yield what was not used in a folder for so long, and after a day what begins with a dot, half written.

    Only what has a name that the cache gives.
    """
    now = clock_of(folder)
    for entry in filter(is_own, folder.glob("*")):
        limit_s = STALE_S if entry.name.startswith(".") else older_than_s
        with suppress(OSError):  # replaced or deleted meanwhile, or another user's
            if now - entry.stat().st_mtime >= limit_s:
                yield entry


def prune_folder(folder: Path, older_than_s: float, is_free: Callable[[Path], bool] = lambda _: True) -> int:
    """Delete of :func:`old_in` what ``is_free``.

    Returns:
        How many entries were deleted.
    """
    gone = 0
    for entry in old_in(folder, older_than_s):
        with suppress(OSError):
            if is_free(entry):
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
                gone += 1
    return gone
