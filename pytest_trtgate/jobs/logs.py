"""Logs of jobs as people read them: their last lines, as a terminal would show them."""

from __future__ import annotations

from itertools import dropwhile, islice
from operator import not_
from pathlib import Path

from ..text import CONTROL, without_escapes

TAIL_LINES = 25
TAIL_BYTES = 2**20
"""How much of a log is searched for its last lines: a progress bar may draw itself thousands of times in one."""
LINE_CHARACTERS = 2000
"""A longer line, such as a dump without line breaks, is cut in its middle."""


def log_tail(path: Path) -> str:
    """Return the last lines of a log without colours and control characters; empty where there is none.

    A line that was written over, as progress bars are, is shown in its last state. Trailing blank lines are dropped.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    shown = dropwhile(not_, map(_shown, reversed(text.split("\n"))))
    return "\n".join(reversed([*islice(shown, TAIL_LINES)]))


def _shown(line: str) -> str:
    """Return what a terminal shows of a line with carriage returns."""
    states = (CONTROL.sub("", state).rstrip() for state in without_escapes(line).split("\r"))
    last = next((state for state in reversed(list(states)) if state), "")
    half = LINE_CHARACTERS // 2
    return last if len(last) <= LINE_CHARACTERS else f"{last[:half]} [...] {last[-half:]}"
