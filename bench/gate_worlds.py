"""How sure verdicts on latency are where launches are less kind than normal and independent.

The worlds: what one launch differs by from the next, in logs, each arm by itself. Every verdict comes from the gate's
own functions. ``python bench/gate_quality.py --only worlds`` judges all and keeps the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gate_rules import THRESHOLD, THRESHOLD_P95, Array
from proportions import clopper_pearson

from pytest_trtgate.judge.latency.budget import LOOKS, BudgetDecision, BudgetLaunch, judge_budget
from pytest_trtgate.judge.latency.decision import Quantity
from pytest_trtgate.judge.latency.design import MAX_LAUNCHES, SCREEN, simulate_outcomes
from pytest_trtgate.judge.latency.platform import control_change, shared
from pytest_trtgate.judge.latency.regression import Checkpoint, weigh
from pytest_trtgate.judge.latency.sequential import decide_launches
from pytest_trtgate.judge.latency.sessions import EARLY_CONFIDENCE, compare_sessions
from pytest_trtgate.judge.latency.wording import would_have_caught
from pytest_trtgate.records.latency import Timing
from pytest_trtgate.records.verdict import Outcome

World = Callable[[np.random.Generator, tuple[int, int]], Array]
"""Draws the logs of the speeds of trials x launches."""
CELLS = 9
"""Three models in three precisions; p50 and p95 of each are gated."""
INNER = 0.01
"""How much inferences of one launch differ (standard deviation of logs)."""
SESSION_SPREAD = 0.01
"""How much sessions differ, likewise."""
POSITION = 0.015
"""What an arm that is loaded second loses, where the order swaps from launch to launch."""


def normal(spread: float) -> World:
    return lambda rng, shape: rng.normal(0, spread, shape)


def bimodal(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Three launches in ten are 4 % slower."""
    return rng.normal(0, 0.01, shape) + 0.04 * (rng.random(shape) < 0.3)


def autocorrelated(rng: np.random.Generator, shape: tuple[int, int], spread: float = 0.01) -> Array:
    """AR(1) with 0.8: each launch has four fifths of what the launch before had."""
    found = np.empty(shape)
    found[:, 0] = rng.normal(0, spread, shape[0])
    for i in range(1, shape[1]):
        found[:, i] = 0.8 * found[:, i - 1] + rng.normal(0, spread * 0.6, shape[0])
    return found


def heavy(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Student's t with 2 degrees of freedom, whose spread is infinite."""
    return 0.01 * rng.standard_t(2, shape)


WORLDS: dict[str, World] = {
    "normal 1 %": normal(0.01),
    "normal 2 %": normal(0.02),
    "normal 3 %": normal(0.03),
    "bimodal 0.3 x 4 %": bimodal,
    "autocorrelated 0.8": autocorrelated,
    "t(2) 1 %": heavy,
    "1 %, position 1.5 %": normal(0.01),
}


def pairs(name: str, trials: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return d (trials x 12) of equal engines, and the difference of the baseline's copies (x 9)."""
    candidate, baseline, second = (WORLDS[name](rng, (trials, MAX_LAUNCHES)) for _ in range(3))
    if "position" in name:
        odd = np.arange(MAX_LAUNCHES) % 2
        candidate, baseline, second = candidate + POSITION * odd, baseline + POSITION * (1 - odd), second + POSITION / 2
    d = candidate - baseline
    d[:, SCREEN:] = (d + candidate - second)[:, SCREEN:] / 2
    return d, (second - baseline)[:, SCREEN:]


def percent(found: Array) -> dict[str, Any]:
    """Return a share in percent with its 95 % limits."""
    k, n = int(found.sum()), len(found)
    return {"percent": round(100 * k / n, 4), "limits_percent": [round(100 * x, 4) for x in clopper_pearson(k, n)]}


# --- Launches side by side --------------------------------------------------------------------------------------------


def side_by_side(name: str, trials: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return how often equal and slower engines fail, pass or stay open beside a replayed baseline."""
    d, placebo = pairs(name, trials, rng)
    check(d[:100], placebo[:100])
    failed, passed, launches = simulate_outcomes(d, THRESHOLD, placebo)
    found: dict[str, Any] = {
        "false_alarms": percent(failed),
        "inconclusive": percent(~failed & ~passed),
        "launches": round(float(launches.mean()), 2),
        "passes_at_the_threshold": percent(simulate_outcomes(d + math.log1p(THRESHOLD), THRESHOLD, placebo)[1]),
    }
    for slowdown in (0.03, 0.05, 0.1):
        failed, passed, _ = simulate_outcomes(d + math.log1p(slowdown), THRESHOLD, placebo)
        found[f"detected_{slowdown * 100:g}_percent"] = percent(failed)
        found[f"passed_{slowdown * 100:g}_percent"] = percent(passed)
    return found


def check(d: Array, placebo: Array) -> None:
    """Make sure that the vectorised gate is the real one."""
    for slowdown in (0.0, 0.03, 0.06):
        moved = d + math.log1p(slowdown)
        for i, (failed, passed, _) in enumerate(zip(*simulate_outcomes(moved, THRESHOLD, placebo), strict=True)):
            outcome = real(moved[i], placebo[i]).outcome
            assert (outcome is Outcome.FAIL, outcome is Outcome.PASS) == (failed, passed)


def real(d: Array, placebo: Array) -> Quantity:
    return decide_launches({"p50": d.tolist()}, {"p50": THRESHOLD}, {"p50": placebo.tolist()}).quantities["p50"]


def calibration(name: str, trials: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return how often the slow-down that passing runs name is caught in another run, by thirds of what they name."""
    d, placebo = pairs(name, trials, rng)
    again, placebo_again = pairs(name, trials, rng)
    named, caught = [], []
    for i in range(trials):
        quantity = real(d[i], placebo[i])
        if quantity.outcome is Outcome.PASS and quantity.detectable is not None:
            # As readers see it: rounded up.
            slowdown = float(would_have_caught(quantity.detectable).split()[3]) / 100
            named.append(slowdown)
            caught.append(real(again[i] + math.log1p(slowdown), placebo_again[i]).outcome is Outcome.FAIL)
    order = np.argsort(named, kind="stable")
    thirds = [round(100 * float(np.mean(np.array(caught)[part])), 1) for part in np.array_split(order, 3)]
    middle = [round(100 * float(np.median(np.array(named)[part])), 1) for part in np.array_split(order, 3)]
    return {"caught_percent": round(100 * float(np.mean(caught)), 1), "thirds": thirds, "named_percent": middle}


def whole_runs(name: str, trials: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return how many runs of nine equal engines fail, at p50 or p95 of any."""
    failed = np.zeros(trials, dtype=bool)
    for _ in range(CELLS):
        d, placebo = pairs(name, trials, rng)
        own, own_placebo = pairs("normal 1 %", trials, rng)
        failed |= simulate_outcomes(d, THRESHOLD, placebo, 2 * CELLS)[0]
        # p95 has the launches' speeds of p50 and as much noise again of its own.
        failed |= simulate_outcomes(d + own, THRESHOLD_P95, placebo + own_placebo, 2 * CELLS)[0]
    return percent(failed)


# --- Budgets ----------------------------------------------------------------------------------------------------------


def budgets(name: str, trials: int, rng: np.random.Generator, percentile: int = 95, stored: int = 0) -> dict[str, Any]:
    """Return what becomes of a budget that is just the percentile of all inferences, or further away.

    ``stored`` sessions of three launches each are there, each with a level of its own.
    """
    many = np.exp(WORLDS[name](rng, (1_000_000, 1)) + rng.normal(0, INNER, (1_000_000, 1)))
    true_ms = float(np.percentile(many, percentile))
    shares = (0.0, 0.5, -0.5) if stored else (0.0, 0.02, 0.05, 0.1, -0.05)
    decisions: dict[float, list[BudgetDecision]] = {share: [] for share in shares}
    for speeds in WORLDS[name](rng, (trials, MAX_LAUNCHES)):
        levels = rng.normal(0, SESSION_SPREAD, (stored, 1))
        before_ms = true_ms * np.exp(WORLDS[name](rng, (stored, 3)) + levels) if stored else np.empty((0, 3))
        times = np.exp(speeds[:, None] + rng.normal(0, INNER, (MAX_LAUNCHES, 500)))
        timed = timings(times)
        for share in shares:
            limit_ms = true_ms * (1 + share)
            launches = [BudgetLaunch(t, int(o)) for t, o in zip(timed, (times > limit_ms).sum(1), strict=True)]
            looks = (judge_budget(launches[:n], percentile, limit_ms, before_ms.tolist()) for n in (1, *LOOKS))
            decisions[share].append(next(found for found in looks if found.outcome is not None))
    return {
        f"budget_{share * 100:+g}_percent": {
            "pass": percent(np.array([decision.outcome is Outcome.PASS for decision in found])),
            "fail": percent(np.array([decision.outcome is Outcome.FAIL for decision in found])),
            "launches": round(float(np.mean([decision.launches for decision in found])), 2),
        }
        for share, found in decisions.items()
    }


def timings(times: Array) -> list[Timing]:
    quantiles = np.percentile(times, np.arange(1, 100), axis=1).T
    return [
        Timing.model_construct(n=len(t), mean_ms=1.0, min_ms=t.min(), max_ms=t.max(), quantiles_ms=tuple(q.tolist()))
        for t, q in zip(times, quantiles, strict=True)
    ]


# --- Stored sessions --------------------------------------------------------------------------------------------------


def stored_sessions(spread: float, count: int, trials: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return what becomes of equal and slower engines against so many stored sessions that spread so."""
    levels = np.exp(rng.normal(0, spread, (trials, count + 1)))
    found: dict[str, Any] = {}
    for slowdown in (0.0, THRESHOLD, 0.05, 0.1):
        outcomes = np.array([judged(row, slowdown) for row in levels])
        found[f"at_{slowdown * 100:g}_percent"] = {
            str(outcome): round(100 * float((outcomes == outcome).mean()), 2)
            for outcome in (Outcome.FAIL, Outcome.PASS)
        }
    return found


def one_or_three(spread: float, count: int, trials: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return what becomes of engines that one launch passes at once, and three are judged by otherwise.

    Sessions and the launches of each spread alike; so many are stored. 5 % are allowed.
    """
    found: dict[str, Any] = {}
    for slowdown in (0.0, THRESHOLD_P95, 0.1):
        shape = (trials, count + 1, 3)
        levels = np.exp(rng.normal(0, spread, shape) + rng.normal(0, spread, (trials, count + 1, 1)))
        early, always = [], []
        for *stored, now in levels.tolist():
            ms = [x * (1 + slowdown) for x in now]
            first = compare_sessions(ms[:1], stored, THRESHOLD_P95, EARLY_CONFIDENCE).outcome
            early.append(first is Outcome.PASS)
            always.append(compare_sessions(ms, stored, THRESHOLD_P95).outcome)
        both = [Outcome.PASS if enough else outcome for enough, outcome in zip(early, always, strict=True)]
        found[f"at_{slowdown * 100:g}_percent"] = {
            "one_is_enough": round(100 * float(np.mean(early)), 2),
            **{f"{o}_by_three": 100 * always.count(o) / trials for o in (Outcome.FAIL, Outcome.PASS)},
            **{f"{o}_by_one_or_three": 100 * both.count(o) / trials for o in (Outcome.FAIL, Outcome.PASS)},
        }
    return found


def judged(levels: Array, slowdown: float) -> Outcome:
    *stored, now = levels.tolist()
    return compare_sessions([now * (1 + slowdown)], [[x] for x in stored], THRESHOLD).outcome


def beside_checkpoint(
    engine: float, machine: float, noise: float, trials: int, rng: np.random.Generator, sessions: int = 5
) -> dict[str, float]:
    """Return in percent what becomes of an engine whose ``.pt`` tells what the machine did.

    Engine and machine are ratios: what each has lost since the stored sessions. The ``.pt`` of each session is off by
    ``noise``; sessions spread by 1 %, which both share.
    """
    outcomes = []
    for _ in range(trials):
        session = rng.normal(0, 0.01, sessions + 1)
        moved = np.append(np.zeros(sessions), math.log1p(machine))
        pt = np.exp(session + moved + rng.normal(0, noise, sessions + 1)).tolist()
        own = np.exp(session + moved + rng.normal(0, 0.003, sessions + 1))
        own[-1] *= 1 + engine
        ratios = [[a / b] for a, b in zip(own.tolist(), pt, strict=True)]
        found = compare_sessions([own[-1]], [[x] for x in own[:-1].tolist()], THRESHOLD)
        control = control_change("pt", [pt[-1]], [[x] for x in pt[:-1]])
        beside = Checkpoint(control, compare_sessions(ratios[-1], ratios[:-1], THRESHOLD))
        outcomes.append(weigh(found, beside, "")[0].outcome)
    return {str(o): 100 * outcomes.count(o) / trials for o in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)}


def platform(spread: float, count: int, trials: int, rng: np.random.Generator) -> dict[str, float]:
    """Return in percent how often a machine is called changed that lost nothing, 5, 10 or 15 %."""
    found = {}
    for lost in (0.0, 0.05, 0.1, 0.15):
        session = rng.normal(0, spread, (trials, count + 1))
        session[:, -1] += math.log1p(lost)
        sure = 0
        for row in session:
            arms = np.exp(row + rng.normal(0, 0.005, (2, count + 1))).tolist()
            controls = [control_change("", [arm[-1]], [[x] for x in arm[:-1]]) for arm in arms]
            sure += shared(tuple(controls)).is_sure
        found[f"lost_{lost * 100:g}_percent"] = round(100 * sure / trials, 2)
    return found


# --- All --------------------------------------------------------------------------------------------------------------


def worlds(seed: int) -> dict[str, Any]:
    """Return all figures."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {"seed": seed, "threshold": THRESHOLD, "launches": {}}
    for name in WORLDS:
        found["launches"][name] = side_by_side(name, 200_000, rng) | {
            "run_of_nine_cells_fails": whole_runs(name, 50_000, rng),
            "would_have_caught": calibration(name, 3000, rng),
        }
        print(name, found["launches"][name], flush=True)
    found["budgets"] = all_budgets(rng)
    found |= since_sessions(rng)
    return found


def all_budgets(rng: np.random.Generator, stored: int = 0) -> dict[str, Any]:
    """Return what becomes of budgets in each world, with some stored sessions."""
    found = {}
    for name in WORLDS:
        if "position" not in name:
            found[name] = {f"p{p}": budgets(name, 1000, rng, p, stored) for p in (50, 95)}
            print(name, found[name], flush=True)
    return found


def since_sessions(rng: np.random.Generator) -> dict[str, Any]:
    """Return the figures of all that is judged against stored sessions."""
    spreads, counts = (0.005, 0.01, 0.02, 0.03), (1, 2, 3, 5, 10, 20)
    found: dict[str, Any] = {}
    found["stored_sessions"] = {
        f"{100 * s:g} %": {count: stored_sessions(s, count, 1000, rng) for count in counts} for s in spreads
    }
    found["platform"] = {f"{100 * s:g} %": {count: platform(s, count, 500, rng) for count in counts} for s in spreads}
    found["beside_checkpoint"] = {
        "machine 15 % faster, engine 15 % slower": beside_checkpoint(0.15 / 0.85, -0.15, 0.003, 1000, rng),
        "machine 15 % slower, engine the same": beside_checkpoint(0.0, 0.15, 0.003, 1000, rng),
        "engine 6 % slower, .pt noisy by 5 %": beside_checkpoint(0.06, 0.0, 0.05, 1000, rng),
        "engine 6 % slower, .pt noisy by 0.3 %": beside_checkpoint(0.06, 0.0, 0.003, 1000, rng),
        "nothing changed, .pt noisy by 5 %": beside_checkpoint(0.0, 0.0, 0.05, 1000, rng),
        "nothing changed": beside_checkpoint(0.0, 0.0, 0.003, 1000, rng),
    }
    found["one_or_three_launches"] = {
        f"{100 * s:g} %": {count: one_or_three(s, count, 1000, rng) for count in (1, 3, 5, 20)} for s in (0.01, 0.02)
    }
    for part in ("stored_sessions", "one_or_three_launches", "platform", "beside_checkpoint"):
        print(part, found[part], flush=True)
    return found
