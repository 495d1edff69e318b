"""Folders of a project that hold no tests, however many files: pytest would ask about each of their files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .dataset import label_of, load_dataset
from .errors import DataError
from .settings import Settings


def unsearched(settings: Settings, own: Iterable[Path], keep: Iterable[Path]) -> frozenset[Path]:
    """Return folders that need not be searched for tests, with all links resolved.

    Args:
        settings: Name the datasets; one that cannot be read is left to whoever needs it.
        own: Folders that the gate writes.
        keep: Folders that are searched, and with them all that they are in.
    """
    found = {place.resolve() for place in own}
    for source in {settings.of(model.name).data for model in settings.models} - {None}:
        assert source is not None
        try:
            dataset = load_dataset(source)
        except DataError:
            continue
        for places in dataset.splits.values():
            for place in filter(Path.is_dir, places):
                found |= {place.resolve(), label_of(place / "any").parent.resolve()}
    kept = [folder.resolve() for folder in keep]
    return frozenset(place for place in found if not any(folder.is_relative_to(place) for folder in kept))
