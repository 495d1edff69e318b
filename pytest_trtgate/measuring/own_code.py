"""The code of a checkpoint's own modules, of which its pickle holds the names only."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..machine import KNOWN, sources

_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+(\w+)[\w.]*[ \t]+import\b|import[ \t]+([\w., \t]+))", re.MULTILINE)
_INSTALLED = ("site-packages", "dist-packages")


def own_code(modules: Iterable[str]) -> str:
    """Return the SHA-256 of the sources of the packages that modules are in; nothing is imported.

    What code of the user's own imports belongs to it, as far as it is his own too. Of what is installed, only packages
    that are named count. A package that cannot be found counts by its name.
    """
    named = {module.partition(".")[0] for module in modules}
    todo, found = sorted(named), dict[str, list[tuple[str, bytes]]]()
    while todo:
        package = todo.pop()
        if package in found or package in KNOWN:
            continue
        places = list(_places(package))
        installed = any(part in _INSTALLED for place in places for part in place.parts)
        if installed and package not in named:
            continue
        found[package] = sorted(source for place in places for source in sources(place))
        if not installed:
            todo += {name for place in places for name in _imported(place)}
    code = sorted((name, its) for name, its in found.items() if its or name in named)
    return hashlib.sha256(repr(code).encode()).hexdigest()


def _places(package: str) -> Iterator[Path]:
    """Yield the folders of a package, or the file of a module."""
    try:
        spec = importlib.util.find_spec(package)  # of one without a dot: that imports nothing
    except (ValueError, ImportError):  # a module of that name that says nothing of itself
        return
    if spec is None:
        return
    if spec.submodule_search_locations is not None:
        yield from map(Path, spec.submodule_search_locations)
    elif spec.has_location and spec.origin:
        yield Path(spec.origin)


def _imported(place: Path) -> Iterator[str]:
    """Yield the names of the packages that the sources in a folder, or one source, import."""
    for path in [place] if place.is_file() else place.rglob("*.py"):
        for one, several in _IMPORT.findall(path.read_bytes()):
            for name in [one] if one else several.split(b","):
                yield name.strip().partition(b" ")[0].partition(b".")[0].decode()
