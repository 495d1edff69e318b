"""Several workers of one kind at once, each in a lane of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from ..errors import JobError, TrtGateError
from ..jobs import Job, JobKind
from ..records import FileRecord
from .launcher import Connection, FleetLauncher


class FleetLanes:
    """Runs each job on the worker of the calling thread's lane; a thread that entered none has the first.

    Args:
        first: Launcher of the first lane, whose worker those of the others are like.
        free: Returns how many further workers there can be now.
        most: How many lanes there are at most; None for no limit.
    """

    def __init__(self, first: FleetLauncher, free: Callable[[], int], most: int | None = None) -> None:
        self._first = first
        self._connect, first.connect = first.connect, self._connect_first
        self._free = free
        self._most = most
        self._lanes = {0: first}
        self._not_entered: set[int] = set()
        self._mine = threading.local()

    @property
    def ask(self) -> Callable[..., Any]:
        """Returns what the first worker's machine says of itself."""
        return self._first.ask

    @property
    def connection(self) -> Any:
        """The connection to the first worker; see :attr:`FleetLauncher.connection`."""
        return self._first.connection

    @property
    def node(self) -> str:
        """The name of the machine that does the calling thread's jobs."""
        return self._own.node

    @property
    def _own(self) -> FleetLauncher:
        """The launcher of the calling thread: of another lane, where its own is lost."""
        own: FleetLauncher = getattr(self._mine, "launcher", self._first)
        if own.is_lost:
            own = next(self._alive(), own)
            self._mine.launcher = own
        return own

    def _alive(self) -> Iterator[FleetLauncher]:
        return (one for one in list(self._lanes.values()) if not one.is_lost)

    @property
    def _is_spread(self) -> bool:
        """Whether there is any lane beside the first."""
        return any(one is not self._first for one in self._alive())

    def _connect_first(self) -> Connection:
        # Another lane is there at once; a machine that becomes free may not be for long.
        return self._first.take_further() if self._is_spread else self._connect()

    def lanes(self, wanted: int) -> int:
        """Add lanes for machines that are free now; see :class:`pytest_trtgate.jobs.LanedLauncher`."""
        alive = list(self._alive())
        missing = (wanted if self._most is None else min(wanted, self._most)) - len(alive)
        if missing > 0:
            with suppress(TrtGateError):
                free = self._free() - sum(not one.node for one in alive)  # which are to have one yet
                for _ in range(min(missing, free)):
                    self._not_entered.add(len(self._lanes))
                    self._lanes[len(self._lanes)] = self._first.like_this(self._first.take_further)
        return len(self._lanes)

    def enter(self, lane: int) -> bool:
        """Have the calling thread's jobs done in a lane; see :class:`pytest_trtgate.jobs.LanedLauncher`."""
        launcher = self._mine.launcher = self._lanes.get(lane, self._first)
        if lane in self._not_entered:
            self._not_entered.discard(lane)
            try:
                _ = launcher.connection
            except TrtGateError as error:
                self._free = int  # what is free is not to be had, or unlike the first
                with suppress(TrtGateError):
                    launcher.refuse(error)
        return not launcher.is_lost or not any(self._alive())

    def run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        """Run one job; see :meth:`pytest_trtgate.Launcher.run`."""
        own = self._own
        try:
            return own.run(job, folder, progress)
        except JobError:
            if not own.is_lost or own.has_timed(job) or self._own is own:
                raise
        return self._own.run(job, folder, progress)

    def prepare(self, kind: JobKind, count: int, device: str, threads: int, folder: Path) -> None:
        """Let processes of the worker begin to import; see :class:`pytest_trtgate.EarlyLauncher`."""
        self._own.prepare(kind, count, device, threads, folder)

    def beside(self, most: int) -> AbstractContextManager[Sequence[FleetLauncher]]:
        """Lend launchers of further workers; see :class:`pytest_trtgate.jobs.ParallelLauncher`."""
        return nullcontext(()) if self._is_spread else self._own.beside(most)

    def close(self) -> None:
        """End all workers; a job that comes all the same waits for a machine, as the first did."""
        self._each(FleetLauncher.close)
        if not self._first.is_lost:
            self.resume()

    def stop(self) -> None:
        """End all workers, and interrupt the threads that wait for them."""
        self._each(FleetLauncher.stop)

    def resume(self) -> None:
        """Take jobs again, in the first lane."""
        self._lanes = {0: self._first}
        self._mine = threading.local()
        self._first.resume()

    def _each(self, what: Callable[[FleetLauncher], None]) -> None:
        """Do something to all launchers at once, since each may have to wait for its worker."""
        launchers = list(self._lanes.values())
        with ThreadPoolExecutor(len(launchers)) as pool:
            list(pool.map(what, launchers))
