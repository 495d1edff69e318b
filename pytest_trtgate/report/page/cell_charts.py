"""The charts of one cell, as inline SVG: time within launches, precision and recall, confidences, classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ... import text as fmt
from ...records import Course, PrecisionRecall, Scores
from ..numbers import ABSURD_MS
from .charts import WIDTH
from .svg import Scale, axis, line, marker, picture, polyline, side_axis, tag, text

_LEFT = 44
"""Where the drawing begins, right of the numbers of its vertical axis."""


@dataclass(frozen=True)
class ClassLine:
    """The drop of one class with its 95 % interval; ``significant``: above chance among all classes."""

    name: str
    drop: float
    low: float
    high: float
    significant: bool


def _usable(course: Course) -> bool:
    sizes = {len(course.at_s), len(course.p50_ms), len(course.low_ms), len(course.high_ms)}
    values = (*course.p50_ms, *course.low_ms, *course.high_ms)
    if len(sizes) != 1 or len(course.p50_ms) < 2 or not all(0 < value < ABSURD_MS for value in values):
        return False
    return all(0 <= now <= later < ABSURD_MS for now, later in pairwise(course.at_s))


def course_span_s(courses: Sequence[Course]) -> float:
    """Return how long the longest launch that is drawn took to time an arm; 0 without any."""
    return max((c.at_s[-1] - c.at_s[0] for c in courses if _usable(c)), default=0.0)


def course(courses: Sequence[Course], baseline_ms: float | None, budgets_ms: Mapping[int, float], name: str) -> str:
    """Return the latency over time within each launch, the launches side by side on one scale; empty without any.

    The baseline's p50 and the budgets, by percentile, are drawn where they fall inside the picture.
    """
    drawn = [c for c in courses if _usable(c)]
    if not drawn:
        return ""
    height, gap = 190, 10
    medians = [value for c in drawn for value in c.p50_ms]
    slowest = sorted(value for c in drawn for value in c.high_ms)
    # A few outliers are cut off at the top, or they would press all else flat.
    high = max(max(medians) * 1.1, min(slowest[-1], slowest[int(0.9 * (len(slowest) - 1))] * 1.3))
    low = min(value for c in drawn for value in c.low_ms)
    y = Scale(max(0.0, low - (high - low) * 0.08), high, height - 24, 10)
    width = (WIDTH - _LEFT - gap * (len(drawn) - 1)) / len(drawn)
    parts, span_s = [side_axis(y, _LEFT, WIDTH)], course_span_s(drawn)
    for place, c in enumerate(drawn):
        left = _LEFT + place * (width + gap)
        x = Scale(0, span_s, left, left + width)
        begun = [x(at_s - c.at_s[0]) for at_s in c.at_s]
        top = [(at, y(value)) for at, value in zip(begun, c.high_ms, strict=True)]
        bottom = [(at, y(value)) for at, value in zip(begun, c.low_ms, strict=True)]
        parts.append(tag("path", class_="area now", d=polyline([*top, *reversed(bottom)]) + "Z"))
        middle = [(at, y(value)) for at, value in zip(begun, c.p50_ms, strict=True)]
        parts.append(tag("path", class_="curve now", d=polyline(middle)))
        if len(drawn) <= 6 or place % 3 == 0:
            label = f"launch {c.launch + 1}" if len(drawn) <= 6 else str(c.launch + 1)
            parts.append(text(left + width / 2, height - 6, label, "t m", "middle"))
    if baseline_ms is not None and y.low < baseline_ms < y.high:
        parts.append(line(_LEFT, y(baseline_ms), WIDTH, y(baseline_ms), "curve then"))
    for percent, budget in budgets_ms.items():
        if y.low < budget < y.high:
            parts.append(line(_LEFT, y(budget), WIDTH, y(budget), "budget"))
            parts.append(text(WIDTH, y(budget) - 4, f"p{percent} budget", "t s bad", "end"))
    title = f"{name}: over {fmt.plural(len(drawn), 'launch')}, the median of a part is {fmt.ms(min(medians))} to "
    return picture(WIDTH, height, title + fmt.ms(max(medians)), "".join(parts))


def precision_recall(curves: Sequence[PrecisionRecall], name: str) -> str:
    """Return precision over recall of the ``.pt`` and the engine at each overlap; empty without curves."""
    drawn = [c for c in curves if _curve(c.reference) and _curve(c.engine)]
    if not drawn:
        return ""
    height = 210
    x, y = Scale(0, 1, _LEFT, WIDTH - 14), Scale(0, 1, height - 24, 10)
    parts = [side_axis(y, _LEFT, WIDTH - 14), axis(x, height - 20.0, 10, "")]
    for c in drawn:
        for values, kind in ((c.reference, "then"), (c.engine, "now")):
            points = [(x(i / (len(values) - 1)), y(value)) for i, value in enumerate(values)]
            parts.append(tag("path", class_=f"curve {kind}", d=polyline(points)))
    ious = " and ".join(f"{c.iou:.2f}" for c in drawn)
    return picture(WIDTH, height, f"{name}: precision over recall at IoU {ious}, mean over classes", "".join(parts))


def _curve(values: Sequence[float]) -> bool:
    return len(values) > 1 and all(0 <= value <= 1 for value in values)


def scores(found: Scores, name: str) -> str:
    """Return how sure both arms are of the boxes that both found; empty without such boxes."""
    sizes = {len(found.reference), len(found.engine)}
    counts = (*found.reference, *found.engine)
    if len(sizes) != 1 or not counts or min(counts) < 0 or max(counts) == 0:
        return ""
    height = 150
    x, y = Scale(0, 1, _LEFT, WIDTH - 14), Scale(0, max(counts) * 1.05, height - 24, 10)
    parts = [side_axis(y, _LEFT, WIDTH - 14, 3), axis(x, height - 20.0, 10, "")]
    for values, kind in ((found.reference, "then"), (found.engine, "now")):
        steps = [(x(0), y(0))]
        for i, value in enumerate(values):
            steps += [(x(i / len(values)), y(value)), (x((i + 1) / len(values)), y(value))]
        outline = polyline([*steps, (x(1), y(0))])
        parts.append(tag("path", class_=f"area {kind}", d=outline))
        parts.append(tag("path", class_=f"curve {kind}", d=outline))
    total = sum(found.engine)
    return picture(WIDTH, height, f"{name}: confidence of {fmt.plural(total, 'box')} found by both", "".join(parts))


def class_drops(classes: Sequence[ClassLine], name: str, metric: str) -> str:
    """Return the drop of each class in a metric with its interval, against a line at 0; empty without classes."""
    drawn = [c for c in classes if all(map(math.isfinite, (c.drop, c.low, c.high)))]
    if not drawn:
        return ""
    step = 20
    height = 8 + step * len(drawn) + 22
    ends = [0.0, *(x for c in drawn for x in (c.low, c.high, c.drop))]
    # Half a hundredth is the least that the picture spans, so that noise does not look like a difference.
    margin = max((max(ends) - min(ends)) * 0.06, (0.005 - (max(ends) - min(ends))) / 2)
    place = Scale(min(ends) - margin, max(ends) + margin, 112, WIDTH - 8)
    parts = [axis(place, height - 18.0, 4, ""), line(place(0), 4, place(0), height - 18, "zero")]
    for index, c in enumerate(drawn):
        y = 8 + step * (index + 0.5)
        parts.append(text(104, y + 4, fmt.clip(c.name, 15), "t", "end"))
        parts.append(line(place(c.low), y, max(place(c.high), place(c.low) + 0.5), y, "whisker"))
        kind = "now-mark bad" if c.significant and c.drop > 0 else "now-mark"
        parts.append(marker(place(c.drop), y, "diamond" if c.significant else "circle", kind, 4.0))
    return picture(WIDTH, height, f"{name}: drop of {metric} per class with 95 % intervals", "".join(parts))


def bars(values: Sequence[tuple[str, float]], title: str, worst: str) -> str:
    """Return a bar for each named value, against a line at 0; the worst stands out. Empty without values."""
    values = [(label, value) for label, value in values if math.isfinite(value)]
    if not values:
        return ""
    step, ends = 20, [0.0, *(value for _, value in values)]
    height, margin = 8 + step * len(values) + 22, max((max(ends) - min(ends)) * 0.06, 0.0025)
    place = Scale(min(ends) - margin, max(ends) + margin, 112, WIDTH - 8)
    parts = [axis(place, height - 18.0, 4, ""), line(place(0), 4, place(0), height - 18, "zero")]
    for index, (label, value) in enumerate(values):
        y, (left, right) = 8 + step * index + 4, sorted((place(0), place(value)))
        parts.append(text(104, y + 10, fmt.clip(label, 15), "t", "end"))
        kind = "now-mark bad" if label == worst and value > 0 else "now-mark"
        parts.append(tag("rect", x=left, y=float(y), width=max(right - left, 0.5), height=12.0, class_=kind))
    return picture(WIDTH, height, title, "".join(parts))
