"""What outlives a run: engines, accuracies, digests and surveys, and how they are pruned."""

from __future__ import annotations

from .accuracies import AccuracyCache
from .digests import SETTLED_NS, FileDigests, FileFacts
from .engines import EngineCache, Entry, verify_entry
from .key import check_built_here, key_parts, timing_cache_path
from .pins import pin, pinned
from .place import CONTENT, claim, default_root, why_foreign
from .prune import prunable, prune
from .seal import why_weak
from .store import MONTH_S, STALE_S, ComparisonStore, SurveyStore, prune_folder
