"""The design of the launches against a replayed baseline: when to look, at which levels, and what that can detect."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..distributions import student_t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCREEN = 3
"""Launches of the screen."""
SCREEN_SHARE = 0.25
"""A mean slow-down under this share of the threshold passes the screen."""
SCREEN_SPREAD = 1.5
"""Where the standard deviation of d is this many thresholds or more, the screen passes nothing."""
LOOKS = ((5, 0.001), (8, 0.0015), (12, 0.0025))
"""Launches after which the confirm stage looks, and the level of the test that fails there."""
MAX_LAUNCHES = LOOKS[-1][0]
CONFIDENCE = 0.95
"""The level of the one-sided limits. A quantity passes if its upper limit is under the threshold."""
PLACEBO_LEVEL = 0.002
"""Two-sided level, at each look, at which two copies of the same engine are called different."""
PLACEBO_LAUNCHES = 3
"""Fewer say nothing about whether the copies differ."""
POWER = 0.9
"""The probability with which a passing run would have caught the slow-down that it names."""
_SIMULATED_RUNS = 2000


def simulate_outcomes(
    d: NDArray[Any], threshold: float, hypotheses: int = 1, placebo: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Judge many runs of one quantity at once: :func:`~.sequential.decide_launches` for simulations.

    Args:
        d: Runs x 12: d of each launch, as if all had been made.
        threshold: As a ratio.
        hypotheses: How many quantities share the level. For more than one this is Holm's first step, the strictest.
        placebo: Runs x 9: log(second copy) - log(first copy) of the launches after the screen.

    Returns:
        Per run whether it failed, whether it passed, and how many launches it took. Neither: inconclusive.
    """
    import numpy as np

    limit = math.log1p(threshold)
    screen = d[:, :SCREEN]
    passed = (screen.mean(axis=1) < limit * SCREEN_SHARE) & (screen.std(axis=1, ddof=1) < limit * SCREEN_SPREAD)
    failed, unfit = np.zeros_like(passed), np.zeros_like(passed)
    launches = np.where(passed, SCREEN, MAX_LAUNCHES)
    for look, level in LOOKS:
        is_open = ~(passed | failed | unfit)
        if placebo is not None and look - SCREEN >= PLACEBO_LAUNCHES:
            mean, error = _mean_and_error(placebo[:, : look - SCREEN])
            t = student_t_quantile(1 - PLACEBO_LEVEL / hypotheses / 2, look - SCREEN - 1)
            unfit |= is_open & (abs(mean) >= t * error) & (abs(mean) >= limit * SCREEN_SHARE)
        mean, error = _mean_and_error(d[:, :look])
        fails = (mean >= limit) & (mean >= student_t_quantile(1 - level / hypotheses, look - 1) * error)
        passes = mean + student_t_quantile(CONFIDENCE, look - 1) * error < limit
        failed |= is_open & ~unfit & fails
        passed |= is_open & ~unfit & passes & ~fails
        launches[is_open & (failed | passed | unfit)] = look
    return failed, passed, launches


def _mean_and_error(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return values.mean(axis=1), values.std(axis=1, ddof=1) / math.sqrt(values.shape[1])


def detectable(spread: float, launches: int, threshold: float, hypotheses: int = 1) -> float:
    """Return the smallest slow-down that such a run would have failed with probability 0.9.

    It is found by simulating 2000 runs (normal, fixed seed) for each size of the slow-down. The true spread is not
    known; ``spread`` is an estimate from a few launches. So each simulated run draws a spread of its own that could
    have given this estimate: the estimate times the root of df over a chi-squared variable, which is the posterior
    under the prior 1 / spread (Box and Tiao, Bayesian Inference in Statistical Analysis, section 2.2). With the
    estimate itself in place of the draws, the slow-down that is named would be caught only 7 or 8 times in 10.

    Args:
        spread: Standard deviation of d, from 0.
        launches: How many it was estimated from, at least 2.
        threshold: As a ratio.
        hypotheses: How many quantities share the level.

    Returns:
        A ratio, at least the threshold.
    """
    limit = math.log1p(threshold)
    # Only the spread over the threshold matters. Two digits of it are as many as it has, and make the cache useful.
    relative = float(f"{spread / limit:.2g}")
    return max(threshold, math.expm1(limit * _relative_detectable(relative, launches - 1, hypotheses)))


@lru_cache(maxsize=512)
def _relative_detectable(spread: float, df: int, hypotheses: int) -> float:
    """Return the detectable slow-down over the threshold, both logs."""
    import numpy as np

    rng = np.random.default_rng(0)
    noise = rng.standard_normal((_SIMULATED_RUNS, MAX_LAUNCHES))
    noise *= spread * np.sqrt(df / rng.chisquare(df, size=(_SIMULATED_RUNS, 1)))
    low, high = 1.0, 2.0

    def caught(size: float) -> bool:
        return float(simulate_outcomes(noise + size, math.e - 1, hypotheses)[0].mean()) >= POWER

    while not caught(high):
        low, high = high, high * 2
    while high - low > 0.005 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if caught(middle) else (middle, high)
    return high
