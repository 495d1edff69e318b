"""What the user sees while the gate works: milestones as lines, progress in place on a terminal."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..text import counted, safe_line
from .writing import begin_line, write_line

if TYPE_CHECKING:
    import pytest

_QUIET_INTERVAL_S = 15.0
_TICK_S = 1.0
MILESTONE, PROGRESS, ENDED = "=", "~", "."
"""What a line of a worker begins with. Its job begins with an empty line of progress, and has ended by the last."""


class Narrator:
    """Writes to pytest's terminal past its capturing; silent under ``-q``.

    Args:
        config: Pytest's.
        left: Returns in words how much time is left; empty where nothing tells.
        relay: Where to write in place of the terminal, as xdist's workers have none.

    Attributes:
        defers: Whether what threads say waits for :meth:`show_deferred`, since they work beside the tests.
    """

    def __init__(self, config: pytest.Config, left: Callable[[], str] = str, relay: Path | None = None) -> None:
        self._config = config
        self._left = left
        self._relay = relay
        self._last = time.monotonic()
        self._in_place = False
        self._text = ""
        self._unfinished = ""
        self.defers = False
        self._deferred: deque[tuple[Callable[[str], None], str]] = deque()
        self._mutex = threading.RLock()  # jobs tell of their progress in threads

    @property
    def _is_beside(self) -> bool:
        return self.defers and threading.current_thread() is not threading.main_thread()

    def show_deferred(self) -> None:
        """Show what was said beside the main thread, in which alone pytest's capturing can be paused at any time."""
        while self._deferred:
            say, text = self._deferred.popleft()
            say(text)

    def milestone(self, text: str) -> None:
        """Write one line about what was begun or done."""
        if self._is_beside:
            self._deferred.append((self.milestone, text))
            return
        self._tell(MILESTONE, text)
        with self._terminal() as terminal:
            if terminal is not None:
                self._clear(terminal)
                begin_line(terminal)
                write_line(terminal, f"  trtgate: {text}")
        self._last = time.monotonic()

    def progress(self, text: str) -> None:
        """Show how far the current job is: in place on a terminal, else a line every fifteen seconds.

        A count that was shown is shown again when it is complete.
        """
        if self._is_beside:
            self._deferred.append((self.progress, text))
            return
        self._tell(PROGRESS, text)
        what, complete = counted(text)
        with self._terminal() as terminal:
            if terminal is None:
                return
            if terminal.isatty:
                self._text = text
                self._draw(terminal)
            elif time.monotonic() - self._last >= _QUIET_INTERVAL_S or (complete and what == self._unfinished):
                begin_line(terminal)
                write_line(terminal, f"  trtgate: {text}")
                self._last = time.monotonic()
                self._unfinished = "" if complete else what

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count down in place while a job runs, on a terminal."""
        if self._is_beside:  # the main thread does
            yield
            return
        self._tell(PROGRESS)
        ended = threading.Event()
        ticking = self._is_terminal()
        if ticking:
            threading.Thread(target=self._tick, args=(ended,), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            self._tell(ENDED)
            if ticking:
                self.job_ended()

    def job_ended(self) -> None:
        """Take away what was shown of a job."""
        with self._mutex:
            self._text = ""
        self.clear()

    def clear(self) -> None:
        """Take away what is shown in place."""
        if self._in_place:
            with self._terminal() as terminal:
                if terminal is not None:
                    self._clear(terminal)

    def tick(self) -> None:
        """Count down in place, on a terminal."""
        if self._is_terminal():
            with self._terminal() as terminal:
                self._draw(terminal)

    def _tick(self, ended: threading.Event) -> None:
        while not ended.wait(_TICK_S):
            with self._mutex:
                if not ended.is_set():
                    self.tick()

    def _draw(self, terminal: Any) -> None:
        shown = "; ".join(filter(None, (self._left(), self._text)))
        self._clear(terminal)
        if shown:
            begin_line(terminal)
            terminal.write(safe_line(f"  trtgate: {shown}")[: terminal._tw.fullwidth - 1], flush=True)
            self._in_place = True

    def _clear(self, terminal: Any) -> None:
        if self._in_place:
            terminal.rewrite("", erase=True)
            terminal._tw._current_line = ""  # it takes what was erased for written
            self._in_place = False

    def _tell(self, kind: str, text: str = "") -> None:
        if self._relay is not None:
            with suppress(OSError), self._relay.open("a", encoding="utf-8") as file:
                file.write(f"{kind}{safe_line(text)}\n")

    @property
    def _reporter(self) -> Any:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        return None if terminal is None or self._config.get_verbosity() < 0 else terminal

    def _is_terminal(self) -> bool:
        return bool(getattr(self._reporter, "isatty", False))

    @contextmanager
    def _terminal(self) -> Iterator[Any]:
        terminal, capture = self._reporter, self._config.pluginmanager.get_plugin("capturemanager")
        with self._mutex:
            if terminal is None or capture is None:
                yield terminal
                return
            with capture.global_and_fixture_disabled():
                yield terminal
