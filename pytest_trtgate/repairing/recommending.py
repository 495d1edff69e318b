"""The repair of one cell: search, time what is worth it, and recommend."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import JobError, reason_of
from ..machine import saturates
from ..quantizing import Candidate, Recipe, Search, Trial
from ..text import plural
from .trials import Given, TimeIsUpError, Trials

LAUNCH_SHARE = 0.1
"""Share of the time that is left for the launch at the end."""
MOST_ROWS = 6
INTERRUPTED = "it was interrupted"
ALIKE = 0.05
"""Relative difference of two p50 of one launch below which neither is faster, where the settings do not say."""


@dataclass(frozen=True)
class Row:
    """One row of the answer: a candidate, what came of it on all images, what it keeps out of INT8, and its p50."""

    trial: Trial
    kept: tuple[str, ...]
    multiplications: int
    p50_ms: float | None = None
    recommended: bool = False


@dataclass(frozen=True)
class Repair:
    """What a search found.

    Attributes:
        rows: The present settings first, then what no other row beats in accuracy, speed and size, the best first.
        layers: How many layers the exporter would quantize.
        trials: How many candidates were tried.
        ended: Why the search ended before there was nothing left to try; empty where it did not.
        untimed: Why the rows have no p50; empty where they have.
    """

    rows: tuple[Row, ...]
    layers: int
    trials: int
    ended: str = ""
    untimed: str = ""

    @property
    def recommended(self) -> Row | None:
        """The row that passes at the least cost; None where none passes."""
        return next((row for row in self.rows if row.recommended), None)


def repair(given: Given, folder: Path, seconds: float, say: Callable[[str], None]) -> Repair:
    """Search for the cheapest way to quantize a cell that passes its own limits; Ctrl-C keeps what was found.

    Raises:
        JobError: The network cannot be exported, or not be evaluated as it is.
    """
    ends_at = time.monotonic() + seconds * (1 - LAUNCH_SHARE)
    with Trials(given, folder, ends_at, say) as trials:
        search = Search(trials.layers(), trials.evaluate, *recipes(given), say)
        ended = _searched(search, given.start, trials)
        if given.start in search.trials and search.trials[given.start].problem:
            raise JobError("repair", search.trials[given.start].problem)
        rows = [_row(search, trial) for trial in search.trials.values() if not trial.problem]
        untimed = INTERRUPTED if ended == INTERRUPTED else ""
        if rows and not untimed:
            rows = worth_timing(rows, given.start)
            rows, untimed = _timed(rows, trials)
        alike = given.settings.latency.limit(given.cell.precision, "p50", given.cell.backend).regression or ALIKE
        return Repair(tuple(answer(rows, given.start, alike)), len(search.layers), trials.number, ended, untimed)


def _searched(search: Search, start: Candidate, trials: Trials) -> str:
    """Search; return why that ended before there was nothing left to try, empty where it did not."""
    try:
        search.run(start)
    except TimeIsUpError:
        return f"the time was up after {trials.number} trials"
    except KeyboardInterrupt:
        return INTERRUPTED
    return ""


def _timed(rows: list[Row], trials: Trials) -> tuple[list[Row], str]:
    """Return the rows with their p50, or why there is none."""
    trials.say(f"timing {plural(len(rows), 'engine')} side by side")
    try:
        p50_ms = trials.time([row.trial.candidate for row in rows])
    except JobError as error:
        return rows, f"they could not be timed ({reason_of(error)})"
    except KeyboardInterrupt:
        return rows, INTERRUPTED
    return [replace(row, p50_ms=p50_ms.get(row.trial.candidate)) for row in rows], ""


def _row(search: Search, trial: Trial) -> Row:
    kept = tuple(layer.name for layer in search.kept(trial.candidate))
    return Row(trial, kept, search.cost(trial.candidate)[0])


def recipes(given: Given) -> tuple[list[Recipe], list[Recipe]]:
    """Return other ways to quantize that a cell's backend has, and those that calibrate anew, which takes longer."""

    def changed(**update: object) -> Recipe:
        return lambda one: replace(one, asked=one.asked.model_copy(update=update))

    # Fewer images have fewer outliers; more of them show more of what comes.
    fraction = given.settings.calibration.fraction
    other = fraction / 4 if fraction == 1 else min(1.0, 4 * fraction)
    anew = [lambda one: replace(one, fraction=other)]
    if given.cell.backend == "tensorrt":
        return [changed(calibrator="entropy")], anew
    quick = [changed(per_channel=True)]
    if saturates(given.environment):
        quick.append(changed(reduce_range=True))
    # Not entropy: ONNX Runtime's search for its thresholds takes minutes.
    return quick, [changed(calibrator="percentile-99.99"), changed(calibrator="percentile-99.9"), *anew]


def worth_timing(rows: Sequence[Row], start: Candidate) -> list[Row]:
    """Return the present settings, and the rows that no other beats both in accuracy and in what stays out of INT8."""
    left = [
        row
        for row in rows
        if row.trial.candidate != start
        and not any(_beats(other, row, lambda one: (one.trial.excess, one.multiplications)) for other in rows)
    ]
    left.sort(key=lambda row: (not row.trial.passes, row.multiplications if row.trial.passes else row.trial.excess))
    return [*(row for row in rows if row.trial.candidate == start), *left[: MOST_ROWS - 1]]


def answer(rows: Sequence[Row], start: Candidate, alike: float) -> list[Row]:
    """Return the rows with what is recommended marked: what passes, is fastest, and of equals keeps least.

    ``alike``: the relative difference of two p50 up to which they count as equal.
    """
    passing = [row for row in rows if row.trial.passes]
    if passing:
        times = [row.p50_ms for row in passing if row.p50_ms is not None]
        fastest = min(times, default=0.0) * (1 + alike)
        quick = [row for row in passing if row.p50_ms is None or row.p50_ms <= fastest] or passing
        best = min(quick, key=lambda row: (row.multiplications, len(row.kept), row.trial.excess))
        rows = [replace(row, recommended=row is best) for row in rows]
    return sorted(rows, key=lambda row: (row.trial.candidate != start, not row.recommended, row.trial.excess))


def _beats(one: Row, other: Row, by: Callable[[Row], tuple[float, ...]]) -> bool:
    mine, theirs = by(one), by(other)
    return mine != theirs and all(m <= t for m, t in zip(mine, theirs, strict=True))
