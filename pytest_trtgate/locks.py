"""Locks between processes: they end with their holder, tell who holds them, and follow no link.

A lock is the kernel's on a file or folder. Where there is none to be had (the file system knows none, or another user
has made the file so that we cannot open it), it is a name that the kernel gives to one process of the machine at a
time, an abstract socket: no file stands for it, so no user can spoil it for others.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import os
import socket
import stat
import time
from _socket import socket as RawSocket  # noqa: N812 - what plugins such as pytest-socket leave as it is
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from .text import clip

PAUSE_S = 0.05
TELL_S = 0.5
"""A wait that is longer is told of."""
_NOTE_BYTES = 1000
_FOR_ALL = 0o1777
"""Everybody may put files in, and nobody may take away those of others."""
_LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
"""What file systems answer that know no locks, or, as NFS, none on what was opened for reading; and a FIFO."""


def monotonic_s() -> float:
    """Return the time of a clock that no test stops: what freezes time replaces functions, but not this one."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Lock:
    """A lock on ``path``, a file that is made if missing, or a folder.

    Args:
        path: The file or folder.
        shared: Whether others may share it; nobody can then have it alone.
        for_all_users: Whether users of the machine who do not trust each other take it. Its folder is made for them
            then, and its name is taken beside the file, which need not be usable.
    """

    def __init__(self, path: Path, shared: bool = False, for_all_users: bool = False) -> None:
        self.path = path
        self._how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._for_all_users = for_all_users
        self._opened: int | None = None
        self._name: RawSocket | None = None

    def __del__(self) -> None:
        self.release()

    @property
    def is_held(self) -> bool:
        """Whether it is ours."""
        return self._opened is not None or self._name is not None

    def take(self) -> bool:
        """Take it, unless it is ours already or somebody else has it; return whether it is ours now. Waits for nobody.

        Raises:
            OSError: The file cannot be opened or made, or there are no locks here.
        """
        if self.is_held:
            return True
        named = self._take_name() if self._for_all_users else None
        if named is False:
            return False
        try:
            taken = self._take_file()
        except OSError as error:
            if named is None and (self._for_all_users or error.errno not in _LOCKLESS):
                raise
            named = named or self._take_name()
            if named is None:
                raise
            taken = named
        if not taken:
            self.release()
        return taken

    def acquire(
        self, limit_s: float = math.inf, waiting: Callable[[str], None] = lambda _: None, again_s: float = math.inf
    ) -> bool:
        """Wait for it; return False where one and the same holder has kept it for ``limit_s``.

        ``waiting`` is told of a wait that lasts, and again every ``again_s``: who holds it, such as `` (process 7)``.

        Raises:
            OSError: As of :meth:`take`.
        """
        since_s = monotonic_s()
        tell_s, holder = since_s + TELL_S, ""
        while not self.take():
            now_s, before = monotonic_s(), holder
            holder = self.holder()
            if before and holder != before:
                since_s = now_s
            if now_s - since_s >= limit_s:
                return False
            if now_s >= tell_s:
                waiting(holder)
                tell_s = now_s + again_s
            time.sleep(PAUSE_S)
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it, after any wait."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let others have it."""
        opened, self._opened = self._opened, None
        if opened is not None:
            os.close(opened)
        name, self._name = self._name, None
        if name is not None:
            name.close()

    def holder(self) -> str:
        """Return who has written that he holds it, in brackets after a space; empty where nobody has.

        Any user may have written that, and at any time.
        """
        try:
            with self._folder() as folder:
                opened = self._at(folder, os.O_RDONLY)
        except OSError:
            return ""
        try:
            number, since, where = os.pread(opened, _NOTE_BYTES, 0).decode(errors="replace").split(" ", 2)
            began = datetime.fromisoformat(since).strftime("%Y-%m-%d %H:%M:%S %Z")
            return f" (process {int(number)} in {clip(where)}, since {began})"
        except (OSError, ValueError):
            return ""
        finally:
            os.close(opened)

    def _take_file(self) -> bool:
        with self._folder() as folder:
            opened = self._open(folder)
            try:
                fcntl.flock(opened, self._how | fcntl.LOCK_NB)
                found, there = os.fstat(opened), os.stat(self._in(folder), dir_fd=folder, follow_symlinks=False)
                if (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino):  # not deleted meanwhile
                    self._note(opened, found)
                    self._opened = opened
                    return True
            except (BlockingIOError, InterruptedError, FileNotFoundError):
                pass
            finally:
                if self._opened is None:
                    os.close(opened)
        return False

    @contextmanager
    def _folder(self) -> Iterator[int | None]:
        """Give the opened folder where all users share it: what it is cannot change then; None elsewhere."""
        opened = _open_shared(self.path.parent) if self._for_all_users else None
        try:
            yield opened
        finally:
            if opened is not None:
                os.close(opened)

    def _in(self, folder: int | None) -> str:
        return str(self.path) if folder is None else self.path.name

    def _at(self, folder: int | None, flags: int) -> int:
        return os.open(self._in(folder), flags | _AS_IT_IS, 0o666, dir_fd=folder)

    def _open(self, folder: int | None) -> int:
        """Return the opened file, for writing where we may: to be locked, it need not be."""
        try:
            try:
                opened = self._at(folder, os.O_RDWR)
            except FileNotFoundError:
                # Never with O_CREAT where the file is there: in /tmp that refuses the files of others.
                opened = self._at(folder, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                if self._for_all_users:
                    os.fchmod(opened, 0o666)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.EEXIST):
                raise
            opened = self._at(folder, os.O_RDONLY)
        kind = os.fstat(opened).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            os.close(opened)
            raise OSError(errno.EINVAL, "neither a file nor a folder, so it holds no lock", str(self.path))
        return opened

    def _note(self, opened: int, found: os.stat_result) -> None:
        """Write who we are, for those who wait; into nothing that has another name too, since it may be somebody's."""
        if self._how == fcntl.LOCK_EX and stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            since = datetime.now(timezone.utc).isoformat(timespec="seconds")
            with suppress(OSError):  # opened for reading, or no space left
                os.ftruncate(opened, 0)
                os.pwrite(opened, os.fsencode(f"{os.getpid()} {since} {Path.cwd()}")[:_NOTE_BYTES], 0)

    def _take_name(self) -> bool | None:
        """Take the lock's name; None where the system gives no names."""
        if self._name is not None:
            return True
        digest = hashlib.sha256(os.fsencode(self.path.absolute())).hexdigest()
        try:
            name = RawSocket(socket.AF_UNIX, socket.SOCK_DGRAM)
        except (OSError, AttributeError):
            return None
        try:
            name.bind(f"\0trtgate-{digest[:32]}".encode())
        except OSError as error:
            name.close()
            return False if error.errno == errno.EADDRINUSE else None
        self._name = name
        return True


_AS_IT_IS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Open what is there and nothing behind it, and wait for nobody at the other end."""


def _open_shared(path: Path) -> int:
    """Return an opened folder for all users of the machine, made if missing.

    Raises:
        OSError: It cannot be made, or another user could change in it what we do.
    """
    made = False
    with suppress(FileExistsError):
        path.mkdir()
        made = True
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _AS_IT_IS)
    if made:
        os.fchmod(opened, _FOR_ALL)
    found = os.fstat(opened)
    if found.st_uid not in (0, os.getuid()) and stat.S_IMODE(found.st_mode) != _FOR_ALL:
        os.close(opened)
        why = f"a folder of user {found.st_uid} with mode {stat.S_IMODE(found.st_mode):o}, not {_FOR_ALL:o}; delete it"
        raise OSError(errno.EPERM, why, str(path))
    return opened
