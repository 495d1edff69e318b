"""The figures of a run record: what the report is to draw, out of arrays that only the run's folder holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ..records import (
    UNUSABLE,
    AccuracyFigures,
    AccuracyRecord,
    Cell,
    Context,
    Course,
    DropInterval,
    LatencyRecord,
    Launch,
    PrecisionRecall,
    Scores,
)
from .evidence import Evidence

if TYPE_CHECKING:
    from ..judge.accuracy.average_precision import Array

SHOWN_IOUS = ((0.5, 0), (0.75, 5))
"""Overlaps whose curves are kept, with their places among 0.50, 0.55, ..., 0.95."""
PARTS = 24
"""Parts that a launch is drawn in."""


def accuracy_figures(cell: Cell, engine: AccuracyRecord, evidence: Evidence, conf: float) -> AccuracyFigures:
    """Return where an engine's accuracy differs from its checkpoint's.

    ``conf``: from which confidence on the boxes of ``evidence`` count.
    """
    comparison = evidence.comparison
    before, after = evidence.agreement.scores_before, evidence.agreement.scores_after
    intervals = {
        engine.classes[c.cls].name: DropInterval(
            low=round(c.change.interval[0], 5), high=round(c.change.interval[1], 5), significant=c.significant
        )
        for c in comparison.classes
        if c.cls < len(engine.classes)
    }
    return AccuracyFigures(
        cell=cell,
        images=comparison.images,
        replicates=comparison.replicates,
        classes=intervals,
        curves=_shown(*evidence.curves) if evidence.curves else (),
        scores=Scores(conf=conf, reference=before, engine=after) if before else None,
    )


def _shown(reference: Array, engine: Array) -> tuple[PrecisionRecall, ...]:
    return tuple(
        PrecisionRecall(iou=iou, reference=_rounded(reference[at]), engine=_rounded(engine[at]))
        for iou, at in SHOWN_IOUS
    )


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def courses(
    folder: Path, latency: LatencyRecord, cells: Iterable[Cell], context: Context
) -> dict[str, tuple[Course, ...]]:
    """Return how the latency of cells of one model went in each launch, without those of which no samples can be read.

    ``folder``: the run's, at which the records' paths start.
    """
    found: dict[str, list[Course]] = {}
    keys: dict[str, str] = {cell.precision: cell.key for cell in cells}
    for launch in latency.launches:
        for arm, course in _courses(folder, launch, [arm for arm in keys if arm in launch.arms], context):
            found.setdefault(keys[arm], []).append(course)
    return {key: tuple(course) for key, course in found.items()}


def _courses(folder: Path, launch: Launch, arms: list[str], context: Context) -> Iterator[tuple[str, Course]]:
    import numpy as np

    samples = {}
    try:
        with np.load(folder / launch.samples) as arrays:
            at_ns = {name: arrays[name] for name in arrays.files if name.endswith("/at")}
            begun = min(int(at.min()) for at in at_ns.values())
            for arm in arms:
                with suppress(KeyError):
                    samples[arm] = arrays[f"{arm}/{context}"] / 1e6, (at_ns[f"{arm}/{context}/at"] - begun) / 1e9
    except UNUSABLE:
        return
    for arm, (took_ms, at_s) in samples.items():
        if took_ms.shape != at_s.shape:
            continue
        starts = [part[0] for part in np.array_split(np.arange(len(took_ms)), PARTS) if len(part)]
        # In plain Python: of parts as small as these, NumPy takes longer to begin than to end.
        parts = [sorted(part.tolist()) for part in np.split(took_ms, starts[1:])]
        yield (
            arm,
            Course(
                launch=launch.index,
                at_s=tuple(round(float(at_s[start]), 3) for start in starts),
                p50_ms=_rounded(map(median, parts)),
                low_ms=_rounded(part[0] for part in parts),
                high_ms=_rounded(part[-1] for part in parts),
            ),
        )
