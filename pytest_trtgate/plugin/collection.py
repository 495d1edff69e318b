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
"""What a path may raise that is nobody's, no path, or a link in a circle."""


class IgnoredFolders:
    """Tells which folders pytest need not search: those of images and labels, and the gate's own, with no test inside.

    Args:
        settings: Name the datasets; one that cannot be read is left to whoever needs it.
        own: Folders that the gate writes.
    """

    def __init__(self, settings: Settings, own: Iterable[Path]) -> None:
        places = set(own)
        for source in {settings.of(model.name).data for model in settings.models}:
            with suppress(*_UNKNOWN):
                dataset = load_dataset(source) if source else None
                folders = [p for found in dataset.splits.values() for p in found if p.is_dir()] if dataset else []
                places |= {*folders, *(label_of(folder / "any").parent for folder in folders)}
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
    """Return whether there is Python below a folder, or a link: names are listed soon, pytest asks about each."""
    return any(
        any(name.endswith(".py") for name in files) or any(Path(place, name).is_symlink() for name in folders)
        for place, folders, files in os.walk(folder)
    )
