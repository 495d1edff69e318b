"""Which versions of the packages that matter are installed, and whether their files are those of the version."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from ..records import file_sha256

_CONTRIB = ("opencv-contrib-python", "opencv-contrib-python-headless")
_HEIF = "pi-heif"
"""Reads HEIC, images of which are left out without it."""
_WHERE_INSTALLED = (*_CONTRIB, _HEIF)
"""What keys name only where it is installed: 0.1.0 did not know it, and what it stored is to be found."""
OPENCV = ("opencv-python", "opencv-python-headless", *_CONTRIB)
"""Distributions of one library, of which any will do."""
DECODERS = (*OPENCV, "pillow", _HEIF)
"""Distributions that decode and resize images."""
PACKAGES = (
    *("ultralytics", "torch", "torchvision", "onnx", "onnxruntime", "onnxslim", "tensorrt", "nvidia-modelopt"),
    *("numpy", *DECODERS),
)
"""Distributions whose version can change an engine or a measurement."""
ALIASES = {"tensorrt": ("tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11", "tensorrt-bindings")}
"""Other distributions of the same library, of which one may be installed alone."""
KNOWN = sys.stdlib_module_names | {
    *("PIL", "cv2", "numpy", "onnx", "onnxruntime", "onnxslim", "torch", "torchvision", "ultralytics"),
}
"""Packages to import that come with Python, or whose versions are in keys."""
_READ = {"ultralytics": "ultralytics", "onnxslim": "onnxslim"}
"""Distributions that people change, and the package of each: plain Python, so that all of it is read in no time."""
_SUFFIXES = (".py", ".yaml")
_EDITED = "+edited."


def distribution_of(name: str) -> metadata.Distribution:
    """Return the first distribution of a name that tells its version; an upgrade that broke off leaves others.

    Raises:
        PackageNotFoundError: None does.
    """
    for found in metadata.distributions(name=name):
        with suppress(OSError, TypeError, ValueError):  # what there is of its metadata is no text
            if any(found.metadata.get_all("Version") or ()):
                return found
    raise metadata.PackageNotFoundError(name)


def _version(name: str) -> str:
    return distribution_of(name).version


def installed_versions(version: Callable[[str], str] = _version) -> dict[str, str]:
    """Return the versions of those of :data:`PACKAGES` that are installed.

    Args:
        version: Returns the version of one distribution, or raises ``PackageNotFoundError``.
    """
    found = {}
    for package in PACKAGES:
        for name in (package, *ALIASES.get(package, ())):
            try:
                found[package] = version(name)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


@lru_cache
def edits(distribution: str) -> str:
    """Return a digest of the sources of an installed package if they are not those that its installer wrote.

    So it is where someone changed them, or where they are a folder of his own: an editable install, or one that comes
    first on the path. Empty otherwise, and where there are none.
    """
    try:
        spec = importlib.util.find_spec(_READ[distribution])
        record = distribution_of(distribution).read_text("RECORD") or ""
    except (ValueError, ImportError):  # a module of that name that says nothing of itself
        return ""
    if spec is None or spec.origin is None:
        return ""
    installed = {name: sha256 for name, sha256, *_ in csv.reader(record.splitlines()) if name.endswith(_SUFFIXES)}
    found = sources(Path(spec.origin).parent)
    as_installed = {name: f"sha256={base64.urlsafe_b64encode(digest).decode().rstrip('=')}" for name, digest in found}
    if as_installed == installed:
        return ""
    return hashlib.sha256(
        b"".join(name.encode(errors="surrogateescape") + digest for name, digest in found)
    ).hexdigest()


def sources(package: Path) -> list[tuple[str, bytes]]:
    """Return name, from the package's own, and SHA-256 of each source file of a package or module, sorted by name.

    What Python cannot read either, such as the link by which an editor locks a file, is no source.
    """
    if package.is_file():
        return [(package.name, bytes.fromhex(file_sha256(package)))]
    found = []
    for folder, _, names in os.walk(package):
        inside = Path(folder).relative_to(package.parent).as_posix()
        for name in names:
            if name.endswith(_SUFFIXES):
                with suppress(OSError):
                    found.append((f"{inside}/{name}", bytes.fromhex(file_sha256(Path(folder, name)))))
    return sorted(found)


def with_edits(versions: Mapping[str, str], edits: Callable[[str], str]) -> dict[str, str]:
    """Return versions with the digest of what was edited behind them, as ``8.4.190+edited.0123456789ab``."""
    found = {name: edits(name)[:12] if name in _READ else "" for name in versions}
    return {name: version + (_EDITED + found[name] if found[name] else "") for name, version in versions.items()}


def released(version: str) -> str:
    """Return the version that a package gives itself, whatever was edited."""
    return version.partition(_EDITED)[0]


def versions_in_key(names: Iterable[str], versions: Mapping[str, str]) -> dict[str, str | None]:
    """Return the part of a key that says which versions of some distributions are installed; None for those not."""
    return {name: versions.get(name) for name in names if name in versions or name not in _WHERE_INSTALLED}


def package_lines(versions: Mapping[str, str]) -> list[str]:
    """Return a line per package: its version, or that it is not installed; of OpenCV's distributions, the installed."""
    there = [name for name in OPENCV if name in versions] or [OPENCV[0]]
    shown = [name for name in PACKAGES if name not in (*OPENCV, _HEIF) or name in there or name in versions]
    width = max(map(len, shown))
    lacking = {OPENCV[0]: "not installed, nor is another distribution of OpenCV"}
    return [f"{name:<{width}} {versions.get(name) or lacking.get(name, 'not installed')}" for name in shown]
