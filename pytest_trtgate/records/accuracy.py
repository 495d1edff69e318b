"""Records: the only thing that passes between the parts of the gate, and what every file on disk is.

Times are in milliseconds where a name ends in ``_ms``; moments are ISO 8601 in UTC.
"""

from __future__ import annotations

from .base import FileRecord, Record
from .tasks import Head, Task


class ClassAccuracy(Record):
    """Accuracy of one class: ``metrics`` has the same keys as the overall ones."""

    name: str
    images: int
    instances: int
    metrics: dict[str, float]


class AccuracySettings(Record):
    """What an evaluation was run with; equal for every arm, or the arms are not comparable.

    ``nms``: as the exporter was asked for it, see the setting ``export.nms``.
    """

    split: str
    imgsz: int
    batch: int
    conf: float
    iou: float
    max_det: int
    rect: bool = False
    nms: bool | None = None

    def differing(self, other: AccuracySettings) -> list[str]:
        """Return what differs from other settings, as ``name here, there``."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in type(self).model_fields)
        return [f"{name} {mine} and {theirs}" for name, mine, theirs in pairs if mine != theirs]


class AccuracyRecord(FileRecord):
    """Accuracy of one arm on one split; ``unreadable`` names damaged images that no arm was evaluated on.

    ``head``: how its boxes were thinned out; None for a classifier, and in records that do not say.
    """

    model: str
    arm: str
    task: Task = "detect"
    head: Head | None = None
    settings: AccuracySettings
    images: int
    instances: int
    data_digest: str = ""
    unreadable: tuple[str, ...] = ()
    metrics: dict[str, float]
    classes: tuple[ClassAccuracy, ...]
    per_image: str
    seconds: float
    measured_at: str = ""
    reused: bool = False
