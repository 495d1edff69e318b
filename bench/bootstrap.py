"""How long the paired bootstrap of two arms takes on a set of COCO's size, and how much memory.

python bench/bootstrap.py [--detections 20]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from machine import keep

from pytest_trtgate.judge.accuracy.average_precision import ImageRecords, RankedArm
from pytest_trtgate.judge.accuracy.bootstrap import paired_bootstrap

IMAGES, CLASSES, OBJECTS, REPLICATES = 5000, 80, 36_000, 1000


def records(seed: int, detections: int) -> ImageRecords:
    """Return the records of an arm that finds four objects of five, among as many false detections as asked for."""
    truth, rng = np.random.default_rng(0), np.random.default_rng(seed)
    target_cls = truth.integers(0, CLASSES, OBJECTS).astype(np.int32)
    target_image = truth.integers(0, IMAGES, OBJECTS).astype(np.int32)
    found = np.flatnonzero(rng.random(OBJECTS) < 0.8)
    false = max(0, IMAGES * detections - len(found))
    tp = rng.beta(6, 2, (len(found), 1)) >= np.arange(0.5, 1, 0.05)
    return ImageRecords(
        tp=np.concatenate([tp, np.zeros((false, 10), dtype=bool)]),
        conf=np.concatenate([rng.beta(4, 2, len(found)), rng.beta(1, 8, false)]).astype(np.float32),
        pred_cls=np.concatenate([target_cls[found], rng.integers(0, CLASSES, false)]).astype(np.int32),
        pred_image=np.concatenate([target_image[found], rng.integers(0, IMAGES, false)]).astype(np.int32),
        target_cls=target_cls,
        target_image=target_image,
    )


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detections", type=int, default=20, help="Per image and arm (default: 20)")
    detections: int = parser.parse_args().detections
    made = [records(seed, detections) for seed in (1, 2)]
    arms = [RankedArm.of(one) for one in made]
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        paired_bootstrap(arms[0], arms[1], IMAGES, replicates=REPLICATES)
        seconds.append(time.perf_counter() - started)
    keep(
        "bootstrap",
        {
            "images": IMAGES,
            "classes": CLASSES,
            "replicates": REPLICATES,
            "detections_of_both_arms": sum(len(one.conf) for one in made),
            "seconds": [round(s, 2) for s in seconds],
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
    )


if __name__ == "__main__":
    main()
