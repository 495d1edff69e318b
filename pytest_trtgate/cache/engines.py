"""The engine cache: engines by content, shared safely among processes, and never used half written.

``<root>/engines/<key>/`` holds an artifact, its ``manifest.json`` and what belongs to it. An entry appears by one
atomic rename, under a lock of its key: of many processes that want an engine one builds it and the rest wait.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from ..errors import CacheError, JobError, RecordError
from ..locks import Lock, monotonic_s
from ..records import FULL, EngineRecord, FileDigest, file_sha256
from .pins import pinned
from .place import claim, clock_of, has_own_form, is_own, key_of
from .seal import load_sealed, save_sealed
from .store import STALE_S, prune_folder

MANIFEST = "manifest.json"
_PRUNING_S = 5.0
"""Deleting an engine takes moments."""
_STUCK_S = 600.0
"""Who has waited so long for a build is told what to do, and again after as long."""


@dataclass(frozen=True)
class Entry:
    """One folder of the cache: its manifest, or why it cannot be used."""

    path: Path
    manifest: EngineRecord | None
    problem: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files of the entry."""
        return sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file())

    @property
    def last_used(self) -> float:
        """When the entry was last served, in seconds since the epoch."""
        return self.path.stat().st_mtime


class EngineCache:
    """Engines by key under ``root``.

    ``notify`` is told in one sentence of a wait or a damaged entry. ``wait_s``: for how long one and the same process
    may keep others waiting for an engine.
    """

    def __init__(self, root: Path, notify: Callable[[str], None] = lambda _: None, wait_s: float = math.inf) -> None:
        self.root = root
        self.notify = notify
        self.wait_s = wait_s
        self._uses: dict[str, Lock] = {}

    def obtain(self, key: str, build: Callable[[Path], EngineRecord]) -> EngineRecord:
        """Return the engine of ``key``: from the cache, else from ``build``, which only one process runs at a time.

        ``build`` fills the empty folder that it is given and returns the record of what it put there.

        Raises:
            CacheError: The cache folder cannot be written, or holds what the cache did not make.
            JobError: Another process has had the engine in hand for too long.
        """
        if (found := self.find(key)) is not None:  # where it can be read, it need not be writable
            return found
        with self._guard():
            self._make("locks")
            self.hold(key)
            lock = self._lock(key)
            if not lock.acquire(self.wait_s, partial(self._tell_waiting, key, monotonic_s()), _STUCK_S):
                raise JobError(
                    f"engine {key[:12]}",
                    f"another process has been building it for {self.wait_s:g} s, longer than any job of this run may "
                    f"take{lock.holder()}; end that process, or raise the limits under timeouts",
                )
            try:
                return self._serve(key) or self._store(key, build)
            finally:
                lock.release()

    def find(self, key: str) -> EngineRecord | None:
        """Return the engine of ``key`` if it is in the cache and whole, which counts as use; build nothing."""
        entry = self.root / "engines" / key
        with suppress(OSError):  # pruned meanwhile
            if entry.is_dir():
                self.hold(key)
                return _used(verify_entry(entry))
        return None

    def peek(self, key: str) -> EngineRecord | None:
        """Return what the manifest of ``key`` says, which is no use; nothing looks at the artifact itself."""
        entry = self.root / "engines" / key
        try:
            found = load_sealed(entry / MANIFEST, key, EngineRecord, checked=False)
        except RecordError:
            return None
        return found.model_copy(update={"entry": str(entry)})

    def hold(self, key: str) -> None:
        """Keep the engine of ``key`` from being pruned until :meth:`close`, where the cache has a place for locks."""
        if key not in self._uses:
            lock = self._lock(key, shared=True)
            with suppress(OSError):
                if lock.acquire(limit_s=_PRUNING_S):
                    self._uses[key] = lock

    def close(self) -> None:
        """Let all engines be pruned."""
        while self._uses:
            self._uses.popitem()[1].release()

    def _lock(self, key: str, shared: bool = False) -> Lock:
        """Return the lock of those who make or delete an engine, or that shared by those who use it."""
        return Lock(self.root / "locks" / f"{key}.{'use' if shared else 'lock'}", shared)

    def _tell_waiting(self, key: str, since_s: float, holder: str) -> None:
        waited_s = monotonic_s() - since_s
        stuck = f", for {waited_s / 60:.0f} min: if it does nothing, end it, and this run builds the engine"
        self.notify(
            f"waiting for another process that builds engine {key[:12]}{holder}{stuck if waited_s >= _STUCK_S else ''}"
        )

    def _serve(self, key: str) -> EngineRecord | None:
        entry = self.root / "engines" / key
        if not entry.is_dir():
            return None
        found = verify_entry(entry)
        if found.problem:
            self._make("damaged")
            aside = entry.rename(self.root / "damaged" / f"{key}-{time.time_ns()}")
            self.notify(f"cached engine {key[:12]} is damaged ({found.problem}); set aside in {aside} and built again")
        return _used(found)

    def _store(self, key: str, build: Callable[[Path], EngineRecord]) -> EngineRecord:
        self._make("tmp", "engines")
        self._prune_abandoned()
        folder = self.root / "tmp" / f"{key}-{uuid4().hex}"
        folder.mkdir()  # with the modes that the umask and the folder above give, since a group may share the cache
        try:
            record = build(folder)
            _share(folder)
            artifact = digest_of(folder / record.artifact)
            files = tuple(digest_of(f) for f in sorted(folder.iterdir()) if f.is_file())
            record = record.model_copy(
                update={"files": files, "sha256": artifact.sha256, "size_bytes": artifact.size_bytes}
            )
            save_sealed(folder / MANIFEST, key, record)
            entry = self.root / "engines" / key
            try:
                folder.rename(entry)
            except OSError as error:
                # Another machine that shares the folder, but not its locks, was faster.
                found = self.find(key) if error.errno in (errno.ENOTEMPTY, errno.EEXIST) else None
                if found is None:
                    raise
                shutil.rmtree(folder, ignore_errors=True)
                return found
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return record.model_copy(update={"entry": str(entry)})

    @property
    def is_empty(self) -> bool:
        """Whether there is no entry, or none that can be seen."""
        try:
            return next((self.root / "engines").iterdir(), None) is None
        except OSError:
            return True

    def entries(self) -> Iterator[Entry]:
        """Yield all entries by name; cheap: manifests are read, artifacts are not."""
        engines = self.root / "engines"
        for path in filter(has_own_form, sorted(engines.iterdir()) if engines.is_dir() else ()):
            try:
                yield Entry(path, load_sealed(path / MANIFEST, path.name, EngineRecord, checked=False))
            except RecordError as error:
                yield Entry(path, None, str(error))

    def unused(self, older_than_s: float) -> list[Entry]:
        """Return the entries that were not used for so long and that no baseline names, and all damaged ones."""
        now, kept = clock_of(self.root), pinned(self.root, older_than_s)
        return [
            entry
            for entry in self.entries()
            if is_own(entry.path)
            and (entry.manifest is None or (now - entry.last_used >= older_than_s and entry.path.name not in kept))
        ]

    def prune(self, older_than_s: float) -> list[Entry]:
        """Delete entries that were not used for so long, and all damaged and abandoned ones; return the former.

        Engines that a baseline names stay, however long they were not used.
        """
        gone: list[Entry] = []
        if not self.root.is_dir():
            return gone
        with self._guard():
            claim(self.root)
            if (self.root / "engines").is_symlink():
                self.notify(f"the engines in {self.root / 'engines'} are left, since this is a link")
            gone += [entry for entry in self.unused(older_than_s) if self._delete(entry.path)]
            prune_folder(self.root / "damaged", 0)
            with suppress(OSError):
                (self.root / "damaged").rmdir()
            self._prune_abandoned()
            self._sweep_locks()
        return gone

    def _delete(self, path: Path) -> bool:
        """Delete an entry at once for every other process; leave it where one makes or uses it."""
        self._make("locks", "tmp")
        key, aside = path.name, self.root / "tmp" / f"{path.name}-{uuid4().hex}"
        locks = self._lock(key), Lock(self._lock(key, shared=True).path)
        try:
            if not all(lock.take() for lock in locks):
                self.notify(f"engine {key[:12]} is left, since a run uses it")
                return False
            path.rename(aside)
        except OSError as error:
            self.notify(f"engine {key[:12]} is left, since it cannot be deleted ({error.strerror})")
            return False
        finally:
            for lock in locks:
                lock.release()
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def _prune_abandoned(self) -> None:
        """Delete what killed builds left behind: nobody has the lock of its key, whatever clocks say of its age."""

        def is_free(path: Path) -> bool:
            lock = self._lock(key_of(path))
            free = not key_of(path) or lock.take()
            lock.release()
            return free

        prune_folder(self.root / "tmp", STALE_S, is_free)

    def _sweep_locks(self) -> None:
        """Remove the locks of keys that have no entry and that no process is busy with."""
        for path in filter(is_own, (self.root / "locks").glob("*")):
            lock = Lock(path)
            with suppress(OSError):  # another user's
                if not (self.root / "engines" / path.stem).exists() and lock.take():
                    path.unlink()
            lock.release()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = f"the engine cache failed ({error})"
            if error.errno in FULL:
                why = "no space left for engines; free some, or name another --trt-cache-dir"
            elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                why = "the engine cache is not writable; name another --trt-cache-dir"
            raise CacheError(f"{self.root}: {why}") from error

    def _make(self, *folders: str) -> None:
        claim(self.root)
        for folder in folders:
            (self.root / folder).mkdir(parents=True, exist_ok=True)


def _used(entry: Entry) -> EngineRecord | None:
    """Return the engine of an entry, which counts as use; None where it cannot be used."""
    if entry.manifest is None:
        return None
    with suppress(OSError):  # read-only, or another user's
        os.utime(entry.path)
    return entry.manifest.model_copy(update={"from_cache": True, "entry": str(entry.path)})


def _share(folder: Path) -> None:
    """Let whoever may read a folder read its files too: some libraries write files for their own user alone."""
    shared = folder.stat().st_mode & 0o666
    for file in folder.iterdir():
        if file.is_file() and (mode := stat.S_IMODE(file.stat().st_mode)) | shared != mode:
            file.chmod(mode | shared)


def digest_of(path: Path) -> FileDigest:
    """Return name, SHA-256 and size of one file."""
    return FileDigest(name=path.name, sha256=file_sha256(path), size_bytes=path.stat().st_size)


def verify_entry(path: Path) -> Entry:
    """Compare every file of an entry with its manifest, by content."""
    try:
        manifest = load_sealed(path / MANIFEST, path.name, EngineRecord)
    except RecordError as error:
        return Entry(path, None, str(error))
    if manifest.cache_key != path.name:
        return Entry(path, None, f"{MANIFEST} is of engine {manifest.cache_key[:12]}")
    if manifest.artifact not in {f.name for f in manifest.files}:
        return Entry(path, None, f"{MANIFEST} has no digest of {manifest.artifact}")
    for expected in manifest.files:
        file = path / expected.name
        if not file.is_file():
            return Entry(path, None, f"{expected.name} is missing")
        if file.stat().st_size != expected.size_bytes:
            return Entry(path, None, f"{expected.name} has {file.stat().st_size} bytes, not {expected.size_bytes}")
        if file_sha256(file) != expected.sha256:
            return Entry(path, None, f"the bytes of {expected.name} have changed")
    return Entry(path, manifest)
