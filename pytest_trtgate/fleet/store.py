"""A worker's contents: files by digest in its cache, and trees of links to them for jobs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from ..cache import CONTENT, MONTH_S, claim, prune_folder
from ..data import Dataset
from ..errors import CacheError, TrtGateError
from ..records import file_sha256, load
from .portable import Entry, Tree

TREES = "trees"


class SharedStore(Protocol):
    """Contents that a group of machines shares, such as an object store; a worker asks it before its coordinator."""

    def fetch(self, sha256: str, path: Path) -> bool:
        """Write the content of a digest to ``path``; return whether there is one. Its digest is checked again."""


class ContentStore:
    """Files by their SHA-256 under the cache of a worker.

    Args:
        cache_root: The folder of the cache.
        data_roots: Folders in which a file with the digest that is wanted may lie already; it is not copied.
        shared: Where else to look.
    """

    def __init__(self, cache_root: Path, data_roots: Sequence[Path] = (), shared: SharedStore | None = None) -> None:
        claim(cache_root)
        self.cache_root = Path(os.path.realpath(cache_root))
        self._folder = self.cache_root / CONTENT
        self._temporary = self.cache_root / "tmp"
        for folder in (self._folder, self._temporary):
            folder.mkdir(exist_ok=True)
        prune_folder(self._folder, MONTH_S)
        self._shared = shared
        self._roots = data_roots
        self._by_size: dict[int, list[Path]] | None = None
        self._found: dict[str, Path] = {}
        self._arriving: dict[str, Path] = {}

    def find(self, sha256: str, size_bytes: int) -> Path | None:
        """Return a file with a digest; None where there is none."""
        own = self._folder / sha256
        with suppress(OSError):
            if own.stat().st_size == size_bytes:
                return own
        known = self._found.get(sha256) or self._in_roots(sha256, size_bytes)
        if known is None and self._shared is not None:
            path = self._new(sha256)
            if self._shared.fetch(sha256, path):
                self._accept(path, file_sha256(path), sha256)
                return own
        return known

    def owns(self, path: Path) -> bool:
        """Return whether a file that was found is the cache's own."""
        return path.parent == self._folder

    def _in_roots(self, sha256: str, size_bytes: int) -> Path | None:
        if self._by_size is None:
            self._by_size = {}
            for path in _files_below(self._roots):
                with suppress(OSError):
                    self._by_size.setdefault(path.stat().st_size, []).append(path)
        candidates = self._by_size.get(size_bytes, [])
        while candidates:
            path = candidates.pop()
            with suppress(OSError):
                found = file_sha256(path)
                self._found[found] = path
                if found == sha256:
                    return path
        return None

    def receive(self, sha256: str, part: bytes, last: bool) -> None:
        """Take the next part of a content; with the ``last``, its digest is checked and it is kept.

        Raises:
            CacheError: What arrived has another digest.
        """
        path = self._arriving.get(sha256) or self._new(sha256)
        try:
            with path.open("ab") as file:
                file.write(part)
        except OSError:  # a full disk gets back what it gave
            with suppress(OSError):
                path.unlink()
            raise
        if not last:
            self._arriving[sha256] = path
        elif self._arriving.pop(sha256, None):
            self._accept(path, file_sha256(path), sha256)
        else:
            self._accept(path, hashlib.sha256(part).hexdigest(), sha256)

    def keep(self, path: Path, sha256: str) -> None:
        """Keep a file of this machine, which stays where it is, as a content."""
        copy = self._new(sha256)
        with suppress(OSError):
            os.link(path, copy)
            copy.replace(self._folder / sha256)

    def _new(self, sha256: str) -> Path:
        return self._temporary / f"{sha256}-{uuid4().hex}"

    def _accept(self, path: Path, found: str, sha256: str) -> None:
        if found != sha256:
            path.unlink()
            raise CacheError(f"a file arrived with the digest {found[:12]}, not {sha256[:12]}; run again")
        path.chmod(0o444)
        path.replace(self._folder / sha256)

    def tree(self, sha256: str) -> Tree:
        """Return the tree of a digest, which was received."""
        return load(self._folder / sha256, Tree, own=True)

    def lacking(self, entries: Iterator[Entry]) -> list[str]:
        """Return the digests of what is neither here nor to be found."""
        return [one.sha256 for one in entries if self.find(one.sha256, one.size_bytes) is None]


def lay_out(store: ContentStore, tree: Tree, folder: Path) -> None:
    """Make a tree in a folder that does not exist yet, of links to contents, and beside it the data YAML if it has one.

    Raises:
        CacheError: A content is missing.
    """
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex}")
    unfinished.mkdir(parents=True)
    for inside in tree.folders:
        (unfinished / inside).mkdir(parents=True, exist_ok=True)
    for inside, entry in tree.files.items():
        content = store.find(entry.sha256, entry.size_bytes)
        if content is None:
            raise CacheError(f"{Path(inside).name} ({entry.sha256[:12]}) is gone from {store.cache_root}; run again")
        path = unfinished / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not store.owns(content):
                raise OSError("somebody else's, who may count links")
            os.link(content, path)
        except OSError:
            path.symlink_to(content.resolve())
    unfinished.rename(folder)
    if tree.data is not None and not tree.data.by_folder:
        _write_yaml(tree, folder)


def data_place(tree: Tree, folder: Path) -> Path:
    """Return what a job is given as the dataset of a tree in ``folder``.

    Raises:
        TrtGateError: It has none.
    """
    if tree.data is None:
        raise TrtGateError(f"{folder}: holds no dataset")
    return folder / tree.data.root if tree.data.by_folder else folder.with_name(f"{folder.name}.data") / "data.yaml"


def _write_yaml(tree: Tree, folder: Path) -> None:
    data, path = tree.data, data_place(tree, folder)
    assert data is not None
    path.parent.mkdir()
    splits = {}
    for split, places in data.splits.items():
        found = []
        for number, place in enumerate(places):
            if isinstance(place, str):
                found.append(folder / place)
            else:
                found.append(path.parent / f"{split}-{number}.list")
                text = "\n".join(str(folder / image) for image in place)
                found[-1].write_text(text, encoding="utf-8", errors="surrogateescape")
        splits[split] = tuple(found)
    Dataset(path, folder / data.root, data.names, splits, data.extra).write_resolved(path)


def entry_of(path: Path) -> Entry:
    """Return a file by its content."""
    return Entry(sha256=file_sha256(path), size_bytes=path.stat().st_size)


def _files_below(roots: Sequence[Path]) -> Iterator[Path]:
    for root in roots:
        for folder, _, names in os.walk(root):
            yield from (Path(folder) / name for name in names)
