"""The accuracy of a cell as tables and charts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ... import text as fmt
from ...records import REFERENCE, Cell, DropInterval, RunRecord
from ..numbers import accuracy_of, fallen_since, find_check, primary_of, verdict_of
from . import cell_charts
from .parts import Badge, badge

DRAWN_CLASSES = 12
"""So many classes are drawn, those that lost most; the table has all of them."""


@dataclass(frozen=True)
class MetricRow:
    """One metric of both arms; ``badge`` is None where no check judged it."""

    name: str
    reference: str
    engine: str
    drop: str
    tolerance: str
    baseline: str
    badge: Badge | None


@dataclass(frozen=True)
class ClassRow:
    """One class: the primary metric of both arms, the drop, ``within`` which limits, and whether beyond chance."""

    name: str
    images: str
    instances: str
    reference: str
    engine: str
    drop: str
    within: str
    significant: bool


@dataclass(frozen=True)
class AccuracyCharts:
    """The charts of one cell's accuracy; empty where what they show was not kept."""

    precision_recall: str
    curves_note: str
    scores: str
    scores_note: str
    classes: str
    classes_note: str


def metric_rows(run: RunRecord, cell: Cell) -> tuple[MetricRow, ...]:
    """Return all metrics of the ``.pt`` and the engine, the primary one first; empty where neither was evaluated."""
    arms = accuracy_of(run, cell, REFERENCE), accuracy_of(run, cell, cell.precision)
    reference, engine = (arm.metrics if arm else {} for arm in arms)
    use = run.baselines.get(cell.key)
    stored = use.baseline.accuracy if use and use.baseline else {}
    names = sorted(dict.fromkeys([*reference, *engine]), key=lambda name: name != primary_of(arms[0] or arms[1]))
    rows = []
    for name in names:
        then, now = reference.get(name), engine.get(name)
        check = find_check(verdict_of(run, cell, "accuracy"), name, against=REFERENCE, unit="points")
        since = fallen_since(run, cell, name)
        judged = since or check
        rows.append(
            MetricRow(
                name=fmt.clip(name, 40),
                reference=fmt.metric(then),
                engine=fmt.metric(now),
                drop=fmt.metric(None if then is None or now is None else then - now),
                tolerance=fmt.metric(check.limit) if check else fmt.MISSING,
                baseline=fmt.metric(stored.get(name)) + (f", {fmt.drop(since.change)}" if since else ""),
                badge=badge(judged.outcome) if judged else None,
            )
        )
    return tuple(rows)


def _intervals(run: RunRecord, cell: Cell) -> dict[str, DropInterval]:
    figures = run.figures.get(cell.key)
    return figures.classes if figures else {}


def class_drops(run: RunRecord, cell: Cell) -> dict[str, float]:
    """Return how far each class fell in the primary metric, the most first, without those that only one arm knows."""
    arms = accuracy_of(run, cell, REFERENCE), accuracy_of(run, cell, cell.precision)
    then, now = ({c.name: c.metrics.get(primary_of(arm)) for c in arm.classes} if arm else {} for arm in arms)
    drops = {n: was - is_ for n, was in then.items() if was is not None and (is_ := now.get(n)) is not None}
    known = {name: drop for name, drop in drops.items() if not math.isnan(drop)}
    return dict(sorted(known.items(), key=lambda item: -item[1]))


def class_rows(run: RunRecord, cell: Cell) -> tuple[ClassRow, ...]:
    """Return the classes, the largest drop of the primary metric first; a class that only one arm knows comes last."""
    arms = accuracy_of(run, cell, REFERENCE), accuracy_of(run, cell, cell.precision)
    reference, engine = ({entry.name: entry for entry in arm.classes} if arm else {} for arm in arms)
    intervals, metric = _intervals(run, cell), primary_of(arms[0] or arms[1])
    rows = []
    for name in dict.fromkeys([*reference, *engine]):
        known, interval = reference.get(name) or engine[name], intervals.get(name)
        then, now = (arm[name].metrics.get(metric) if name in arm else None for arm in (reference, engine))
        rows.append(
            ClassRow(
                name=fmt.clip(name, 60),
                images=fmt.count(known.images),
                instances=fmt.count(known.instances),
                reference=fmt.metric(then),
                engine=fmt.metric(now),
                drop=fmt.metric(None if then is None or now is None else then - now),
                within=f"{fmt.metric(interval.low)} to {fmt.metric(interval.high)}" if interval else fmt.MISSING,
                significant=interval is not None and interval.significant,
            )
        )
    drops = class_drops(run, cell)
    names = [fmt.clip(name, 60) for name in drops]
    return tuple(sorted(rows, key=lambda row: names.index(row.name) if row.name in names else len(names)))


def classes_note(classes: tuple[ClassRow, ...]) -> str:
    """Return which class fell most; the rows are sorted."""
    if not classes or classes[0].drop in (fmt.MISSING, "NaN"):
        return ""
    fell = not classes[0].drop.startswith("\N{MINUS SIGN}") and classes[0].drop != fmt.metric(0)
    return f"largest drop: {classes[0].name} {classes[0].drop}" if fell else "none fell"


def accuracy_note(run: RunRecord, cell: Cell) -> str:
    """Return what the accuracy was evaluated on, and how."""
    evaluated = accuracy_of(run, cell, cell.precision) or accuracy_of(run, cell, REFERENCE)
    if evaluated is None:
        return "Not measured: neither the .pt nor the engine was evaluated."
    s = evaluated.settings
    settings = f"conf {s.conf:g}, IoU {s.iou:g}, at most {s.max_det} detections"
    counted = f"{fmt.plural(evaluated.images, 'image')} and {fmt.plural(evaluated.instances, 'instance')}"
    return f"{counted} of split {fmt.clip(s.split, 40)}; {settings}"


def accuracy_charts(run: RunRecord, cell: Cell) -> AccuracyCharts:
    """Return the charts of one cell's accuracy."""
    figures, label = run.figures.get(cell.key), fmt.clip(cell.label)
    if figures is None:
        return AccuracyCharts("", "", "", "", "", "")
    drops = class_drops(run, cell)
    lines = [
        cell_charts.ClassLine(fmt.clip(name, 60), drop, interval.low, interval.high, interval.significant)
        for name, drop in drops.items()
        if (interval := figures.classes.get(name)) is not None
    ]
    shown = lines[:DRAWN_CLASSES]
    left_out = f"the {len(shown)} of {len(lines)} classes that lost most; " if len(shown) < len(lines) else ""
    found = figures.scores
    return AccuracyCharts(
        precision_recall=cell_charts.precision_recall(figures.curves, label),
        curves_note=", below it ".join(f"IoU {c.iou:.2f}" for c in figures.curves),
        scores=cell_charts.scores(found, label) if found else "",
        scores_note=f"boxes of the .pt from confidence {found.conf:g} on that the engine has too" if found else "",
        classes=cell_charts.class_drops(shown, label, primary_of(accuracy_of(run, cell, cell.precision))),
        classes_note=f"{left_out}95 % intervals over {fmt.plural(figures.images, 'image')}",
    )
