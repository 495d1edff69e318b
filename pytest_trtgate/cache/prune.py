"""Deleting what no run has used for long."""

from __future__ import annotations

from pathlib import Path

from .accuracies import AccuracyCache
from .digests import prune_digests
from .engines import EngineCache, Entry


def prune(root: Path, older_than_s: float) -> tuple[list[Entry], int]:
    """Delete what was not used for so long from the cache at ``root``; but for engines that a baseline names.

    Returns:
        The deleted engines, and how many measured accuracies were deleted.
    """
    engines = EngineCache(root).prune(older_than_s)
    accuracies = AccuracyCache(root).prune(older_than_s)
    prune_digests(root, older_than_s)
    return engines, accuracies
