"""Disagreement: on which images an engine's detections differ most from its checkpoint's, and in what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...records import Mark
from .agreement import Detections, shared
from .average_precision import Array
from .likeness import Forms, mask_overlaps, pose_likeness

SHIFTED_IOU = 0.75
"""Under this overlap, two boxes or two masks of one object are visibly elsewhere."""
SHIFTED_POSE = 0.9
"""Under this likeness, so are keypoints: one of ten is somewhere else, or all of them by 6 % of the object's size."""


@dataclass(frozen=True)
class Disagreement:
    """One image on which two arms disagree.

    Attributes:
        image: Its number.
        badness: How much they disagree. What only one arm has, or each as another class, counts its confidence (the
            higher of the two); what is elsewhere counts what its overlap lacks to 1, or that of its mask, or the
            likeness of its keypoints, whichever is least.
        reference: The checkpoint's detections in the image, as indices into its detections, the surest first, each
            with how it stands to the engine's.
        engine: The same of the engine's.
    """

    image: int
    badness: float
    reference: tuple[tuple[int, Mark], ...]
    engine: tuple[tuple[int, Mark], ...]


def disagreements(
    reference: Detections, engine: Detections, conf: float, forms: tuple[Forms, Forms] = (Forms(), Forms())
) -> tuple[Disagreement, ...]:
    """Return the images on which two arms disagree about what they detect, the worst first.

    Args:
        reference: The checkpoint's detections.
        engine: The engine's, on the same images.
        conf: Confidence from which a detection counts when deployed.
        forms: The masks and keypoints of both, where they have any: with the same box, those may be elsewhere.
    """
    arms = reference, engine
    deployed = [np.flatnonzero(arm.conf >= conf) for arm in arms]
    alone_marks: tuple[Mark, Mark] = ("missed", "extra")  # of each, until its like is found
    marks = [dict.fromkeys(found.tolist(), mark) for found, mark in zip(deployed, alone_marks, strict=True)]
    badness: dict[int, float] = {}

    def count(image: int, weight: float) -> None:
        badness[image] = badness.get(image, 0.0) + weight

    same = _pairs(arms, deployed)
    alike, elsewhere = _compared(reference, forms, *same)
    for mine, theirs, part, shifted in zip(*(x.tolist() for x in (*same[:2], alike, elsewhere)), strict=True):
        marks[0][mine] = marks[1][theirs] = "shifted" if shifted else "same"
        if shifted:
            count(int(reference.image[mine]), 1 - part)
    alone = [np.setdiff1d(indices, paired) for indices, paired in zip(deployed, same[:2], strict=True)]
    for mine, theirs in zip(*(column.tolist() for column in _pairs(_of_one_class(*arms), alone)[:2]), strict=True):
        marks[0][mine] = marks[1][theirs] = "class"
        count(int(reference.image[mine]), float(max(reference.conf[mine], engine.conf[theirs])))
    for arm, found in zip(arms, marks, strict=True):
        for index, mark in found.items():
            if mark in ("missed", "extra"):
                count(int(arm.image[index]), float(arm.conf[index]))
    by_image = [_by_image(arm, found) for arm, found in zip(arms, marks, strict=True)]
    worst = sorted(badness, key=lambda image: (-badness[image], image))
    return tuple(Disagreement(i, badness[i], by_image[0].get(i, ()), by_image[1].get(i, ())) for i in worst)


def _compared(
    reference: Detections, forms: tuple[Forms, Forms], mine: Array, theirs: Array, overlap: Array
) -> tuple[Array, Array]:
    """Return how alike the detections of each pair are, by what differs most, and which of them are elsewhere."""
    sides = reference.box[mine, 2:4] - (reference.box[mine, :2] if reference.box.shape[1] == 4 else 0)
    masks, poses = mask_overlaps(forms, mine, theirs), pose_likeness(forms, mine, theirs, sides.prod(axis=1))
    alike: Array = np.minimum(np.minimum(overlap, masks), poses)
    return alike, (overlap < SHIFTED_IOU) | (masks < SHIFTED_IOU) | (poses < SHIFTED_POSE)


def _pairs(arms: tuple[Detections, Detections], wanted: list[Array]) -> tuple[Array, Array, Array]:
    """Return which of the wanted detections of both arms are one object, as indices, and their overlaps."""
    reference, engine = arms
    chosen = wanted[1]
    part = Detections(engine.image[chosen], engine.cls[chosen], engine.conf[chosen], engine.box[chosen])
    mine, theirs, overlap = shared(reference, wanted[0], part)
    return mine, chosen[theirs], overlap


def _of_one_class(*arms: Detections) -> tuple[Detections, Detections]:
    reference, engine = (Detections(arm.image, np.zeros_like(arm.cls), arm.conf, arm.box) for arm in arms)
    return reference, engine


def _by_image(arm: Detections, marks: dict[int, Mark]) -> dict[int, tuple[tuple[int, Mark], ...]]:
    found: dict[int, list[tuple[int, Mark]]] = {}
    for index in sorted(marks, key=lambda index: (-float(arm.conf[index]), index)):
        found.setdefault(int(arm.image[index]), []).append((index, marks[index]))
    return {image: tuple(detections) for image, detections in found.items()}
