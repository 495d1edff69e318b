"""The matrix: models down, precisions or machines across, and in each square both verdicts with their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ... import text as fmt
from ...records import CONTEXTS, PRECISIONS, REFERENCE, AccuracyRecord, Context, RunRecord
from ..numbers import CellNumbers, gated_context, primary_name, ratio, rows_of
from .parts import REFERENCE_BADGE, Anchors, Badge, badge_of, machine_name, where


@dataclass(frozen=True)
class Half:
    """Accuracy or latency of one square: a verdict, the number that stands for it, and what it is compared with."""

    badge: Badge
    value: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Square:
    """One square; ``href`` is empty for the reference, which has no details of its own."""

    column: str
    href: str
    label: str
    badge: Badge
    accuracy: Half
    latency: Half
    size: str


@dataclass(frozen=True)
class MatrixRow:
    """One model at one image size, batch, backend and device; None where a column was not planned."""

    label: str
    where: str
    squares: tuple[Square | None, ...]


@dataclass(frozen=True)
class MatrixView:
    """The whole table; ``title`` tells it from others of the page."""

    title: str
    metric: str
    timed: str
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]


CONTEXT_NAMES: dict[Context, str] = {"engine": "engine only", "end-to-end": "end to end"}


def column_name(arm: str) -> str:
    """Return an arm as a heading: ``.pt`` or ``FP16``."""
    return ".pt" if arm == REFERENCE else arm.upper()


def _accuracy_half(mark: Badge, n: CellNumbers, accuracy: AccuracyRecord | None, lines: Iterable[str]) -> Half:
    return Half(mark, n.metric_text(accuracy) if accuracy else fmt.NOT_MEASURED, tuple(lines))


def _latency_half(mark: Badge, n: CellNumbers, arm: str, compared: Iterable[str]) -> Half:
    if n.times(arm=arm) is None:
        return Half(mark, fmt.NOT_MEASURED, ())
    lines = (f"p95 {fmt.ms(n.level_ms(95, arm))}", *compared, *_other_context(n, arm))
    return Half(mark, fmt.ms(n.level_ms(50, arm)), lines)


def _other_context(n: CellNumbers, arm: str) -> Iterator[str]:
    """Yield the p50 of the context that is not gated, such as that of the whole way of an image, if it was timed."""
    context = next(one for one in CONTEXTS if one != n.context)
    times, reference = n.times(context, arm), n.times(context, REFERENCE)
    if times is None:
        return
    faster = ratio(reference.level_ms(50) if reference else None, times.level_ms(50))
    beside = f", {fmt.times(faster)} vs .pt" if arm != REFERENCE and faster is not None else ""
    stored = "" if arm == REFERENCE or n.is_timed(context) else ", stored"
    yield f"{CONTEXT_NAMES[context]} {fmt.ms(times.level_ms(50))}{beside}{stored}"


def _reference(n: CellNumbers, column: str = ".pt") -> Square:
    mark, lines = REFERENCE_BADGE, [fmt.plural(n.reference.images, "image")] if n.reference else []
    stored = [n.rest_of.strip()] if n.rest else []
    accuracy, latency = _accuracy_half(mark, n, n.reference, lines), _latency_half(mark, n, REFERENCE, stored)
    return Square(column, "", "", mark, accuracy, latency, "")


def _square(n: CellNumbers, anchors: Anchors, column: str = "") -> Square:
    precision = n.cell.precision
    return Square(
        column=column or column_name(precision),
        href=anchors.cells[n.cell],
        label=fmt.clip(n.cell.label, 60),
        badge=badge_of(n.worst),
        accuracy=_accuracy_half(badge_of(n.accuracy_verdict), n, n.accuracy, _fallen(n)),
        latency=_latency_half(badge_of(n.latency_verdict), n, precision, _compared(n)),
        size=fmt.size(n.size_bytes) if n.size_bytes is not None else "predictions" if n.engine else "no engine",
    )


def _fallen(n: CellNumbers) -> Iterator[str]:
    """Yield how far the accuracy fell from the ``.pt`` and since the baseline, and how far it may."""
    drop, limit = n.drop(), n.allowed_drop
    digits = fmt.digits_apart(drop, limit)
    if drop is not None:
        yield fmt.drop(drop, digits)
        if limit is not None:
            yield f"{fmt.metric(limit, digits)} allowed"
    if since := n.fallen_since():
        yield f"{fmt.drop(since.change)} since baseline"
        yield f"{fmt.metric(since.limit)} allowed"


def _compared(n: CellNumbers) -> Iterator[str]:
    """Yield how the latency compares with the baseline and with the ``.pt``."""
    slower, faster = n.change(), n.speedup
    if n.same_engine:
        yield "same engine as baseline"
    elif slower is not None:
        yield f"{fmt.percent(slower)} vs baseline"
        if n.allowed_change is not None:
            yield f"{fmt.threshold(n.allowed_change)} allowed"
    if faster is not None:
        yield f"{fmt.times(faster)} vs .pt{n.stored}"


def matrix_views(anchored: Sequence[tuple[RunRecord, Anchors]]) -> tuple[MatrixView, ...]:
    """Return one matrix with a column for each machine, or one for each run where not each is of a machine of its own.

    ``anchored``: the runs of a page, with the ids of their parts.
    """
    runs = [run for run, _ in anchored]
    columns = tuple(map(machine_name, runs))
    if len(columns) > 1 and len(set(columns)) == len(columns) and not any(map(_doubled, runs)):
        return (_by_machine(anchored, columns),)
    several = len(runs) > 1
    return tuple(matrix_view(run, anchors, run_title(run) if several else "") for run, anchors in anchored)


def run_title(run: RunRecord) -> str:
    """Return what tells a run from others of a page."""
    e = run.environment
    return fmt.clip(f"{e.machine}, {e.backend} {e.backend_version}", 120)


def _shape(n: CellNumbers) -> tuple[str, int, int]:
    return n.cell.model, n.cell.imgsz, n.cell.batch


def _doubled(run: RunRecord) -> bool:
    """Return whether a run has a model twice in one shape, on several devices."""
    shapes = [_shape(cells[0]) for cells in rows_of(run)]
    return len(set(shapes)) < len(shapes)


def _by_machine(anchored: Sequence[tuple[RunRecord, Anchors]], columns: tuple[str, ...]) -> MatrixView:
    """Return the machines side by side: a row for each arm of a model, the ``.pt`` first."""
    rows: dict[tuple[tuple[str, int, int], str], dict[str, Square]] = {}
    for (run, anchors), column in zip(anchored, columns, strict=True):
        for cells in rows_of(run):
            for arm in (REFERENCE, *PRECISIONS):
                rows.setdefault((_shape(cells[0]), arm), {})
            rows[_shape(cells[0]), REFERENCE][column] = _reference(cells[0], column)
            for n in cells:
                rows[_shape(n), n.cell.precision][column] = _square(n, anchors, column)
    views = tuple(
        MatrixRow(
            f"{fmt.clip(model, 60)} {column_name(arm)}", f"{imgsz} px, batch {batch}", tuple(map(row.get, columns))
        )
        for ((model, imgsz, batch), arm), row in rows.items()
        if row
    )
    runs = [run for run, _ in anchored]
    metric, timed = {primary_name(run) for run in runs}, {CONTEXT_NAMES[gated_context(run)] for run in runs}
    name = metric.pop() if len(metric) == 1 else "metric"
    return MatrixView("machines side by side", name, " or ".join(sorted(timed)), columns, views)


def matrix_view(run: RunRecord, anchors: Anchors, title: str = "") -> MatrixView:
    """Return the matrix, the model with the worst verdict first; the ``.pt`` is the first column."""
    rows = [{n.cell.precision: n for n in cells} for cells in rows_of(run)]
    arms = [precision for precision in PRECISIONS if any(precision in row for row in rows)]
    views = []
    for row in rows:
        first = next(iter(row.values()))
        squares = (_square(row[arm], anchors) if arm in row else None for arm in arms)
        views.append(MatrixRow(fmt.clip(first.cell.model, 60), where(first.cell), (_reference(first), *squares)))
    columns = tuple(column_name(arm) for arm in (REFERENCE, *arms)) if rows else ()
    return MatrixView(title, primary_name(run), CONTEXT_NAMES[gated_context(run)], columns, tuple(views))
