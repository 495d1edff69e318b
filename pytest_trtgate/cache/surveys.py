"""What earlier runs saw of splits, checkpoints and the deployed engine: ``<cache root>/preflight/<key>.json``."""

from __future__ import annotations

from pathlib import Path

from ..records import FileRecord
from .store import R, Store

FORGOTTEN_S = 30 * 86400


class SurveyStore(Store):
    """What was seen, by key; forgotten when nobody has asked for it in a month.

    Args:
        root: The folder of the engine cache.
        fresh: Whether to believe nothing that was stored by an earlier run.
    """

    def __init__(self, root: Path, fresh: bool) -> None:
        super().__init__(root / "preflight")
        self._fresh = fresh

    def get(self, key: str, model: type[R]) -> R | None:
        """Return what is stored under a key; None where there is nothing to be used."""
        return None if self._fresh else super().get(key, model)

    def put(self, key: str, record: FileRecord) -> None:
        """Store what was seen, and delete what is forgotten."""
        super().put(key, record)
        self.prune(FORGOTTEN_S)
