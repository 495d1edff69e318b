"""Marks on files that are in use: they end with the process, however that ends, and mind no clock."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Holder:
    """Marks files as in use until this process ends, or until it is no longer referred to."""

    def __init__(self) -> None:
        self._held: dict[Path, int] = {}

    def hold(self, path: Path) -> bool:
        """Mark a file, which is made; several may. Return False where it is being removed; True where none can tell."""
        if path in self._held:
            return True
        try:
            file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
        except OSError:  # another user's, or nothing can be written here
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            return error.errno not in (errno.EAGAIN, errno.EACCES)  # else there are no locks here
        self._held[path] = file
        return True

    def __del__(self) -> None:
        for file in self._held.values():
            with suppress(OSError):
                os.close(file)


@contextmanager
def unheld(path: Path) -> Iterator[bool]:
    """Keep others from marking a file meanwhile; false where one has marked it."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:  # nobody ever has
        yield True
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError as error:
            free = error.errno not in (errno.EAGAIN, errno.EACCES)
        yield free
    finally:
        os.close(file)
