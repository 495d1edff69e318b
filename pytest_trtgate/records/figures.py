"""What the report draws of a cell beside the metrics: small summaries of arrays that stay in the run's folder."""

from __future__ import annotations

from pydantic import Field

from .base import FileRecord, Record
from .cell import Cell

SCORE_BINS = 20
"""Bins of confidences from 0 to 1."""
CURVE_RECALLS = 50
"""Steps of recall from 0 to 1, both included, at which a precision-recall curve is kept."""


class DropInterval(Record):
    """How far the drop of one class in its primary metric may come from the choice of images.

    ``low`` and ``high`` are a two-sided 95 % interval; ``significant``: above chance among all classes.
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
    """How many boxes that both arms found have which confidence: counts in bins of equal width from 0 to 1.

    ``conf``: from which confidence of the ``.pt`` on its boxes count.
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
    """One arm in one launch, in equal parts in the order of time.

    Attributes:
        launch: Index of the launch.
        at_s: When each part began, in seconds after the first timed inference of the launch.
        p50_ms: Median of each part.
        low_ms: Fastest inference of each part.
        high_ms: Slowest inference of each part.
    """

    launch: int
    at_s: tuple[float, ...]
    p50_ms: tuple[float, ...]
    low_ms: tuple[float, ...]
    high_ms: tuple[float, ...]
