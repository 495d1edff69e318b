"""What earlier runs saw of splits, checkpoints and the deployed engine.

``<cache root>/preflight/<key>.json`` holds what was seen. A split is unchanged while the paths, sizes and times of
modification of its images and labels are; a checkpoint or an engine while its bytes are.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TypeVar

from ..errors import RecordError
from ..records import FileRecord, load, save

R = TypeVar("R", bound=FileRecord)
FORGOTTEN_S = 30 * 86400


class SurveyStore:
    """Records by key in one folder; what cannot be stored is asked for again."""

    def __init__(self, folder: Path, fresh: bool) -> None:
        self._folder = folder
        self._fresh = fresh

    def get(self, key: str, model: type[R]) -> R | None:
        """Return what is stored under a key; None where there is nothing to be used."""
        path = self._folder / f"{key}.json"
        if self._fresh or not path.is_file():
            return None
        try:
            with contextlib.suppress(OSError):
                os.utime(path)
            return load(path, model)
        except RecordError:
            return None

    def put(self, key: str, record: FileRecord) -> None:
        """Store a record, and delete those that nobody asked for in a month."""
        with contextlib.suppress(OSError):
            save(self._folder / f"{key}.json", record)
            for old in self._folder.glob("*.json"):
                if time.time() - old.stat().st_mtime > FORGOTTEN_S:
                    old.unlink(missing_ok=True)
