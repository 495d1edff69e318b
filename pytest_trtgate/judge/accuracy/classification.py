"""Classifiers: accuracy per image, its paired bootstrap over images, and whether two arms name the same class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...records import TOP
from .agreement import Agreement
from .average_precision import Array
from .bootstrap import Bootstrap, draws, drop_between, judge_classes


@dataclass(frozen=True)
class Classified:
    """What one arm said of I images.

    Attributes:
        top: I x K, whole numbers: the classes it finds most likely, the likeliest first; K is at most 5.
        conf: I: its confidence in the first of them, from 0 to 1.
        target: I, whole numbers: the class of each image.
    """

    top: Array
    conf: Array
    target: Array

    def __post_init__(self) -> None:
        images = len(self.target)
        if self.top.ndim != 2 or len(self.top) != images or self.conf.shape != (images,):
            raise ValueError(f"top, conf and target do not belong together: {self.top.shape}, {len(self.conf)}, ...")
        if not np.isfinite(self.conf).all():
            raise ValueError("a confidence is NaN or infinite")

    @property
    def correct(self) -> Array:
        """Whether the first class is right, and whether one of all is: 2 x I, 0 or 1, in the order of ``TOP``."""
        hits = self.top == self.target[:, None]
        return np.stack([hits[:, 0], hits.any(axis=1)]).astype(np.float64)


def compare_classified(
    reference: Classified, engine: Classified, *, replicates: int = 1000, seed: int = 0
) -> Bootstrap:
    """Compare two classifiers on the same images by a paired bootstrap; see :mod:`.bootstrap`.

    Args:
        reference: The arm that the engine is compared with.
        engine: The arm to judge.
        replicates: How many times images are drawn.
        seed: Of the draws.

    Raises:
        ValueError: The images' classes differ between the arms, or there are no images.
    """
    target = reference.target
    if not np.array_equal(target, engine.target):
        raise ValueError("the arms were evaluated on different classes")
    if not len(target):
        raise ValueError("there are no images")
    correct = np.stack([reference.correct, engine.correct])
    # Images by class, so that what belongs to a class is one run of rows.
    order = np.argsort(target, kind="stable")
    numbers, starts, sizes = np.unique(target[order], return_index=True, return_counts=True)
    of_all, of_classes, unseen = [], [], []
    for _, weights in draws(len(target), replicates, seed):
        seen, more = weights[order], weights[-1:]
        found = correct[:, :, order]
        totals = np.add.reduceat(seen, starts, axis=0)
        of_all.append(found @ seen / totals.sum(axis=0))
        of_classes.append([np.add.reduceat(arm[0][:, None] * seen, starts, axis=0) / totals for arm in found])
        unseen.append(more / (more + np.concatenate([totals.sum(axis=0, keepdims=True), totals])))
    drawn, by_class, shares = (np.concatenate(parts, axis=-1) for parts in (of_all, of_classes, unseen))
    points = correct.mean(axis=2)
    metrics = {name: drop_between(points[:, i], drawn[:, i], shares[0], len(target)) for i, name in enumerate(TOP)}
    changes = [
        drop_between(correct[:, 0, target == number].mean(axis=1), by_class[:, c], shares[1 + c], int(sizes[c]))
        for c, number in enumerate(numbers)
    ]
    counted = {number: (size, size) for number, size in zip(numbers.tolist(), sizes.tolist(), strict=True)}
    drops = list(by_class[0] - by_class[1])
    return Bootstrap(len(target), replicates, metrics, judge_classes(counted, changes, drops))


def classified_agreement(reference: Classified, engine: Classified) -> Agreement:
    """Return in how many images two classifiers name the same class, and how sure they are of it."""
    same = reference.top[:, 0] == engine.top[:, 0]
    before, after = (float(np.median(x)) if len(x) else float("nan") for x in (reference.conf[same], engine.conf[same]))
    return Agreement(detections=len(same), shared=int(same.sum()), score_before=before, score_after=after)
