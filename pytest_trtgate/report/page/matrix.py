"""The matrix of one run: models down, precisions across, and in each square both verdicts with their numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ... import text as fmt
from ...records import PRECISIONS, REFERENCE, Cell, Context, RunRecord
from ..numbers import (
    Distribution,
    accuracy_of,
    allowed_change,
    allowed_drop,
    cells_of,
    change_of,
    distribution,
    drop_of,
    fallen_since,
    gated_context,
    latency_of,
    primary_name,
    primary_text,
    same_engine,
    speedup_of,
    verdict_of,
    verdicts_of,
    worst_of,
)
from .parts import REFERENCE_BADGE, Anchors, Badge, badge_of, where


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
class Row:
    """One model at one image size, batch, backend and device; None where a precision was not planned."""

    label: str
    where: str
    squares: tuple[Square | None, ...]


@dataclass(frozen=True)
class MatrixView:
    """The whole table."""

    metric: str
    timed: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


CONTEXT_NAMES: dict[Context, str] = {"engine": "engine only", "end-to-end": "end to end"}


def column_name(arm: str) -> str:
    """Return an arm as a heading: ``.pt`` or ``FP16``."""
    return ".pt" if arm == REFERENCE else arm.upper()


def _latency_half(times: Distribution | None, mark: Badge, compared: tuple[str, ...]) -> Half:
    if times is None:
        return Half(mark, fmt.NOT_MEASURED, ())
    return Half(mark, f"{fmt.ms(times.level_ms(50))}", (f"p95 {fmt.ms(times.level_ms(95))}", *compared))


def _reference(run: RunRecord, cell: Cell) -> Square:
    accuracy = accuracy_of(run, cell, REFERENCE)
    value = primary_text(run, accuracy) if accuracy else fmt.NOT_MEASURED
    lines = (fmt.plural(accuracy.images, "image"),) if accuracy else ()
    times = distribution(latency_of(run, cell), REFERENCE, gated_context(run))
    half = _latency_half(times, REFERENCE_BADGE, ())
    return Square(".pt", "", "", REFERENCE_BADGE, Half(REFERENCE_BADGE, value, lines), half, "")


def _square(run: RunRecord, cell: Cell, anchors: Anchors) -> Square:
    accuracy = accuracy_of(run, cell, cell.precision)
    drop = drop_of(run, cell)
    value = primary_text(run, accuracy) if accuracy else fmt.NOT_MEASURED
    context = gated_context(run)
    slower, faster = change_of(run, cell, 50, context), speedup_of(run, cell, context)
    compared = []
    if same_engine(run, cell):
        compared.append("same engine as baseline")
    elif slower is not None:
        limit = allowed_change(run, cell)
        compared.append(f"{fmt.percent(slower)} vs baseline")
        compared += [] if limit is None else [f"{fmt.threshold(limit)} allowed"]
    if faster is not None:
        compared.append(f"{fmt.times(faster)} vs .pt")
    limit = allowed_drop(run, cell)
    digits = fmt.digits_apart(drop, limit)
    at_most = () if limit is None else (f"{fmt.metric(limit, digits)} allowed",)
    fell = () if drop is None else (fmt.drop(drop, digits), *at_most)
    if since := fallen_since(run, cell):
        fell += (f"{fmt.drop(since.change)} since baseline", f"{fmt.metric(since.limit)} allowed")
    times = distribution(latency_of(run, cell), cell.precision, context)
    engine = run.engines.get(cell.key)
    return Square(
        column=column_name(cell.precision),
        href=anchors.cells[cell],
        label=fmt.clip(cell.label, 60),
        badge=badge_of(worst_of(verdicts_of(run, cell))),
        accuracy=Half(badge_of(verdict_of(run, cell, "accuracy")), value, fell),
        latency=_latency_half(times, badge_of(verdict_of(run, cell, "latency")), tuple(compared)),
        size=fmt.size(engine.size_bytes) if engine else "no engine",
    )


def matrix_view(run: RunRecord, anchors: Anchors) -> MatrixView:
    """Return the matrix, the model with the worst verdict first; the ``.pt`` is the first column."""
    rows: dict[tuple[object, ...], dict[str, Cell]] = {}
    for cell in cells_of(run):
        rows.setdefault((cell.model, cell.imgsz, cell.batch, cell.backend, cell.device), {})[cell.precision] = cell
    arms = [precision for precision in PRECISIONS if any(precision in row for row in rows.values())]
    views = []
    for row in rows.values():
        first = next(iter(row.values()))
        squares = (_square(run, row[arm], anchors) if arm in row else None for arm in arms)
        views.append(Row(fmt.clip(first.model, 60), where(first), (_reference(run, first), *squares)))
    timed = CONTEXT_NAMES[gated_context(run)]
    return MatrixView(
        primary_name(run), timed, tuple(column_name(arm) for arm in (REFERENCE, *arms)) if rows else (), tuple(views)
    )
