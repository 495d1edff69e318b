"""What the user sees while the gate works: milestones as lines, progress in place on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..text import counted, safe_line
from .writing import write_line

if TYPE_CHECKING:
    import pytest

_QUIET_INTERVAL_S = 15.0


class Narrator:
    """Writes to pytest's terminal past its capturing; silent under ``-q`` and in xdist's workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._last = time.monotonic()
        self._in_place = False
        self._unfinished = ""

    def milestone(self, text: str) -> None:
        """Write one line about what was begun or done."""
        with self._terminal() as terminal:
            if terminal is not None:
                self._clear(terminal)
                terminal.ensure_newline()
                write_line(terminal, f"  trtgate: {text}")
        self._last = time.monotonic()

    def progress(self, text: str) -> None:
        """Show how far the current job is: in place on a terminal, else a line every fifteen seconds.

        A count that was shown is shown again when it is complete.
        """
        what, complete = counted(text)
        with self._terminal() as terminal:
            if terminal is None:
                return
            if terminal.isatty:
                self._clear(terminal)
                terminal.write(safe_line(f"  trtgate: {text}")[: terminal._tw.fullwidth - 1], flush=True)
                self._in_place = True
            elif time.monotonic() - self._last >= _QUIET_INTERVAL_S or (complete and what == self._unfinished):
                terminal.ensure_newline()
                write_line(terminal, f"  trtgate: {text}")
                self._last = time.monotonic()
                self._unfinished = "" if complete else what

    def _clear(self, terminal: Any) -> None:
        if self._in_place:
            terminal.rewrite("", erase=True)
            self._in_place = False

    @contextmanager
    def _terminal(self) -> Iterator[Any]:
        manager = self._config.pluginmanager
        terminal = manager.get_plugin("terminalreporter")
        if terminal is None or self._config.get_verbosity() < 0:
            yield None
            return
        capture = manager.get_plugin("capturemanager")
        if capture is None:
            yield terminal
            return
        with capture.global_and_fixture_disabled():
            yield terminal
