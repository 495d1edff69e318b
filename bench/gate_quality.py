"""How often the gate cries wolf, how often it catches a slow-down, and how the usual rules do in the same time.

python bench/gate_quality.py [--quick] [--seed 0]

Simulated: every process ("launch") has a speed of its own, every session an offset of its own, and inferences vary
inside a process. The baseline and the candidate of one launch are independent, which is the hard case. A/A runs compare
an engine with itself; A/B runs compare it with one that is 3, 5 or 10 % slower. Limits are those of Clopper and Pearson
at 95 %.

All rules get as many timed inferences as the gate takes for an A/A run on average, and spend them the way their tool
does; what starting and warming up processes costs is not counted. ``judge_traces`` judges recorded launches likewise.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from machine import keep
from numpy.typing import NDArray

from pytest_trtgate.judge.design import LOOKS, MAX_LAUNCHES, SCREEN, outcomes
from pytest_trtgate.judge.distributions import clopper_pearson
from pytest_trtgate.judge.sequential import decide
from pytest_trtgate.judge.sessions import compare_sessions
from pytest_trtgate.run_record import Outcome

Array = NDArray[Any]

THRESHOLD = 0.02
THRESHOLD_P95 = 0.05
SLOWDOWNS = (0.0, 0.03, 0.05, 0.10)
SAMPLES = 500
"""Timed inferences of an arm in a launch."""
STORED_SESSIONS, STORED_LAUNCHES = 5, 3


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


def heavy(rng: np.random.Generator, spread: float, shape: tuple[int, ...]) -> Array:
    """Student's t with 3 degrees of freedom, scaled to the spread."""
    return rng.standard_t(3, shape) * spread / math.sqrt(3)


def bimodal(rng: np.random.Generator, spread: float, shape: tuple[int, ...]) -> Array:
    """A fifth of launches is 4 % slower, each arm by itself."""
    return rng.normal(0, spread, shape) + 0.04 * (rng.random(shape) < 0.2)


SCENARIOS = (
    Scenario("normal 0.5 %", 0.005, normal),
    Scenario("normal 1 %", 0.01, normal),
    Scenario("normal 2 %", 0.02, normal),
    Scenario("heavy tails (t3) 1 %", 0.01, heavy),
    Scenario("1 %, a fifth of launches 4 % slow", 0.01, bimodal),
    Scenario("1 %, drifts by 3 % in a session", 0.01, normal, drift=0.03),
)
REFERENCE = SCENARIOS[1]


def inferences(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return the logs of times inside a process: 1 % of spread, and a twentieth late by 5 % on average."""
    late = rng.exponential(0.05, shape) * (rng.random(shape) < 0.05)
    return (rng.normal(0, 0.01, shape) + late).astype(np.float32)


def session_offset(scenario: Scenario, rng: np.random.Generator, trials: int) -> Array:
    """Return what all processes of one moment share (trials x 1): the session's offset and where it is in its drift."""
    return rng.normal(0, scenario.spread, (trials, 1)) + math.log1p(scenario.drift) * rng.random((trials, 1))


@dataclass(frozen=True)
class Launches:
    """Logs of one quantile, per trial and launch: trials x 12 of each arm.

    ``sessions``, trials x 6, are medians of other sessions, the last of which stands for a new one without a replay.
    """

    candidate: Array
    baseline: Array
    second: Array
    sessions: Array


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


# --- The gate ---------------------------------------------------------------------------------------------------------


def gate(launches: Launches, slowdown: float, threshold: float = THRESHOLD, hypotheses: int = 1) -> tuple[Array, ...]:
    """Judge trials as ``judge.sequential`` does; return failed, passed and launches per trial."""
    d, placebo = ratios(launches, slowdown)
    return outcomes(d, threshold, hypotheses, placebo)


def ratios(launches: Launches, slowdown: float) -> tuple[Array, Array]:
    """Return d (trials x 12), with both copies of the baseline from the confirm stage on, and the placebo (x 9)."""
    baseline = launches.baseline.copy()
    baseline[:, SCREEN:] = (launches.baseline[:, SCREEN:] + launches.second[:, SCREEN:]) / 2
    d = launches.candidate + math.log1p(slowdown) - baseline
    return d, (launches.second - launches.baseline)[:, SCREEN:]


def arm_launches(launches: Array) -> float:
    """Return how many times an arm is timed on average: two arms in the screen, three from then on."""
    return float(np.mean(2 * SCREEN + 3 * (launches - SCREEN)))


def without_replay(launches: Launches, slowdown: float, trials: int) -> Array:
    """Judge a new session of each trial against the stored ones; return which fail."""
    verdicts = []
    for *stored, new in np.exp(launches.sessions[:trials]):
        verdicts.append(compare_sessions([new * (1 + slowdown)], [[x] for x in stored], THRESHOLD).outcome)
    return np.array([verdict is Outcome.FAIL for verdict in verdicts])


def check_simulation(launches: Launches, trials: int) -> None:
    """Make sure that the vectorised gate is the real one."""
    for slowdown in SLOWDOWNS:
        d, placebo = ratios(launches, slowdown)
        for i, failed in enumerate(gate(launches, slowdown)[0][:trials]):
            verdict = decide({"p50": d[i].tolist()}, {"p50": THRESHOLD}, {"p50": placebo[i].tolist()})
            assert (verdict.outcome is Outcome.FAIL) == failed


# --- The usual rules, on logs of times: new and old (trials x processes x samples) -> which trials are called slower --


def percentage(statistic: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    """pytest-benchmark: ``--benchmark-compare-fail=median:5%`` fails where new / old * 100 - 100 > 5.

    Source: ``PercentageRegressionCheck`` in pytest_benchmark/utils.py. One process each, the old one from a stored run.
    """

    def rule(new: Array, old: Array) -> Array:
        return statistic(np.exp(new[:, 0])) / statistic(np.exp(old[:, 0])) * 100 - 100 > 5

    return rule


def mann_whitney_z(new: Array, old: Array) -> Array:
    """Return the normal deviate of the rank sum (trials x n each), positive where new is slower."""
    n, m = new.shape[1], old.shape[1]
    order = np.argsort(np.concatenate([new, old], axis=1), axis=1)
    ranks = np.where(order < n, np.arange(1, n + m + 1), 0).sum(axis=1)
    return (ranks - n * (n + m + 1) / 2) / math.sqrt(n * m * (n + m + 1) / 12)


def pooled_mann_whitney(new: Array, old: Array) -> Array:
    """All samples of all processes in one pot, one-sided p < 0.05: as if samples of one process were independent."""
    return mann_whitney_z(new.reshape(len(new), -1), old.reshape(len(old), -1)) > 1.6449


def criterion(new: Array, old: Array) -> Array:
    """Criterion.rs: p < 0.05 of a two-sample t-test, and the 95 % interval of the change of the mean over 1 %.

    Source: ``analysis/compare.rs`` and ``compare_to_threshold`` in ``report.rs``, with the default significance level
    and noise threshold. 100 samples, each the mean of many iterations, one process each, the old one stored. Its
    bootstrap distributions are replaced by their normal limits, which 100 samples are close to.
    """
    a, b = (batches(np.exp(x[:, 0]), 100) for x in (new, old))
    error_a, error_b = (x.std(axis=1, ddof=1) / math.sqrt(x.shape[1]) for x in (a, b))
    mean_a, mean_b = a.mean(axis=1), b.mean(axis=1)
    t = (mean_a - mean_b) / np.hypot(error_a, error_b)
    change = mean_a / mean_b - 1
    error = mean_a / mean_b * np.hypot(error_a / mean_a, error_b / mean_b)
    return (abs(t) > 1.972) & (change - 1.96 * error > 0.01)


def asv(new: Array, old: Array) -> Array:
    """Airspeed velocity: ``asv continuous`` marks a ratio of medians over 1.1 with Mann-Whitney p < 0.002.

    Source: ``statistics.is_different`` and ``commands/compare.py``, with the default factor. Both in the same session,
    two processes ("rounds") each, ten samples a process, each the mean of many iterations.
    """
    a, b = (np.concatenate([batches(np.exp(x[:, i]), 10) for i in range(x.shape[1])], axis=1) for x in (new, old))
    different = abs(mann_whitney_z(a, b)) > 3.0902
    return different & (np.median(a, axis=1) > 1.1 * np.median(b, axis=1))


def batches(times: Array, count: int) -> Array:
    """Return means of consecutive inferences: trials x n -> trials x count."""
    size = times.shape[1] // count
    return times[:, : size * count].reshape(len(times), count, size).mean(axis=2)


@dataclass(frozen=True)
class Rival:
    """A rule, and how its tool spends a time of ``n`` inferences: in how many processes, on how many arms."""

    name: str
    rule: Callable[[Array, Array], Array]
    processes: Callable[[int], int]
    arms: int = 1
    same_session: bool = False


RIVALS = (
    Rival("pytest-benchmark median:5%", percentage(lambda x: np.median(x, axis=1)), lambda n: 1),
    Rival("pytest-benchmark mean:5%", percentage(lambda x: x.mean(axis=1)), lambda n: 1),
    Rival("pytest-benchmark min:5%", percentage(lambda x: x.min(axis=1)), lambda n: 1),
    Rival("pooled Mann-Whitney p < .05, stored", pooled_mann_whitney, lambda n: max(1, round(n / SAMPLES))),
    Rival(
        "pooled Mann-Whitney p < .05, side by side",
        pooled_mann_whitney,
        lambda n: max(1, round(n / 2 / SAMPLES)),
        arms=2,
        same_session=True,
    ),
    Rival("Criterion", criterion, lambda n: 1),
    Rival("asv continuous", asv, lambda n: 2, arms=2, same_session=True),
)


# --- Recorded launches ------------------------------------------------------------------------------------------------


def judge_traces(name: str, traces_ns: Array, trials: int, rng: np.random.Generator, percent: int = 50) -> list[Row]:
    """Judge recorded launches of one engine: A/A as they are, A/B with the candidate's times multiplied.

    Args:
        name: Of the machine, for the table.
        traces_ns: Sessions x launches x 3 arms x samples, nanoseconds; the arms are copies of one engine in one
            process. At least 2 sessions of at least 12 launches.
        trials: How many times a session, twelve of its launches and the arms' parts are drawn.
        rng: For those draws.
        percent: The gated percentile.
    """
    sessions, launches, arms, _ = traces_ns.shape
    if sessions < 2 or launches < MAX_LAUNCHES or arms != 3:
        raise ValueError(f"traces of shape {traces_ns.shape}, not at least 2 x {MAX_LAUNCHES} x 3 x samples")
    quantiles = np.log(np.percentile(traces_ns, percent, axis=3))
    own = rng.integers(sessions, size=trials)
    other = (own + rng.integers(1, sessions, size=trials)) % sessions
    drawn = rng.permuted(np.tile(np.arange(launches), (trials, 1)), axis=1)[:, :MAX_LAUNCHES]
    roles = rng.permuted(np.tile(np.arange(3), (trials, 1)), axis=1)
    candidate, baseline, second = (quantiles[own[:, None], drawn, roles[:, [i]]] for i in range(3))
    run = Launches(candidate, baseline, second, np.empty((trials, 0)))
    rows = [gate_row(name, run)]
    logs = np.log(traces_ns)
    new, old = logs[own, drawn[:, 0], roles[:, 0]][:, None], logs[other, drawn[:, 1], roles[:, 1]][:, None]
    for rival in RIVALS:
        if rival.processes(SAMPLES) == 1 and not rival.same_session:
            called = {slowdown: rival.rule(new + math.log1p(slowdown), old) for slowdown in SLOWDOWNS}
            rows.append(Row.of(name, rival.name, called))
    return rows


# --- The table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One rule on one kind of machine: how many of how many trials it called slower, per true slow-down."""

    scenario: str
    rule: str
    called: dict[float, tuple[int, int]]
    extra: dict[str, float]

    @classmethod
    def of(cls, scenario: str, rule: str, called: dict[float, Array], **extra: float) -> Row:
        counts = {slowdown: (int(found.sum()), len(found)) for slowdown, found in called.items()}
        return cls(scenario, rule, counts, extra)

    def percent(self, slowdown: float) -> float:
        k, n = self.called[slowdown]
        return 100 * k / n

    def limits(self, slowdown: float) -> tuple[float, float]:
        lower, upper = clopper_pearson(*self.called[slowdown])
        return 100 * lower, 100 * upper

    def figures(self) -> dict[str, Any]:
        rates = {
            "false_alarms" if slowdown == 0 else f"detected_{slowdown * 100:g}_percent": {
                "percent": round(self.percent(slowdown), 4),
                "limits_percent": [round(x, 4) for x in self.limits(slowdown)],
                "trials": self.called[slowdown][1],
            }
            for slowdown in self.called
        }
        return {
            "scenario": self.scenario,
            "rule": self.rule,
            **rates,
            **{k: round(v, 3) for k, v in self.extra.items()},
        }

    def markdown(self) -> str:
        cells = [f"{shown(self.percent(s))} ({' to '.join(map(shown, self.limits(s)))})" for s in self.called]
        launches = f"{self.extra['launches']:.2f}" if "launches" in self.extra else ""
        unsure = f"{self.extra['inconclusive_percent']:.2g}" if "inconclusive_percent" in self.extra else ""
        return f"| {self.scenario} | {self.rule} | {' | '.join(cells)} | {launches} | {unsure} |"


def table(rows: list[Row]) -> str:
    caught = " | ".join(f"+{slowdown * 100:g} %" for slowdown in SLOWDOWNS[1:])
    head = f"| spread | rule | false alarms | {caught} | launches of an A/A run | inconclusive A/A |"
    note = "All but launches are percentages, with their 95 % limits."
    return "\n".join([note, "", head, "|---|---|---|---|---|---|---|---|", *(row.markdown() for row in rows)])


def shown(percent: float) -> str:
    """Two digits, counted from the end that the percentage is near."""
    if percent >= 99:
        return f"{percent:.2f}" if percent < 100 else "100"
    return f"{percent:.1f}" if percent >= 10 else f"{percent:.2g}"


def gate_row(scenario: str, launches: Launches) -> Row:
    found = {slowdown: gate(launches, slowdown) for slowdown in SLOWDOWNS}
    failed, passed, count = found[0.0]
    return Row.of(
        scenario,
        "trtgate",
        {slowdown: result[0] for slowdown, result in found.items()},
        launches=float(count.mean()),
        launches_of_a_pass=float(count[passed].mean()),
        arm_launches=arm_launches(count),
        inconclusive_percent=100 * float((~failed & ~passed).mean()),
    )


def cell_row(scenario: str, p50: Launches, noise: Launches) -> Row:
    """Judge p50 and p95 together: p95 has the launches' speeds of p50 and as much noise again of its own."""
    p95 = Launches(
        p50.candidate + noise.candidate, p50.baseline + noise.baseline, p50.second + noise.second, p50.sessions
    )
    called, results = {}, {}
    for slowdown in SLOWDOWNS:
        a, b = gate(p50, slowdown, THRESHOLD, 2), gate(p95, slowdown, THRESHOLD_P95, 2)
        # The cell ends at its first failure; a quantity that fails later than another decided is then not seen.
        called[slowdown] = a[0] | b[0]
        results[slowdown] = (a, b)
    a, b = results[0.0]
    count = np.maximum(a[2], b[2])
    unsure = ~(a[0] | b[0]) & ~(a[1] & b[1])
    extra = {"launches": float(count.mean()), "inconclusive_percent": 100 * float(unsure.mean())}
    return Row.of(scenario, "trtgate, p50 (2 %) and p95 (5 %)", called, **extra)


def rival_row(scenario: Scenario, rival: Rival, budget: int, trials: int, rng: np.random.Generator) -> Row:
    """Judge trials in parts, since each holds thousands of samples."""
    processes = rival.processes(budget)
    samples = budget // rival.arms // processes
    found: dict[float, list[Array]] = {slowdown: [] for slowdown in SLOWDOWNS}
    for part in parts(trials, 250):
        new, old = simulate_processes(scenario, rng, part, processes, samples, rival.same_session)
        for slowdown in SLOWDOWNS:
            found[slowdown].append(rival.rule(new + np.float32(math.log1p(slowdown)), old))
    return Row.of(scenario.name, rival.name, {s: np.concatenate(x) for s, x in found.items()})


def parts(total: int, size: int) -> Iterator[int]:
    while total > 0:
        yield min(size, total)
        total -= size


def scenario_rows(scenario: Scenario, trials: int, rival_trials: int, rng: np.random.Generator) -> list[Row]:
    jitter = np.median(inferences(rng, (2000, SAMPLES)), axis=1).std()
    launches = simulate_launches(scenario, rng, trials, jitter)
    check_simulation(launches, 50)
    row = gate_row(scenario.name, launches)
    p95_noise = simulate_launches(Scenario("", 0.0, normal), rng, trials, scenario.spread)
    rows = [row, cell_row(scenario.name, launches, p95_noise)]
    stored = {slowdown: without_replay(launches, slowdown, rival_trials) for slowdown in SLOWDOWNS}
    rows.append(Row.of(scenario.name, f"trtgate, {STORED_SESSIONS} stored sessions, no replay", stored))
    budget = round(row.extra["arm_launches"] * SAMPLES)
    rows += [rival_row(scenario, rival, budget, rival_trials, rng) for rival in RIVALS]
    return rows


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
    """Simulate, print the table and keep the figures; the last line states the gate's error rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="Few trials at 1 % spread only; keeps no figures")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    if arguments.quick:
        rows = scenario_rows(REFERENCE, trials=50_000, rival_trials=250, rng=rng)
    else:
        started = time.perf_counter()
        rows = [row for s in SCENARIOS for row in scenario_rows(s, trials=200_000, rival_trials=4000, rng=rng)]
        figures = {
            "threshold": THRESHOLD,
            "looks": [SCREEN, *(look for look, _ in LOOKS)],
            "samples_per_launch": SAMPLES,
            "seed": arguments.seed,
            "seconds": round(time.perf_counter() - started),
            "simulated": [row.figures() for row in rows],
        }
        keep("gate_quality", figures)
    print(table(rows))
    print(summary(next(row for row in rows if row.scenario == REFERENCE.name and row.rule == "trtgate")))


if __name__ == "__main__":
    main()
