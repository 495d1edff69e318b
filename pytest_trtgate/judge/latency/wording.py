"""What the sentences about latency have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...records import Check, Outcome

MEDIAN, MEAN_OF_SESSIONS = "median of launches", "mean of sessions"
"""How several latencies become one; the mean is geometric."""


def ms(value: float) -> str:
    """Return three significant digits, and no fewer than the whole part."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(ratio: float, digits: int = 3) -> str:
    """Return a ratio in percent, to so many significant digits, and no fewer than the whole part."""
    value = ratio * 100
    return f"{value:.0f} %" if abs(value) >= 10**digits else f"{value:.{digits}g} %"


def would_have_caught(ratio: float) -> str:
    """Return what a pass says of the slow-down that it would have failed: two digits of it, rounded up."""
    value = ratio * 100
    digits = max(0, 1 - math.floor(math.log10(value)))
    # A number that is rounded already must stay: what is left of it by binary fractions is no reason to go up.
    shown = math.ceil(round(value * 10**digits, 6)) / 10**digits
    return f"a slow-down of {shown:.{digits}f} % would have been caught 9 times in 10"


def listed(values: Sequence[float]) -> str:
    """Return durations in milliseconds one after the other."""
    return ", ".join(map(ms, values)) or "no launches"


def unusable(name: str, against: str, sentence: str) -> Check:
    """Return the check of a quantity that was not measured, or not as a duration."""
    return Check(name=name, against=against, unit="ms", outcome=Outcome.ERROR, sentence=sentence)
