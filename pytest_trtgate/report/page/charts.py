"""The charts of the report, as inline SVG that needs no script. Their numbers also stand in tables beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ... import text as fmt
from ..numbers import ABSURD_MS, Distribution, drawable
from .svg import Box, Scale, at, axis, line, marker, overlap, picture, polyline, side_axis, tag, text

WIDTH = 440
SCATTER_HEIGHT = 230
SHAPES = {"pt": "circle", "fp32": "square", "fp16": "triangle", "int8": "diamond"}


@dataclass(frozen=True)
class Level:
    """One percentile of an arm in milliseconds: the median over launches, and the least and most of any launch."""

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class ForestRow:
    """One arm of the forest: p50 and p95, those of its baseline in milliseconds, and the budgets by percentile."""

    label: str
    p50: Level | None
    p95: Level | None
    baseline_ms: tuple[float | None, ...] = ()
    budgets_ms: Mapping[int, float] | None = None
    shape: str = "circle"


@dataclass(frozen=True)
class ScatterPoint:
    """One arm of the scatter: a latency in milliseconds against accuracy."""

    label: str
    latency_ms: float
    accuracy: float
    shape: str = "circle"


@dataclass(frozen=True)
class LimitLine:
    """A limit in a chart: its name and its place on the axis."""

    label: str
    at: float


def gauge(used: float | None, title: str, span: tuple[float, float] | None = None) -> str:
    """Return a bar that shows how much of a limit was used, with a tick at the limit; empty where that is unknown.

    ``used`` is 1 at the limit, and drawn as none where it is negative; ``span`` is the interval around it, a line.
    """
    if used is None or not math.isfinite(used):
        return ""
    reach = max(used, *(drawable(span) if span else ()), 0.0)
    scale = Scale(0, max(1.4, min(reach, 4.0) * 1.05), 0, 240)
    level = "over" if used > 1 else "under"
    parts = [tag("rect", x=0, y=5, width=240, height=6, rx=3, class_="track")]
    parts.append(tag("rect", x=0, y=5, width=max(scale(used), 3.0), height=6, rx=3, class_=f"fill {level}"))
    if span and len(drawable(span)) == 2:
        parts.append(line(scale(span[0]), 8, scale(span[1]), 8, "whisker"))
    parts.append(tag("rect", x=scale(1) - 1, y=0, width=2, height=16, class_="limit"))
    return picture(240, 16, title, "".join(parts), "gauge")


def sparkline(values_ms: Sequence[float], title: str) -> str:
    """Return a level over sessions as a small line, oldest first, the last one marked; empty for fewer than two."""
    known = drawable(values_ms)
    if len(known) < 2:
        return ""
    x, y = Scale(0, len(known) - 1, 4, 156), Scale(min(known), max(known), 26, 6)
    points = [(x(index), y(value)) for index, value in enumerate(known)]
    last = marker(*points[-1], "circle", "dot now", 3.0)
    return picture(160, 32, title, tag("path", class_="curve now", d=polyline(points)) + last, "spark")


def density(pooled_ms: Sequence[float], grid: Sequence[float]) -> list[float]:
    """Return a smooth density of 99 pooled quantiles at the grid points, its peak at 1.

    Gaussian kernel, bandwidth by Silverman's rule 0.9 min(s, IQR / 1.34) n^(-1/5) [Silverman 1986, eq. 3.31].
    """
    n = len(pooled_ms)
    mean = math.fsum(pooled_ms) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in pooled_ms) / n)
    quartiles = (pooled_ms[3 * n // 4] - pooled_ms[n // 4]) / 1.34
    floor = (grid[-1] - grid[0]) / 200 or 1e-9
    width = max(0.9 * min(deviation, quartiles or deviation) * n**-0.2, floor)
    # Every other quantile: the curve looks the same, and a page may have a hundred of them.
    scaled = [value / width for value in pooled_ms[::2]]
    heights = [sum(math.exp(-0.5 * (x - value) * (x - value)) for value in scaled) for x in (g / width for g in grid)]
    peak = max(heights) or 1.0
    return [height / peak for height in heights]


def _strip(place: Scale, y: float, arm: Distribution, pooled: Sequence[float], kind: str) -> str:
    """Return a quantile box (p5 to p95, p25 to p75, p50) with a dot at the p50 of each launch."""
    low, left, middle, right, high = (place(pooled[p - 1]) for p in (5, 25, 50, 75, 95))
    parts = [line(low, y, high, y, f"thin {kind}")]
    parts.append(tag("rect", x=left, y=y - 4, width=max(right - left, 1.0), height=8, rx=2, class_=f"box {kind}"))
    parts += [marker(place(p50), y + 9, "circle", f"dot {kind}", 2.0) for p50 in drawable(arm.per_launch_ms(50))]
    parts.append(marker(middle, y, "tick", f"mark {kind}"))
    return "".join(parts)


def latency_distribution(
    now: Distribution | None, then: Distribution | None, budgets_ms: Mapping[int, float], name: str, then_name: str
) -> str:
    """Return the distribution of one cell's times over its baseline's, from p1 to p99; empty without times.

    Budgets, by percentile, are drawn where they fall inside the picture; ``then_name`` says where ``then`` comes from.
    """
    here = now.pooled_ms if now else ()
    there = then.pooled_ms if then else ()
    if now is None or not here:
        return ""
    both = (*here, *there)
    margin = (max(both) - min(both)) * 0.06 or max(abs(both[0]) * 0.02, 1e-3)
    place = Scale(min(both) - margin, max(both) + margin, 8, WIDTH - 8)
    grid = [place.low + (place.high - place.low) * i / 60 for i in range(61)]
    bottom = 92.0
    height = 176 if there else 140
    parts = [axis(place, height - 18.0, 8, "ms")]
    for pooled, kind in ((there, "then"), (here, "now")):
        if pooled:
            curve = [(place(x), bottom - 80 * level) for x, level in zip(grid, density(pooled, grid), strict=True)]
            outline = polyline(curve)
            closed = f"{outline}V{at(bottom)}H{at(curve[0][0])}Z"
            parts += [tag("path", class_=f"area {kind}", d=closed), tag("path", class_=f"curve {kind}", d=outline)]
    parts.append(_strip(place, 106, now, here, "now"))
    if then is not None and there:
        parts.append(_strip(place, 140, then, there, "then"))
    for percent, budget in budgets_ms.items():
        if place.low < budget < place.high:
            parts.append(line(place(budget), 8, place(budget), height - 18, "budget"))
            side = "end" if place(budget) > WIDTH / 2 else "start"
            parts.append(text(place(budget) + (-4 if side == "end" else 4), 16, f"p{percent} budget", "t bad", side))
    title = f"{name}, all launches together: this run p50 {fmt.ms(here[49])}, p95 {fmt.ms(here[94])}"
    if there:
        title += f"; {then_name} p50 {fmt.ms(there[49])}, p95 {fmt.ms(there[94])}"
    return picture(WIDTH, height, title, "".join(parts))


def forest(rows: Sequence[ForestRow], title: str) -> str:
    """Return p50 and p95 per arm on one scale from 0, each with its range over launches; empty without times."""
    limits = drawable(budget for row in rows for budget in (row.budgets_ms or {}).values())
    highs = [level.high_ms for row in rows for level in (row.p50, row.p95) if level]
    reach = max(drawable([*highs, *(x for row in rows for x in row.baseline_ms), *limits]), default=0.0)
    if reach <= 0:
        return ""
    # One arm that is much slower than all others, as the .pt is on a GPU, would press those together.
    own = [max(drawable([row.p95.high_ms, *row.baseline_ms]), default=0.0) for row in rows if row.p95]
    rest = max([*sorted(own)[:-1], *limits], default=0.0)
    place = Scale(0, rest * 1.25 if reach > 2.5 * rest > 0 else reach * 1.03, 64, WIDTH - 96)
    step = 40
    height = 12 + step * len(rows) + 20
    drawn = [_forest_row(row, 12 + step * (index + 0.5), place) for index, row in enumerate(rows)]
    return picture(WIDTH, height, title, "".join([axis(place, height - 18.0, 6, "ms"), *drawn]))


def _forest_row(row: ForestRow, y: float, place: Scale) -> str:
    """Return one arm at height ``y``; of what is beyond the scale only the numbers, and an arrow."""
    name = text(0, y + 4, fmt.clip(row.label, 9), "t b")
    if row.p50 is None or row.p95 is None or len(drawable([row.p50.ms, row.p95.ms])) < 2:
        return name + text(place.start + 6, y + 4, fmt.NOT_MEASURED, "t m")
    parts = [name]
    for percent, budget in (row.budgets_ms or {}).items():
        x = place(budget)
        parts += [line(x, y - 12, x, y + 12, "budget"), text(x + 3, y - 8, f"p{percent}", "t s bad")]
    parts += [line(place(x), y + 4, place(x), y + 15, "old") for x in drawable(row.baseline_ms) if x <= place.high]
    if row.p50.ms > place.high:
        parts.append(text(place.end, y + 4, "beyond this scale \N{RIGHTWARDS ARROW}", "t m", "end"))
    else:
        parts.append(line(place(row.p50.ms), y, place(row.p95.ms), y, "link"))
        for level, kind in ((row.p50, "now-mark"), (row.p95, "now-mark open")):
            low, high = place(level.low_ms), place(level.high_ms)
            parts.append(line(low, y, max(high, low + 0.5), y, "whisker"))
            if level.ms <= place.high:
                parts.append(marker(place(level.ms), y, row.shape, kind))
            else:
                parts.append(text(place.end, y + 14, "p95 beyond this scale \N{RIGHTWARDS ARROW}", "t m", "end"))
    parts.append(text(WIDTH, y + 4, f"{fmt.number(row.p50.ms)} / {fmt.number(row.p95.ms)}", "t n", "end"))
    return "".join(parts)


def _front(points: Sequence[ScatterPoint]) -> list[ScatterPoint]:
    """Return the points that none other beats in latency and accuracy, the fastest first."""
    best: list[ScatterPoint] = []
    for point in sorted(points, key=lambda p: (p.latency_ms, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def scatter(
    points: Sequence[ScatterPoint], title: str, budgets: Sequence[LimitLine] = (), floors: Sequence[LimitLine] = ()
) -> str:
    """Return accuracy against latency, one mark per arm; up and to the left is better. Empty without points.

    ``budgets`` are the largest latencies in milliseconds that pass, ``floors`` the least accuracies.
    """
    known = [p for p in points if abs(p.latency_ms) < ABSURD_MS and math.isfinite(p.accuracy)]
    if not known:
        return ""
    heights = [*(p.accuracy for p in known), *drawable(floor.at for floor in floors)]
    low, high = min(heights), max(heights)
    # A hundredth of mAP is the least that the picture spans, so that noise does not look like a difference.
    pad = max((high - low) * 0.14, (0.01 - (high - low)) / 2, 0.0005)
    reach = max([p.latency_ms for p in known] + drawable(budget.at for budget in budgets))
    x = Scale(0, reach * 1.16 or 1, 52, WIDTH - (88 if floors else 24))
    y = Scale(low - pad, high + pad, SCATTER_HEIGHT - 22, 32 if budgets else 10)
    parts = [axis(x, SCATTER_HEIGHT - 18.0, y.end - 4, "ms"), side_axis(y, x.start, x.end)]
    at_most, at_least = _joined(budgets, x), _joined(floors, y)
    for index, (label, at_x) in enumerate(at_most):
        top = 24 - 13 * (index % 2)
        parts.append(line(at_x, top + 4, at_x, y.start, "budget"))
        parts.append(text(at_x, top, label, "t s bad", "middle"))
    for label, at_y in at_least:
        parts.append(line(x.start, at_y, x.end, at_y, "budget"))
        parts.append(text(x.end + 5, at_y + 4, label, "t s bad"))
    steps = _steps([(x(p.latency_ms), y(p.accuracy)) for p in _front(known)])
    if len(steps) > 1:
        parts.append(tag("path", class_="front", d=polyline(steps)))
    marks = [(x(point.latency_ms), y(point.accuracy)) for point in known]
    parts += [marker(*spot, point.shape, "now-mark") for spot, point in zip(marks, known, strict=True)]
    lines = [*pairwise(steps), *(((px, y.start), (px, y.end)) for _, px in at_most)]
    lines += [((x.start, py), (x.end, py)) for _, py in at_least]
    parts += _named([p.label for p in known], marks, [_around(one, other) for one, other in lines])
    return picture(WIDTH, SCATTER_HEIGHT, title, "".join(parts))


def _steps(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of a line that goes across to each place and then up to it."""
    steps = list(front[:1])
    for px, py in front[1:]:
        steps += [(px, steps[-1][1]), (px, py)]
    return steps


def _named(names: Sequence[str], marks: Sequence[tuple[float, float]], lines: Sequence[Box]) -> list[str]:
    """Return a name beside each mark, clear of other names, marks and lines where that is possible."""
    drawn, taken = [], [*((px - 7, py - 7, px + 7, py + 7) for px, py in marks), *lines]
    for (px, py), name in zip(marks, names, strict=True):
        label = fmt.clip(name, 9)
        dx, dy, anchor, box = _free_place(px, py, 7.5 * len(label), taken)
        taken.append(box)
        drawn.append(text(px + dx, py + dy, label, "t b", anchor))
    return drawn


def _around(one: tuple[float, float], other: tuple[float, float]) -> Box:
    """Return the box around a line that goes up or across."""
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(one, other, strict=True))
    return left - 2, top - 2, right + 2, bottom + 2


def _joined(lines: Sequence[LimitLine], scale: Scale) -> list[tuple[str, float]]:
    """Return limits with their places in the drawing, and join those that are too close to tell apart."""
    joined: list[tuple[str, float]] = []
    for limit in sorted((x for x in lines if math.isfinite(x.at)), key=lambda x: x.at):
        place = scale(limit.at)
        if joined and abs(joined[-1][1] - place) < 13:
            joined[-1] = f"{joined[-1][0]}, {limit.label}", joined[-1][1]
        else:
            joined.append((limit.label, place))
    return [("all", place) for _, place in joined] if len(joined) == 1 < len(lines) else joined


def _free_place(px: float, py: float, width: float, taken: Sequence[Box]) -> tuple[float, float, str, Box]:
    """Return a free place for a label beside a mark, as offset, anchor and box; the lowest where none is free."""
    places = [(dx, dy, anchor) for dy in (4, 17, -9, 30, 43) for dx, anchor in ((9, "start"), (-9, "end"))]
    for dx, dy, anchor in places:
        left = px + dx if anchor == "start" else px + dx - width
        box = (left, py + dy - 11, left + width, py + dy + 1)
        inside = left >= 47 and box[2] <= WIDTH
        if inside and not any(overlap(box, other) for other in taken):
            break
    return dx, dy, anchor, box


def stage_bar(parts_ms: Sequence[tuple[str, float]], title: str) -> str:
    """Return one bar divided among the stages by their p50; empty where they are not known."""
    total = sum(value for _, value in parts_ms)
    if not parts_ms or not math.isfinite(total) or total <= 0 or min(value for _, value in parts_ms) < 0:
        return ""
    place = Scale(0, total, 0, WIDTH)
    drawn = []
    start = 0.0
    for index, (_, value) in enumerate(parts_ms):
        left, right = place(start), place(start + value)
        drawn.append(tag("rect", x=left, y=0, width=max(right - left - 1.5, 0.5), height=10, class_=f"stage s{index}"))
        start += value
    return picture(WIDTH, 10, title, "".join(drawn), "chart strip", stretch=True)
