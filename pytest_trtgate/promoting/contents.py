"""The files of a release pack, and the list of their digests, which ``sha256sum --check`` reads too."""

from __future__ import annotations

from collections.abc import Mapping

from ..records import ENGINE_BYTES

REPORT = "report.html"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SIGNATURE = "model.sig"
OWN_NAMES = (REPORT, MANIFEST, SUMS, SIGNATURE)
"""The names of all files but the engine's."""
_OWN_BYTES = 1_000_000_000


def most_bytes(name: str) -> int:
    """Return how large a file of a release pack may be: a report with its pictures, or an engine."""
    return _OWN_BYTES if name in OWN_NAMES else ENGINE_BYTES


def sums(digests: Mapping[str, str]) -> bytes:
    """Return the list of the SHA-256 of files by name, which is the same for the same files."""
    listed = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests) if name != SUMS)
    return listed.encode("utf-8", "surrogateescape")
