"""Average precision, as Ultralytics defines it, for many weightings of the images at once.

It is the area under the 101-point interpolated envelope of the precision-recall curve, per class and at IoU 0.50, 0.55,
..., 0.95. The envelope is a step function that is constant between the recalls of two true positives, so the area is a
sum over true positives alone, each weighted by how many of the 101 recalls it covers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...records import CURVE_RECALLS

IOUS = 10
"""IoU thresholds 0.50, 0.55, ..., 0.95."""
RECALLS = 100
"""Recalls 0, 0.01, ..., 0.99 of the interpolation; at recall 1 its value is 0."""
NARROW = 64
"""Weightings at once; with fewer, numpy's calls cost more than its sums."""
_NOTHING = 1e-6
"""Stands for a weight of 0 where something is divided by it."""
_BLOCK = 2**19
"""Elements (detections x weightings) that are summed at once: 2 to 4 MiB, so that they stay in a core's cache."""
_AREA = 2**20
"""Elements (true positives x weightings) of which the area is computed at once."""
Array = NDArray[Any]


@dataclass(frozen=True)
class ImageRecords:
    """What one arm detected, and what there was, for N detections and M objects.

    Attributes:
        tp: N x 10, bool: whether the detection is a true positive at IoU 0.50, 0.55, ..., 0.95.
        conf: N: its confidence.
        pred_cls: N, whole numbers: its class.
        pred_image: N, whole numbers from 0: the image it is in.
        target_cls: M: the class of each object.
        target_image: M: the image it is in.
    """

    tp: Array
    conf: Array
    pred_cls: Array
    pred_image: Array
    target_cls: Array
    target_image: Array

    def __post_init__(self) -> None:
        n, m = len(self.conf), len(self.target_cls)
        if self.tp.shape != (n, IOUS) or self.pred_cls.shape != (n,) or self.pred_image.shape != (n,):
            raise ValueError(f"tp, conf, pred_cls and pred_image do not belong together: {self.tp.shape}, {n}, ...")
        if self.target_image.shape != (m,):
            raise ValueError(f"{m} classes of objects, but {len(self.target_image)} images of objects")
        if not np.isfinite(self.conf).all():
            raise ValueError("a confidence is NaN or infinite")


@dataclass(frozen=True)
class RankedClass:
    """One class of one arm, its detections in the order of falling confidence.

    Attributes:
        images: The image of each detection, down to the last true positive: what comes later changes nothing.
        hits: Positions of the detections that are true positives at any IoU.
        at_iou: Per IoU, positions in ``hits`` of the true positives.
        target_images: The image of each object.
    """

    images: Array
    hits: Array
    at_iou: tuple[Array, ...]
    target_images: Array


@dataclass(frozen=True)
class RankedArm:
    """What one arm detected, ranked class by class, with no more of it than average precision needs.

    Attributes:
        numbers: C: the classes that have objects, in ascending order.
        classes: Those classes.
        images: The lowest and the highest number of an image with a detection or an object; 0 without any.
        target_cls: M: the class of each object.
        target_image: M: the image it is in.
    """

    numbers: Array
    classes: tuple[RankedClass, ...]
    images: tuple[int, int]
    target_cls: Array
    target_image: Array

    @classmethod
    def of(cls, records: ImageRecords, order: Array | None = None) -> RankedArm:
        """Rank what an arm detected.

        Args:
            records: What it detected.
            order: N: its detections, the surest first; by default, equal confidences keep the order of the records.
        """
        if order is None:
            order = np.argsort(-records.conf, kind="stable")
        order = order[np.argsort(records.pred_cls[order], kind="stable")]
        numbers = np.unique(records.target_cls)
        first = np.searchsorted(records.pred_cls, numbers, side="left", sorter=order)
        last = np.searchsorted(records.pred_cls, numbers, side="right", sorter=order)
        classes = [_ranked(records, order[a:b], number) for number, a, b in zip(numbers, first, last, strict=True)]
        images = [x for x in (records.pred_image, records.target_image) if len(x)]
        ends = (int(min(x.min() for x in images)), int(max(x.max() for x in images))) if images else (0, 0)
        return cls(numbers, tuple(classes), ends, records.target_cls, records.target_image)


def _ranked(records: ImageRecords, order: Array, number: int) -> RankedClass:
    """Return one class; ``order``: its detections, the surest first."""
    tp = records.tp[order].astype(bool)
    hits = np.flatnonzero(tp.any(axis=1))
    return RankedClass(
        images=records.pred_image[order[: hits[-1] + 1 if len(hits) else 0]],
        hits=hits,
        at_iou=tuple(np.flatnonzero(column) for column in tp[hits].T),
        target_images=records.target_image[records.target_cls == number],
    )


def class_ap(cls: RankedClass, weights: Array) -> Array:
    """Return the average precision (10 x R) of one class under weights per image (I x R), none under 0."""
    ap = np.zeros((IOUS, weights.shape[1]), dtype=weights.dtype)
    if not len(cls.hits):
        return ap
    single = weights.dtype == np.float32
    objects = np.maximum(weight_of(cls.target_images, weights), _NOTHING)
    seen = np.maximum(_down_to_hits(cls, weights), _NOTHING)
    # A recall that a true positive reaches exactly is not covered by it, whence a hair less than 100 / objects. In
    # single precision the hair is wider than what sums of tens of thousands of weights are rounded by.
    scale = (RECALLS * (1 - (1e-5 if single else 1e-12)) / objects).astype(weights.dtype)
    for part in parts_of(weights.shape[1], len(cls.hits), _AREA, least=8):
        hit = weights[cls.images[cls.hits], part]
        for iou, rows in enumerate(cls.at_iou):
            if len(rows):
                ap[iou, part] = _area(hit[rows], seen[rows, part], scale[part])
    return ap


def weight_of(images: Array, weights: Array) -> Array:
    """Return the weight (R) of some images (N, any of them more than once) under weights per image (I x R)."""
    total = np.zeros(weights.shape[1], dtype=weights.dtype)
    for rows in parts_of(len(images), weights.shape[1], _BLOCK):
        total += weights[images[rows]].sum(axis=0)
    return total


def _down_to_hits(cls: RankedClass, weights: Array) -> Array:
    """Return the weight of all detections down to each hit (H x R)."""
    seen = np.empty((len(cls.hits), weights.shape[1]), dtype=weights.dtype)
    before: Array | None = None
    for rows in parts_of(len(cls.images), weights.shape[1], _BLOCK):
        block = weights[cls.images[rows]]
        if before is not None:
            block[0] += before
        _scan(np.add, block)
        before = block[-1].copy()
        first, last = np.searchsorted(cls.hits, (rows.start, rows.stop))
        seen[first:last] = block[cls.hits[first:last] - rows.start]
    return seen


def parts_of(total: int, width: int, elements: int, least: int = NARROW) -> Iterator[slice]:
    """Cut ``total`` into parts that by ``width`` have at most so many elements, but none into less than ``least``."""
    size = max(least, elements // max(1, width))
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def _area(found: Array, seen: Array, scale: Array) -> Array:
    """Return the area under the interpolated envelope.

    Args:
        found: J x R: weight of each true positive; overwritten.
        seen: J x R: weight of all detections down to it.
        scale: R: recalls covered per true positive.
    """
    _scan(np.add, found)
    precision = np.divide(found, seen)
    _scan(np.maximum, precision[::-1])
    covered = np.ceil(np.multiply(found, scale, out=found), out=found)
    total = covered[0] * precision[0]
    total += np.einsum("jr,jr->r", np.subtract(covered[1:], covered[:-1], out=seen[1:]), precision[1:])
    # The trapezoidal rule counts the first recall half.
    area: Array = (total - precision[0] / 2) / RECALLS
    return area


def _scan(ufunc: np.ufunc, rows: Array) -> None:
    """Accumulate over the rows (J x R), in place.

    As ``ufunc.accumulate``, but several times faster: it goes column by column through blocks of rows, where each call
    handles whole rows of all blocks, then carries the blocks' totals over.
    """
    if rows.shape[1] < NARROW:
        ufunc.accumulate(rows, axis=0, out=rows)
        return
    size = max(1, int(len(rows) ** 0.5))
    whole = len(rows) // size * size
    blocks = rows[:whole].reshape(-1, size, rows.shape[1])
    for i in range(1, size):
        ufunc(blocks[:, i - 1], blocks[:, i], out=blocks[:, i])
    for i in range(1, len(blocks)):
        ufunc(blocks[i - 1, -1], blocks[i, -1], out=blocks[i, -1])
    ufunc(blocks[1:, :-1], blocks[:-1, -1:], out=blocks[1:, :-1])
    for i in range(whole, len(rows)):
        ufunc(rows[i - 1], rows[i], out=rows[i])


def precision_recall(arm: RankedArm) -> Array:
    """Return the precision (10 x 51) at IoU 0.50, 0.55, ..., 0.95 and recalls 0, 0.02, ..., 1.

    It is the highest precision at that recall or a higher one, 0 where no confidence reaches the recall; the mean over
    the classes that have objects, all 0 where none has.
    """
    points = np.linspace(0, 1, CURVE_RECALLS + 1)
    total = np.zeros((IOUS, len(points)))
    for ranked in arm.classes:
        needed = np.maximum(np.ceil(points * len(ranked.target_images) - 1e-9), 1).astype(np.intp)
        for iou, found in enumerate(ranked.at_iou):
            precision = np.arange(1, len(found) + 1) / (ranked.hits[found] + 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            total[iou] += np.append(envelope, 0.0)[np.minimum(needed, len(found) + 1) - 1]
    return total / max(1, len(arm.classes))
