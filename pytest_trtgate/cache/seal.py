"""Cached records with a seal: who lacks the secret may read the cache, and can put nothing into it that is believed.

Where the environment has :data:`CACHE_KEY`, each record carries an HMAC-SHA256 over its place in the cache and its
text, and what has none, or another, is not used. Elsewhere any record is believed, sealed or not.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from ..errors import RecordError
from ..records import FileRecord, as_json, load, write_whole
from ..settings import CACHE_KEY
from ..text import plural

R = TypeVar("R", bound=FileRecord)
LEAST_CHARACTERS = 32
"""Of a secret: who reads one sealed record can try millions of short ones in a second."""
_END = b"\n}\n"
_SEAL = re.compile(rb',\n "hmac": "([0-9a-f]{64})"\n\}\n')
_SEAL_BYTES = len(b',\n "hmac": ""\n}\n') + 64


def why_weak(environ: Mapping[str, str]) -> str:
    """Return in a sentence why the secret of an environment seals nothing, or little; empty where there is none."""
    secret = environ.get(CACHE_KEY)
    if secret is None or len(secret) >= LEAST_CHARACTERS:
        return ""
    if not secret:
        return f"{CACHE_KEY} is set and empty: nothing in the cache is sealed, and all in it is believed"
    return f"{CACHE_KEY} has {plural(len(secret), 'character')}, fewer than {LEAST_CHARACTERS}: it can be guessed"


class UnsealedError(RecordError):
    """A record has no seal, or one of another secret, place or text."""


def save_sealed(path: Path, place: str, record: FileRecord) -> None:
    """Write a record for ``place``, its name in the cache, whole or not at all; with a seal where there is a secret."""
    text = as_json(record)
    if secret := os.environ.get(CACHE_KEY):
        text = text.removesuffix(_END) + b',\n "hmac": "%b"\n}\n' % _mac(secret, place, text)
    write_whole(path, text)


def load_sealed(path: Path, place: str, model: type[R], *, own: bool = False, checked: bool = True) -> R:
    """Read a record of ``place``; ``own`` as of :func:`~pytest_trtgate.records.load`. Its seal counts if ``checked``.

    Raises:
        UnsealedError: There is a secret, and the seal is not of it.
        RecordError: As of :func:`~pytest_trtgate.records.load`.
    """

    def opened(content: bytes) -> bytes:
        found = _SEAL.fullmatch(content[-_SEAL_BYTES:])
        text = content[:-_SEAL_BYTES] + _END if found else content
        secret = os.environ.get(CACHE_KEY) if checked else None
        if secret and not (found and hmac.compare_digest(found[1], _mac(secret, place, text))):
            raise UnsealedError(f"{path.name} has no seal of {CACHE_KEY}")
        return text

    return load(path, model, own=own, opened=opened)


def _mac(secret: str, place: str, text: bytes) -> bytes:
    message = place.encode() + b"\0" + text
    return hmac.new(secret.encode(errors="surrogateescape"), message, "sha256").hexdigest().encode()
