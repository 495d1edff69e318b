"""Average precision, as Ultralytics defines it, for many weightings of the images at once.

It is the area under the 101-point interpolated envelope of the precision-recall curve, per class and at IoU 0.50, 0.55,
..., 0.95. The envelope is a step function that is constant between the recalls of two true positives, so the area is a
sum over true positives alone, each weighted by how many of the 101 recalls it covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IOUS = 10
"""IoU thresholds 0.50, 0.55, ..., 0.95."""
RECALLS = 100
"""Recalls 0, 0.01, ..., 0.99 of the interpolation; at recall 1 its value is 0."""
NARROW = 64
"""Weightings at once; with fewer, numpy's calls cost more than its sums."""

_FLOAT32_OBJECTS = 30_000
"""Up to so many objects of a class, the share of recalls covered is exact in float32."""

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


def average_precision(records: ImageRecords) -> tuple[Array, Array]:
    """Return the classes that have objects, in ascending order, and their average precision.

    Equal to Ultralytics' own; among equal confidences, detections count in the order of the records.

    Returns:
        Classes (C) and average precision (C x 10).
    """
    images = 1 + int(max(records.pred_image.max(initial=0), records.target_image.max(initial=0)))
    classes = np.unique(records.target_cls)
    weights = np.ones((images, 1))
    ap = [class_ap(RankedClass.of(records, int(cls)), weights)[:, 0] for cls in classes]
    return classes, np.array(ap).reshape(len(classes), IOUS)


@dataclass(frozen=True)
class RankedClass:
    """One class of one arm, its detections in the order of falling confidence.

    Attributes:
        images: The image of each detection.
        hits: Positions of the detections that are true positives at any IoU.
        at_iou: Per IoU, positions in ``hits`` of the true positives.
        target_images: The image of each object.
    """

    images: Array
    hits: Array
    at_iou: tuple[Array, ...]
    target_images: Array

    @classmethod
    def of(cls, records: ImageRecords, number: int) -> RankedClass:
        """Pick out one class and sort it, stably."""
        own = np.flatnonzero(records.pred_cls == number)
        own = own[np.argsort(-records.conf[own], kind="stable")]
        tp = records.tp[own].astype(bool)
        hits = np.flatnonzero(tp.any(axis=1))
        return cls(
            images=records.pred_image[own].astype(np.intp),
            hits=hits,
            at_iou=tuple(np.flatnonzero(column) for column in tp[hits].T),
            target_images=records.target_image[records.target_cls == number].astype(np.intp),
        )


def class_ap(cls: RankedClass, weights: Array) -> Array:
    """Return the average precision (10 x R) of one class under weights per image (I x R, whole numbers)."""
    ap = np.zeros((IOUS, weights.shape[1]), dtype=weights.dtype)
    if not len(cls.hits):
        return ap
    objects = weights[cls.target_images].sum(axis=0)
    if objects.max() > _FLOAT32_OBJECTS:
        weights, objects = weights.astype(np.float64), objects.astype(np.float64)
    seen = weights[cls.images]
    hit = seen[cls.hits]
    _scan(np.add, seen)
    seen = np.maximum(seen[cls.hits], 1)
    # A recall that a true positive reaches exactly is not covered by it, whence a hair less than 100 / objects.
    hair = 2e-7 if weights.dtype == np.float32 else 1e-12
    scale = (RECALLS * (1 - hair) / np.maximum(objects, 1)).astype(weights.dtype)
    for iou, rows in enumerate(cls.at_iou):
        if len(rows):
            ap[iou] = _area(hit[rows], seen[rows], scale)
    return ap


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
