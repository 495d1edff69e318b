"""When the inferences of an arm are enough: once what they leave unknown of a percentile is small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Z = 1.96
"""Of the two-sided 95 % limits."""
LEAST_BLOCKS = 6
"""Fewer blocks say little about how much they differ."""


def half_width(durations: Any, percent: int, block: int) -> float:
    """Return how far the 95 % limits of a percentile are from it, as a ratio; infinite where too few tell.

    The share of durations above the percentile has a standard error, and the percentiles that far to both sides are
    the limits (Woodruff, Journal of the American Statistical Association 47, 1952). Inferences of one block follow each
    other and are alike, so the standard error is that over blocks, though no less than that of independent inferences.

    Args:
        durations: In the order of time.
        percent: The percentile, 1 to 99.
        block: How many follow each other in one block.
    """
    import numpy as np

    blocks = len(durations) // block
    if blocks < LEAST_BLOCKS:
        return math.inf
    middle = np.quantile(durations, percent / 100)
    above = (durations[: blocks * block].reshape(blocks, block) > middle).mean(axis=1)
    independent = math.sqrt(percent / 100 * (1 - percent / 100) / len(durations))
    reach = Z * max(float(above.std(ddof=1)) / math.sqrt(blocks), independent)
    low, high = percent / 100 - reach, percent / 100 + reach
    if low <= 0 or high >= 1:
        return math.inf
    below, over = np.quantile(durations, (low, high))
    return float((over - below) / 2 / middle)


def is_sharp(durations: Any, asked: Mapping[str, float], block: int) -> bool:
    """Return whether each of some percentiles (``p50``) is known to its half width; False where none is asked for."""
    return bool(asked) and all(half_width(durations, int(p[1:]), block) <= ratio for p, ratio in asked.items())
