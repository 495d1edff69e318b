"""How long each phase of a job's process takes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..records import Phase


class Phases:
    """Adds up the time of each phase of this process, from the process's own start.

    ``ahead_s``: how long the process had imported before its job began.
    """

    def __init__(self) -> None:
        self.seconds: dict[Phase, float] = {}
        self.ahead_s = 0.0
        self._now: Phase = "start"
        self._since = time.monotonic() - age_of_process_s()

    def restart(self, ahead_s: float) -> None:
        """Begin anew in a process that has only imported until now, for ``ahead_s`` seconds."""
        self.ahead_s = ahead_s
        self.seconds = {}
        self._now, self._since = "start", time.monotonic()

    def begin(self, phase: Phase) -> None:
        """End the present phase, and begin or resume another."""
        now = time.monotonic()
        self.seconds[self._now] = self.seconds.get(self._now, 0.0) + now - self._since
        self._now, self._since = phase, now

    def end(self) -> dict[Phase, float]:
        """End the present phase, and return the seconds of all in the order in which they began."""
        self.begin(self._now)
        return {phase: round(seconds, 3) for phase, seconds in self.seconds.items()}


def age_of_process_s() -> float:
    """Return the age of this process; 0 if the system does not tell."""
    try:
        # The name, in parentheses, may hold anything; the start, in ticks since boot, is the 20th field after it.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (AttributeError, OSError, IndexError, ValueError):
        return 0.0
