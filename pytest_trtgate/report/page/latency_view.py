"""The latency of a cell as tables, and the charts of each model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from ... import text as fmt
from ...records import CONTEXTS, PRECISIONS, REFERENCE, Check, Context, LatencyRecord, RunRecord
from ..numbers import (
    STAGES,
    CellNumbers,
    Distribution,
    accuracy_of,
    arms_of,
    distribution,
    gated_context,
    numbers_of,
    primary,
    primary_of,
    ratio,
    session_times,
)
from . import charts
from .matrix import CONTEXT_NAMES, column_name
from .parts import Row, Table

LEVELS = (50, 90, 95, 99)
TITLES: dict[Context, str] = {"engine": "Engine", "end-to-end": "End to end"}
MEANINGS: dict[Context, str] = {"engine": "tensor in, tensors out", "end-to-end": "decoded image in, final boxes out"}


@dataclass(frozen=True)
class ModelCharts:
    """The two charts of one model at one image size and batch; ``rest_of``: see :attr:`CellNumbers.rest_of`."""

    title: str
    forest: str
    scatter: str
    scatter_level: str
    metric: str
    limits: str
    rest_of: str
    baselines: bool
    budgets: bool


def before_name(n: CellNumbers) -> str:
    """Return where the times come from that a cell is drawn against; empty without any."""
    if n.replay_arm:
        return "baseline engine, timed in this run"
    return f"baseline of {fmt.date(n.sessions[-1].recorded_at)}" if n.sessions else ""


def history(n: CellNumbers, percent: int = 50) -> tuple[str, str]:
    """Return one level of each stored session, of the baseline engine here and of this run, drawn and in words.

    Empty without a stored session or without this run.
    """
    now, here = ((times.level_ms(percent) if times else None) for times in (n.times(), n.replayed(n.context)))
    found = [session_times(session, n.context) for session in n.sessions]
    stored = [level for times in found if times and (level := times.level_ms(percent)) is not None]
    if now is None or not stored:
        return "", ""
    first, last = map(fmt.number, (stored[0], stored[-1]))
    span = last if first == last else f"{first} to {last}"
    said = f"p{percent}, median of launches: {span} ms in {fmt.plural(len(stored), 'stored session')}, "
    said += f"{fmt.ms(here)} of the baseline engine in this run, " if here is not None else ""
    said += f"{fmt.ms(now)} now"
    levels = [*stored, *([] if here is None else [here]), now]
    return charts.sparkline(levels, said), said


def launch_by_launch(n: CellNumbers, percent: int = 50) -> str:
    """Return the levels that a judged change is of: those in each launch that timed the baseline engine beside it.

    Empty without such launches.
    """
    if n.latency is None or n.replay_arm is None:
        return ""
    pairs = []
    for launch in n.latency.of_arm(n.replay_arm):
        beside = [launch.arms.get(arm) for arm in (n.replay_arm, n.cell.precision)]
        timings = [arm.timings[n.context] for arm in beside if arm and n.context in arm.timings]
        if len(timings) == len(beside):
            pairs.append([fmt.number(timing.quantile_ms(percent)) for timing in timings])
    shown = ", ".join(" \N{RIGHTWARDS ARROW} ".join(pair) for pair in pairs)
    return f"p{percent} in each launch, baseline engine and this one: {shown} ms" if shown else ""


def _limited(n: CellNumbers) -> Iterator[tuple[int, Check]]:
    """Yield the checks of the gated context that have a limit, with the level that they judged."""
    for check in n.latency_verdict.checks if n.latency_verdict else ():
        for level in LEVELS:
            if f"p{level}" in check.name.split() and check.limit is not None:
                yield level, check


def budgets_of(n: CellNumbers) -> dict[int, float]:
    """Return the absolute limits in milliseconds by percentile, from the checks that judged them."""
    return {level: c.limit for level, c in _limited(n) if c.unit == "ms" and c.limit is not None}


def _limits(n: CellNumbers, level: int) -> str:
    found = [check for at, check in _limited(n) if at == level]
    budgets = [f"\N{LESS-THAN OR EQUAL TO} {fmt.ms(check.limit)}" for check in found if check.unit == "ms"]
    slower = [
        f"+{fmt.threshold(check.limit)}" for check in found if check.unit == "ratio" and check.against == "baseline"
    ]
    return ", ".join([*slower, *budgets]) or fmt.MISSING


def _sampled(times: Distribution, batch: int) -> str:
    launches = len(times.timings)
    sizes = {timing.n for timing in times.timings}
    each = f"{min(sizes):,} samples each" if len(sizes) == 1 else f"{times.samples:,} samples"
    rate = times.images_per_second(batch)
    return f"{fmt.plural(launches, 'launch')}, {each}" + (f", {fmt.number(rate)} images/s" if rate else "")


def _level_row(n: CellNumbers, context: Context, level: int | None) -> Row:
    here = n.is_timed(context)

    def at(times: Distribution | None) -> float | None:
        return None if times is None else times.mean_ms if level is None else times.level_ms(level)

    now, reference = at(n.times(context)), at(n.times(context, REFERENCE))
    limited = level is not None and context == n.context
    entries = (
        "mean of all" if level is None else f"p{level}",
        fmt.ms(now),
        fmt.ms(n.before_ms(context, level)),
        fmt.percent(n.change(level, context)) if here else fmt.MISSING,
        _limits(n, level) if limited and level else fmt.MISSING,
        fmt.ms(reference),
        fmt.times(n.speedup if here and n.rest and level == 50 else None if here and n.rest else ratio(reference, now)),
    )
    return Row(entries)


def context_tables(n: CellNumbers) -> tuple[Table, ...]:
    """Return the levels of each context that was timed, against the baseline, their limits and the ``.pt``."""
    return tuple(_context_table(n, context, times) for context in CONTEXTS if (times := n.times(context)))


def _context_table(n: CellNumbers, context: Context, times: Distribution) -> Table:
    title, first = TITLES[context], "This run" if n.is_timed(context) else "Stored session"
    said = f"{_sampled(times, n.cell.batch)}; rate and levels are medians of launches"
    if context == n.context:
        # Judged changes are of each launch, and so need not be those between the levels of all.
        said += "; gated; change as judged, launch by launch" if n.replay_arm else "; gated"
    said += f"; {'.pt' if n.is_timed(context) else 'all'}{n.rest_of}" if n.rest else ""
    said += "; baseline: mean of its sessions" if n.before_ms(context, 50) and not n.replayed(context) else ""
    return Table(
        label=f"{title} latency of {n.label}",
        columns=("Level", first, "Baseline", "Change", "Allowed", ".pt", "Speed-up"),
        rows=tuple(_level_row(n, context, level) for level in (*LEVELS, None)),
        caption=Markup("<b>{}</b> ({}): {}").format(title, MEANINGS[context], said),
        classes={first: "d"},
    )


def stage_table(n: CellNumbers) -> Table | None:
    """Return the stages of an end-to-end inference with their shares; None where they were not timed."""
    found = [(stage, times) for stage in STAGES if (times := n.times(stage))]
    p50s_ms = [times.level_ms(50) or 0.0 for _, times in found]
    rows = []
    for number, (stage, times) in enumerate(found):
        now = times.level_ms(50)
        name = Markup('<span class="key s{}"></span>{}').format(number, stage)
        part, before = fmt.share(ratio(now, sum(p50s_ms))), fmt.ms(n.before_ms(stage, 50))
        rows.append(Row((name, fmt.ms(now), fmt.ms(times.level_ms(95)), part, before)))
    names = [stage for stage, _ in found]
    bar = charts.stage_bar(list(zip(names, p50s_ms, strict=True)), "Stages of one end-to-end inference, by p50")
    return (
        Table(
            label=f"Stages of {n.label}",
            columns=("Stage", "p50", "p95", "Share", "Baseline p50"),
            rows=tuple(rows),
            caption=Markup("<b>Stages</b> of the same end-to-end calls") + Markup(bar),
            kind="stages",
        )
        if rows
        else None
    )


def _level(times: Distribution | None, percent: int) -> charts.Level | None:
    level = times.level_ms(percent) if times else None
    if times is None or level is None:
        return None
    per_launch = times.per_launch_ms(percent)
    return charts.Level(level, min(per_launch), max(per_launch))


def _times_of(
    latency: LatencyRecord, arm: str, context: Context, cells: Mapping[str, CellNumbers]
) -> Distribution | None:
    """Return the times of an arm; those of the ``.pt`` may be of a stored session."""
    return next(iter(cells.values())).times(context, arm) if arm == REFERENCE else distribution(latency, arm, context)


def _forest(run: RunRecord, latency: LatencyRecord, cells: Mapping[str, CellNumbers]) -> str:
    rows, context = [], gated_context(run)
    for arm in _ordered([REFERENCE, *arms_of(latency), *cells]):
        times, n = _times_of(latency, arm, context, cells), cells.get(arm)
        if arm == REFERENCE and times is None:
            continue
        rows.append(
            charts.ForestRow(
                label=column_name(arm),
                p50=_level(times, 50),
                p95=_level(times, 95),
                baseline_ms=tuple(n.before_ms(context, percent) for percent in (50, 95)) if n else (),
                budgets_ms=budgets_of(n) if n else None,
                shape=charts.SHAPES.get(arm, "circle"),
            )
        )
    return charts.forest(
        rows, f"Latency of {fmt.clip(latency.model)}, {CONTEXT_NAMES[context]}: p50 and p95 of each arm"
    )


def _scatter(run: RunRecord, latency: LatencyRecord, cells: Mapping[str, CellNumbers]) -> tuple[str, int, str]:
    """Return the chart, which percentile it shows (the one that has budgets, p50 before others), and its limits."""
    points, metric = [], _metric(run, latency)
    any_cell = next(iter(cells.values())).cell
    budgets = {arm: budgets_of(n) for arm, n in cells.items()}
    percent = min((level for found in budgets.values() for level in found), default=50)
    for arm in _ordered([REFERENCE, *arms_of(latency)]):
        known = arm in cells or arm == REFERENCE
        times = _times_of(latency, arm, gated_context(run), cells)
        x, y = times.level_ms(percent) if times else None, primary(accuracy_of(run, any_cell, arm)) if known else None
        if x is not None and y is not None:
            points.append(charts.ScatterPoint(column_name(arm), x, y, charts.SHAPES.get(arm, "circle")))
    lines = [charts.LimitLine(column_name(arm), found[percent]) for arm, found in budgets.items() if percent in found]
    floors = [
        charts.LimitLine(column_name(a), least) for a, n in cells.items() if (least := n.least_metric) is not None
    ]
    title = f"{metric} of {fmt.clip(latency.model)} against p{percent}; up and left is better"
    limits = [f"the least {metric} that passes"] if floors else []
    limits += [f"the largest p{percent} that passes"] if lines else []
    return charts.scatter(points, title, lines, floors), percent, " and ".join(limits)


def _metric(run: RunRecord, latency: LatencyRecord) -> str:
    return primary_of(next((a for a in run.accuracies if a.model == latency.model), None))


def _ordered(arms: list[str]) -> list[str]:
    """Return the arms worth a row: the reference, then the precisions, then others; replays are marks on theirs."""
    known = [REFERENCE, *PRECISIONS]
    others = [arm for arm in arms if arm not in known and "baseline" not in arm and "placebo" not in arm]
    return [arm for arm in known if arm in arms] + others


def model_charts(run: RunRecord) -> tuple[ModelCharts, ...]:
    """Return the charts of every model that was timed, the one with the worst verdict first."""
    groups: dict[tuple[str, int, int], dict[str, CellNumbers]] = {}
    for n in numbers_of(run):
        groups.setdefault((n.cell.model, n.cell.imgsz, n.cell.batch), {})[n.cell.precision] = n
    context, views = gated_context(run), []
    for (model, imgsz, batch), cells in groups.items():
        any_cell = next(iter(cells.values()))
        latency = any_cell.latency
        if latency is not None:
            scatter, percent, limits = _scatter(run, latency, cells)
            views.append(
                ModelCharts(
                    title=f"{fmt.clip(model, 60)}, {imgsz} px, batch {batch}, {CONTEXT_NAMES[context]}",
                    forest=_forest(run, latency, cells),
                    scatter=scatter,
                    scatter_level=f"p{percent}",
                    metric=_metric(run, latency),
                    limits=limits,
                    rest_of=any_cell.rest_of,
                    baselines=any(n.before_ms(context, 50) for n in cells.values()),
                    budgets=any(budgets_of(n) for n in cells.values()),
                )
            )
    return tuple(views)
