"""Deleting what no run has used for long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import accuracies, digests
from .engines import EngineCache, Entry
from .place import CONTENT
from .store import ComparisonStore, old_in, prune_folder


def prunable(root: Path, older_than_s: float) -> tuple[list[Entry], int]:
    """Return what :func:`prune` would delete: engines, and how many measured accuracies."""
    return EngineCache(root).unused(older_than_s), len(list(old_in(root / accuracies.FOLDER, older_than_s)))


def prune(root: Path, older_than_s: float, notify: Callable[[str], None] = lambda _: None) -> tuple[list[Entry], int]:
    """Delete what was not used for so long from the cache at ``root``, but for engines that a baseline names.

    ``notify`` is told of what is left, since a run uses it.

    Returns:
        The deleted engines, and how many measured accuracies were deleted.
    """
    engines = EngineCache(root, notify).prune(older_than_s)
    for folder in (digests.FOLDER, CONTENT, ComparisonStore.FOLDER):
        prune_folder(root / folder, older_than_s)
    return engines, prune_folder(root / accuracies.FOLDER, older_than_s)
