"""How label files can change an engine: Ultralytics does not calibrate on images with unusable labels.

The content of sound labels changes nothing, so correcting a box must not rebuild an engine. Only labels that some
release of Ultralytics might refuse count, by their content.
"""

from __future__ import annotations

import errno
import math
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..records import file_sha256, read_bytes

RULES_VERSION = 1
"""Raise it when the rules below change: results for unchanged files are stored."""
SOUND = "sound"
_NUMBERS = re.compile(rb"[-+.0-9eE \t\r\n]*")
_BOX_COLUMNS = 5
_WITH_VISIBILITY = 3
"""Numbers of a key point that has a visibility behind x and y."""
KeypointShape = tuple[int, int]
"""How many key points follow each box, and the numbers of each."""


def label_state(path: Path, classes: int, keypoints: KeypointShape | None) -> str:
    """Return ``sound`` if Ultralytics surely takes a label file, else the SHA-256 of its content, or ``unreadable``.

    Sound are rows of a class and a box, or of a class and a polygon; with key points, of a class, a box and key points.
    All numbers must be in range. An empty or missing file is sound too: its image has no objects.
    """
    try:
        content = read_bytes(path) if path.is_file() else b""
    except OSError as error:
        return file_sha256(path) if error.errno == errno.EFBIG else "unreadable"
    try:
        rows = [[*map(float, line.split())] for line in content.splitlines() if line.strip()]
    except ValueError:
        rows = [[]]
    sound = _NUMBERS.fullmatch(content) and _one_layout(rows, keypoints)
    if sound and all(_in_range(row, classes, keypoints) for row in rows):
        return SOUND
    return sha256(content).hexdigest()


def keypoints_of(kpt_shape: Any) -> KeypointShape | None:
    """Return the shape of key points that a data YAML names; None if it names no possible one."""
    if not isinstance(kpt_shape, list) or len(kpt_shape) != 2 or not all(isinstance(n, int) for n in kpt_shape):
        return None
    count, numbers = kpt_shape
    return (count, numbers) if count > 0 and numbers in (2, _WITH_VISIBILITY) else None


def _one_layout(rows: list[list[float]], keypoints: KeypointShape | None) -> bool:
    columns = {len(row) for row in rows}
    if keypoints:
        return columns <= {_BOX_COLUMNS + keypoints[0] * keypoints[1]}
    return columns <= {_BOX_COLUMNS} or all(count > _BOX_COLUMNS + 1 and count % 2 for count in columns)


def _in_range(row: list[float], classes: int, keypoints: KeypointShape | None) -> bool:
    cls, *values = row
    if keypoints and keypoints[1] == _WITH_VISIBILITY:
        if not all(0 <= seen < math.inf for seen in values[6::3]):
            return False
        del values[6::3]
    return cls % 1 == 0 and 0 <= cls < classes and all(0 <= value <= 1 for value in values)
