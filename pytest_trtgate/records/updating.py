"""One process at a time reads files of a folder, changes what it read and writes it again, so that nothing is lost."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    """Keep other processes from changing files of a folder meanwhile; the folder is made if missing.

    The folder itself is locked: no file is left in it, and the lock of a killed process goes with it. Where the file
    system knows no such locks, a file in the folder stands for one. Not to be nested.

    Raises:
        RecordError: The folder cannot be made, or another process changes it for :data:`WAIT_S` seconds.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = None if fcntl is None else os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        if opened is None or not _soon(folder, lambda: _locked(opened)):
            with _lock_file(folder):
                yield
        else:
            yield
    finally:
        if opened is not None:
            os.close(opened)


def _locked(opened: int) -> bool | None:
    """Lock an opened folder; None where another process has it, False where the file system has no locks."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in (errno.EAGAIN, errno.EACCES, errno.EINTR) else False
    return True


@contextmanager
def _lock_file(folder: Path) -> Iterator[None]:
    path = folder / _LOCK_NAME

    def created() -> bool | None:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return None
        except OSError as error:
            raise RecordError(f"{path}: cannot be written ({error.strerror})") from error
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
