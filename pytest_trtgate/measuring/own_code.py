"""The code of a checkpoint's own modules, of which its pickle holds the names only."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..machine import KNOWN, sources
from ..records import file_sha256, read_bytes

_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+(\w+)[\w.]*[ \t]+import\b|import[ \t]+([\w., \t]+))", re.MULTILINE)
_INSTALLED = ("site-packages", "dist-packages")
_EXTENSIONS = (".so", ".pyd")


def own_code(modules: Iterable[str]) -> str:
    """Return the SHA-256 of the sources of the packages that modules are in; nothing is imported.

    What code of the user's own imports belongs to it, as far as it is his own too; so does what is compiled. Of what is
    installed, only packages that are named count. A package that cannot be found counts by its name.
    """
    named = _named(modules)
    found = {
        name: sorted(one for place in places for one in (*sources(place), *_compiled(place)))
        for name, places in _packages(named).items()
    }
    code = sorted((name, its) for name, its in found.items() if its or name in named)
    return hashlib.sha256(repr(code).encode()).hexdigest()


@dataclass(frozen=True)
class SentCode:
    """The user's own packages that modules are in, for a machine that has none of them.

    Attributes:
        files: Their source files, by the path from the folder that is to be on the path there.
        missing: The packages that modules name and that are not sent, each with the reason.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def sent_code(modules: Iterable[str]) -> SentCode:
    """Return what of the packages that modules are in can be sent: Python sources that nobody installed."""
    named, files, missing = _named(modules), dict[str, Path](), dict[str, str]()
    for package, places in _packages(named).items():
        if _is_installed(places):
            missing[package] = "is installed here"
        elif any(_is_compiled(path) for place in places for path in _below(place)):
            missing[package] = "has compiled code"
        elif places:
            files |= {name: place.parent / name for place in places for name, _ in sources(place)}
        elif package in named:
            missing[package] = "is not found here"
    return SentCode(files, missing)


def _named(modules: Iterable[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def _packages(named: Collection[str]) -> dict[str, list[Path]]:
    """Return where packages are, with those that code of the user's own among them imports."""
    todo, found = sorted(named), dict[str, list[Path]]()
    while todo:
        package = todo.pop()
        if package in found or package in KNOWN:
            continue
        places = list(_places(package))
        installed = _is_installed(places)
        if installed and package not in named:
            continue
        found[package] = places
        if not installed:
            todo += {name for place in places for name in _imported(place)}
    return found


def _is_installed(places: Iterable[Path]) -> bool:
    return any(part in _INSTALLED for place in places for part in place.parts)


def _below(place: Path) -> Iterable[Path]:
    return [place] if place.is_file() else filter(Path.is_file, place.rglob("*"))


def _is_compiled(path: Path) -> bool:
    """Return whether Python runs a file without a source: an extension, or bytecode with no source beside it."""
    if path.suffix == ".pyc":
        return path.parent.name != "__pycache__" and not path.with_suffix(".py").exists()
    return path.suffix in _EXTENSIONS


def _compiled(place: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and SHA-256 of the compiled files in a package."""
    for path in filter(_is_compiled, _below(place) if place.is_dir() else ()):
        yield path.relative_to(place.parent).as_posix(), bytes.fromhex(file_sha256(path))


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
    for path in (one for one in _below(place) if one.suffix == ".py"):
        content = b""
        with suppress(OSError):  # which Python cannot read either
            content = read_bytes(path)
        for one, several in _IMPORT.findall(content):
            for name in [one] if one else several.split(b","):
                yield name.strip().partition(b" ")[0].partition(b".")[0].decode()
