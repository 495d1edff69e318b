"""The engine cache: engines by content, shared safely among processes, and never used half written.

``<root>/engines/<key>/`` holds an artifact, its ``manifest.json`` and what belongs to it. An entry appears by one
atomic rename, under a lock of its key: of many processes that want an engine one builds it and the rest wait.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

from ..errors import CacheError, RecordError
from ..records import EngineRecord, FileDigest, Holder, file_sha256, load, save, unheld
from .pins import pinned
from .store import STALE_S

MANIFEST = "manifest.json"


def default_root() -> Path:
    """Return the user's cache folder for engines, where the settings name none."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("pytest-trtgate", appauthor=False))


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
    """Engines by key under ``root``; ``notify`` is told in one sentence of a wait or a damaged entry."""

    def __init__(self, root: Path, notify: Callable[[str], None] = lambda _: None) -> None:
        self.root = root
        self.notify = notify
        self._holder = Holder()

    def obtain(self, key: str, build: Callable[[Path], EngineRecord]) -> EngineRecord:
        """Return the engine of ``key``: from the cache, else from ``build``, which only one process runs at a time.

        ``build`` fills the empty folder that it is given and returns the record of what it put there.

        Raises:
            CacheError: The cache folder cannot be read or written.
        """
        with self._guard():
            self._make("locks")
            with self._locked(key):
                found = self._serve(key) or self._store(key, build)
                self.hold(key)
                return found

    def find(self, key: str) -> EngineRecord | None:
        """Return the engine of ``key`` if it is in the cache and whole, which counts as use; build nothing."""
        with suppress(OSError):  # pruned meanwhile
            return _used(verify_entry(self.root / "engines" / key)) if self.hold(key) else None
        return None

    def hold(self, key: str) -> bool:
        """Keep the engine of a key from being pruned while this process lives; false where it just is."""
        return self._holder.hold(self._in_use(key))

    def _in_use(self, key: str) -> Path:
        return self.root / "locks" / f"{key}.used"

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
        self._sweep_tmp(key)
        folder = Path(tempfile.mkdtemp(prefix=f"{key[:12]}-", dir=self.root / "tmp"))
        try:
            record = build(folder)
            artifact = digest_of(folder / record.artifact)
            files = tuple(digest_of(f) for f in sorted(folder.iterdir()) if f.is_file())
            record = record.model_copy(
                update={"files": files, "sha256": artifact.sha256, "size_bytes": artifact.size_bytes}
            )
            save(folder / MANIFEST, record)
            entry = self.root / "engines" / key
            folder.rename(entry)
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
        for path in sorted(engines.iterdir()) if engines.is_dir() else ():
            try:
                yield Entry(path, load(path / MANIFEST, EngineRecord))
            except RecordError as error:
                yield Entry(path, None, str(error))

    def prune(self, older_than_s: float) -> list[Entry]:
        """Delete entries that were not used for so long, and all damaged and abandoned ones; return the former.

        Engines that a baseline names or a run uses stay, however long they were not used.
        """
        gone = []
        with self._guard():
            now, kept = time.time(), pinned(self.root, older_than_s)
            for entry in list(self.entries()):
                unused = now - entry.last_used >= older_than_s and entry.path.name not in kept
                old = entry.manifest is None or unused
                if old and self._delete(entry.path):
                    gone.append(entry)
            shutil.rmtree(self.root / "damaged", ignore_errors=True)
            self._sweep_tmp()
            self._sweep_locks()
        return gone

    def _delete(self, path: Path) -> bool:
        """Delete an entry at once for every other process; leave it where one is busy with its key."""
        self._make("locks", "tmp")
        try:
            lock = filelock.FileLock(self.root / "locks" / f"{path.name}.lock", timeout=0)
            with lock, unheld(self._in_use(path.name)) as unused:
                if not unused:
                    return False
                aside = path.rename(self.root / "tmp" / f"{path.name[:12]}-{time.time_ns()}")
        except filelock.Timeout:
            return False
        shutil.rmtree(aside)
        return True

    def _sweep_tmp(self, own: str = "") -> None:
        """Delete what killed builds left behind, but for what belongs to a key that another process is busy with.

        Its age alone does not tell: clocks jump, and those of machines that share a cache differ.
        """
        for folder in (self.root / "tmp").glob("*"):
            keys = {lock.stem for lock in (self.root / "locks").glob(f"{folder.name[:12]}*.lock")}
            with suppress(OSError, filelock.Timeout), ExitStack() as free:
                for key in keys - {own}:
                    free.enter_context(filelock.FileLock(self.root / "locks" / f"{key}.lock", timeout=0))
                if time.time() - folder.stat().st_mtime >= STALE_S:
                    shutil.rmtree(folder)

    def _sweep_locks(self) -> None:
        """Remove the locks of keys that have no entry and that no process is busy with."""
        for lock in (self.root / "locks").glob("*.lock"):
            with suppress(OSError), filelock.FileLock(lock, timeout=0):  # busy, or another user's
                if not (self.root / "engines" / lock.stem).exists():
                    self._in_use(lock.stem).unlink(missing_ok=True)
                    lock.unlink()

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        lock = filelock.FileLock(self.root / "locks" / f"{key}.lock")
        try:
            lock.acquire(timeout=0.5)
        except filelock.Timeout:
            self.notify(f"waiting for another process that builds engine {key[:12]}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = f"the engine cache failed ({error})"
            if error.errno == errno.ENOSPC:
                why = "no space left for engines; free some, or name another --trt-cache-dir"
            elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                why = "the engine cache is not writable; name another --trt-cache-dir"
            raise CacheError(f"{self.root}: {why}") from error

    def _make(self, *folders: str) -> None:
        for folder in folders:
            (self.root / folder).mkdir(parents=True, exist_ok=True)


def _used(entry: Entry) -> EngineRecord | None:
    """Return the engine of an entry, which counts as use; None where it cannot be used."""
    if entry.manifest is None:
        return None
    os.utime(entry.path)
    return entry.manifest.model_copy(update={"from_cache": True, "entry": str(entry.path)})


def digest_of(path: Path) -> FileDigest:
    """Return name, SHA-256 and size of one file."""
    return FileDigest(name=path.name, sha256=file_sha256(path), size_bytes=path.stat().st_size)


def verify_entry(path: Path) -> Entry:
    """Compare every file of an entry with its manifest, by content."""
    try:
        manifest = load(path / MANIFEST, EngineRecord)
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
