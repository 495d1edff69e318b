"""Comparisons of two arms that an earlier run made of the same records, byte by byte, and that the cache has."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from .. import __version__
from ..cache import ComparisonStore
from ..judge.accuracy.agreement import Agreement
from ..judge.accuracy.bootstrap import Bootstrap
from ..records import AccuracyRecord, FileRecord, file_sha256, key_sha256
from .evidence import Evidence

COMPARER_VERSION = 1
"""Part of every key. Raise it when the judge makes something else of the same records."""


class KeptEvidence(FileRecord):
    """:class:`Evidence` as a file has it."""

    comparison: Bootstrap
    agreement: Agreement
    curves: tuple[tuple[tuple[float, ...], ...], ...] = ()


@cache
def _versions() -> list[str]:
    return [version("numpy"), version("scipy")]  # a file of metadata is read for each


def kept(
    store: ComparisonStore,
    arms: tuple[Path, Path],
    engine: AccuracyRecord,
    how: dict[str, float],
    gathered: Callable[[], Evidence],
) -> Evidence:
    """Return what two arms' records say, from the cache or from ``gathered``.

    Args:
        store: The cache.
        arms: The per-image records of the checkpoint and the engine.
        engine: The engine's accuracy.
        how: Whatever else the comparison depends on.
        gathered: Compares; raises what it raises.
    """
    try:
        parts = {
            "comparer": [COMPARER_VERSION, __version__],
            "arms": [file_sha256(path) for path in arms],
            "task": engine.task,
            "how": how,
            "versions": _versions(),
        }
    except OSError:  # whoever reads them says so
        return gathered()
    key = key_sha256(parts)
    if (found := store.get(key, KeptEvidence)) is not None:
        return Evidence(found.comparison, found.agreement, tuple(map(np.array, found.curves)))
    evidence = gathered()
    curves = tuple(tuple(map(tuple, curve.tolist())) for curve in evidence.curves)
    store.put(key, KeptEvidence(comparison=evidence.comparison, agreement=evidence.agreement, curves=curves))
    return evidence
