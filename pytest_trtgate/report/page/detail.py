"""One cell in full: accuracy, latency, stages, classes, and how its engine was built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ... import text as fmt
from ...records import Cell, EngineRecord, RunRecord
from ..numbers import (
    STAGES,
    Subject,
    accuracy_of,
    before,
    before_ms,
    cells_of,
    distribution,
    gated_context,
    latency_of,
    primary_of,
    replay_arm,
    verdict_of,
    verdicts_of,
    worst_of,
)
from . import cell_charts, charts
from .accuracy_view import (
    AccuracyCharts,
    ClassRow,
    MetricRow,
    accuracy_charts,
    accuracy_note,
    class_rows,
    classes_note,
    metric_rows,
)
from .device_view import LayerTable, device_facts, layer_tables
from .latency_view import (
    ContextTable,
    StageRow,
    before_name,
    budgets_of,
    context_tables,
    history,
    stage_rows,
)
from .matrix import CONTEXT_NAMES
from .parts import Anchors, Badge, CheckView, Fact, badge_of, check_view, sentence_of, where

ALL_OPEN = 3
"""With more cells than this in a run, those that did not fail start folded."""


@dataclass(frozen=True)
class SubjectView:
    """The verdict on one subject of a cell."""

    badge: Badge
    sentence: str


@dataclass(frozen=True)
class CellView:
    """Everything that the page shows of one cell. What was not measured is empty, with the reason in ``*_note``."""

    anchor: str
    key: str
    title: str
    where: str
    badge: Badge
    open: bool
    accuracy: SubjectView
    latency: SubjectView
    metrics: tuple[MetricRow, ...]
    accuracy_note: str
    classes: tuple[ClassRow, ...]
    classes_metric: str
    classes_note: str
    classes_open: bool
    accuracy_charts: AccuracyCharts
    contexts: tuple[ContextTable, ...]
    latency_note: str
    baseline_note: str
    histories: tuple[tuple[str, str], ...]
    chart: str
    chart_context: str
    chart_before: str
    course: str
    course_span: str
    stages: tuple[StageRow, ...]
    stage_bar: str
    device: tuple[Fact, ...]
    layers: tuple[LayerTable, ...]
    build: tuple[Fact, ...]
    build_parts: tuple[Fact, ...]
    checks: tuple[CheckView, ...]
    checks_of: str


def _subject(run: RunRecord, cell: Cell, subject: Subject) -> SubjectView:
    verdict = verdict_of(run, cell, subject)
    return SubjectView(badge_of(verdict), sentence_of(verdict) if verdict else f"The {subject} was not judged.")


def flat(values: Mapping[str, Any], prefix: str = "") -> list[Fact]:
    """Return a nested mapping as facts named by their path: ``versions.torch``."""
    facts: list[Fact] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and prefix.count(".") < 3:
            facts += flat(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            facts.append(Fact(fmt.clip(name, 80), fmt.clip(text, 300) or '""'))
    return facts


def build_facts(engine: EngineRecord) -> tuple[Fact, ...]:
    """Return how an engine came to be."""
    origin = "from the cache; its build took" if engine.from_cache else "built in this run in"
    facts = [
        Fact("Engine", f"{origin} {fmt.duration(engine.build_seconds)}"),
        Fact("Built", fmt.date(engine.built_at), fmt.clip(engine.built_at, 60)),
        Fact("Size", fmt.size(engine.size_bytes), f"{fmt.count(engine.size_bytes)} bytes"),
        Fact("File", fmt.clip(engine.artifact, 200)),
        Fact("sha256", fmt.digest(engine.sha256), fmt.clip(engine.sha256, 80)),
        Fact("Cache key", fmt.digest(engine.cache_key), fmt.clip(engine.cache_key, 80)),
    ]
    if engine.inspection:
        built = engine.inspection
        layers = "" if built.layers is None else f"; {fmt.plural(built.layers, 'layer')}, {built.fused_layers} fused"
        facts.append(Fact("Layers", fmt.clip(built.sentence(engine.cell.precision) + layers, 300)))
        if built.device_memory_bytes is not None:
            facts.append(Fact("Device memory", fmt.size(built.device_memory_bytes)))
    if engine.calibration:
        c = engine.calibration
        used = f"{fmt.plural(c.images, 'image')} of split {fmt.clip(c.split, 40)} (fraction {c.fraction:g})"
        facts += [Fact("Calibrated on", used), Fact("Calibration set", fmt.digest(c.digest), fmt.clip(c.digest, 80))]
    elif engine.cell.precision == "int8":
        facts.append(Fact("Calibrated on", "not recorded"))
    return tuple(facts)


def _latency_note(run: RunRecord, cell: Cell) -> str:
    latency = latency_of(run, cell)
    if latency and cell.precision in latency.failures:
        return f"Not measured: {fmt.clip(latency.failures[cell.precision].reason, 300)}."
    if cell.key not in run.engines:
        return "Not measured: there is no engine to time."
    return "Not measured: no launch of this run timed the engine."


def baseline_note(run: RunRecord, cell: Cell) -> str:
    """Return which baseline the cell was judged against, in a sentence."""
    use = run.baselines.get(cell.key)
    if use is None:
        return "No baseline was looked up."
    note = fmt.clip(use.note, 400)
    if use.baseline is None:
        return note or f"No baseline is stored at {fmt.clip(use.path, 200)}."
    sessions = use.baseline.sessions
    stored = f"{fmt.plural(len(sessions), 'stored session')}" + (
        f", the last of {fmt.date(sessions[-1].recorded_at)}" if sessions else ""
    )
    engine, latency = run.engines.get(cell.key), latency_of(run, cell)
    beside = distribution(latency, replay_arm(latency, cell), gated_context(run))
    if engine and use.baseline.engine_sha256 == engine.sha256:
        note = f"The engine has the same bytes as the baseline's. {note}"
    elif beside:
        note = f"Its engine was replayed beside the new one in {fmt.plural(len(beside.timings), 'launch')}. {note}"
    return f"Baseline {fmt.clip(use.path, 200)}: {stored}. {note}".strip()


def cell_view(run: RunRecord, cell: Cell, anchors: Anchors, unfold: bool) -> CellView:
    """Return one cell in full; ``unfold`` opens it even where it did not fail."""
    latency, engine = latency_of(run, cell), run.engines.get(cell.key)
    accuracy, timing = _subject(run, cell, "accuracy"), _subject(run, cell, "latency")
    verdicts = list(verdicts_of(run, cell))
    context = gated_context(run)
    now, then = distribution(latency, cell.precision, context), before(run, cell, context)
    classes = class_rows(run, cell) if accuracy_of(run, cell, cell.precision) else ()
    stages = stage_rows(run, cell)
    parts = [(stage, distribution(latency, cell.precision, stage)) for stage in STAGES]
    bar = [(stage, times.level_ms(50) or 0.0) for stage, times in parts if times]
    label = fmt.clip(cell.label)
    return CellView(
        anchor=anchors.cells[cell],
        key=cell.key,
        title=label,
        where=where(cell),
        badge=badge_of(worst_of(verdicts)),
        open=unfold or any(verdict.failed for verdict in verdicts),
        accuracy=accuracy,
        latency=timing,
        metrics=metric_rows(run, cell),
        accuracy_note=accuracy_note(run, cell),
        classes=classes,
        classes_metric=primary_of(accuracy_of(run, cell, cell.precision)),
        classes_note=classes_note(classes),
        classes_open=accuracy.badge.slug in ("fail", "waived") or (unfold and len(classes) <= 12),
        accuracy_charts=accuracy_charts(run, cell),
        contexts=context_tables(run, cell),
        latency_note=_latency_note(run, cell),
        baseline_note=baseline_note(run, cell),
        histories=tuple(history(run, cell, percent) for percent in (50, 95)),
        chart=charts.latency_distribution(
            now, then, budgets_of(run, cell, context), f"{label}, {CONTEXT_NAMES[context]}", before_name(run, cell)
        ),
        chart_context=CONTEXT_NAMES[context],
        chart_before=before_name(run, cell) if then else "",
        course=cell_charts.course(
            run.courses.get(cell.key, ()),
            before_ms(run, cell, context, 50),
            budgets_of(run, cell, context),
            f"{label}, {CONTEXT_NAMES[context]}",
        ),
        course_span=fmt.duration(cell_charts.course_span_s(run.courses.get(cell.key, ()))),
        stages=stages,
        stage_bar=charts.stage_bar(bar, "Stages of one end-to-end inference, by p50") if stages else "",
        device=device_facts(run, cell),
        layers=layer_tables(run, cell),
        build=build_facts(engine) if engine else (),
        build_parts=(*flat(engine.key_parts), *flat(engine.metadata, "metadata.")) if engine else (),
        checks=tuple(check_view(check, cell) for verdict in verdicts for check in verdict.checks),
        checks_of=", ".join(f"{len(v.checks)} of {v.subject}" for v in verdicts if v.checks),
    )


def cell_views(run: RunRecord, anchors: Anchors) -> tuple[CellView, ...]:
    """Return all cells of a run, the one with the worst verdict first."""
    cells = cells_of(run)
    return tuple(cell_view(run, cell, anchors, len(cells) <= ALL_OPEN) for cell in cells)
