"""Whether two sets of images look alike: the distance between distributions of one number per image."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

DISTANCE = 0.3
"""From this distance on, three images in ten would have to change places: a shift that can be seen."""
RANKS = 100
SIGNIFICANT = 1.95
"""Times the square root of 1/n + 1/m, the distance that samples of one population pass once in a thousand times.

Kolmogorov's distribution: 2 exp(-2 x^2) is 0.001 at 1.95 (Smirnov, 1948).
"""


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples, 0 (alike) to 1: the largest gap between their shares.

    It compares ranks, so it asks for no unit, and a few odd images move it little.
    """
    if not a or not b:
        return 0.0
    first, second = sorted(a), sorted(b)
    points = sorted({*first, *second})
    return max(abs(bisect_right(first, x) / len(first) - bisect_right(second, x) / len(second)) for x in points)


def shift(a: Sequence[float], b: Sequence[float]) -> float:
    """Return how far the values of one sample would have to move on average to become the other's.

    The mean gap between quantiles of the same rank, in the unit of the values.
    """
    if not a or not b:
        return 0.0
    first, second = sorted(a), sorted(b)
    ranks = [(index + 0.5) / RANKS for index in range(RANKS)]
    return sum(abs(first[int(r * len(first))] - second[int(r * len(second))]) for r in ranks) / RANKS


def unlike(a: Sequence[float], b: Sequence[float], visible: float) -> float | None:
    """Return the distance of two samples where they are visibly unlike and chance is no explanation; else None.

    ``visible``: the smallest average shift that can be seen. Images that are nearly all alike may have any distance.
    """
    found = distance(a, b)
    if found < DISTANCE or found < SIGNIFICANT * (1 / len(a) + 1 / len(b)) ** 0.5 or shift(a, b) < visible:
        return None
    return found
