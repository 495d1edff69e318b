"""Engines that baselines name: they stay in the cache, to be timed beside later ones.

``<cache root>/pins/<digest of the baseline folder's path>.json`` lists a project's, so that a cache that several
projects share can be pruned from anywhere.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from ..errors import CacheError, RecordError
from ..records import RECORD_BYTES, FileRecord, key_sha256, load, read_text, save
from .place import claim, clock_of


class Pins(FileRecord):
    """The cache keys that the baselines under one folder name."""

    baseline_dir: str
    keys: tuple[str, ...]


def pin(root: Path, baseline_dir: Path) -> None:
    """List in the cache at ``root`` the engines that the baselines under a folder name, in place of an earlier list.

    Raises:
        CacheError: The cache folder cannot be written.
    """
    folder = baseline_dir.resolve()
    path = root / "pins" / f"{key_sha256({'baseline_dir': str(folder)})[:32]}.json"
    keys = _keys(folder)
    try:
        if keys:
            claim(root)
            save(path, Pins(baseline_dir=str(folder), keys=keys))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise CacheError(f"{path}: cannot be written ({error.strerror})") from error


def pinned(root: Path, older_than_s: float) -> frozenset[str]:
    """Return the keys that are pinned in a cache, but for those of projects that are gone.

    A project is gone when its baseline folder is not there and it has not run for ``older_than_s`` seconds. Either
    alone may be a container that does not see the folder, or a project that rests.
    """
    found, now = set[str](), clock_of(root)
    for path in (root / "pins").glob("*.json"):
        with suppress(RecordError, OSError):
            pins = load(path, Pins)
            if Path(pins.baseline_dir).is_dir() or now - path.stat().st_mtime < older_than_s:
                found.update(pins.keys)
    return frozenset(found)


def _keys(folder: Path) -> tuple[str, ...]:
    found = set()
    for path in folder.glob("*/*/*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):  # a damaged baseline names no engine
            found.add(str(json.loads(read_text(path, RECORD_BYTES))["cache_key"]))
    return tuple(sorted(found))
