"""The latency of a cell as tables, and the charts of each model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ... import text as fmt
from ...records import CONTEXTS, PRECISIONS, REFERENCE, Cell, Check, Context, LatencyRecord, RunRecord
from ..numbers import (
    STAGES,
    Distribution,
    accuracy_of,
    arms_of,
    before_ms,
    cells_of,
    change_of,
    distribution,
    gated_context,
    latency_of,
    least_metric,
    primary,
    primary_of,
    ratio,
    replay_arm,
    session_times,
    sessions_of,
    verdict_of,
)
from . import charts
from .matrix import CONTEXT_NAMES, column_name

LEVELS = (50, 90, 95, 99)
TITLES: dict[Context, str] = {"engine": "Engine", "end-to-end": "End to end"}
MEANINGS: dict[Context, str] = {"engine": "tensor in, tensors out", "end-to-end": "decoded image in, final boxes out"}


@dataclass(frozen=True)
class LevelRow:
    """One level of the distribution, against the baseline, its limits and the ``.pt``."""

    name: str
    now: str
    baseline: str
    change: str
    limit: str
    reference: str
    factor: str


@dataclass(frozen=True)
class ContextTable:
    """The levels of one context; ``gated`` where the limits apply to it.

    ``paired`` where changes are of each launch, and so need not be those between the levels of all.
    """

    title: str
    meaning: str
    sampled: str
    gated: bool
    paired: bool
    rows: tuple[LevelRow, ...]


@dataclass(frozen=True)
class StageRow:
    """One stage of an end-to-end inference; ``part`` is its share of the sum of all p50."""

    name: str
    p50: str
    p95: str
    part: str
    baseline: str


@dataclass(frozen=True)
class ModelCharts:
    """The two charts of one model at one image size and batch."""

    title: str
    forest: str
    scatter: str
    scatter_level: str
    metric: str
    limits: str
    baselines: bool
    budgets: bool


def before_name(run: RunRecord, cell: Cell) -> str:
    """Return where the times come from that a cell is drawn against; empty without any."""
    if replay_arm(latency_of(run, cell), cell):
        return "baseline engine, timed in this run"
    sessions = sessions_of(run, cell)
    return f"baseline of {fmt.date(sessions[-1].recorded_at)}" if sessions else ""


def history(run: RunRecord, cell: Cell, percent: int = 50) -> tuple[str, str]:
    """Return one level of each stored session and then of this run, as a drawing and in words; empty without both."""
    context = gated_context(run)
    now = distribution(latency_of(run, cell), cell.precision, context)
    found = [session_times(session, context) for session in sessions_of(run, cell)]
    levels = [level for times in (*found, now) if times and (level := times.level_ms(percent)) is not None]
    if now is None or len(levels) < 2:
        return "", ""
    said = f"p{percent}, median of launches, over {fmt.plural(len(levels) - 1, 'stored session')} and this run: "
    return charts.sparkline(levels, said + ", ".join(map(fmt.number, levels)) + " ms"), said + (
        f"{fmt.number(levels[0])} to {fmt.ms(levels[-1])}"
    )


def _latency_checks(run: RunRecord, cell: Cell, context: Context) -> Iterator[tuple[int, Check]]:
    """Yield what was judged in one context, with the level that it was judged at."""
    verdict = verdict_of(run, cell, "latency")
    for check in verdict.checks if verdict and context == gated_context(run) else ():
        for level in LEVELS:
            if f"p{level}" in check.name.split() and check.limit is not None:
                yield level, check


def budgets_of(run: RunRecord, cell: Cell, context: Context) -> dict[int, float]:
    """Return the absolute limits in milliseconds by percentile, from the checks that judged them."""
    return {
        level: c.limit for level, c in _latency_checks(run, cell, context) if c.unit == "ms" and c.limit is not None
    }


def _limits(run: RunRecord, cell: Cell, context: Context, level: int) -> str:
    found = [check for at, check in _latency_checks(run, cell, context) if at == level]
    budgets = [f"\N{LESS-THAN OR EQUAL TO} {fmt.ms(check.limit)}" for check in found if check.unit == "ms"]
    slower = [
        f"+{fmt.threshold(check.limit)}" for check in found if check.unit == "ratio" and check.against == "baseline"
    ]
    return ", ".join([*slower, *budgets]) or fmt.MISSING


def _sampled(times: Distribution, batch: int) -> str:
    launches = len(times.timings)
    sizes = {timing.n for timing in times.timings}
    each = f"{min(sizes):,} samples each" if len(sizes) == 1 else f"{times.samples:,} samples"
    rate = ratio(1000.0 * batch, times.mean_ms)
    return f"{fmt.plural(launches, 'launch')}, {each}" + (f", {fmt.number(rate)} images/s" if rate else "")


def _row(run: RunRecord, cell: Cell, context: Context, level: int | None) -> LevelRow:
    def at(times: Distribution | None) -> float | None:
        return None if times is None else times.mean_ms if level is None else times.level_ms(level)

    latency = latency_of(run, cell)
    now, reference = (at(distribution(latency, arm, context)) for arm in (cell.precision, REFERENCE))
    return LevelRow(
        name="mean of all" if level is None else f"p{level}",
        now=fmt.ms(now),
        baseline=fmt.ms(before_ms(run, cell, context, level)),
        change=fmt.percent(change_of(run, cell, level, context)),
        limit=fmt.MISSING if level is None else _limits(run, cell, context, level),
        reference=fmt.ms(reference),
        factor=fmt.times(ratio(reference, now)),
    )


def context_tables(run: RunRecord, cell: Cell) -> tuple[ContextTable, ...]:
    """Return a table per context that was timed, empty where the engine was not."""
    tables = []
    for context in CONTEXTS:
        times = distribution(latency_of(run, cell), cell.precision, context)
        if times is not None:
            rows = tuple(_row(run, cell, context, level) for level in (*LEVELS, None))
            gated = context == gated_context(run)
            paired = gated and replay_arm(latency_of(run, cell), cell) is not None
            sampled = _sampled(times, cell.batch)
            tables.append(ContextTable(TITLES[context], MEANINGS[context], sampled, gated, paired, rows))
    return tuple(tables)


def stage_rows(run: RunRecord, cell: Cell) -> tuple[StageRow, ...]:
    """Return the stages of an end-to-end inference, empty where they were not timed."""
    latency = latency_of(run, cell)
    found = [(stage, d) for stage in STAGES if (d := distribution(latency, cell.precision, stage))]
    total = sum(times.level_ms(50) or 0.0 for _, times in found)
    rows = []
    for stage, times in found:
        rows.append(
            StageRow(
                name=stage,
                p50=fmt.ms(times.level_ms(50)),
                p95=fmt.ms(times.level_ms(95)),
                part=fmt.share(ratio(times.level_ms(50), total)),
                baseline=fmt.ms(before_ms(run, cell, stage, 50)),
            )
        )
    return tuple(rows)


def _level(times: Distribution | None, percent: int) -> charts.Level | None:
    level = times.level_ms(percent) if times else None
    if times is None or level is None:
        return None
    per_launch = times.per_launch_ms(percent)
    return charts.Level(level, min(per_launch), max(per_launch))


def _forest(run: RunRecord, latency: LatencyRecord, cells: Mapping[str, Cell]) -> str:
    rows, context = [], gated_context(run)
    for arm in _ordered([*arms_of(latency), *cells]):
        times = distribution(latency, arm, context)
        cell = cells.get(arm)
        rows.append(
            charts.ForestRow(
                label=column_name(arm),
                p50=_level(times, 50),
                p95=_level(times, 95),
                baseline_ms=tuple(before_ms(run, cell, context, percent) for percent in (50, 95)) if cell else (),
                budgets_ms=budgets_of(run, cell, context) if cell else None,
                shape=charts.SHAPES.get(arm, "circle"),
            )
        )
    return charts.forest(
        rows, f"Latency of {fmt.clip(latency.model)}, {CONTEXT_NAMES[context]}: p50 and p95 of each arm"
    )


def _scatter(run: RunRecord, latency: LatencyRecord, cells: Mapping[str, Cell]) -> tuple[str, int, str]:
    """Return the chart, which percentile it shows (the one that has budgets, p50 before others), and its limits."""
    points, context = [], gated_context(run)
    any_cell = next(iter(cells.values()), None)
    budgets = {arm: budgets_of(run, cell, context) for arm, cell in cells.items()}
    percent = min((level for found in budgets.values() for level in found), default=50)
    for arm in _ordered(arms_of(latency)):
        cell = cells.get(arm, any_cell if arm == REFERENCE else None)
        accuracy = accuracy_of(run, cell, arm) if cell else None
        times = distribution(latency, arm, context)
        x, y = times.level_ms(percent) if times else None, primary(accuracy)
        if x is not None and y is not None:
            points.append(charts.Point(column_name(arm), x, y, charts.SHAPES.get(arm, "circle")))
    lines = [charts.Line(column_name(arm), found[percent]) for arm, found in budgets.items() if percent in found]
    floors = [line for cell in cells.values() if (line := _floor(run, cell))]
    title = f"{_metric(run, latency)} of {fmt.clip(latency.model)} against p{percent}; up and left is better"
    limits = [f"the least {_metric(run, latency)} that passes"] if floors else []
    limits += [f"the largest p{percent} that passes"] if lines else []
    return charts.scatter(points, title, lines, floors), percent, " and ".join(limits)


def _metric(run: RunRecord, latency: LatencyRecord) -> str:
    return primary_of(next((a for a in run.accuracies if a.model == latency.model), None))


def _floor(run: RunRecord, cell: Cell) -> charts.Line | None:
    """Return the least accuracy that passes."""
    least = least_metric(run, cell)
    return None if least is None else charts.Line(column_name(cell.precision), least)


def _ordered(arms: list[str]) -> list[str]:
    """Return the arms worth a row: the reference, then the precisions, then others; replays are marks on theirs."""
    known = [REFERENCE, *PRECISIONS]
    others = [arm for arm in arms if arm not in known and "baseline" not in arm and "placebo" not in arm]
    return [arm for arm in known if arm in arms] + others


def model_charts(run: RunRecord) -> tuple[ModelCharts, ...]:
    """Return the charts of every model that was timed, the one with the worst verdict first."""
    groups: dict[tuple[str, int, int], dict[str, Cell]] = {}
    for cell in cells_of(run):
        groups.setdefault((cell.model, cell.imgsz, cell.batch), {})[cell.precision] = cell
    views = []
    for (model, imgsz, batch), cells in groups.items():
        latency = latency_of(run, next(iter(cells.values())))
        if latency is not None:
            title = f"{fmt.clip(model, 60)}, {imgsz} px, batch {batch}, {CONTEXT_NAMES[gated_context(run)]}"
            budgets = any(budgets_of(run, cell, gated_context(run)) for cell in cells.values())
            scatter, percent, limits = _scatter(run, latency, cells)
            views.append(
                ModelCharts(
                    title=title,
                    forest=_forest(run, latency, cells),
                    scatter=scatter,
                    scatter_level=f"p{percent}",
                    metric=_metric(run, latency),
                    limits=limits,
                    baselines=any(before_ms(run, cell, gated_context(run), 50) for cell in cells.values()),
                    budgets=budgets,
                )
            )
    return tuple(views)
