"""Average precision of the images as they are, from the parts that weigh them."""

from __future__ import annotations

import numpy as np

from pytest_trtgate.judge.accuracy.average_precision import IOUS, Array, ImageRecords, RankedArm, class_ap


def average_precision(records: ImageRecords) -> tuple[Array, Array]:
    """Return the classes that have objects, in ascending order, and their average precision.

    Equal to Ultralytics' own; among equal confidences, detections count in the order of the records.

    Returns:
        Classes (C) and average precision (C x 10).
    """
    arm = RankedArm.of(records)
    weights = np.ones((1 + arm.images[1], 1))
    ap = [class_ap(cls, weights)[:, 0] for cls in arm.classes]
    return arm.numbers, np.array(ap).reshape(len(ap), IOUS)
