"""The one place where lines go to pytest's terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import text as fmt

if TYPE_CHECKING:
    import pytest


def write_line(terminal: pytest.TerminalReporter, text: str, **markup: bool) -> None:
    """Write one line, whatever is in it."""
    terminal.write_line(fmt.safe_line(text), **markup)


def begin_line(terminal: pytest.TerminalReporter) -> None:
    """Leave a line that has something on it, also where xdist writes its dots, of which the reporter knows nothing."""
    terminal.ensure_newline()
    if terminal._tw.width_of_current_line:
        terminal._tw.line()
