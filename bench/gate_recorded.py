"""Judge recorded launches (``record_traces.py``) by the gate's rule and by the usual ones, for ``gate_quality.py``.

A trial takes an engine and a session, shuffles the session's launches, and deals the copies of the engine their parts:
candidate, baseline and second copy of the baseline. A launch is never split. Slow-downs are the candidate's times
multiplied, or those of an engine that really is slower (``slow_engine.py``).

Trials share launches, so they are not independent: there are no more independent runs of twelve launches than sessions
times engines, whatever the number of trials. The limits in the rows are those of the drawing alone; what independent
runs allow is said beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gate_rules import (
    CURVE,
    RIVALS,
    SAMPLES,
    SLOWDOWNS,
    Array,
    Launches,
    Row,
    arm_launches,
    check_gate,
    gate,
    gate_row,
    over_parts,
    ratios,
)
from proportions import clopper_pearson

from pytest_trtgate.judge.distributions import student_t_quantile
from pytest_trtgate.judge.latency.design import MAX_LAUNCHES
from pytest_trtgate.judge.latency.sequential import as_ratio, decide_launches
from pytest_trtgate.records.verdict import Outcome
from pytest_trtgate.settings.latency import DEFAULT_REGRESSIONS
from pytest_trtgate.workers.timing.latency import course_ms

TRACES = Path(__file__).parent / "traces"
COPIES = "abc"


@dataclass(frozen=True)
class Recording:
    """The launches of one machine.

    Attributes:
        name: Of the file.
        machine: In words.
        thresholds: The defaults of its backend, for p50 and p95.
        copies: Per engine, the durations of its copies: sessions x launches x 3 x samples.
        slower: The same of one copy of an engine that really is slower, by ``ENGINE+WHAT``: x 1 x samples.
    """

    name: str
    machine: str
    thresholds: tuple[float, float]
    copies: dict[str, Array]
    slower: dict[str, Array]

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read a file, and cut the arms of an engine to as many samples as all have."""
        with np.load(path) as arrays:
            found = {key: arrays[key] for key in arrays.files}
        machine = str(found["machine0"])
        sessions = sorted({key.split("/")[0] for key in found if "/" in key})
        arms = {key.split("/")[1] for key in found if "/" in key}
        engines = sorted({arm[:-2] for arm in arms if f"{arm[:-2]}-a" in arms})

        def together(*wanted: str) -> Array:
            parts = [[found[f"{session}/{arm}"] for arm in wanted] for session in sessions]
            least = min(part.shape[1] for session in parts for part in session)
            return np.stack([np.stack([part[:, :least] for part in session], axis=1) for session in parts])

        regressions = DEFAULT_REGRESSIONS["tensorrt" if "NVIDIA" in machine else "onnxruntime"]
        return cls(
            name=path.stem,
            machine=machine,
            thresholds=(regressions["p50"], regressions["p95"]),
            copies={engine: together(*(f"{engine}-{copy}" for copy in COPIES)) for engine in engines},
            slower={arm: together(arm) for arm in sorted(arms) if "+" in arm},
        )

    @property
    def sessions(self) -> int:
        return len(next(iter(self.copies.values())))

    @property
    def launches(self) -> int:
        """Launches of a session."""
        return next(iter(self.copies.values())).shape[1]


@dataclass(frozen=True)
class Draw:
    """Which launches a number of trials takes, and which copy plays which part in them."""

    session: Array
    launches: Array
    roles: Array

    @classmethod
    def of(cls, recording: Recording, trials: int, rng: np.random.Generator) -> Draw:
        order = np.tile(np.arange(recording.launches), (trials, 1))
        roles = np.tile(np.arange(len(COPIES)), (trials, 1))
        return cls(
            rng.integers(recording.sessions, size=trials), rng.permuted(order, axis=1), rng.permuted(roles, axis=1)
        )

    def take(self, logs: Array, slower: Array | None = None) -> Launches:
        """Return the trials' launches.

        Args:
            logs: Of the copies: sessions x launches x 3 x parts.
            slower: Of another engine, which then is the candidate: sessions x launches x 1 x parts.
        """
        drawn = self.launches[:, :MAX_LAUNCHES]
        candidate, baseline, second = (logs[self.session[:, None], drawn, self.roles[:, [i]]] for i in range(3))
        if slower is not None:
            candidate = slower[self.session[:, None], drawn, 0]
        return Launches(candidate, baseline, second, np.empty((len(drawn), 0)))


def p50_logs(durations: Array) -> Array:
    """Return the logs of the medians of a launch's parts, which the gate compares (... x samples -> ... x parts)."""
    return np.log(np.apply_along_axis(course_ms, -1, durations))


def whole_logs(durations: Array) -> Array:
    return np.log(np.median(durations, axis=-1))[..., None]


def p95_logs(durations: Array) -> Array:
    return np.log(np.percentile(durations, 95, axis=-1))[..., None]


def judge_recording(recording: Recording, trials: int, cell_trials: int, rng: np.random.Generator) -> list[Row]:
    """Return the rows of a recording: the gate's per engine, in three ways, then those of the usual rules.

    Args:
        recording: At least 2 sessions of at least 12 launches.
        trials: How many are drawn, per engine.
        cell_trials: How many of them are judged as p50 and p95 in one cell.
        rng: For those draws.
    """
    if recording.sessions < 2 or recording.launches < MAX_LAUNCHES:
        raise ValueError(f"{recording.name}: {recording.sessions} sessions of {recording.launches} launches")
    draws = {engine: Draw.of(recording, trials, rng) for engine in recording.copies}
    p50, whole_p50, p95 = (
        {e: draws[e].take(logs(recording.copies[e])) for e in draws} for logs in (p50_logs, whole_logs, p95_logs)
    )
    threshold, threshold_p95 = recording.thresholds
    rows = []
    single = [[e] for e in draws] if len(draws) > 1 else []
    for engines in [*single, [*draws]]:
        place = f"{recording.name} {engines[0]}" if engines in single else recording.name
        run = joined([p50[e] for e in engines])
        check_gate(run, 50, threshold)
        rows += [
            recorded_row(place, "trtgate", run, threshold),
            recorded_row(place, "trtgate, p50 of whole launches", joined([whole_p50[e] for e in engines]), threshold),
            cell_row(place, (run, joined([p95[e] for e in engines])), (threshold, threshold_p95), cell_trials),
        ]
    budget = round(rows[-3].extra["arm_launches"] * SAMPLES)
    found = [rival_calls(recording.copies[e], draws[e], budget, SLOWDOWNS) for e in draws]
    for rival in RIVALS:
        called = {s: np.concatenate([calls[rival.name][s] for calls in found]) for s in SLOWDOWNS}
        rows.append(Row.of(recording.name, rival.name, called))
    return rows


def joined(runs: Sequence[Launches]) -> Launches:
    """Return the trials of several engines as one."""
    parts = ("candidate", "baseline", "second", "sessions")
    return Launches(*(np.concatenate([getattr(run, part) for run in runs]) for part in parts))


def recorded_row(place: str, rule: str, run: Launches, threshold: float) -> Row:
    """Judge p50; also count what is inconclusive at each slow-down."""
    row = gate_row(place, run, threshold)
    for slowdown in SLOWDOWNS[1:]:
        failed, passed, _ = gate(run, slowdown, threshold)
        row.extra[f"inconclusive_at_{slowdown * 100:g}_percent"] = 100 * float((~failed & ~passed).mean())
    return Row(place, rule, row.called, row.extra)


def cell_row(place: str, runs: tuple[Launches, Launches], thresholds: tuple[float, float], trials: int) -> Row:
    """Judge p50 and p95 together, as the plugin does, in an even choice of the trials."""
    chosen = np.linspace(0, len(runs[0].candidate) - 1, trials).astype(int)
    limits = dict(zip(("p50", "p95"), thresholds, strict=True))
    called, extra = {}, {}
    for slowdown in SLOWDOWNS:
        logs = {name: ratios(run, slowdown) for name, run in zip(limits, runs, strict=True)}
        found = []
        for i in chosen:
            d, placebo = ({name: pair[which][i].tolist() for name, pair in logs.items()} for which in (0, 1))
            found.append(decide_launches(d, limits, placebo).outcome)
        called[slowdown] = np.array([outcome is Outcome.FAIL for outcome in found])
        name = f"inconclusive_at_{slowdown * 100:g}_percent" if slowdown else "inconclusive_percent"
        extra[name] = 100 * float(np.mean([outcome is Outcome.INCONCLUSIVE for outcome in found]))
    shown = " and ".join(f"{name} ({threshold * 100:g} %)" for name, threshold in limits.items())
    return Row.of(place, f"trtgate, {shown}", called, **extra)


def rival_calls(
    copies: Array, draw: Draw, budget: int, slowdowns: Sequence[float], slower: Array | None = None
) -> dict[str, dict[float, Array]]:
    """Return which trials each of the usual rules calls slower, by its name and the slow-down.

    Each takes as many launches for its processes as it would run in a time of ``budget`` inferences. What it stores is
    from another session.
    """
    logs = np.log(copies).astype(np.float32)
    other = (draw.session + 1 + draw.launches[:, 0] % (len(copies) - 1)) % len(copies)
    found = {}
    for rival in RIVALS:
        count = min(rival.processes(budget), draw.launches.shape[1] // 2)
        mine, theirs = draw.launches[:, :count], draw.launches[:, count : 2 * count]
        session = draw.session if rival.same_session else other
        old = logs[session[:, None], theirs, draw.roles[:, [1]]]
        if slower is None:
            new = logs[draw.session[:, None], mine, draw.roles[:, [0]]]
        else:
            new = np.log(slower).astype(np.float32)[draw.session[:, None], mine, 0]
            least = min(new.shape[2], old.shape[2])
            new, old = new[:, :, :least], old[:, :, :least]
        found[rival.name] = {s: rival.rule(new + np.float32(math.log1p(s)), old) for s in slowdowns}
    return found


def curves(recording: Recording, trials: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return how many percent of runs each rule calls slower, over all engines, at each slow-down of ``CURVE``."""
    draws = {engine: Draw.of(recording, trials, rng) for engine in recording.copies}
    run = joined([draws[e].take(p50_logs(recording.copies[e])) for e in draws])
    called = {s: gate(run, s, recording.thresholds[0]) for s in CURVE}
    budget = round(arm_launches(called[0.0][2]) * SAMPLES)
    usual = [rival_calls(recording.copies[e], draws[e], budget, CURVE) for e in draws]
    found = {rival.name: [np.concatenate([x[rival.name][s] for x in usual]) for s in CURVE] for rival in RIVALS}
    found["trtgate"] = [called[s][0] for s in CURVE]
    return {"slowdowns": CURVE} | {rule: [percent(x.mean()) for x in series] for rule, series in found.items()}


def judge_slower(recording: Recording, trials: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Judge engines that really are slower; per engine, how much slower over all launches, and what became of it."""
    found = []
    for arm, durations in recording.slower.items():
        copies = recording.copies[arm.split("+")[0]]
        draw = Draw.of(recording, trials, rng)
        threshold = recording.thresholds[0]
        failed, passed, count = gate(draw.take(p50_logs(copies), p50_logs(durations)), 0.0, threshold)
        # What is true must not hang on how the gate looks: plain medians of whole launches.
        change = (whole_logs(durations)[:, :, 0] - whole_logs(copies).mean(axis=2)).ravel()
        margin = student_t_quantile(0.975, len(change) - 1) * change.std(ddof=1) / math.sqrt(len(change))
        budget = round(arm_launches(count) * SAMPLES)
        usual = rival_calls(copies, draw, budget, (0.0,), durations)
        found.append(
            {
                "engine": arm,
                "slower_percent": percent(as_ratio(change.mean())),
                "limits_percent": [percent(as_ratio(change.mean() + sign * margin)) for sign in (-1, 1)],
                "threshold_percent": percent(threshold),
                "runs": trials,
                "failed_percent": percent(failed.mean()),
                "passed_percent": percent(passed.mean()),
                "inconclusive_percent": percent((~failed & ~passed).mean()),
                "launches": round(float(count.mean()), 2),
                "usual_rules_failed_percent": {name: percent(calls[0.0].mean()) for name, calls in usual.items()},
            }
        )
    return found


def percent(share: float) -> float:
    return round(100 * float(share), 2)


def describe(recording: Recording, rows: Sequence[Row], slower: list[dict[str, Any]]) -> dict[str, Any]:
    """Return all about a recording for the results, with what its certainty rests on."""
    runs = recording.sessions * len(recording.copies)
    (pooled,) = (row for row in rows if row.scenario == recording.name and row.rule == "trtgate")
    upper = clopper_pearson(math.ceil(runs * pooled.percent(0.0) / 100 - 0.5), runs, confidence=0.9)[1]
    return {
        "recording": recording.name,
        "recorded_on": recording.machine,
        "sessions": recording.sessions,
        "launches_per_session": recording.launches,
        "engines": list(recording.copies),
        "independent_runs": runs,
        "upper_limit_of_false_alarms_by_independent_runs_percent": percent(upper),
        "spread_percent": {engine: spreads(durations) for engine, durations in recording.copies.items()},
        "rows": [row.figures() for row in rows],
        "really_slower": slower,
    }


def spreads(copies: Array) -> dict[str, float]:
    """Return root mean squares in percent: of p50 over launches and sessions, and of the log ratio of two copies."""
    p50 = whole_logs(copies)[..., 0]
    found = {
        "between_launches": p50.mean(axis=2).std(axis=1, ddof=1),
        "between_sessions": p50.mean(axis=(1, 2)).std(ddof=1),
    }
    for name, logs in {"parts": p50_logs, "whole_launches": whole_logs, "p95": p95_logs}.items():
        found[f"ratio_{name}"] = over_parts(between_copies(logs(copies)))
    return {name: percent(np.sqrt((values**2).mean())) for name, values in found.items()}


def between_copies(logs: Array) -> Array:
    """Return log ratios of each pair of copies: sessions x launches x 3 x parts -> pairs x launches x parts."""
    pairs = [logs[:, :, a] - logs[:, :, b] for a, b in ((0, 1), (0, 2), (1, 2))]
    return np.concatenate(pairs)
