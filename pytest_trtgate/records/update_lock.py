"""One process at a time reads files of a folder, changes what it read and writes it again, so that nothing is lost."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import RecordError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
WAIT_S = 60.0
"""A change takes moments: whoever waits longer waits for something that hangs, or for what a killed process left."""
_PAUSE_S = 0.02
_LOCK_NAME = ".updating"


@contextmanager
def updating(folder: Path) -> Iterator[None]:
    """Keep other processes from changing files of a folder meanwhile; it is made if missing, and does not stay empty.

    The folder itself is locked: no file is left in it, and the lock of a killed process goes with it. Where the file
    system knows no such locks, a file in the folder stands for one. Not to be nested.

    Raises:
        RecordError: The folder cannot be made, or another process changes it for :data:`WAIT_S` seconds.
    """
    with ExitStack() as stack:
        new = not folder.exists()
        if not stack.enter_context(_folder_lock(folder)):
            stack.enter_context(_lock_file(folder))
        elif new:
            stack.callback(_remove_empty, folder)
        yield


@contextmanager
def _folder_lock(folder: Path) -> Iterator[bool]:
    """Lock a folder; give whether that is possible there."""
    opened = -1

    def attempt() -> bool | None:
        nonlocal opened
        if opened < 0:
            folder.mkdir(parents=True, exist_ok=True)
            opened = os.open(folder, os.O_RDONLY)
        done = _locked(opened)
        if done and not _is_at(opened, folder):  # who had it has removed it
            os.close(opened)
            opened, done = -1, None
        return done

    try:
        try:
            done = fcntl is not None and _soon(folder, attempt)
        except OSError as error:
            raise RecordError(f"{folder}: cannot be written ({error.strerror})") from error
        yield done
    finally:
        if opened >= 0:
            os.close(opened)


def _locked(opened: int) -> bool | None:
    """Lock an opened folder; None where another process has it, False where the file system has no locks."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in (errno.EAGAIN, errno.EACCES, errno.EINTR) else False
    return True


def _is_at(opened: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened), folder.stat())
    except FileNotFoundError:
        return False


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # something was written
        folder.rmdir()


@contextmanager
def _lock_file(folder: Path) -> Iterator[None]:
    path = folder / _LOCK_NAME

    def created() -> bool | None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            if folder.is_dir():
                return None
            raise RecordError(f"{folder}: cannot be written (not a folder)") from None
        except OSError as error:
            raise RecordError(f"{folder}: cannot be written ({error.strerror})") from error
        return True

    _soon(path, created)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def _soon(place: Path, attempt: Callable[[], bool | None]) -> bool:
    """Return what an attempt comes to, tried again while it is None."""
    end = time.monotonic() + WAIT_S
    while (done := attempt()) is None:
        if time.monotonic() > end:
            left = f"; where none does, delete {place}" if place.name == _LOCK_NAME else ""
            raise RecordError(f"{place}: another process has been changing files here for {WAIT_S:.0f} s{left}")
        time.sleep(_PAUSE_S)
    return done
