"""Content digests: what makes cache keys and data comparable between machines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def files_sha256(paths: Iterable[Path], sha256: Callable[[Path], str] = file_sha256) -> str:
    """Return one SHA-256 over the contents of files, in their order; a file that is missing counts as empty.

    Args:
        paths: The files.
        sha256: Returns the digest of one of them.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(sha256(path)) if path.is_file() else bytes(32))
    return digest.hexdigest()


def key_sha256(parts: dict[str, Any]) -> str:
    """Return the SHA-256 of a JSON object, independent of the order of its keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
