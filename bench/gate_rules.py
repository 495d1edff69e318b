"""The rules that ``gate_quality.py`` compares: the gate's own and the usual ones, and rows of its table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from proportions import clopper_pearson

from pytest_trtgate.judge.latency.design import SCREEN, simulate_outcomes
from pytest_trtgate.judge.latency.sequential import decide_launches
from pytest_trtgate.records.verdict import Outcome

Array = NDArray[Any]

THRESHOLD = 0.02
THRESHOLD_P95 = 0.05
SLOWDOWNS = (0.0, 0.03, 0.05, 0.10)
CURVE = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12)
"""Slow-downs of the plot."""
SAMPLES = 500
"""Timed inferences of an arm in a launch."""


@dataclass(frozen=True)
class Launches:
    """Logs of one quantile, per trial and launch: trials x 12 of each arm, or x 12 x parts of a launch.

    ``sessions``, trials x 6, are medians of other sessions, the last of which stands for a new one without a replay.
    """

    candidate: Array
    baseline: Array
    second: Array
    sessions: Array


# --- The gate ---------------------------------------------------------------------------------------------------------


def gate(launches: Launches, slowdown: float, threshold: float = THRESHOLD) -> tuple[Array, ...]:
    """Judge trials as ``judge.sequential`` does; return failed, passed and launches per trial."""
    d, placebo = ratios(launches, slowdown)
    return simulate_outcomes(d, threshold, placebo)


def ratios(launches: Launches, slowdown: float) -> tuple[Array, Array]:
    """Return d (trials x 12), with both copies of the baseline from the confirm stage on, and the placebo (x 9)."""
    d = over_parts(launches.candidate - launches.baseline)
    d[:, SCREEN:] = (d + over_parts(launches.candidate - launches.second))[:, SCREEN:] / 2
    return d + math.log1p(slowdown), over_parts(launches.second - launches.baseline)[:, SCREEN:]


def over_parts(ratios: Array) -> Array:
    """Return the median over the parts of each launch."""
    return np.median(ratios, axis=2) if ratios.ndim == 3 else ratios


def arm_launches(launches: Array) -> float:
    """Return how many times an arm is timed on average: two arms in the screen, three from then on."""
    return float(np.mean(2 * SCREEN + 3 * (launches - SCREEN)))


def check_gate(launches: Launches, trials: int, threshold: float = THRESHOLD) -> None:
    """Make sure that the vectorised gate is the real one."""
    for slowdown in SLOWDOWNS:
        d, placebo = ratios(launches, slowdown)
        for i, failed in enumerate(gate(launches, slowdown, threshold)[0][:trials]):
            verdict = decide_launches({"p50": d[i].tolist()}, {"p50": threshold}, {"p50": placebo[i].tolist()})
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
    """Return means of consecutive inferences: trials x n -> trials x count, or x n where that is fewer."""
    count = min(count, times.shape[1])
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


def table(rows: list[Row], title: str = "spread") -> str:
    caught = " | ".join(f"+{slowdown * 100:g} %" for slowdown in SLOWDOWNS[1:])
    head = f"| {title} | rule | false alarms | {caught} | launches of an A/A run | inconclusive A/A |"
    note = "All but launches are percentages, with their 95 % limits."
    return "\n".join([note, "", head, "|---|---|---|---|---|---|---|---|", *(row.markdown() for row in rows)])


def shown(percent: float) -> str:
    """Two digits, counted from the end that the percentage is near."""
    if percent >= 99:
        return f"{percent:.2f}" if percent < 100 else "100"
    return f"{percent:.1f}" if percent >= 10 else f"{percent:.2g}"


def gate_row(scenario: str, launches: Launches, threshold: float = THRESHOLD) -> Row:
    found = {slowdown: gate(launches, slowdown, threshold) for slowdown in SLOWDOWNS}
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
