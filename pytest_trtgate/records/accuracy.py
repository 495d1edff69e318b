"""The accuracy of one arm on one split of the dataset."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer

from .base import FileRecord, Record, Trouble
from .names import InnerPath
from .tasks import Head, Task


class ClassAccuracy(Record):
    """Accuracy of one class: ``metrics`` has the same keys as the overall ones."""

    name: str
    images: int
    instances: int
    metrics: dict[str, float]


class AccuracySettings(Record):
    """The settings of an evaluation; arms are comparable only if theirs are equal.

    ``nms`` is ``export.nms``. ``single_cls``: all objects count as one class, as the checkpoint was trained.
    """

    split: str
    imgsz: int
    batch: int
    conf: float
    iou: float
    max_det: int
    rect: bool = False
    nms: bool | None = None
    single_cls: bool = False

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ``single_cls`` where it is false, so that files and keys are those of earlier releases."""
        fields: dict[str, Any] = dump(self)
        return fields if self.single_cls else {name: value for name, value in fields.items() if name != "single_cls"}

    def differing(self, other: AccuracySettings) -> list[str]:
        """Return what differs from other settings, as ``name here, there``."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in type(self).model_fields)
        return [f"{name} {mine} and {theirs}" for name, mine, theirs in pairs if mine != theirs]


class AccuracyRecord(FileRecord):
    """Accuracy of one arm on one split; ``unreadable`` names images that no arm was evaluated on, damaged as they are.

    ``left_out`` counts them and says why the first was left out; records of earlier releases do not have it.
    ``head``: where its boxes are suppressed; None for a classifier, and in records that do not say.
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
    left_out: Trouble = Trouble()
    metrics: dict[str, float]
    classes: tuple[ClassAccuracy, ...]
    per_image: InnerPath
    seconds: float
    measured_at: str = ""
    reused: bool = False

    def __repr__(self) -> str:
        """Return the metrics, not the hundreds of figures of the classes: a failed assertion shows it."""
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return f"<AccuracyRecord {self.model} {self.arm}: {metrics}; {self.images} images of '{self.settings.split}'>"

    @field_validator("classes")
    @classmethod
    def _told_apart(cls, classes: tuple[ClassAccuracy, ...]) -> tuple[ClassAccuracy, ...]:
        """Add its number to the name of each class that has the name of another: tables and figures go by names."""
        while len(counts := Counter(c.name for c in classes)) < len(classes):
            classes = tuple(
                c.model_copy(update={"name": f"{c.name} (class {number})"}) if counts[c.name] > 1 else c
                for number, c in enumerate(classes)
            )
        return classes
