"""Agreement: whether an engine finds the boxes that its checkpoint finds, and is as sure of them.

Two arms may have one mAP and yet differ where it counts: mAP ranks detections, while a deployed engine keeps
those above one confidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...records import SCORE_BINS
from .average_precision import Array

MATCH_IOU = 0.5
"""From this overlap on, two boxes of one class are the same object."""
_HAIR = 1e-7
_PAIRS = 2**20
"""Pairs of boxes compared at once."""


@dataclass(frozen=True)
class Detections:
    """What one arm detected: N detections.

    Attributes:
        image: N, whole numbers: the image each is in.
        cls: N, whole numbers: its class.
        conf: N: its confidence, from 0 to 1.
        box: N x 4: x1, y1, x2, y2 in pixels; or N x 5, rotated: x and y of the centre, width, height in pixels, angle
            in radians.
    """

    image: Array
    cls: Array
    conf: Array
    box: Array

    def __post_init__(self) -> None:
        n = len(self.conf)
        if self.image.shape != (n,) or self.cls.shape != (n,) or self.box.shape not in ((n, 4), (n, 5)):
            raise ValueError(f"image, cls, conf and box do not belong together: {self.image.shape}, {n}, ...")


@dataclass(frozen=True)
class Agreement:
    """How an engine's detections compare with its checkpoint's.

    Attributes:
        detections: Detections of the checkpoint at the deployment confidence.
        shared: How many of those the engine has too at that confidence: same class, overlap at least 0.5.
        score_before: Median confidence of the checkpoint's detections that the engine has at any confidence; NaN where
            there are none.
        score_after: Median confidence of the engine's own for the same.
        scores_before: How many of those have which confidence in the checkpoint: bins of equal width from 0 to 1.
        scores_after: In the engine.
    """

    detections: int
    shared: int
    score_before: float
    score_after: float
    scores_before: tuple[int, ...] = ()
    scores_after: tuple[int, ...] = ()


def agreement(parts: Iterable[tuple[Detections, Detections]], conf: float) -> Agreement:
    """Compare two arms that saw the same images.

    Args:
        parts: The checkpoint's detections in some images, and the engine's in the same; several parts, each of other
            images, so that none is held whole.
        conf: Confidence from which a detection counts when deployed.
    """
    detections, matched = 0, [(np.empty(0), np.empty(0))]
    for reference, engine in parts:
        deployed = np.flatnonzero(reference.conf >= conf)
        mine, theirs = _matches(reference, deployed, engine)
        detections += len(deployed)
        matched.append((reference.conf[mine], engine.conf[theirs]))
    scores = [np.concatenate(x) for x in zip(*matched[1:] or matched, strict=True)]
    before, after = (float(np.median(x)) if len(x) else float("nan") for x in scores)
    counts = [np.histogram(x, SCORE_BINS, (0, 1))[0].tolist() for x in scores]
    return Agreement(
        detections=detections,
        shared=int((scores[1] >= conf).sum()),
        score_before=before,
        score_after=after,
        scores_before=tuple(counts[0]),
        scores_after=tuple(counts[1]),
    )


def shared(reference: Detections, wanted: Array, engine: Detections) -> tuple[Array, Array, Array]:
    """Return which detections of two arms are one object, of the same class and with an overlap of at least 0.5.

    Args:
        reference: The checkpoint's detections.
        wanted: Indices of those that are looked for.
        engine: The engine's.

    Returns:
        Indices into ``reference`` and into ``engine``, none twice, and the overlap of each pair.
    """
    mine, theirs = _matches(reference, wanted, engine)
    return mine, theirs, _overlap(reference.box[mine], engine.box[theirs])


def _matches(reference: Detections, wanted: Array, engine: Detections) -> tuple[Array, Array]:
    """Pair detections of one image and class, none twice, the engine's surest first, each with its best overlap.

    Returns:
        Indices into ``reference`` (of those ``wanted``) and into ``engine``.
    """
    mine, theirs, overlap = _overlapping(reference, wanted, engine)
    order = np.lexsort((mine, theirs, -overlap, -engine.conf[theirs]))
    taken_mine, taken_theirs, kept = set[int](), set[int](), []
    for at, one, other in zip(order.tolist(), mine[order].tolist(), theirs[order].tolist(), strict=True):
        if one not in taken_mine and other not in taken_theirs:
            taken_mine.add(one)
            taken_theirs.add(other)
            kept.append(at)
    return mine[kept], theirs[kept]


def _overlapping(reference: Detections, wanted: Array, engine: Detections) -> tuple[Array, Array, Array]:
    """Return all pairs of one image and class with an overlap of at least :data:`MATCH_IOU`, and that overlap."""
    classes = 1 + int(max(reference.cls.max(initial=0), engine.cls.max(initial=0)))
    key = engine.image.astype(np.int64) * classes + engine.cls
    order = np.argsort(key, kind="stable")
    sought = reference.image[wanted].astype(np.int64) * classes + reference.cls[wanted]
    first, last = (np.searchsorted(key[order], sought, side=side) for side in ("left", "right"))
    found = []
    ends = np.cumsum(last - first)
    start = 0
    while start < len(wanted):
        # As many as fit, and at least one.
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
        counts = (last - first)[start:stop]
        mine = np.repeat(wanted[start:stop], counts)
        offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        theirs = order[np.repeat(first[start:stop], counts) + offset]
        overlap = _overlap(reference.box[mine], engine.box[theirs])
        same = overlap >= MATCH_IOU
        found.append((mine[same], theirs[same], overlap[same]))
        start = stop
    none = np.empty(0, dtype=np.intp)
    mine, theirs, overlap = (np.concatenate(column) for column in zip((none, none, np.empty(0)), *found, strict=True))
    return mine, theirs, overlap


def _overlap(one: Array, other: Array) -> Array:
    """Return the overlap of boxes (P x 4 each, or P x 5, rotated), pair by pair, from 0 to 1."""
    return _rotated_overlap(one, other) if one.shape[1] == 5 else _iou(one, other)


def _iou(one: Array, other: Array) -> Array:
    """Return the overlap of boxes (P x 4 each), pair by pair: intersection over union, 0 for boxes without area."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = [np.clip(box[:, 2:] - box[:, :2], 0, None).prod(axis=1) for box in (one, other)]
    union = areas[0] + areas[1] - shared
    overlap: Array = np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
    return overlap


def _rotated_overlap(one: Array, other: Array) -> Array:
    """Return the likeness of rotated boxes (P x 5 each), pair by pair, from 0 to 1.

    Each box stands for a Gaussian distribution; from their Bhattacharyya distance d comes 1 - sqrt(1 - exp(-d)), which
    Ultralytics takes for their overlap too. Llerena et al., Gaussian Bounding Boxes and Probabilistic
    Intersection-over-Union for Object Detection, 2021.
    """
    (a1, b1, c1), (a2, b2, c2) = _covariance(one), _covariance(other)
    dx, dy = (one[:, :2].astype(np.float64) - other[:, :2]).T
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    # Boxes without area have no distribution; a hair keeps the divisions defined.
    determinant = np.maximum(a * b - c**2, _HAIR)
    apart = (a * dy**2 + b * dx**2 - 2 * c * dx * dy) / (4 * determinant)
    areas = np.maximum(a1 * b1 - c1**2, 0) * np.maximum(a2 * b2 - c2**2, 0)
    unlike = np.log(np.maximum(determinant / (4 * np.sqrt(areas) + _HAIR), 1)) / 2
    likeness: Array = 1 - np.sqrt(1 - np.exp(-np.clip(apart + unlike, 0, 100)))
    return likeness


def _covariance(box: Array) -> tuple[Array, Array, Array]:
    """Return the variances along x and y of rotated boxes, and their covariance."""
    width, height, angle = box[:, 2:5].astype(np.float64).T
    along, across = width**2 / 12, height**2 / 12
    cos, sin = np.cos(angle), np.sin(angle)
    return along * cos**2 + across * sin**2, along * sin**2 + across * cos**2, (along - across) * cos * sin
