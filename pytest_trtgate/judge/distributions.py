"""The few distributions that the verdicts need: Student's t, chi-squared, the binomial; and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence


def student_t_upper_tail(t: float, df: float) -> float:
    """Return P[T >= t] of Student's t distribution; ``t`` may be infinite.

    Raises:
        ValueError: ``t`` is NaN, or ``df``, the degrees of freedom, is not a number more than 0.
    """
    from scipy.special import stdtr

    _require_df(df)
    if math.isnan(t):
        raise ValueError("t is NaN")
    return float(stdtr(df, -t))


def student_t_quantile(p: float, df: float) -> float:
    """Return the t with P[T <= t] = p.

    Raises:
        ValueError: ``p`` is not between 0 and 1, or ``df``, the degrees of freedom, is not a number more than 0.
    """
    from scipy.special import stdtrit

    _require_quantile(p, df)
    return float(stdtrit(df, p))


def chi_squared_quantile(p: float, df: float) -> float:
    """Return the x with P[X <= x] = p, of a chi-squared variable.

    Raises:
        ValueError: ``p`` is not between 0 and 1, or ``df``, the degrees of freedom, is not a number more than 0.
    """
    from scipy.special import chdtri

    _require_quantile(p, df)
    return float(chdtri(df, 1 - p))


def tolerance(share: float, confidence: float, n: int) -> float:
    """Return k: the mean of n normal values plus k of their standard deviations is over that share of all of them.

    Args:
        share: From 0.5, under 1.
        confidence: The probability with which it is.
        n: At least 2.
    """
    from scipy.special import nctdtrit, ndtri

    return float(nctdtrit(n - 1, ndtri(share) * math.sqrt(n), confidence)) / math.sqrt(n)


def binomial_upper_tail(k: int, n: int, p: float) -> float:
    """Return P[X >= k] for X successes in n independent trials of probability p; ``k`` may be any whole number.

    Raises:
        ValueError: ``n`` is less than 0, or ``p`` is not from 0 to 1.
    """
    from scipy.special import bdtrc

    _require_trials(n, p)
    return 1.0 if k <= 0 else 0.0 if k > n else float(bdtrc(k - 1, n, p))


def binomial_lower_tail(k: int, n: int, p: float) -> float:
    """Return P[X <= k] for X successes in n independent trials of probability p; ``k`` may be any whole number.

    Raises:
        ValueError: ``n`` is less than 0, or ``p`` is not from 0 to 1.
    """
    from scipy.special import bdtr

    _require_trials(n, p)
    return 0.0 if k < 0 else 1.0 if k >= n else float(bdtr(k, n, p))


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which hypotheses are rejected while the chance of any false rejection stays at most alpha.

    From the smallest p upwards, each is compared with alpha over the number not yet rejected, until one is larger
    (Holm, Scandinavian Journal of Statistics 6, 1979, 65-70).

    Args:
        p_values: One per hypothesis; NaN is never rejected.
        alpha: From 0 to 1.
    """
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda i: math.inf if math.isnan(p_values[i]) else p_values[i])
    for rank, i in enumerate(order):
        if not p_values[i] <= alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def _require_quantile(p: float, df: float) -> None:
    _require_df(df)
    if not 0 < p < 1:
        raise ValueError(f"p is {p}, not between 0 and 1")


def _require_df(df: float) -> None:
    if not 0 < df < math.inf:
        raise ValueError(f"df is {df}, not a number more than 0")


def _require_trials(n: int, p: float) -> None:
    if n < 0:
        raise ValueError(f"n is {n}, less than 0")
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}, not from 0 to 1")
