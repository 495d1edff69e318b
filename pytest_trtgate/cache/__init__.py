"""What outlives a run: engines, accuracies, digests and surveys, and how they are pruned."""

from __future__ import annotations

from .accuracies import ResultCache
from .digests import FileDigests, FileFacts, prune_digests
from .engines import STALE_S, EngineCache, default_root, verify_entry
from .key import check_built_here, key_parts, timing_cache_path
from .pins import pin, pinned
from .surveys import SurveyStore

__all__ = [
    "STALE_S",
    "EngineCache",
    "FileDigests",
    "FileFacts",
    "ResultCache",
    "SurveyStore",
    "check_built_here",
    "default_root",
    "key_parts",
    "pin",
    "pinned",
    "prune_digests",
    "timing_cache_path",
    "verify_entry",
]
