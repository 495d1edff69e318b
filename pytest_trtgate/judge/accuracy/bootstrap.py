"""Paired bootstrap over images: how far a drop in accuracy may come from the choice of images.

A replicate gives each image a random weight, the same for both arms and for the objects (Rubin, The Bayesian Bootstrap,
Annals of Statistics 9, 1981). So nothing is sorted again: all counts are cumulative sums of weights, computed for many
replicates at once.

What was seen in no image may still happen: 0 of n images allow for a share of 3/n. So a replicate has one image more
than were seen, with a weight like theirs, of which the engine finds nothing. It counts as much as images that matter.
The upper limit is a percentile of these drops. Of means it is the limit of Gaffke (2005); for a share of images it is
that of Clopper and Pearson. The lower limit is Student's t times the standard error below the drop, or the percentile
if that is lower: few images may all lose by chance. ``bench/gate_accuracy.py`` measures how often limits hold.

Bootstrap over images of a detector's average precision: Everingham et al., The PASCAL Visual Object Classes
Challenge: A Retrospective, 2015. Gaffke's limit: Learned-Miller and Thomas, A New Confidence Interval for the Mean of a
Bounded Random Variable, 2019.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ...records import Outcome
from ..distributions import holm, student_t_quantile, student_t_upper_tail
from .average_precision import IOUS, Array, RankedArm, RankedClass, class_ap, parts_of, weight_of

METRICS = ("mAP50", "mAP50-95")
"""Metrics that the bootstrap covers."""
CONFIDENCE = 0.95
"""Of all limits."""
_WEIGHTS = 2**22
"""Weights (images x replicates) held at once: 16 MiB."""
_ROWS = 2**21
"""Elements (detections x replicates) of one class computed at once: 8 MiB, near the size of a core's cache."""


@dataclass(frozen=True)
class Drop:
    """A drop of a metric from the reference to the engine, in points from 0 to 1; less than 0 is a gain.

    Attributes:
        lower: One-sided lower limit.
        upper: One-sided upper limit.
        interval: Two-sided limits.
    """

    reference: float
    engine: float
    drop: float
    lower: float
    upper: float
    interval: tuple[float, float]

    def outcome(self, tolerance: float) -> Outcome:
        """Judge the drop in the population of images.

        Args:
            tolerance: Largest allowed drop, from 0 to 1.

        Returns:
            PASS where the upper limit is under the tolerance, FAIL where the lower limit is over it, else INCONCLUSIVE.
        """
        if self.upper < tolerance:
            return Outcome.PASS
        return Outcome.FAIL if self.lower > tolerance else Outcome.INCONCLUSIVE


@dataclass(frozen=True)
class ClassDrop:
    """The drop of one class in mAP50-95, or in top1 for a classifier.

    Attributes:
        cls: The class, as the records number it.
        images: Images with objects of this class.
        instances: Objects of this class.
        p: One-sided p of a drop above 0, before Holm; 1 where the class is in fewer than two images.
        significant: Whether the drop is significant after Holm over all classes.
    """

    cls: int
    images: int
    instances: int
    change: Drop
    p: float
    significant: bool


@dataclass(frozen=True)
class Bootstrap:
    """Outcome of a paired bootstrap: ``metrics`` by name, ``classes`` in ascending order."""

    images: int
    replicates: int
    metrics: dict[str, Drop]
    classes: tuple[ClassDrop, ...]


def paired_bootstrap(
    reference: RankedArm,
    engine: RankedArm,
    images: int,
    *,
    replicates: int = 1000,
    seed: int = 0,
    threads: int | None = None,
) -> Bootstrap:
    """Compare two arms on the same images.

    Args:
        reference: The arm that the engine is compared with.
        engine: The arm to judge, evaluated on the same images.
        images: How many images were evaluated, with and without objects.
        replicates: How many times images are weighted anew.
        seed: Of the weights; equal seeds give equal results, however many threads there are.
        threads: How many to use; by default the cores of this machine, at most 4.

    Raises:
        ValueError: The arms' objects differ, there are none, or an image number is not below ``images``.
    """
    counts = _require_same_objects(reference, engine, images)
    classes = reference.numbers
    arms = [arm.classes for arm in (reference, engine)]
    point = np.array([[class_ap(c, np.ones((images, 1)))[:, 0] for c in arm] for arm in arms])
    drawn = np.empty((2, len(classes), IOUS, replicates), dtype=np.float32)
    unseen, size = np.empty((1 + len(classes), replicates)), _size_of_unseen(reference, images)
    # Large classes first, so that no thread is left with the largest at the end.
    tasks = [(a, c) for c in range(len(classes)) for a in range(2)]
    tasks.sort(key=lambda task: -len(arms[task[0]][task[1]].images))
    with ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1)) as pool:
        for part, weights in draws(images, replicates, seed):
            more = weights[-1] * size
            unseen[0, part] = more / (more + weights[:-1].sum(axis=0))

            def work(task: tuple[int, int], part: slice = part, weights: Array = weights) -> None:
                a, c = task
                drawn[a, c, :, part] = _replicates(arms[a][c], weights)
                if a == 0:
                    within, objects = counts[int(classes[c])]
                    more = weights[-1] * (objects / within)
                    unseen[1 + c, part] = more / (more + weight_of(arms[a][c].target_images, weights))

            list(pool.map(work, tasks))
    return _compare(counts, point, drawn, unseen, images)


def _size_of_unseen(arm: RankedArm, images: int) -> float:
    """Return how many images the one that was not seen counts as, 1 where all images matter alike.

    Images with many objects, or with objects of rare classes, matter more. What they may lose makes drops skew, by the
    third moment over the second of how much they matter.
    """
    _, of, counts = np.unique(arm.target_cls, return_inverse=True, return_counts=True)
    matter = np.bincount(arm.target_image, weights=images / len(counts) / counts[of], minlength=images)
    return float((matter**3).sum() / (matter**2).sum())


def _replicates(cls: RankedClass, weights: Array) -> Array:
    """Return what :func:`class_ap` does, computed for as many replicates at once as is fast."""
    parts = parts_of(weights.shape[1], len(cls.images), _ROWS)
    return np.concatenate([class_ap(cls, weights[:, part]) for part in parts], axis=1)


def draws(images: int, replicates: int, seed: int) -> Iterator[tuple[slice, Array]]:
    """Yield weights (I + 1 x R) of the images and, last, of one that was not seen, a chunk of replicates at a time."""
    rng = np.random.default_rng(seed)
    for part in parts_of(replicates, images, _WEIGHTS):
        weights = rng.standard_exponential((part.stop - part.start, images + 1), dtype=np.float32)
        yield part, np.ascontiguousarray(weights.T)


def _require_same_objects(reference: RankedArm, engine: RankedArm, images: int) -> dict[int, tuple[int, int]]:
    """Return, per class, in how many images it is and how many objects it has."""
    low = min(reference.images[0], engine.images[0])
    high = max(reference.images[1], engine.images[1])
    if low < 0 or high >= images:
        raise ValueError(f"image numbers from {low} to {high}, but {images} images")
    objects = []
    for arm in (reference, engine):
        order = np.lexsort((arm.target_cls, arm.target_image))
        objects.append((arm.target_image[order], arm.target_cls[order]))
    if not all(np.array_equal(one, other) for one, other in zip(*objects, strict=True)):
        raise ValueError("the arms were evaluated on different objects")
    if not len(reference.target_cls):
        raise ValueError("no image has an object")
    image, cls = objects[0]
    return {int(c): (len(np.unique(image[cls == c])), int((cls == c).sum())) for c in np.unique(cls)}


def _compare(counts: dict[int, tuple[int, int]], point: Array, drawn: Array, unseen: Array, images: int) -> Bootstrap:
    """Summarize.

    Args:
        counts: Images and objects of C classes.
        point: 2 x C x 10: average precision on the images as they are.
        drawn: 2 x C x 10 x R: in the replicates.
        unseen: 1 + C x R: the share of the image that was not seen among all, and among those of each class.
        images: How many there are.
    """
    per_class = drawn.mean(axis=2, dtype=np.float64)
    at_half = drawn[:, :, 0].mean(axis=1, dtype=np.float64)
    metrics = {
        "mAP50": drop_between(point[:, :, 0].mean(axis=1), at_half, unseen[0], images),
        "mAP50-95": drop_between(point.mean(axis=(1, 2)), per_class.mean(axis=1), unseen[0], images),
    }
    changes = [
        drop_between(point[:, c].mean(axis=1), per_class[:, c], unseen[1 + c], within)
        for c, (within, _) in enumerate(counts.values())
    ]
    drops = per_class[0] - per_class[1]
    return Bootstrap(images, drawn.shape[-1], metrics, judge_classes(counts, changes, list(drops)))


def judge_classes(
    sizes: Mapping[int, tuple[int, int]], changes: Sequence[Drop], drops: Sequence[Array]
) -> tuple[ClassDrop, ...]:
    """Return the drop of each class, with whether it is significant among all.

    Args:
        sizes: Per class, in how many images it is and how many objects it has.
        changes: The drop of each class, with its limits.
        drops: The drops of each in the replicates.
    """
    p_values = [
        _p_of_drop(change.drop, drawn, images)
        for change, drawn, (images, _) in zip(changes, drops, sizes.values(), strict=True)
    ]
    rows = zip(sizes.items(), changes, p_values, holm(p_values, 1 - CONFIDENCE), strict=True)
    return tuple(ClassDrop(cls, *counts, change, p, rejected) for (cls, counts), change, p, rejected in rows)


def drop_between(point: Array, drawn: Array, unseen: Array, images: int) -> Drop:
    """Return the drop of a metric with its limits.

    Args:
        point: 2: the metric of the reference and of the engine.
        drawn: 2 x R: in the replicates.
        unseen: R: the share of the image that was not seen; the engine finds nothing of it, or else both find the same.
        images: How many there are.
    """
    before, after = map(float, point)
    drop, fell, tail = before - after, drawn[0] - drawn[1], 1 - CONFIDENCE
    upper, high = np.quantile(fell + unseen * drawn[1], [1 - tail, 1 - tail / 2]).tolist()
    least = fell - unseen * np.maximum(fell, 0)
    error = float(least.std(ddof=1))
    lower, low = (
        max(-1.0, min(float(np.quantile(least, p)), drop + student_t_quantile(p, max(1, images - 1)) * error))
        for p in (tail, tail / 2)
    )
    return Drop(before, after, drop, lower, max(upper, drop), (low, max(high, drop)))


def _p_of_drop(drop: float, drops: Array, images: int) -> float:
    """Return the one-sided p of a drop above 0.

    From the drop over its bootstrap standard error: the share of replicates without a drop, the other usual choice, is
    never under 1 / replicates, which Holm over 80 classes would never accept. Images bound it from below as they bound
    the sign test: a class in five images cannot be more certain than 1 in 32.
    """
    if images < 2 or len(drops) < 2 or drop <= 0:
        return 1.0
    error = float(drops.std(ddof=1))
    t = drop / error if error > 0 else float("inf")
    return max(student_t_upper_tail(t, images - 1), 0.5**images)
