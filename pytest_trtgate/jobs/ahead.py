"""Processes that import ahead of their jobs, while nothing is timed, and where there is memory for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..locks import Lock
from .processes import Waiting

AT_MOST = 3
"""Processes that wait for launches: as many as a run makes where nothing is in doubt."""
EACH_BYTES = 600_000_000
"""Memory of a process that waits, with some to spare."""
KEEP_FREE_BYTES = 3_000_000_000
"""Memory that is left to the jobs that run meanwhile."""
_CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Of versions 2 and 1: the files of the limit, of the use, and of its kinds, and the kind that can be reclaimed."""


class Ahead:
    """The processes that wait for the jobs of one launcher, and the lock of its device while they import.

    Args:
        environment: Returns the environment of a process.
        most: The most processes to start at once; 0 where each job is to get a fresh one.
    """

    def __init__(self, environment: Callable[[], dict[str, str]], most: int = AT_MOST) -> None:
        self._environment = environment
        self._most = most
        self._idle: list[Waiting] = []
        self._server: Waiting | None = None
        self._started = 0
        self._mutex = threading.Lock()
        self._lock: Lock | None = None
        self._importing: threading.Thread | None = None

    # Before the jobs

    def start_idle(self, count: int, folder: Path, threads: int, imports: Sequence[str]) -> None:
        """Start processes until ``count`` wait to do one job each, or fewer where memory is short; returns at once."""
        missing, new = min(count, self._most) - len(self._idle), list[Waiting]()
        with suppress(OSError):  # a job gets a fresh process then
            for _ in range(affordable(missing) if missing > 0 else 0):
                new.append(self._new(folder, threads, imports))
        self._idle += new
        self._watch(new)

    def start_server(self, folder: Path, threads: int, imports: Sequence[str]) -> None:
        """Start the process of which each job gets a copy, where there is none, and memory for it; returns at once."""
        if self._server is None and self._most and affordable(1):
            with suppress(OSError):
                self._server = self._new(folder, threads, imports)
                self._watch([self._server])

    def _new(self, folder: Path, threads: int, imports: Sequence[str]) -> Waiting:
        self._started += 1
        return Waiting(folder / str(self._started), threads, imports, self._environment())

    def _watch(self, new: Sequence[Waiting]) -> None:
        if new:
            with self._mutex:
                self._importing = threading.Thread(target=self._wait, args=(new, self._importing), daemon=True)
                self._importing.start()

    def _wait(self, new: Sequence[Waiting], earlier: threading.Thread | None) -> None:
        if earlier is not None:
            earlier.join()
        for process in new:
            process.ready()
        with self._mutex:
            if self._importing is threading.current_thread():
                self._importing = None
                if self._lock is not None:
                    self._lock.release()
                    self._lock = None

    # The device's lock is held while anything imports, so that nobody times anything meanwhile

    def take_lock(self, path: Path) -> Lock | None:
        """Return the lock of that path where it is held for processes that import; the caller holds it from now on."""
        with self._mutex:
            if self._lock is None or self._lock.path != path:
                return None
            lock, self._lock = self._lock, None
            return lock

    def leave_lock(self, lock: Lock) -> None:
        """Release a lock that the caller holds, or keep it for processes that still import."""
        with self._mutex:
            if self._importing is not None and self._lock is None:
                self._lock = lock
            else:
                lock.release()

    def settle(self) -> None:
        """Wait until nothing imports any more."""
        with self._mutex:
            importing = self._importing
        if importing is not None:
            importing.join()

    # For the jobs

    def pick(self, threads: int) -> Waiting | None:
        """Return a process that waits for a job and is the caller's from now on; None where there is none."""
        while self._idle:
            process = self._idle.pop(0)
            if process.threads == threads and process.ready():
                return process
            process.end()
        return None

    def server(self, threads: int) -> Waiting | None:
        """Return the process of which jobs get copies; None where there is none that works."""
        if self._server is not None and self._server.threads == threads and self._server.ready():
            return self._server
        self.end_server()
        return None

    def end_server(self) -> None:
        """End the process of which jobs get copies, if there is one."""
        server, self._server = self._server, None
        if server is not None:
            server.end()

    def close(self) -> None:
        """End all of them."""
        self.end_server()
        while self._idle:
            self._idle.pop().end()
        self.settle()


def affordable(count: int, system: Path = Path("/")) -> int:
    """Return how many of ``count`` processes there is memory for; ``system`` holds ``/proc`` and ``/sys``.

    Free is what the system calls available, or what the limit of our control group leaves where that is less. Memory
    that holds files which were read and not used again is given up where it is wanted.
    """
    free = [_field(system / "proc/meminfo", "MemAvailable:", 1024)]
    groups = system / "sys/fs/cgroup"
    for limit, used, stat, reclaimable in _CGROUPS:
        allowed, taken = _number(groups / limit), _number(groups / used)
        if allowed is not None and taken is not None:
            free.append(allowed - taken + (_field(groups / stat, reclaimable) or 0))
    known = [number for number in free if number is not None]
    return max(0, min(count, (min(known, default=0) - KEEP_FREE_BYTES) // EACH_BYTES))


def _field(path: Path, name: str, unit_bytes: int = 1) -> int | None:
    """Return the number behind a name in a file of lines; None where it is not there."""
    with suppress(OSError, ValueError, IndexError):
        for words in map(str.split, path.read_text().splitlines()):
            if words[:1] == [name]:
                return unit_bytes * int(words[1])
    return None


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None
