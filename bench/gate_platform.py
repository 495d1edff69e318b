"""How often ``platform-changed`` is told of a machine that did not change, and of one that did.

python bench/gate_platform.py [--trials 10000]

Simulated, by the gate's own entry point: the accepted engine and the ``.pt`` in one launch, or the engine alone, or
beside two more accepted ones. Where that is not like the stored sessions, engine and ``.pt`` are timed until there are
three launches of both. Sessions of three launches are stored. In the worlds, the spread is that of a session, of a
launch in it, and of an arm in that, each: a session or launch moves all arms alike. ``shared``: nothing is an arm's
own, so that all arms always agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from gate_rules import Array
from machine import keep

from pytest_trtgate.judge.latency.platform import CONFIDENCE, LIKE_STORED, platform_change
from pytest_trtgate.records.cell import REFERENCE

STORED = (1, 3, 5, 20)
CHANGES = (0.0, 0.03, 0.05, 0.10, 0.15, 0.30)
LAUNCHES = 3
ONE = slice(1)
ENGINE = "int8"
ARMS = (ENGINE, REFERENCE)
OTHERS = ("fp16", "fp32")
"""More accepted engines of the model, each a control of the others."""
ALL = (*ARMS, *OTHERS)
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
    """Return sessions x arms x launches, the session of now last."""
    draw, spread, own = world
    level = rng.normal(0, spread, (sessions + 1, 1, 1)) + draw(rng, (sessions + 1, 1, LAUNCHES + 1))
    if not own:
        return np.broadcast_to(level, (sessions + 1, len(ALL), LAUNCHES + 1))
    shape = sessions + 1, len(ALL)
    return level + rng.normal(0, spread, (*shape, 1)) + draw(rng, (*shape, LAUNCHES + 1))


@dataclass(frozen=True)
class Times:
    """Stands for a model's launches and its engine's baseline, of which only the times matter; building both is slow.

    Attributes:
        ms: By arm, sessions x launches, the session of now last.
    """

    ms: dict[str, list[list[float]]]
    launches: tuple[()] = ()
    engine_sha256: str = ENGINE

    @property
    def cell(self) -> Any:
        return SimpleNamespace(precision=ENGINE)

    def of_arm(self, arm: str) -> list[Any]:
        return [SimpleNamespace(arms={arm: SimpleNamespace(sha256=arm)})] if arm in self.ms else []

    def per_launch_ms(self, arm: str, context: str, percent: int) -> list[float]:
        return self.ms[arm][-1]

    def per_session_ms(self, context: str, percent: int) -> list[list[float]]:
        return self.ms[ENGINE][:-1]

    def reference_ms(self, sha256: str, context: str, percent: int) -> list[list[float]]:
        return self.ms[REFERENCE][:-1]


def limits(
    found: Array, arms: tuple[str, ...], launches: slice, confidence: float, without_first: tuple[str, ...] = ()
) -> tuple[float, float]:
    """Return the limits of what the arms share, as the gate has them by some launches of now."""
    ms = {arm: np.exp(found[:, index]).tolist() for index, arm in enumerate(ALL) if arm in arms}
    taken = {arm: slice(1, None) if arm in without_first else launches for arm in arms}
    # An engine alone is to be the accepted one.
    names = {arms[0]: ENGINE} if len(arms) == 1 and arms[0] != REFERENCE else {}
    times: Any = Times(
        {names.get(arm, arm): [*(old[:LAUNCHES] for old in then), now[taken[arm]]] for arm, (*then, now) in ms.items()}
    )
    change = platform_change(times, times, confidence=confidence)
    assert change is not None
    return change.lower, change.upper


def sure(limits: Array, change: float) -> Array:
    """Return which runs are surely slower or faster after a change: it moves all times of now by one factor."""
    lower, upper = (1 + change) * (1 + limits.T) - 1
    return np.asarray((lower > 0) | (upper < 0))


def looked(runs: list[Array], first: tuple[str, ...], change: float) -> Array:
    """Return which runs make more launches after the first one, by the arms that it times."""
    if REFERENCE in first:
        return sure(np.array([limits(run, first, ONE, LIKE_STORED) for run in runs]), change)
    each = {arm: np.array([limits(run, (arm,), ONE, LIKE_STORED) for run in runs]) for arm in first}
    together = np.stack([np.min([e[:, 0] for e in each.values()], 0), np.max([e[:, 1] for e in each.values()], 0)], 1)
    found = sure(together, change)
    for arm in first:
        found |= sure(np.array([limits(run, (arm,), ONE, CONFIDENCE) for run in runs]), change)
    return found


def rates(trials: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield, per world, arms and stored sessions, in how many percent of runs it is told, by the true change."""
    rng = np.random.default_rng(seed)
    for name, world in WORLDS.items():
        for sessions in STORED:
            runs = [logs(world, sessions, rng) for _ in range(trials)]
            for first in (ARMS, (REFERENCE,), (ENGINE,), (ENGINE, *OTHERS)):
                late = () if REFERENCE in first else (REFERENCE,)
                judges, whole = (ARMS, slice(None)) if late else (first, slice(LAUNCHES))
                three = np.array([limits(run, judges, whole, CONFIDENCE, late) for run in runs])
                told, only, more = {}, {}, {}
                for change in CHANGES:
                    name_of, doubted = f"{100 * change:g}", looked(runs, first, change)
                    more[name_of] = share(doubted)
                    only[name_of] = share(sure(three, change))
                    told[name_of] = share(doubted & sure(three, change))
                yield {
                    "world": name,
                    "first": " and ".join(first),
                    "stored_sessions": sessions,
                    "told_percent": told,
                    "told_always_by_three_percent": only,
                    "three_launches_percent": more,
                }


def share(found: Array) -> float:
    """Return a share in percent."""
    return round(100 * float(found.mean()), 3)


def main() -> None:
    """Simulate, print the table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rows = []
    print(
        "| world | first launch | stored sessions | no change |"
        + "".join(f" +{100 * c:g} % |" for c in CHANGES[1:])
        + " three launches without a change |"
    )
    print("|" + "---|" * (4 + len(CHANGES)))
    for row in rates(asked.trials, asked.seed):
        rows.append(row)
        shown = " | ".join(f"{percent:g}" for percent in row["told_percent"].values())
        more = row["three_launches_percent"]["0"]
        print(f"| {row['world']} | {row['first']} | {row['stored_sessions']} | {shown} | {more:g} |", flush=True)
    keep("gate_platform", {"trials": asked.trials, "launches": LAUNCHES, "rows": rows})


if __name__ == "__main__":
    main()
