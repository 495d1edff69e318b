"""How alike the masks and the keypoints of two arms are, where they agree on a box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .average_precision import Array

GRID = 32
"""Areas are compared on so many rows and columns, laid over both."""
_PAIRS = 256
"""Pairs of masks compared at once."""
SPREAD = 0.14
"""How far a keypoint may reasonably be off, as a part of the object's size: twice 0.07, which is about the middle of
the standard deviations that COCO's object keypoint similarity has for those of a person (0.025 to 0.107)."""
VISIBLE = 0.5
"""Keypoints that are less likely to be seen count for nothing."""


@dataclass(frozen=True)
class Forms:
    """What an arm knows of its N detections beside their boxes; None where its task has no such thing.

    Attributes:
        keypoints: N x K x 2 or 3: x and y in pixels, and how visible each is.
        outline: P x 2: the points of the masks' outlines in pixels, one mask after the other.
        outline_points: N: how many of them each mask has; 0 where it is empty.
    """

    keypoints: Array | None = None
    outline: Array | None = None
    outline_points: Array | None = None


def mask_overlaps(forms: tuple[Forms, Forms], mine: Array, theirs: Array) -> Array:
    """Return the overlap of the masks of pairs of detections (P, from 0 to 1), to a few hundredths.

    Args:
        forms: Those of both arms.
        mine: P indices into the detections of the first.
        theirs: P indices into those of the second.

    Returns:
        Intersection over union; 1 for all where an arm has no masks, and for pairs without any.
    """
    if any(form.outline is None or form.outline_points is None for form in forms):
        return np.ones(len(mine))
    here, there = forms
    parts = [slice(start, start + _PAIRS) for start in range(0, len(mine), _PAIRS)]
    return np.concatenate([np.ones(0), *(_overlaps(_Lines(here, mine[p]), _Lines(there, theirs[p])) for p in parts)])


class _Lines:
    """The outlines of L masks, their points one after the other: where each begins and ends, and whose side it is."""

    def __init__(self, form: Forms, chosen: Array) -> None:
        assert form.outline is not None
        assert form.outline_points is not None
        points = form.outline_points.astype(np.intp)
        self.counts = points[chosen]
        self.owner = np.repeat(np.arange(len(chosen)), self.counts)
        first = (np.cumsum(points) - points)[chosen][self.owner]
        place = np.arange(len(self.owner)) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        self.start = form.outline[first + place].astype(np.float64)
        self.end = form.outline[first + (place + 1) % self.counts[self.owner]].astype(np.float64)

    def filled(self, low: Array, size: Array) -> Array:
        """Return which centres of each mask's grid are inside its outline: L x rows x columns, boolean."""
        (x, y), (to_x, to_y) = (((p - low[self.owner]) / size[self.owner] * GRID).T for p in (self.start, self.end))
        rows = np.arange(GRID)[:, None] + 0.5
        row, side = np.nonzero((y <= rows) != (to_y <= rows))
        at = x[side] + (row + 0.5 - y[side]) / (to_y[side] - y[side]) * (to_x[side] - x[side])
        column = np.clip(np.ceil(at - 0.5), 0, GRID).astype(np.intp)
        shape = len(self.counts), GRID, GRID + 1
        place = np.ravel_multi_index((self.owner[side], row, column), shape)
        crossed = np.bincount(place, minlength=shape[0] * shape[1] * shape[2]).reshape(shape)
        inside: Array = crossed.cumsum(axis=2)[..., :GRID] % 2 == 1
        return inside


def _overlaps(one: _Lines, other: _Lines) -> Array:
    low, high = np.full((len(one.counts), 2), np.inf), np.full((len(one.counts), 2), -np.inf)
    for lines in (one, other):
        np.minimum.at(low, lines.owner, lines.start)
        np.maximum.at(high, lines.owner, lines.start)
    size = np.maximum(high - low, 1e-9)
    here, there = (lines.filled(low, size) for lines in (one, other))
    either = (here | there).sum(axis=(1, 2))
    # Neither fills a square: both are lines, or there are none.
    overlap: Array = np.where(either > 0, (here & there).sum(axis=(1, 2)) / np.maximum(either, 1), 1.0)
    return overlap


def pose_likeness(forms: tuple[Forms, Forms], mine: Array, theirs: Array, area_px2: Array) -> Array:
    """Return how alike the keypoints of pairs of detections are (P, from 0 to 1).

    Object keypoint similarity, exp(-d^2 / (2 s^2 k^2)) on average, with one k for all keypoints: of COCO's
    evaluation, https://cocodataset.org/#keypoints-eval. Keypoints count that either arm sees.

    Args:
        forms: Those of both arms.
        mine: P indices into the detections of the first.
        theirs: P indices into those of the second.
        area_px2: P: the size of each object, in square pixels.

    Returns:
        1 for all where an arm has no keypoints, and for pairs without any that are seen.
    """
    if forms[0].keypoints is None or forms[1].keypoints is None:
        return np.ones(len(mine))
    here, there = forms[0].keypoints[mine].astype(np.float64), forms[1].keypoints[theirs].astype(np.float64)
    seen = _seen(here) | _seen(there)
    squares = ((here[..., :2] - there[..., :2]) ** 2).sum(axis=2)
    alike = np.exp(-squares / (2 * np.maximum(area_px2, 1.0)[:, None] * SPREAD**2))
    count = seen.sum(axis=1)
    return np.where(count > 0, (alike * seen).sum(axis=1) / np.maximum(count, 1), 1.0)


def _seen(keypoints: Array) -> Array:
    """Return which keypoints are seen (P x K); those without a third number are not where they are at 0, 0."""
    seen: Array = keypoints[..., 2] >= VISIBLE if keypoints.shape[2] == 3 else (keypoints != 0).any(axis=2)
    return seen
