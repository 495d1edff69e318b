"""What the report draws of a cell beside its metrics: summaries of arrays that stay in the run's folder."""

from __future__ import annotations

from pydantic import Field

from .base import FileRecord, Record
from .cell import Cell

SCORE_BINS = 20
"""Bins of confidences from 0 to 1."""
CURVE_RECALLS = 50
"""Points of a precision-recall curve, at recalls from 0 to 1, both included."""


class DropInterval(Record):
    """The two-sided 95 % interval of one class's drop in its primary metric.

    ``significant``: above chance among all classes.
    """

    low: float
    high: float
    significant: bool = False


class PrecisionRecall(Record):
    """Precision at recalls 0, 0.02, ..., 1 at one overlap, the mean over classes, of both arms."""

    iou: float
    reference: tuple[float, ...]
    engine: tuple[float, ...]


class Scores(Record):
    """Confidences of the boxes that both arms found: counts in bins of equal width from 0 to 1.

    ``conf``: boxes count from this confidence of the ``.pt`` upwards.
    """

    conf: float
    reference: tuple[int, ...]
    engine: tuple[int, ...]


class AccuracyFigures(FileRecord):
    """Where an engine's accuracy differs from its checkpoint's; ``classes`` by name."""

    cell: Cell
    images: int
    replicates: int
    classes: dict[str, DropInterval] = Field(default_factory=dict)
    curves: tuple[PrecisionRecall, ...] = ()
    scores: Scores | None = None


class Course(Record):
    """One arm in one launch, in equal parts in the order of time: median, fastest and slowest inference of each part.

    ``at_s``: when each part began, in seconds after the first timed inference of the launch.
    """

    launch: int
    at_s: tuple[float, ...]
    p50_ms: tuple[float, ...]
    low_ms: tuple[float, ...]
    high_ms: tuple[float, ...]
