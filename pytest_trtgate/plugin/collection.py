"""Folders of a project that hold no tests, however many files: pytest would ask about each of their files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..data import label_of, load_dataset
from ..errors import DataError
from ..settings import Settings

_UNKNOWN = (DataError, OSError, ValueError, RuntimeError)
"""Errors from a path of an unknown user, an impossible path, or a link loop."""


class IgnoredFolders:
    """Tells which folders pytest need not search: those of images and labels, and the gate's own, with no test inside.

    Args:
        settings: They name the datasets. One that cannot be read is skipped here; what needs it will say why.
        own: Folders that the gate writes.
    """

    def __init__(self, settings: Settings, own: Iterable[Path]) -> None:
        places = set(own)
        for source in {settings.of(model.name).data for model in settings.models}:
            if source is None:
                continue
            with suppress(*_UNKNOWN):
                for listed in load_dataset(source).splits.values():
                    for folder in filter(Path.is_dir, listed):
                        places |= {folder, label_of(folder / "any").parent}
        self._places: set[Path] = set()
        for place in places:
            with suppress(*_UNKNOWN):
                self._places.add(place.resolve())
        self._names = {place.name for place in self._places}

    def __contains__(self, path: Path) -> bool:
        """Return whether a path is one of them."""
        # Most are told by their names, without a look at the disk.
        if path.name not in self._names:
            return False
        with suppress(*_UNKNOWN):
            return path.resolve() in self._places and not _may_hold_tests(path)
        return False


def _may_hold_tests(folder: Path) -> bool:
    """Return whether a Python file or a link is below a folder; to list names is quick, pytest asks about each."""
    return any(
        any(name.endswith(".py") for name in files) or any(Path(place, name).is_symlink() for name in folders)
        for place, folders, files in os.walk(folder)
    )
