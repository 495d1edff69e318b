"""Precision-recall curves, as average precision sees them: the envelope, and the mean over classes."""

from __future__ import annotations

import numpy as np

from ..figures import CURVE_RECALLS
from .average_precision import IOUS, Array, RankedArm


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
