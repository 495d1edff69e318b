"""The folder of the cache: it is marked as the cache's own, and in it only names that the cache gives are deleted."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from pathlib import Path

from ..errors import CacheError
from ..records import write_whole
from ..text import clip

TAG = "CACHEDIR.TAG"
"""Backup programs leave out folders with this file: https://bford.info/cachedir/"""
_MARK = "# The cache of pytest-trtgate, which deletes old files of its own here."
_TAG_TEXT = f"Signature: 8a477f597d28d172789f06886806bc55\n{_MARK}\n"
_TAG_BYTES = 4096
_KEY = "[0-9a-f]{64}"
CONTENT = "content"
"""Folder of files by digest, which a worker was sent."""
_FORMS = {
    "engines": _KEY,
    "results": rf"{_KEY}|\.new-\w+",
    "preflight": rf"{_KEY}\.json",
    "comparisons": rf"{_KEY}\.json",
    "digests": r"[0-9a-f]{32}\.json",
    "pins": r"[0-9a-f]{32}\.json",
    "timing": r"[\w.-]+\.cache(\.lock)?",
    "locks": rf"{_KEY}\.(lock|use)",
    CONTENT: _KEY,
    "tmp": rf"({_KEY}|[0-9a-f]{{12}})-\w+",
    "damaged": rf"{_KEY}-\d+",
}
"""The cache's folders, and the form of the names in each."""
_HALF = re.compile(r"\.(.+)\.[0-9a-f]+")
"""A file while it is written."""
_ANYWHERE = frozenset({".gitignore", ".gitkeep", "lost+found"})
"""What may be in a folder that counts as empty."""


def has_own_form(path: Path) -> bool:
    """Return whether a path in a folder of the cache has the form of names there."""
    half = _HALF.fullmatch(path.name)
    names = (path.name, half[1]) if half else (path.name,)
    return any(re.fullmatch(_FORMS[path.parent.name], name) for name in names)


def is_own(path: Path) -> bool:
    """Return whether a path in a folder of the cache may be deleted by it: what links lead to is somebody else's."""
    return has_own_form(path) and not (path.is_symlink() or path.parent.is_symlink())


def key_of(path: Path) -> str:
    """Return the key that a name in the cache begins with; empty where it does not."""
    found = re.match(_KEY, path.name)
    return found[0] if found else ""


def why_foreign(root: Path) -> str:
    """Return why a folder cannot be the cache's, as a sentence without its full stop; empty where it can be.

    It can where it is marked, empty or missing, and where all in it is of names that the cache gives.
    """
    if _is_marked(root):
        return ""
    try:
        strangers = sorted(path.name for path in root.iterdir() if not _may_be_own(path))
    except OSError:  # there is none; or it cannot be read, and whoever wants to will say so
        return ""
    if not strangers or _is_marked(root):  # by another process, meanwhile
        return ""
    others = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
    return (
        f"{root} holds {clip(strangers[0], 60)}{others}, which the cache did not make; "
        f"name a folder that is new or empty, such as {root / '.trtgate-cache'}"
    )


def _is_marked(root: Path) -> bool:
    if not (root / TAG).is_file():  # to open a FIFO is to wait
        return False
    try:
        with (root / TAG).open(encoding="utf-8", errors="replace") as file:
            return _MARK in file.read(_TAG_BYTES).splitlines()
    except OSError:
        return False


def _may_be_own(path: Path) -> bool:
    half = _HALF.fullmatch(path.name)
    if path.name in _ANYWHERE or (half and half[1] == TAG):
        return True
    return path.name in _FORMS and path.is_dir() and all(map(is_own, path.iterdir()))


def claim(root: Path) -> None:
    """Make the folder of the cache where it is missing, and mark it.

    Raises:
        CacheError: It holds what the cache did not make.
        OSError: It cannot be written.
    """
    if why := why_foreign(root):
        raise CacheError(why)
    root.mkdir(parents=True, exist_ok=True)
    if not (root / TAG).exists():
        write_whole(root / TAG, _TAG_TEXT.encode())


def default_root() -> Path:
    """Return the user's cache folder, where the settings name none: without a home, one among temporary files.

    Raises:
        CacheError: Another user has made that.
    """
    import platformdirs

    try:
        found = Path(platformdirs.user_cache_dir("pytest-trtgate", appauthor=False))
    except RuntimeError:  # neither HOME nor an entry in the table of users
        found = Path("~")
    if found.parts[0] != "~":  # as earlier ones leave it
        return found
    found = Path(tempfile.gettempdir()) / f"pytest-trtgate-{os.getuid()}"
    try:
        found.mkdir(mode=0o700, exist_ok=True)
        there = found.lstat()
    except OSError as error:
        raise CacheError(f"{found}: {error.strerror}; {_NO_HOME}") from error
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid() or there.st_mode & 0o022:
        raise CacheError(f"{found}: another user may write here; {_NO_HOME}")
    return found


_NO_HOME = "there is no home folder for the cache: set HOME or XDG_CACHE_HOME, or name a cache_dir"


def clock_of(folder: Path) -> float:
    """Return the present time, in seconds since the epoch, by the clock that stamps a folder's files.

    The clock of this machine may be another, or wrong.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()
