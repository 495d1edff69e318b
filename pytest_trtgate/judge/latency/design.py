"""The design of the launches against a replayed baseline: when to look, at which levels, and what that can detect.

The constants were chosen by simulation, so that what is promised holds where launches spread by half the threshold up
to one and a half times as much, have two speeds, heavy tails, or resemble the launch before (``bench/worlds.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..distributions import chi_squared_quantile, student_t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCREEN = 3
"""Launches before the second copy of the baseline engine joins."""


@dataclass(frozen=True)
class Screen:
    """An early look that can only pass: few launches, so they must be good and agree.

    Attributes:
        launches: How many there are.
        mean: A mean slow-down under this share of the threshold passes,
        spread: where the standard deviation of d is under this share of it.
    """

    launches: int
    mean: float
    spread: float


@dataclass(frozen=True)
class Look:
    """A look that can pass or fail.

    Attributes:
        launches: How many there are.
        level: Of the test that fails a slow-down above 0.
        least: The mean slow-down that fails, in thresholds. At first it is more than one: where launches resemble each
            other, a few of them wander far together, which no test on a few of them can see.
    """

    launches: int
    level: float
    least: float


SCREENS = (Screen(3, 0.05, 0.4), Screen(4, 0.2, 0.9))
LOOKS = (Look(5, 0.00004, 2.2), Look(8, 0.00008, 1.8), Look(12, 0.00013, 1.0))
MAX_LAUNCHES = LOOKS[-1].launches
QUANTITIES = 20
"""At the levels above, so many quantities of one run share a level of 0.005, the chance that a run without any change
fails. Where there are more, all levels shrink."""
CONFIDENCE = 0.99
"""The level of the one-sided limits. A quantity passes if its upper limit is under the threshold."""
LAG_FAILS = 1.75
"""How much more than its ``least`` a failure must be, per lag-1 autocorrelation of the launches."""
LAG_WIDENS = 2.0
"""How much wider the limits are, likewise."""
PLACEBO_LEVEL = 0.002
"""Two-sided level, at each look, at which two copies of the same engine are called different."""
PLACEBO_SHARE = 0.25
"""Nor do they differ by less than this share of the threshold, on which no verdict hangs."""
PLACEBO_LAUNCHES = 3
"""Fewer say nothing about whether the copies differ."""
SHARP = {"p50": 0.1, "p95": 0.25, "p99": 0.25}
"""Sampling inside a launch ends once the 95 % limits of a percentile are this share of its threshold to both sides. At
p50 that adds at most 1 % to the variance of launches that spread by half the threshold."""
SHARP_SHOWN = 0.01
"""The same, as a ratio, for an arm that is compared with stored sessions only: those spread by more."""
POWER = 0.9
"""The probability with which a passing run would have caught the slow-down that it names."""
_SIMULATED_RUNS = 2000


def share_of_level(family: int) -> float:
    """Return by what the levels of the looks are multiplied in a run that gates so many quantities."""
    return min(1.0, QUANTITIES / max(1, family))


def simulate_outcomes(
    d: NDArray[Any], threshold: float, placebo: NDArray[Any], family: int = 1
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Judge many runs of one quantity at once: :func:`~.sequential.decide_launches` for simulations.

    Args:
        d: Runs x 12: d of each launch, as if all had been made.
        threshold: As a ratio.
        placebo: Runs x 9: log(second copy) - log(first copy) of the launches after the screen.
        family: How many quantities the run gates.

    Returns:
        Per run whether it failed, whether it passed, and how many launches it took. Neither: inconclusive.
    """
    import numpy as np

    limit = math.log1p(threshold)
    passed = np.zeros(len(d), dtype=bool)
    launches = np.full(len(d), MAX_LAUNCHES)
    for screen in SCREENS:
        mean, error = _mean_and_error(d[:, : screen.launches])
        spread = error * math.sqrt(screen.launches)
        clears = ~passed & (mean < limit * screen.mean) & (spread < limit * screen.spread)
        launches[clears] = screen.launches
        passed |= clears
    failed, unfit = np.zeros_like(passed), np.zeros_like(passed)
    for look in LOOKS:
        is_open, n = ~(passed | failed | unfit), look.launches
        beside = placebo[:, : n - SCREEN]
        if n - SCREEN >= PLACEBO_LAUNCHES:
            mean, error = _mean_and_error(beside)
            t = student_t_quantile(1 - PLACEBO_LEVEL / 2, n - SCREEN - 1)
            unfit |= is_open & (abs(mean) >= t * error) & (abs(mean) >= limit * PLACEBO_SHARE)
        mean, error = _mean_and_error(d[:, :n])
        lag = _lag(d[:, :n], beside)
        t = student_t_quantile(1 - look.level * share_of_level(family), n - 1)
        fails = (mean >= limit * look.least * (1 + LAG_FAILS * lag)) & (mean >= t * error)
        passes = mean + student_t_quantile(CONFIDENCE, n - 1) * error * (1 + LAG_WIDENS * lag) < limit
        failed |= is_open & ~unfit & fails
        passed |= is_open & ~unfit & passes & ~fails
        launches[is_open & (failed | passed | unfit)] = n
    return failed, passed, launches


def _mean_and_error(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return values.mean(axis=1), values.std(axis=1, ddof=1) / math.sqrt(values.shape[1])


def _lag(*series: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    centred = [x - x.mean(axis=1, keepdims=True) for x in series]
    products = sum((c[:, 1:] * c[:, :-1]).sum(axis=1) for c in centred)
    squares = np.asarray(sum((c * c).sum(axis=1) for c in centred))
    lag: NDArray[Any] = np.maximum(0, products / np.where(squares > 0, squares, 1))
    return lag


def detectable(spread: float, launches: int, threshold: float, family: int = 1) -> float:
    """Return the smallest slow-down that such a run would have failed with probability 0.9.

    It is found by simulating 2000 runs (normal, fixed seed) for each size of the slow-down. The true spread is not
    known; ``spread`` is an estimate from a few launches, and those that pass early are those that happened to agree. So
    the runs have the upper 95 % limit of the spread (Hahn and Meeker, Statistical Intervals, section 4.3): with the
    estimate itself, the slow-down that is named would be caught only 3 to 8 times in 10.

    Args:
        spread: Standard deviation of d, from 0.
        launches: How many it was estimated from, at least 2.
        threshold: As a ratio.
        family: How many quantities the run gates.

    Returns:
        A ratio, at least the threshold.
    """
    limit, df = math.log1p(threshold), launches - 1
    largest = spread * math.sqrt(df / chi_squared_quantile(0.05, df))
    # Only the spread over the threshold matters. Two digits of it are as many as it has, and make the cache useful.
    relative = float(f"{largest / limit:.2g}")
    return max(threshold, math.expm1(limit * _relative_detectable(relative, max(family, QUANTITIES))))


@lru_cache(maxsize=512)
def _relative_detectable(spread: float, family: int) -> float:
    """Return the detectable slow-down over the threshold, both logs."""
    import numpy as np

    noise = spread * np.random.default_rng(0).standard_normal((_SIMULATED_RUNS, 2 * MAX_LAUNCHES - SCREEN))
    d, placebo = noise[:, :MAX_LAUNCHES], noise[:, MAX_LAUNCHES:]
    low, high = 1.0, 2.0

    def caught(size: float) -> bool:
        return float(simulate_outcomes(d + size, math.e - 1, placebo, family)[0].mean()) >= POWER

    while not caught(high):
        low, high = high, high * 2
    while high - low > 0.005 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if caught(middle) else (middle, high)
    return high
