"""The accuracy of a cell as tables and charts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from ... import text as fmt
from ...records import REFERENCE
from ..numbers import CellNumbers, primary_of
from . import cell_charts
from .parts import Entry, Row, Table, badge

DRAWN_CLASSES = 12
"""So many classes are drawn, those that lost most; the table has all of them."""


@dataclass(frozen=True)
class AccuracyCharts:
    """The charts of one cell's accuracy; empty where what they show was not kept."""

    precision_recall: str = ""
    curves_note: str = ""
    scores: str = ""
    scores_note: str = ""
    classes: str = ""
    classes_note: str = ""


def metric_table(n: CellNumbers) -> Table | None:
    """Return all metrics of the ``.pt`` and the engine, the primary one first; None where neither was evaluated."""
    stored = n.accepted_metrics
    measured = [name for arm in (n.reference, n.accuracy) if arm for name in arm.metrics]
    rows = []
    for name in sorted(dict.fromkeys(measured), key=lambda name: name != n.metric):
        then, now = n.metrics(name)
        check, since = n.check("accuracy", name, against=REFERENCE, unit="points"), n.fallen_since(name)
        judged = since or check
        unjudged = Markup('<span class="off">{}</span>').format(fmt.MISSING if now is None else "not gated")
        verdict: Entry = badge(judged.outcome) if judged else unjudged
        entries = (
            fmt.clip(name, 40),
            fmt.metric(then),
            fmt.metric(now),
            fmt.metric(n.drop(name)),
            fmt.metric(check.limit) if check else fmt.MISSING,
            fmt.metric(stored.get(name)) + (f", {fmt.drop(since.change)}" if since else ""),
            verdict,
        )
        rows.append(Row(entries, badge(judged.outcome).slug if judged else ""))
    return (
        Table(
            label=f"Accuracy of {n.label}",
            columns=("Metric", ".pt", "Engine", "Drop", "Allowed", "Baseline", "Verdict"),
            rows=tuple(rows),
            caption=accuracy_note(n),
            classes={"Drop": "d", "Verdict": "l"},
        )
        if rows
        else None
    )


def class_drops(n: CellNumbers) -> dict[str, float]:
    """Return the drop of each class that both arms have in the primary metric, the largest first."""
    arms = n.reference, n.accuracy
    then, now = ({c.name: c.metrics.get(primary_of(arm)) for c in arm.classes} if arm else {} for arm in arms)
    drops = {name: was - is_ for name, was in then.items() if was is not None and (is_ := now.get(name)) is not None}
    known = {name: drop for name, drop in drops.items() if not math.isnan(drop)}
    return dict(sorted(known.items(), key=lambda item: -item[1]))


def class_table(n: CellNumbers) -> Table | None:
    """Return the classes, the largest drop of the primary metric first, those of one arm only last."""
    reference, engine = (
        {entry.name: entry for entry in arm.classes} if arm else {} for arm in (n.reference, n.accuracy)
    )
    intervals = n.figures.classes if n.figures else {}
    rows = []
    for name in dict.fromkeys([*class_drops(n), *reference, *engine]):
        known, interval = reference.get(name) or engine[name], intervals.get(name)
        then, now = (arm[name].metrics.get(n.metric) if name in arm else None for arm in (reference, engine))
        drop = fmt.metric(None if then is None or now is None else then - now)
        if interval and interval.significant:
            drop = Markup('{}<span class="sig">significant</span>').format(drop)
        within = f"{fmt.metric(interval.low)} to {fmt.metric(interval.high)}" if interval else fmt.MISSING
        counts = fmt.count(known.images), fmt.count(known.instances)
        rows.append(Row((fmt.clip(name, 60), *counts, fmt.metric(then), fmt.metric(now), drop, within)))
    return (
        Table(
            label=f"Classes of {n.label}",
            columns=("Class", "Images", "Instances", ".pt", "Engine", "Drop", "95 % interval"),
            rows=tuple(rows),
            kind="sortable classes",
            classes={"Drop": "d"},
            sorted_by="Drop",
            tall=True,
        )
        if rows and n.accuracy
        else None
    )


def classes_note(n: CellNumbers) -> str:
    """Return which class fell most."""
    for name, drop in class_drops(n).items():
        fell = not fmt.metric(drop).startswith("\N{MINUS SIGN}") and fmt.metric(drop) != fmt.metric(0)
        return f"largest drop: {fmt.clip(name, 60)} {fmt.metric(drop)}" if fell else "none fell"
    return ""


def accuracy_note(n: CellNumbers) -> str:
    """Return what the accuracy was evaluated on, and how."""
    evaluated = n.accuracy or n.reference
    if evaluated is None:
        return "Not measured: neither the .pt nor the engine was evaluated."
    s = evaluated.settings
    settings = f"conf {s.conf:g}, IoU {s.iou:g}, at most {s.max_det} detections"
    counted = f"{fmt.plural(evaluated.images, 'image')} and {fmt.plural(evaluated.instances, 'instance')}"
    return f"{counted} of split {fmt.clip(s.split, 40)}; {settings}"


def accuracy_charts(n: CellNumbers) -> AccuracyCharts:
    """Return the charts of one cell's accuracy."""
    figures = n.figures
    if figures is None:
        return AccuracyCharts()
    lines = [
        cell_charts.ClassLine(fmt.clip(name, 60), drop, interval.low, interval.high, interval.significant)
        for name, drop in class_drops(n).items()
        if (interval := figures.classes.get(name)) is not None
    ]
    shown = lines[:DRAWN_CLASSES]
    left_out = f"the {len(shown)} of {len(lines)} classes that lost most; " if len(shown) < len(lines) else ""
    found = figures.scores
    return AccuracyCharts(
        precision_recall=cell_charts.precision_recall(figures.curves, n.label),
        curves_note=", below it ".join(f"IoU {c.iou:.2f}" for c in figures.curves),
        scores=cell_charts.scores(found, n.label) if found else "",
        scores_note=f"boxes of the .pt from confidence {found.conf:g} on that the engine has too" if found else "",
        classes=cell_charts.class_drops(shown, n.label, primary_of(n.accuracy)),
        classes_note=f"{left_out}95 % intervals over {fmt.plural(figures.images, 'image')}",
    )
