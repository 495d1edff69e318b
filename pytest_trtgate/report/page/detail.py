"""One cell in full: accuracy, latency, stages, classes, and how its engine was built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ... import text as fmt
from ...records import EngineRecord, RunRecord, Verdict
from ..numbers import CellNumbers, numbers_of, primary_of
from . import cell_charts, charts
from .accuracy_view import AccuracyCharts, accuracy_charts, accuracy_note, class_table, classes_note, metric_table
from .changed import quantization_cost
from .device_view import device_facts, layer_tables
from .explanation_view import ExplanationView, explanation_view
from .latency_view import before_name, budgets_of, context_tables, history, launch_by_launch, stage_table
from .matrix import CONTEXT_NAMES
from .parts import Anchors, Badge, CheckView, Fact, Row, Table, badge_of, check_view, sentence_of, where

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
    metrics: Table | None
    accuracy_note: str
    classes: Table | None
    classes_metric: str
    classes_note: str
    classes_open: bool
    why: ExplanationView | None
    accuracy_charts: AccuracyCharts
    contexts: tuple[Table, ...]
    latency_note: str
    baseline_note: str
    launches_note: str
    histories: tuple[tuple[str, str], ...]
    chart: str
    chart_context: str
    chart_before: str
    course: str
    course_span: str
    stages: Table | None
    device: tuple[Fact, ...]
    layers: tuple[tuple[str, Table], ...]
    build: tuple[Fact, ...]
    build_parts: Table | None
    checks: tuple[CheckView, ...]
    checks_of: str


def _subject(verdict: Verdict | None, subject: str) -> SubjectView:
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


def build_facts(n: CellNumbers) -> tuple[Fact, ...]:
    """Return how an engine came to be; nothing without one."""
    engine = n.engine
    if engine is None:
        return ()
    origin = "from the cache; its build took" if engine.from_cache else "built in this run in"
    origin = f"{origin} {fmt.duration(engine.build_seconds)}"
    facts = [
        Fact("Engine", fmt.clip(engine.given.sentence, 400) if engine.given else origin),
        Fact("Looked into" if engine.given else "Built", fmt.date(engine.built_at), fmt.clip(engine.built_at, 60)),
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
    if engine.quantization:
        special = engine.quantization
        facts.append(Fact("Quantization", fmt.clip(special.sentence, 300)))
        if cost := quantization_cost(n):
            facts.append(Fact("Quantization costs", cost))
        if special.kept:
            facts.append(Fact("Kept out of INT8", fmt.clip(", ".join(special.kept), 600)))
    if engine.calibration:
        c = engine.calibration
        used = f"{fmt.plural(c.images, 'image')} of split {fmt.clip(c.split, 40)} (fraction {c.fraction:g})"
        facts += [Fact("Calibrated on", used), Fact("Calibration set", fmt.digest(c.digest), fmt.clip(c.digest, 80))]
    elif engine.cell.precision == "int8" and engine.given is None:
        facts.append(Fact("Calibrated on", "not recorded"))
    return tuple(facts)


def build_parts(engine: EngineRecord, label: str) -> Table | None:
    """Return what an engine's cache key is made of, and its metadata."""
    facts = (*flat(engine.key_parts), *flat(engine.metadata, "metadata."))
    rows = tuple(Row((fact.label, fact.value)) for fact in facts)
    label = f"Parts of the cache key of {label}"
    return Table(label, ("Part", "Value"), rows, kind="parts", tall=True) if rows else None


def _latency_note(n: CellNumbers) -> str:
    if n.latency and n.cell.precision in n.latency.failures:
        return f"Not measured: {fmt.clip(n.latency.failures[n.cell.precision].reason, 300)}."
    if n.engine is None:
        return "Not measured: there is no engine to time."
    return "Not measured: no launch of this run timed the engine."


def baseline_note(n: CellNumbers) -> str:
    """Return which baseline the cell was judged against, in a sentence."""
    use = n.baseline_use
    if use is None:
        return "No baseline was looked up."
    note = fmt.clip(use.note, 400)
    if use.baseline is None:
        return note or f"No baseline is stored at {fmt.clip(use.path, 200)}."
    sessions = use.baseline.sessions
    stored = fmt.plural(len(sessions), "stored session")
    stored += f", the last of {fmt.date(sessions[-1].recorded_at)}" if sessions else ""
    if n.same_bytes:
        note = f"The engine has the same bytes as the baseline's. {note}"
    elif beside := n.replayed(n.context):
        note = f"Its engine was replayed beside the new one in {fmt.plural(len(beside.timings), 'launch')}. {note}"
    return f"Baseline {fmt.clip(use.path, 200)}: {stored}. {note}".strip()


def cell_view(n: CellNumbers, anchors: Anchors, unfold: bool) -> CellView:
    """Return one cell in full; ``unfold`` opens it even where it did not fail."""
    accuracy, context = _subject(n.accuracy_verdict, "accuracy"), CONTEXT_NAMES[n.context]
    then, budgets, classes = n.before, budgets_of(n), class_table(n)
    titled, courses = f"{n.label}, {context}", n.run.courses.get(n.cell.key, ())
    return CellView(
        anchor=anchors.cells[n.cell],
        key=n.cell.key,
        title=n.label,
        where=where(n.cell),
        badge=badge_of(n.worst),
        open=unfold or any(verdict.failed for verdict in n.verdicts),
        accuracy=accuracy,
        latency=_subject(n.latency_verdict, "latency"),
        metrics=metric_table(n),
        accuracy_note=accuracy_note(n),
        classes=classes,
        classes_metric=primary_of(n.accuracy),
        classes_note=classes_note(n),
        classes_open=accuracy.badge.slug in ("fail", "waived")
        or (unfold and classes is not None and len(classes.rows) <= 12),
        why=explanation_view(n),
        accuracy_charts=accuracy_charts(n),
        contexts=context_tables(n),
        latency_note=_latency_note(n),
        baseline_note=baseline_note(n),
        launches_note=launch_by_launch(n),
        histories=tuple(history(n, percent) for percent in (50, 95)),
        chart=charts.latency_distribution(n.times(), then, budgets, titled, before_name(n)),
        chart_context=context,
        chart_before=before_name(n) if then else "",
        course=cell_charts.course(courses, n.before_ms(n.context, 50), budgets, titled),
        course_span=fmt.duration(cell_charts.course_span_s(courses)),
        stages=stage_table(n),
        device=device_facts(n),
        layers=layer_tables(n),
        build=build_facts(n),
        build_parts=build_parts(n.engine, n.label) if n.engine else None,
        checks=tuple(check_view(check, n.cell) for verdict in n.verdicts for check in verdict.checks),
        checks_of=", ".join(f"{len(v.checks)} of {v.subject}" for v in n.verdicts if v.checks),
    )


def cell_views(run: RunRecord, anchors: Anchors) -> tuple[CellView, ...]:
    """Return all cells of a run, the one with the worst verdict first."""
    cells = numbers_of(run)
    return tuple(cell_view(numbers, anchors, len(cells) <= ALL_OPEN) for numbers in cells)
