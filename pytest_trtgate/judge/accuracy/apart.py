"""The metric taken apart: by threshold, size, class and score, and for poses the error of each keypoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ...records import MetricPart, PartKind
from .agreement import Detections, shared
from .average_precision import IOUS, Array, ImageRecords, RankedArm, class_ap
from .classification import Classified

SCORES = (0.0, 0.1, 0.25, 0.5, 0.75)
"""Confidences from which on detections count, one part of the metric each."""
SIZES = ("smallest", "middle", "largest")
"""Thirds of the objects by their size."""


@dataclass(frozen=True)
class Arm:
    """What one arm detected, with places: of N detections and M objects.

    Attributes:
        records: The detections by what the task is about: boxes, masks or keypoints.
        boxed: Whether each detection is a true positive by its box at an IoU of 0.50 (N).
        detections: The detections' boxes.
        objects: The objects' boxes, with a confidence of 1.
        keypoints: N x K x 2 or 3; None where the task has none.
        labelled: M x K x 2 or 3, the same of the objects.
    """

    records: ImageRecords
    boxed: Array
    detections: Detections
    objects: Detections
    keypoints: Array | None = None
    labelled: Array | None = None


def take_apart(
    reference: Arm, engine: Arm, names: dict[int, str], *, threshold: str, conf: float
) -> tuple[MetricPart, ...]:
    """Return the metric of two arms by parts.

    Args:
        reference: The checkpoint.
        engine: The engine, on the same images.
        names: The names of the classes.
        threshold: What a threshold is of: ``IoU``, or ``OKS`` of keypoints.
        conf: Confidence from which a detection counts when deployed.
    """
    arms = reference.records, engine.records
    whole = [precisions(arm) for arm in arms]
    at = [np.mean(list(found.values()), axis=0) if found else np.zeros(IOUS) for found in whole]
    parts = [_part("threshold", f"{threshold} {0.5 + 0.05 * i:.2f}", (at[0][i], at[1][i])) for i in range(IOUS)]
    for cls in whole[0]:
        count = int((reference.records.target_cls == cls).sum())
        values = (float(found[cls].mean()) if cls in found else 0.0 for found in whole)
        parts.append(_part("class", names.get(cls, str(cls)), values, count))
    parts += _by_score(arms)
    parts += _by_size(reference, engine)
    parts += _by_keypoint(reference, engine, conf)
    return tuple(parts)


def classified_parts(reference: Classified, engine: Classified, names: dict[int, str]) -> tuple[MetricPart, ...]:
    """Return the first guesses' accuracy of two classifiers, by class and by how sure the checkpoint is."""
    before, after = reference.correct[0], engine.correct[0]
    parts = []
    for cls in np.unique(reference.target).tolist():
        mine = reference.target == cls
        name = names.get(cls, str(cls))
        parts.append(_part("class", name, (before[mine].mean(), after[mine].mean()), int(mine.sum())))
    for low, high in zip(SCORES, (*SCORES[1:], 1.01), strict=True):
        mine = (reference.conf >= low) & (reference.conf < high)
        if mine.any():
            name = f"score {low:g} to {min(high, 1):g}"
            parts.append(_part("score", name, (before[mine].mean(), after[mine].mean()), int(mine.sum())))
    return tuple(parts)


def precisions(records: ImageRecords) -> dict[int, Array]:
    """Return the average precisions of each class that has objects (10 each), by its number."""
    ranked = RankedArm.of(records)
    weights = np.ones((ranked.images[1] + 1, 1))
    classes = zip(ranked.numbers.tolist(), ranked.classes, strict=True)
    return {number: class_ap(cls, weights)[:, 0] for number, cls in classes}


def _mean(records: ImageRecords) -> float:
    found = precisions(records)
    return float(np.mean([ap.mean() for ap in found.values()])) if found else 0.0


def _part(kind: PartKind, name: str, values: Iterable[float], objects: int = 0) -> MetricPart:
    reference, engine = (round(float(value), 5) for value in values)
    return MetricPart(kind=kind, name=name, reference=reference, engine=engine, objects=objects)


def _of(records: ImageRecords, detections: Array, objects: Array | None = None) -> ImageRecords:
    """Return some of the detections, and some of the objects."""
    names = ("tp", "conf", "pred_cls", "pred_image")
    some = {name: getattr(records, name)[detections] for name in names}
    if objects is not None:
        some |= {name: getattr(records, name)[objects] for name in ("target_cls", "target_image")}
    return replace(records, **some)


def _by_score(arms: tuple[ImageRecords, ImageRecords]) -> Iterator[MetricPart]:
    for score in SCORES:
        name = f"score from {score:g}" if score else "any score"
        yield _part("score", name, (_mean(_of(arm, arm.conf >= score)) for arm in arms))


def sizes_of(detections: Detections) -> Array:
    """Return the size of each box in pixels: the square root of its area."""
    box = detections.box.astype(np.float64)
    sides = box[:, 2:4] if box.shape[1] == 5 else box[:, 2:4] - box[:, :2]
    sizes: Array = np.sqrt(np.clip(sides, 0, None).prod(axis=1))
    return sizes


def thirds(objects: Detections) -> tuple[Array, Array]:
    """Return the two sizes between the thirds of the objects, and which third each object is in (0 to 2)."""
    sizes = sizes_of(objects)
    edges = np.quantile(sizes, (1 / 3, 2 / 3)) if len(sizes) else np.zeros(2)
    return edges, np.searchsorted(edges, sizes, side="right")


def size_names(edges: Array) -> tuple[str, ...]:
    """Return what the thirds are called."""
    low, high = edges.tolist()
    bounds = (f"under {low:.0f} px", f"{low:.0f} to {high:.0f} px", f"over {high:.0f} px")
    return tuple(f"{name} third of objects ({bound})" for name, bound in zip(SIZES, bounds, strict=True))


def _by_size(reference: Arm, engine: Arm) -> Iterator[MetricPart]:
    """Yield the metric by thirds of the objects; a detection is of its object's third, else of its own size's."""
    edges, third = thirds(reference.objects)
    places = []
    for arm in (reference, engine):
        mine, theirs, _ = shared(arm.objects, np.arange(len(third)), arm.detections)
        place = np.searchsorted(edges, sizes_of(arm.detections), side="right")
        place[theirs] = third[mine]
        places.append(place)
    for number, name in enumerate(size_names(edges)):
        objects = third == number
        if objects.any():
            pairs = zip((reference, engine), places, strict=True)
            values = (_mean(_of(arm.records, place == number, objects)) for arm, place in pairs)
            yield _part("size", name, values, int(objects.sum()))


def _by_keypoint(reference: Arm, engine: Arm, conf: float) -> Iterator[MetricPart]:
    """Yield the mean error of each keypoint, in percent of the object's size, of objects that both arms find."""
    if reference.keypoints is None or engine.keypoints is None or reference.labelled is None:
        return
    errors = [_keypoint_errors(arm, conf, reference.labelled) for arm in (reference, engine)]
    both = np.isfinite(errors[0]) & np.isfinite(errors[1])
    for number in range(both.shape[1]):
        mine = both[:, number]
        if mine.any():
            values = (100 * error[mine, number].mean() for error in errors)
            yield _part("keypoint", f"keypoint {number}", values, int(mine.sum()))


def _keypoint_errors(arm: Arm, conf: float, labelled: Array) -> Array:
    """Return the distance of each object's keypoints (M x K) over its size; NaN where it is not found or labelled."""
    assert arm.keypoints is not None
    errors = np.full(labelled.shape[:2], np.nan)
    sure = np.flatnonzero(arm.detections.conf >= conf)
    chosen = Detections(*(getattr(arm.detections, name)[sure] for name in ("image", "cls", "conf", "box")))
    mine, theirs, _ = shared(arm.objects, np.arange(len(labelled)), chosen)
    apart = arm.keypoints[sure[theirs], :, :2].astype(np.float64) - labelled[mine, :, :2]
    errors[mine] = np.sqrt((apart**2).sum(axis=2)) / np.maximum(sizes_of(arm.objects)[mine], 1)[:, None]
    errors[~(labelled[..., 2] > 0 if labelled.shape[2] == 3 else (labelled != 0).any(axis=2))] = np.nan
    return errors
