"""What is drawn of a detection or an object: its box, rotated where it is, its mask's outline, and its keypoints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .media_records import Joint, Mark, Point, Shape

if TYPE_CHECKING:
    from .judge.average_precision import Array

OUTLINE = "pred_outline"
DETECTED = ("pred_rbox", f"{OUTLINE}_points", "pred_keypoints")
"""Per-image arrays with a row for each detection, of which an arm has those of its task; older records have none."""
TRUTH = ("target_rbox", "target_outline", "target_outline_points", "target_keypoints")
"""The same of the objects."""
MOST_POINTS = 40
"""So many points are kept of an outline."""
VISIBLE = 0.5
"""Keypoints that are less likely to be seen are not drawn."""
Arrays = dict[str, Any]


def shape_of(arm: Arrays, kind: str, index: int, conf: float | None = None, mark: Mark = "same") -> Shape:
    """Return one detection or object as it is drawn.

    Args:
        arm: Per-image arrays as an accuracy job writes them, in the job's order.
        kind: ``pred`` or ``target``.
        index: Which of them.
        conf: Its confidence; None for ground truth.
        mark: How it stands to the other arm's.

    Raises:
        ValueError: The arrays have other columns than an accuracy job writes.
        IndexError: One of them is too short.
    """
    return Shape(
        label=str(arm["names"][int(arm[f"{kind}_cls"][index])]),
        points=_points(arm, kind, index),
        joints=_joints(arm[f"{kind}_keypoints"][index]) if f"{kind}_keypoints" in arm else (),
        conf=None if conf is None else round(conf, 3),
        mark=mark,
    )


def _points(arm: Arrays, kind: str, index: int) -> tuple[Point, ...]:
    if f"{kind}_rbox" in arm:
        return _corners(arm[f"{kind}_rbox"][index])
    if f"{kind}_outline" in arm and f"{kind}_outline_points" in arm:
        counts = arm[f"{kind}_outline_points"]
        start = int(counts[:index].sum())
        line = _thinned(arm[f"{kind}_outline"][start : start + int(counts[index])])
        if len(line) > 2:
            return tuple(_rounded(x, y) for x, y in line.tolist())
    x1, y1, x2, y2 = arm[f"{kind}_box"][index].tolist()
    return _rounded(x1, y1), _rounded(x2, y2)


def _corners(box: Array) -> tuple[Point, ...]:
    """Return the corners of a rotated box (5: x and y of the centre, width, height, radians), one after the other."""
    x, y, width, height, angle = box.tolist()
    cos, sin = math.cos(angle), math.sin(angle)
    halves = [(i * width / 2, j * height / 2) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return tuple(_rounded(x + along * cos - across * sin, y + along * sin + across * cos) for along, across in halves)


def _thinned(line: Array) -> Array:
    """Return at most :data:`MOST_POINTS` of the points of an outline (P x 2), evenly along it."""
    import numpy as np

    if len(line) <= MOST_POINTS:
        return line
    steps = np.hypot(*np.diff(line, axis=0, append=line[:1]).T)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0, way[-1], MOST_POINTS, endpoint=False)
    # Points themselves, rather than places between them, keep corners that end a long side.
    kept: Array = line[np.unique(np.searchsorted(way[:-1], wanted).clip(max=len(line) - 1))]
    return kept


def _joints(keypoints: Array) -> tuple[Joint, ...]:
    """Return the places of keypoints (K x 2 or 3: x, y and how visible it is), None for those that are not seen."""
    return tuple(_joint(*keypoint) for keypoint in keypoints.tolist())


def _joint(x: float, y: float, visible: float | None = None) -> Joint:
    # Where there is no third number, Ultralytics puts what is not labelled at 0, 0.
    seen = visible >= VISIBLE if visible is not None else (x, y) != (0, 0)
    return _rounded(x, y) if seen and math.isfinite(x) and math.isfinite(y) else None


def _rounded(x: float, y: float) -> Point:
    return round(x, 1), round(y, 1)
