"""What a busy machine did to a run: nothing that counts, where two copies of one engine took the same time."""

from __future__ import annotations

import math

from ..judge.latency.design import PLACEBO_SHARE
from ..records import Cell, RunRecord, placebo_of, replay_of, usable
from ..settings import Settings

FEWEST_LAUNCHES = 2


def disturbed(run: RunRecord, cell: Cell, settings: Settings) -> str:
    """Return what kept the machine busy while a cell was timed; empty where none was, or where that did nothing.

    It did nothing where, in each launch that has both, the two copies of the baseline engine differ at p50 by less than
    a quarter of the slow-down that is allowed, as between the copies of a quiet machine.
    """
    busy, latency = run.preflight.busy, run.latencies.get(cell.model)
    limit = settings.latency.limit(cell.precision, "p50", cell.backend).regression
    if latency is None:
        return ""
    if not busy or limit is None:
        return busy
    replay = replay_of(cell.precision)
    context = settings.latency.context
    copies = [
        [launch.arms[arm].timings[context].quantile_ms(50) for arm in (replay, placebo_of(replay))]
        for launch in latency.of_arm(placebo_of(replay))
        if replay in launch.arms
    ]
    if len(copies) < FEWEST_LAUNCHES or not all(map(usable, copies)):
        return busy
    largest = max(abs(math.log(second / first)) for first, second in copies)
    return busy if largest >= math.log1p(limit) * PLACEBO_SHARE else ""
