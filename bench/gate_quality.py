"""How often the gate cries wolf, how often it catches a slow-down, and how the usual rules do in the same time.

python bench/gate_quality.py [--quick] [--only simulated|worlds|budgets|curves|recorded] [--seed 0]

Simulated: every process ("launch") has a speed of its own, every session an offset of its own, and inferences vary
inside a process. The baseline and the candidate of one launch are independent, which is the hard case. A/A runs compare
an engine with itself; A/B runs compare it with one that is 3, 5 or 10 % slower. Limits are those of Clopper and Pearson
at 95 %.

All rules get as many timed inferences as the gate takes for an A/A run on average, and spend them the way their tool
does; what starting and warming up processes costs is not counted.

Worlds: launches that are less kind, and every kind of verdict on latency; see ``gate_worlds.py``.

Recorded: all files under ``traces/``, judged likewise; see ``gate_recorded.py``. ``--only`` leaves the other parts
of ``results/gate_quality.json`` as they are.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from gate_recorded import TRACES, Recording, describe, judge_recording, judge_slower
from gate_recorded import curves as curves_of
from gate_rules import (
    CURVE,
    RIVALS,
    SAMPLES,
    SLOWDOWNS,
    THRESHOLD,
    THRESHOLD_P95,
    Array,
    Launches,
    Rival,
    Row,
    arm_launches,
    check_gate,
    gate,
    gate_row,
    shown,
    table,
)
from gate_worlds import all_budgets, worlds
from machine import RESULTS, keep

from pytest_trtgate.judge.latency.design import LOOKS, MAX_LAUNCHES, SCREENS, SHARP
from pytest_trtgate.judge.latency.sessions import compare_sessions
from pytest_trtgate.records.verdict import Outcome
from pytest_trtgate.workers.timing.sampling import LEAST_BLOCKS, is_sharp

STORED_SESSIONS, STORED_LAUNCHES = 5, 3
BLOCK = 10


# --- What is measured -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """A kind of machine. ``spread``: standard deviation between launches and, apart from that, between sessions.

    ``launch`` draws the logs of launches' speeds, for a spread and a shape; ``drift``: how much slower the machine is
    at the end of a session than at its start, as a ratio.
    """

    name: str
    spread: float
    launch: Callable[[np.random.Generator, float, tuple[int, ...]], Array]
    drift: float = 0.0


def normal(rng: np.random.Generator, spread: float, shape: tuple[int, ...]) -> Array:
    return rng.normal(0, spread, shape)


SCENARIOS = (
    Scenario("normal 1 %", 0.01, normal),
    Scenario("1 %, drifts by 3 % in a session", 0.01, normal, drift=0.03),
)
REFERENCE = SCENARIOS[0]


def inferences(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return the logs of times inside a process: 1 % of spread, and a twentieth late by 5 % on average."""
    late = rng.exponential(0.05, shape) * (rng.random(shape) < 0.05)
    return (rng.normal(0, 0.01, shape) + late).astype(np.float32)


def left_unknown(rng: np.random.Generator, trials: int = 2000) -> tuple[float, float]:
    """Return the spread of a launch's p50 that sampling leaves, which ends as the gate ends it, and the mean samples.

    Both p50 and p95 have to be sharp, as in a launch beside a replayed baseline.
    """
    asked = {"p50": SHARP["p50"] * THRESHOLD, "p95": SHARP["p95"] * THRESHOLD_P95}
    medians, taken = [], []
    for times in np.exp(inferences(rng, (trials, SAMPLES))):
        ends = range(LEAST_BLOCKS * BLOCK, SAMPLES, BLOCK)
        count = next((end for end in ends if is_sharp(times[:end], asked, BLOCK)), SAMPLES)
        medians.append(math.log(np.median(times[:count])))
        taken.append(count)
    return float(np.std(medians)), float(np.mean(taken))


def session_offset(scenario: Scenario, rng: np.random.Generator, trials: int) -> Array:
    """Return what all processes of one moment share (trials x 1): the session's offset and where it is in its drift."""
    return rng.normal(0, scenario.spread, (trials, 1)) + math.log1p(scenario.drift) * rng.random((trials, 1))


def simulate_launches(scenario: Scenario, rng: np.random.Generator, trials: int, noise: float) -> Launches:
    """Draw launches of three arms with the same engine; ``noise``: standard error of the quantile in one launch."""
    ramp = math.log1p(scenario.drift) * np.linspace(0, 1, MAX_LAUNCHES)
    shared = session_offset(Scenario("", scenario.spread, normal), rng, trials) + ramp

    def arm() -> Array:
        shape = (trials, MAX_LAUNCHES)
        return shared + scenario.launch(rng, scenario.spread, shape) + rng.normal(0, noise, shape)

    sessions = [
        session_offset(scenario, rng, trials) + scenario.launch(rng, scenario.spread, (trials, STORED_LAUNCHES))
        for _ in range(STORED_SESSIONS + 1)
    ]
    return Launches(arm(), arm(), arm(), np.stack([np.median(s, axis=1) for s in sessions], axis=1))


def simulate_processes(
    scenario: Scenario, rng: np.random.Generator, trials: int, processes: int, samples: int, same_session: bool
) -> tuple[Array, Array]:
    """Draw logs of the times of new and old processes of the same engine (trials x processes x samples each)."""

    def side(offset: Array) -> Array:
        launch = scenario.launch(rng, scenario.spread, (trials, processes))
        return (offset + launch)[:, :, None].astype(np.float32) + inferences(rng, (trials, processes, samples))

    new = session_offset(scenario, rng, trials)
    return side(new), side(new if same_session else session_offset(scenario, rng, trials))


def without_replay(launches: Launches, slowdown: float, trials: int) -> Array:
    """Judge a new session of each trial against the stored ones; return which fail."""
    verdicts = []
    for *stored, new in np.exp(launches.sessions[:trials]):
        verdicts.append(compare_sessions([new * (1 + slowdown)], [[x] for x in stored], THRESHOLD).outcome)
    return np.array([verdict is Outcome.FAIL for verdict in verdicts])


def cell_row(scenario: str, p50: Launches, noise: Launches) -> Row:
    """Judge p50 and p95 together: p95 has the launches' speeds of p50 and as much noise again of its own."""
    p95 = Launches(
        p50.candidate + noise.candidate, p50.baseline + noise.baseline, p50.second + noise.second, p50.sessions
    )
    called, results = {}, {}
    for slowdown in SLOWDOWNS:
        a, b = gate(p50, slowdown), gate(p95, slowdown, THRESHOLD_P95)
        # The cell ends at its first failure; a quantity that fails later than another decided is then not seen.
        called[slowdown] = a[0] | b[0]
        results[slowdown] = (a, b)
    a, b = results[0.0]
    count = np.maximum(a[2], b[2])
    unsure = ~(a[0] | b[0]) & ~(a[1] & b[1])
    extra = {"launches": float(count.mean()), "inconclusive_percent": 100 * float(unsure.mean())}
    return Row.of(scenario, "trtgate, p50 (2 %) and p95 (5 %)", called, **extra)


def rival_calls(
    scenario: Scenario, rival: Rival, budget: int, trials: int, slowdowns: Sequence[float], rng: np.random.Generator
) -> dict[float, Array]:
    """Return which trials a rule calls slower; in parts, since each trial holds thousands of samples."""
    processes = rival.processes(budget)
    samples = budget // rival.arms // processes
    found: dict[float, list[Array]] = {slowdown: [] for slowdown in slowdowns}
    for part in parts(trials, 250):
        new, old = simulate_processes(scenario, rng, part, processes, samples, rival.same_session)
        for slowdown in slowdowns:
            found[slowdown].append(rival.rule(new + np.float32(math.log1p(slowdown)), old))
    return {slowdown: np.concatenate(x) for slowdown, x in found.items()}


def parts(total: int, size: int) -> Iterator[int]:
    while total > 0:
        yield min(size, total)
        total -= size


def scenario_rows(scenario: Scenario, trials: int, rival_trials: int, rng: np.random.Generator) -> list[Row]:
    jitter, _ = left_unknown(rng)
    launches = simulate_launches(scenario, rng, trials, jitter)
    check_gate(launches, 50)
    row = gate_row(scenario.name, launches)
    p95_noise = simulate_launches(Scenario("", 0.0, normal), rng, trials, scenario.spread)
    rows = [row, cell_row(scenario.name, launches, p95_noise)]
    stored = {slowdown: without_replay(launches, slowdown, rival_trials) for slowdown in SLOWDOWNS}
    rows.append(Row.of(scenario.name, f"trtgate, {STORED_SESSIONS} stored sessions, no replay", stored))
    budget = round(row.extra["arm_launches"] * SAMPLES)
    for rival in RIVALS:
        called = rival_calls(scenario, rival, budget, rival_trials, SLOWDOWNS, rng)
        rows.append(Row.of(scenario.name, rival.name, called))
    return rows


def curves(scenario: Scenario, trials: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """Return how many percent of runs each rule calls slower, at each slow-down of ``CURVE``."""
    jitter, _ = left_unknown(rng)
    launches = simulate_launches(scenario, rng, 20 * trials, jitter)
    found = {"trtgate": {slowdown: gate(launches, slowdown)[0] for slowdown in CURVE}}
    budget = round(arm_launches(gate(launches, 0.0)[2]) * SAMPLES)
    for rival in RIVALS:
        found[rival.name] = rival_calls(scenario, rival, budget, trials, CURVE, rng)
    return {rule: [round(100 * float(x.mean()), 3) for x in called.values()] for rule, called in found.items()}


def simulated(seed: int) -> dict[str, Any]:
    """Return the figures of all scenarios, and print their table."""
    started, rng = time.perf_counter(), np.random.default_rng(seed)
    rows = [row for s in SCENARIOS for row in scenario_rows(s, trials=200_000, rival_trials=1000, rng=rng)]
    print(table(rows))
    print(summary(next(row for row in rows if row.scenario == REFERENCE.name and row.rule == "trtgate")))
    return {
        "simulated_on": date.today().isoformat(),
        "threshold": THRESHOLD,
        "looks": [stage.launches for stage in (*SCREENS, *LOOKS)],
        "samples_per_launch": SAMPLES,
        "seed": seed,
        "seconds": round(time.perf_counter() - started),
        "simulated": [row.figures() for row in rows],
    }


def recorded(seed: int, trials: int, cell_trials: int, with_curves: bool = True) -> tuple[list[dict[str, Any]], str]:
    """Return the figures of all recordings and a summary, and print their tables."""
    found, rates = [], []
    for path in sorted(TRACES.glob("*.npz")):
        recording, rng = Recording.read(path), np.random.default_rng(seed)
        rows = judge_recording(recording, trials, cell_trials, rng)
        figures = describe(recording, rows, judge_slower(recording, trials, rng))
        if with_curves:
            figures["curves_percent"] = curves_of(recording, 1000, rng)
        print(table(rows, "recorded"))
        for engine in figures["really_slower"]:
            print(f"{engine['engine']}: {json.dumps(engine)}")
        found.append(figures)
        own = next(row for row in rows if row.scenario == recording.name)
        rates.append(f"{recording.name} {shown(own.percent(0.0))} % of {own.called[0.0][1]}")
    return found, f"recorded A/A runs, resampled: {', '.join(rates)} fail"


def summary(row: Row) -> str:
    low, high = row.limits(0.0)
    caught = ", ".join(f"+{s * 100:g} % {shown(row.percent(s))} %" for s in SLOWDOWNS[1:])
    return (
        f"gate quality at {row.scenario} spread, threshold {THRESHOLD * 100:g} %: "
        f"false alarms {shown(row.percent(0.0))} % ({row.called[0.0][1]} A/A runs, 95 % limits {shown(low)} to "
        f"{shown(high)} %), detected {caught}; "
        f"{row.extra['launches_of_a_pass']:.2f} launches to a pass"
    )


def main() -> None:
    """Judge, print the tables and keep the figures; the last line states the gate's error rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="Few trials, and simulated at 1 %% only; keeps no figures")
    parser.add_argument(
        "--only",
        choices=("simulated", "worlds", "budgets", "curves", "recorded"),
        help="Make one part of the figures anew; budgets are those with stored sessions",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    if arguments.quick:
        rows = scenario_rows(REFERENCE, trials=50_000, rival_trials=250, rng=rng)
        print(table(rows))
        _, last = recorded(arguments.seed, trials=500, cell_trials=50, with_curves=False)
        print(f"{summary(rows[0])}; {last}")
        return
    path = RESULTS / "gate_quality.json"
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for stale in ("machine", "simulated_note") if arguments.only != "recorded" else ("machine",):
        figures.pop(stale, None)
    if arguments.only in (None, "simulated"):
        figures.update(simulated(arguments.seed))
    if arguments.only in (None, "worlds"):
        figures["worlds_simulated_on"] = date.today().isoformat()
        figures["worlds"] = worlds(arguments.seed)
    if arguments.only in (None, "budgets"):
        figures["budgets_after_three_sessions"] = all_budgets(np.random.default_rng(arguments.seed), stored=3)
    if arguments.only in (None, "curves"):
        figures["curves_percent"] = {"slowdowns": CURVE, **curves(REFERENCE, 500, rng)}
    if arguments.only in (None, "recorded"):
        figures["recorded_judged_on"] = date.today().isoformat()
        figures["recorded"], last = recorded(arguments.seed, trials=4000, cell_trials=300)
        print(last)
    keep("gate_quality", figures)


if __name__ == "__main__":
    main()
