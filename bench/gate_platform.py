"""How often ``platform-changed`` is told of a machine that did not change, and of one that did.

python bench/gate_platform.py [--trials 10000]

Simulated, by the gate's own entry point: three launches of the accepted engine and of the ``.pt``, and sessions of as
many that are stored. In the worlds, the spread is that of a session, of a launch in it, and of an arm in that, each:
a session or launch moves both arms alike. ``shared``: nothing is an arm's own, so that both arms always agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gate_rules import Array
from machine import keep

from pytest_trtgate.judge.latency.platform import platform_change
from pytest_trtgate.records.baseline import Baseline, BaselineLaunch, BaselineSession
from pytest_trtgate.records.cell import REFERENCE, Cell
from pytest_trtgate.records.latency import ArmLaunch, LatencyRecord, Launch, Timing

STORED = (1, 2, 3, 5, 20)
CHANGES = (0.0, 0.03, 0.05, 0.10, 0.15, 0.30)
LAUNCHES = 3
ENGINE = "int8"
MS = {ENGINE: 1.0, REFERENCE: 5.6}
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def normal(spread: float) -> Draw:
    return lambda rng, shape: rng.normal(0, spread, shape)


def bimodal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Three launches in ten are 4 % slower; the rest differ by 1 %."""
    return rng.normal(0, 0.01, shape) + 0.04 * (rng.random(shape) < 0.3)


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 0.01 * rng.standard_t(2, shape)


def following(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Each launch resembles the one before it (AR 0.8), with a spread of 1 %."""
    values = rng.normal(0, 0.01, shape)
    for index in range(1, shape[-1]):
        values[..., index] = 0.8 * values[..., index - 1] + 0.6 * values[..., index]
    return values


WORLDS: dict[str, tuple[Draw, float, bool]] = {
    "1 %": (normal(0.01), 0.01, True),
    "2 %": (normal(0.02), 0.02, True),
    "3 %": (normal(0.03), 0.03, True),
    "3 %, shared": (normal(0.03), 0.03, False),
    "bimodal launches": (bimodal, 0.01, True),
    "autocorrelated launches": (following, 0.01, True),
    "t(2) launches": (heavy, 0.01, True),
}
"""How launches are drawn, the spread of sessions, and whether arms have some of their own."""


def logs(world: tuple[Draw, float, bool], sessions: int, rng: np.random.Generator) -> Array:
    """Return sessions x 2 arms x launches, the session of now last."""
    draw, spread, own = world
    level = rng.normal(0, spread, (sessions + 1, 1, 1)) + draw(rng, (sessions + 1, 1, LAUNCHES))
    if not own:
        return np.broadcast_to(level, (sessions + 1, 2, LAUNCHES))
    return level + rng.normal(0, spread, (sessions + 1, 2, 1)) + draw(rng, (sessions + 1, 2, LAUNCHES))


def timed(ms: float) -> dict[Any, Timing]:
    return {"engine": Timing.model_construct(quantiles_ms=(ms,) * 99)}


def limits(found: Array, arms: tuple[str, ...]) -> tuple[float, float]:
    """Return the limits of what the arms share, as the gate has them."""
    times = {arm: MS[arm] * np.exp(found[:, index]) for index, arm in enumerate(MS)}
    launches = tuple(
        Launch.model_construct(
            arms={
                arm: ArmLaunch.model_construct(arm=arm, sha256=arm, timings=timed(float(times[arm][-1, i])))
                for arm in arms
            }
        )
        for i in range(LAUNCHES)
    )
    sessions = tuple(
        BaselineSession.model_construct(
            launches=stored_launches(times[ENGINE][index]),
            reference_sha256=REFERENCE,
            reference=stored_launches(times[REFERENCE][index]),
        )
        for index in range(len(found) - 1)
    )
    cell = Cell.model_construct(precision=ENGINE)
    baseline = Baseline.model_construct(cell=cell, engine_sha256=ENGINE, sessions=sessions)
    change = platform_change(LatencyRecord.model_construct(launches=launches), baseline)
    assert change is not None
    return change.lower, change.upper


def stored_launches(times_ms: Array) -> tuple[BaselineLaunch, ...]:
    return tuple(BaselineLaunch.model_construct(timings=timed(float(ms))) for ms in times_ms)


def rates(trials: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield, per world, arms and stored sessions, in how many percent of runs it is told, by the true change."""
    rng = np.random.default_rng(seed)
    for name, world in WORLDS.items():
        for arms in (tuple(MS), (REFERENCE,)):
            for sessions in STORED:
                found = np.array([limits(logs(world, sessions, rng), arms) for _ in range(trials)])
                told = {}
                for change in CHANGES:
                    # A change moves all times of now, and so the limits, by one factor.
                    lower, upper = (1 + change) * (1 + found.T) - 1
                    told[f"{100 * change:g}"] = round(100 * float(((lower > 0) | (upper < 0)).mean()), 3)
                    assert change == 0 or not (upper < 0).mean() > 0.01
                yield {"world": name, "arms": len(arms), "stored_sessions": sessions, "told_percent": told}


def main() -> None:
    """Simulate, print the table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rows = []
    print(
        "| world | arms that tell | stored sessions | no change |" + "".join(f" +{100 * c:g} % |" for c in CHANGES[1:])
    )
    print("|" + "---|" * (3 + len(CHANGES)))
    for row in rates(asked.trials, asked.seed):
        rows.append(row)
        shown = " | ".join(f"{percent:g}" for percent in row["told_percent"].values())
        print(f"| {row['world']} | {row['arms']} | {row['stored_sessions']} | {shown} |", flush=True)
    keep("gate_platform", {"trials": asked.trials, "launches": LAUNCHES, "rows": rows})


if __name__ == "__main__":
    main()
