"""Limits of a proportion, for the rates that the studies of the gate estimate."""

from __future__ import annotations

from collections.abc import Callable

from pytest_trtgate.judge.distributions import binomial_lower_tail, binomial_upper_tail


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return two-sided limits of a proportion of which k in n were seen.

    Each limit is the proportion at which the tail beyond what was seen has half of 1 - confidence (Clopper and Pearson,
    Biometrika 26, 1934, 404-413), found by bisection.

    Args:
        k: Successes, from 0 to ``n``.
        n: Trials, at least 1.
        confidence: Coverage, between 0 and 1. For a one-sided limit at 95 %, ask for 0.90.

    Returns:
        Lower and upper limit, from 0 to 1.

    Raises:
        ValueError: An argument is out of range.
    """
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no proportion")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, not between 0 and 1")
    tail = (1 - confidence) / 2
    lower = 0.0 if k == 0 else _boundary(lambda p: binomial_upper_tail(k, n, p) < tail)
    upper = 1.0 if k == n else _boundary(lambda p: binomial_lower_tail(k, n, p) > tail)
    return lower, upper


def _boundary(is_low: Callable[[float], bool]) -> float:
    """Return where ``is_low`` turns from true to false between 0 and 1."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if is_low(middle) else (low, middle)
    return high
