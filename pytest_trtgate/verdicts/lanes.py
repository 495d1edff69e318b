"""Models measured ahead of their tests, on several equal machines at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress

from ..errors import TrtGateError
from ..jobs import LanedLauncher
from ..locks import monotonic_s
from ..records import Cell, Subject
from .run import GateRun

_POLL_S = 0.1
_END_S = 15.0


class Lanes:
    """Threads that each take the next model, and do on a machine of their own what its tests will ask.

    What shares launches stays on one machine, and in its order. A test waits for its model, and finds all done.

    Args:
        launcher: Has a lane for each thread.
        session: What measures and judges.
        asked: What the tests are about, by model in the order of the tests.
    """

    def __init__(
        self, launcher: LanedLauncher, session: GateRun, asked: Mapping[str, Sequence[tuple[Cell, Subject]]]
    ) -> None:
        self._launcher = launcher
        self._session = session
        self._asked = asked
        self._waiting = deque(asked)
        self._done: dict[str, Future[None]] = {model: Future() for model in asked}
        self._lane_of: dict[str, int] = {}
        self._mutex, self._spreading = threading.Lock(), threading.Lock()
        self._running = 0
        self._threads: list[threading.Thread] = []

    @property
    def running(self) -> int:
        """How many lanes there are, at least one."""
        return max(1, self._running)

    def start(self) -> None:
        """Begin, after the preflight; returns at once."""
        self._start(0)

    def _start(self, lane: int) -> None:
        thread = threading.Thread(target=self._run, args=(lane,), name=f"lane {lane}", daemon=True)
        with self._mutex:
            thread.start()  # may fail, and is to be counted before it ends
            self._running += 1
            self._threads.append(thread)

    def _run(self, lane: int) -> None:
        try:
            if lane == 0:
                with suppress(TrtGateError):  # each verdict says so
                    self._session.preflight()
                self._spread()
            while self._waiting and self._launcher.enter(lane):
                with suppress(IndexError):  # another lane took it
                    self._measure(self._waiting.popleft(), lane)
                self._spread()
        except BaseException as error:  # also an interrupt, whose thread this is
            self._failed(error)
        finally:
            self._leave()

    def _spread(self) -> None:
        """Begin in further lanes, if machines for them are free by now, as long as models wait."""
        with self._spreading:
            if self._waiting:
                wanted = self._running - 1 + len(self._waiting)  # this lane has none now
                for further in range(len(self._threads), self._launcher.lanes(wanted)):
                    with suppress(RuntimeError):  # no further thread is to be had: fewer do as well
                        self._start(further)

    def _measure(self, model: str, lane: int) -> None:
        self._lane_of[model] = lane
        try:
            for cell, subject in self._asked[model]:
                self._session.look_ahead(cell, subject)
            self._done[model].set_result(None)
        except BaseException as error:
            self._done[model].set_exception(error)
            if not isinstance(error, Exception):
                raise

    def _failed(self, error: BaseException) -> None:
        """Have the tests of all models that nobody will measure raise an error, if no other lane is left."""
        with self._mutex:
            if self._running > 1:
                return
        for future in self._done.values():
            if not future.done():
                future.set_exception(error)

    def _leave(self) -> None:
        with self._mutex:
            self._running -= 1
            if self._running:
                return
        for future in self._done.values():  # their tests measure them
            if not future.done():
                future.set_result(None)

    def await_model(self, model: str, meanwhile: Callable[[], None]) -> None:
        """Wait until a model is measured; further jobs of the calling thread are done where it was.

        ``meanwhile`` is called again and again. Raises what went wrong beside what verdicts tell.
        """
        future = self._done.get(model)
        if future is None:
            return
        while not future.done():
            meanwhile()
            wait([future], timeout=_POLL_S)
        self._launcher.enter(self._lane_of.get(model, 0))
        future.result()

    def stop(self) -> None:
        """End what still runs, and begin nothing any more."""
        self._waiting.clear()
        if not any(thread.is_alive() for thread in self._threads):
            return
        self._launcher.stop()
        ends_at_s = monotonic_s() + _END_S
        for thread in list(self._threads):
            thread.join(max(0.0, ends_at_s - monotonic_s()))
        self._launcher.resume()
