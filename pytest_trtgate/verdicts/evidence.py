"""What an accuracy verdict rests on beside the metrics: what each image contributed to them, read and compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RecordError
from ..records import (
    KINDS,
    LIST_BYTES,
    AccuracyRecord,
    EngineRecord,
    PerImage,
    Task,
    files_sha256,
    read_bytes,
    true_positives,
)

if TYPE_CHECKING:
    from ..judge.accuracy.agreement import Agreement, Detections
    from ..judge.accuracy.average_precision import Array, RankedArm
    from ..judge.accuracy.bootstrap import Bootstrap, Drop

REPLICATES = 1000
FEWEST_REPLICATES = 200
SHOWN_WORK, DECIDING_WORK = 20_000_000, 1_000_000_000
"""Detections of both arms times replicates: fewer replicates are drawn of more detections, so that an interval that is
only shown takes a fraction of a second, and one that decides takes seconds."""
PART = 1000
"""Images whose boxes are compared at once."""


@dataclass(frozen=True)
class Evidence:
    """Two arms on the same images: their drops with intervals, how far their detections agree, and their curves.

    ``curves`` are of the checkpoint and the engine: precision (10 x 51) by IoU and recall; none of what has no boxes.
    """

    comparison: Bootstrap
    agreement: Agreement
    curves: tuple[Array, ...] = ()


def gather(folder: Path, reference: AccuracyRecord, engine: AccuracyRecord, conf: float, *, decides: bool) -> Evidence:
    """Read the per-image records of two arms and compare them.

    Args:
        folder: The run's folder, at which the records' paths start.
        reference: The checkpoint's accuracy.
        engine: The engine's.
        conf: Confidence from which a detection counts when deployed.
        decides: Whether the verdict hangs on the intervals.

    Raises:
        RecordError: The arrays of an arm are missing or unusable, or the arms saw other images or objects.
    """
    arms = [PerImage(folder / record.per_image) for record in (reference, engine)]
    if len({tuple(arm.read(["images"])["images"].tolist()) for arm in arms}) > 1:
        raise RecordError(f"{arms[1].path}: not of the same images as those of the .pt")
    try:
        if engine.task == "classify":
            return _of_classes(arms)
        return _of_detections(arms, engine.task, conf, DECIDING_WORK if decides else SHOWN_WORK)
    except (ValueError, IndexError, TypeError) as error:
        raise RecordError(f"{arms[1].path}: the per-image records cannot be compared ({error})") from error


def _of_classes(arms: list[PerImage]) -> Evidence:
    from ..judge.accuracy.classification import Classified, classified_agreement, compare_classified

    reference, engine = (Classified(*arm.read(["top", "top_conf", "target"]).values()) for arm in arms)
    return Evidence(compare_classified(reference, engine), classified_agreement(reference, engine))


@dataclass(frozen=True)
class _RankedFile:
    """An arm's detections by what average precision is of, and how to come by the rest of them.

    Attributes:
        images: How many were evaluated.
        kinds: The detections, ranked by their boxes, masks or keypoints.
        place: N: the place of each detection among all, the surest first.
        ends: How many detections there are up to the end of each part; one part holds all where they are in no order.
    """

    file: PerImage
    images: int
    kinds: dict[str, RankedArm]
    place: Array
    ends: Array

    @classmethod
    def of(cls, file: PerImage, task: Task) -> _RankedFile:
        import numpy as np

        from ..judge.accuracy.average_precision import ImageRecords, RankedArm

        arrays = file.read(["conf", "pred_cls", "pred_image", "target_cls", "target_image"])
        # Quantized engines give many detections one confidence. Ultralytics ranks those as this sort happens to.
        order = np.argsort(-arrays["conf"])
        kinds = {}
        for kind in KINDS[task]:
            tp = true_positives(kind)
            kinds[kind] = RankedArm.of(ImageRecords(tp=file.read([tp])[tp], **arrays), order)
        images, of = len(file.read(["images"])["images"]), arrays["pred_image"]
        place = np.empty(len(order), dtype=np.int32)
        place[order] = np.arange(len(order))
        sorted_ = bool((of[1:] >= of[:-1]).all())
        ends = np.searchsorted(of, range(PART, images + PART, PART)) if sorted_ else np.array([len(of)])
        return cls(file, images, kinds, place, ends)

    def parts(self, box: str) -> Iterator[Detections]:
        """Yield the detections, the surest first, of some images after the other."""
        import numpy as np

        from ..judge.accuracy.agreement import Detections

        start = 0
        for arrays in self.file.parts(["pred_image", "pred_cls", "conf", box], self.ends.tolist()):
            end = start + len(arrays[0])
            order = np.argsort(self.place[start:end])
            yield Detections(*(array[order] for array in arrays))
            start = end


def _of_detections(files: list[PerImage], task: Task, conf: float, work: int) -> Evidence:
    from ..judge.accuracy.agreement import agreement
    from ..judge.accuracy.average_precision import precision_recall
    from ..judge.accuracy.bootstrap import paired_bootstrap

    reference, engine = arms = [_RankedFile.of(file, task) for file in files]
    affordable = work // max(1, len(KINDS[task]) * sum(len(arm.place) for arm in arms))
    replicates = min(REPLICATES, max(FEWEST_REPLICATES, affordable))
    metrics: dict[str, Drop] = {}
    for kind in KINDS[task]:
        pair = [arm.kinds[kind] for arm in arms]
        comparison = paired_bootstrap(pair[0], pair[1], reference.images, replicates=replicates)
        metrics |= {kind + name: drop for name, drop in comparison.metrics.items()}
    # The last kind is what the task is about, and so are its classes and curves.
    curves = tuple(map(precision_recall, pair))
    if len(reference.ends) != len(engine.ends):
        reference, engine = (replace(arm, ends=arm.ends[-1:]) for arm in arms)
    box = "pred_rbox" if task == "obb" else "pred_box"
    agreed = agreement(zip(reference.parts(box), engine.parts(box), strict=True), conf)
    return Evidence(replace(comparison, metrics=metrics), agreed, curves)


def calibrated_on(engine: EngineRecord, split: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the images that an engine was calibrated on; none where they can no longer be told.

    Args:
        engine: The engine.
        split: The images of the split that it was calibrated on, whose content is part of the engine's key.
    """
    calibration = engine.calibration
    if calibration is None:
        return ()
    if calibration.images == len(split):
        return split
    try:
        listed = read_bytes(Path(engine.entry) / "calibration.txt", LIST_BYTES).splitlines()
        images = tuple(Path(os.fsdecode(line)) for line in listed)
        # The paths are those of the checkout that built the engine, which may be gone or hold other files now.
        return images if files_sha256(images) == calibration.digest else ()
    except OSError:
        return ()
