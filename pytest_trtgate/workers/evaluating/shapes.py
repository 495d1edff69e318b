"""Shapes as per-image records hold them: the boxes around rotated ones, and the outlines of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def around(rotated: NDArray[Any]) -> NDArray[Any]:
    """Return the upright boxes (N x 4: x1, y1, x2, y2) around rotated ones (N x 5: centre, width, height, radians)."""
    import numpy as np

    centre, (width, height, angle) = rotated[:, :2], rotated[:, 2:5].T
    cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    half = np.stack([width * cos + height * sin, width * sin + height * cos], axis=1) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def outlines(masks: Any, wanted: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the largest outline of each mask: P x 2, x and y in pixels of the masks; 0 x 2 if it is not wanted.

    ``masks`` is a tensor of N x height x width zeros and ones; ``wanted`` has N booleans.
    """
    import cv2
    import numpy as np

    none = np.zeros((0, 2), dtype=np.float32)
    found = [none] * len(masks)
    for i in np.flatnonzero(wanted).tolist():
        mask = np.ascontiguousarray(masks[i].cpu().numpy().astype(np.uint8))
        contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        if contours:
            found[i] = max(contours, key=cv2.contourArea).reshape(-1, 2).astype(np.float32)
    return found
