"""What engines are known to lose, each tested for, and the most telling of it in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...records import MetricPart, Symptom
from .agreement import Detections, shared
from .apart import Arm, size_names, sizes_of, thirds
from .average_precision import Array
from .classification import Classified

LESS_SURE = 0.8
"""Scores that are all under so many times those of the checkpoint are another scale."""
SHIFTED = 0.03
"""Boxes that are all elsewhere by so much of their size are shifted."""
GONE = 0.5
"""What is found less than so many times as often is gone, where the rest is not."""
TURNED_DEGREES = 10.0
"""Boxes that are all turned by more have lost their angles; squares look the same at every 90."""
FEWEST = 5
"""Objects below which nothing is said of a group."""
NO_HARM = 0.002
"""A drop below this is none."""


def symptoms(
    reference: Arm, engine: Arm, names: dict[int, str], *, conf: float, branch: str = ""
) -> tuple[Symptom, ...]:
    """Test for what engines lose.

    Args:
        reference: The checkpoint.
        engine: The engine, on the same images.
        names: The names of the classes.
        conf: Confidence from which a detection counts when deployed.
        branch: What the task is about beside boxes: ``mask`` or ``keypoint``; empty of boxes alone.
    """
    deployed = np.flatnonzero(reference.detections.conf >= conf)
    mine, theirs, _ = shared(reference.detections, deployed, engine.detections)
    found = [_scores(reference.detections.conf[mine], engine.detections.conf[theirs], "boxes")]
    found.append(_shift(reference.detections, engine.detections, mine, theirs))
    objects = [_found(arm, conf) for arm in (reference, engine)]
    classes = reference.objects.cls
    found.append(_gone("class gone", objects, classes, {int(c): names.get(int(c), str(c)) for c in np.unique(classes)}))
    edges, third = thirds(reference.objects)
    found.append(_gone("scale gone", objects, third, dict(enumerate(size_names(edges)))))
    found.append(_class_branch(reference, engine, objects, conf))
    if reference.detections.box.shape[1] == 5:
        found.append(_angle_branch(reference.detections, engine.detections, deployed))
    found.append(_box_branch(reference, engine, objects, conf))
    if branch:
        found.append(_branch(reference, engine, branch))
    return tuple(found)


def classified_symptoms(reference: Classified, engine: Classified, names: dict[int, str]) -> tuple[Symptom, ...]:
    """Test for what classifiers lose."""
    same = reference.top[:, 0] == engine.top[:, 0]
    right = [arm.correct[0] > 0 for arm in (reference, engine)]
    of = {int(c): names.get(int(c), str(c)) for c in np.unique(reference.target)}
    return (
        _scores(reference.conf[same], engine.conf[same], "images"),
        _gone("class gone", right, reference.target, of, "recognized"),
    )


def _scores(before: Array, after: Array, what: str) -> Symptom:
    if len(before) < FEWEST:
        return Symptom(kind="scores lower", found=False, sentence=f"too few {what} are shared to compare their scores")
    low, middle, high = np.quantile(after / np.maximum(before, 1e-9), (0.25, 0.5, 0.75))
    return Symptom(
        kind="scores lower",
        found=bool(middle < LESS_SURE and high < (1 + LESS_SURE) / 2),
        sentence=f"the engine's scores are {middle:.2f} times those of the .pt "
        f"(middle half {low:.2f} to {high:.2f}, of {len(before)} {what} that both have)",
    )


def _shift(reference: Detections, engine: Detections, mine: Array, theirs: Array) -> Symptom:
    if len(mine) < FEWEST:
        return Symptom(kind="boxes shifted", found=False, sentence="too few boxes are shared to compare their places")
    centres = [_centres(arm.box[rows]) for arm, rows in ((reference, mine), (engine, theirs))]
    apart = (centres[1] - centres[0]) / np.maximum(sizes_of(reference)[mine], 1)[:, None]
    x, y = np.median(apart, axis=0).tolist()
    return Symptom(
        kind="boxes shifted",
        found=float(np.hypot(x, y)) > SHIFTED,
        sentence=f"the engine's boxes are {100 * x:+.1f} % of their size to the right and {100 * y:+.1f} % down "
        f"(median of {len(mine)} that both have)",
    )


def _centres(box: Array) -> Array:
    centres: Array = box[:, :2] if box.shape[1] == 5 else (box[:, :2] + box[:, 2:]) / 2
    return centres


def _found(arm: Arm, conf: float, *, any_class: bool = False) -> Array:
    """Return which objects an arm finds when deployed (M)."""
    sure = np.flatnonzero(arm.detections.conf >= conf)
    chosen = Detections(*(getattr(arm.detections, name)[sure] for name in ("image", "cls", "conf", "box")))
    objects = arm.objects
    if any_class:
        chosen, objects = (Detections(d.image, np.zeros_like(d.cls), d.conf, d.box) for d in (chosen, objects))
    found = np.zeros(len(objects.conf), dtype=bool)
    found[shared(objects, np.arange(len(found)), chosen)[0]] = True
    return found


def _gone(kind: str, found: Sequence[Array], group: Array, names: dict[int, str], verb: str = "found") -> Symptom:
    """Test whether the engine finds one group of objects far more rarely, and the others not."""
    before, after = found
    kept = {}
    for number in names:
        mine = group == number
        if before[mine].sum() >= FEWEST:
            kept[number] = float(after[mine].sum() / before[mine].sum())
    if len(kept) < 2:
        return Symptom(kind=kind, found=False, sentence="there are too few groups of objects to compare")
    worst = min(kept, key=lambda number: kept[number])
    mine = group == worst
    others = np.isin(group, [number for number in kept if number != worst])
    rest = float(after[others].sum() / before[others].sum())
    counts = f"{after[mine].sum()} in place of {before[mine].sum()} {verb} ({100 * kept[worst]:.0f} %)"
    return Symptom(
        kind=kind,
        found=kept[worst] < GONE * rest,
        sentence=f"of {names[worst]}, {counts}; of all others {100 * rest:.0f} % of what the .pt has",
    )


def _class_branch(reference: Arm, engine: Arm, found: Sequence[Array], conf: float) -> Symptom:
    before, after = (arm.sum() for arm in found)
    places = _found(engine, conf, any_class=True).sum()
    sentence = (
        f"the engine has a box on {places} of {len(found[0])} objects, and its class right on {after} "
        f"(the .pt on {before})"
    )
    lost = before >= FEWEST and after < GONE * before
    return Symptom(kind="class branch lost", found=bool(lost and places > 0.8 * before), sentence=sentence)


def _box_branch(reference: Arm, engine: Arm, found: Sequence[Array], conf: float) -> Symptom:
    """Test whether the engine is sure of as many boxes, and they lie on no objects, of whatever class."""
    before, places = found[0].sum(), _found(engine, conf, any_class=True).sum()
    sure = [int((arm.detections.conf >= conf).sum()) for arm in (reference, engine)]
    return Symptom(
        kind="box branch lost",
        found=bool(before >= FEWEST and places < GONE * before and sure[1] > GONE * sure[0]),
        sentence=f"the engine is sure of {sure[1]} boxes (the .pt of {sure[0]}), and has one on {places} of "
        f"{len(found[0])} objects (the .pt on {before})",
    )


def _angle_branch(reference: Detections, engine: Detections, deployed: Array) -> Symptom:
    """Test whether boxes are where they were, and turned."""
    mine, theirs, _ = shared(_squares(reference), deployed, _squares(engine))
    if len(mine) < FEWEST:
        return Symptom(kind="angle branch lost", found=False, sentence="too few boxes are shared to compare angles")
    apart = np.abs(np.degrees(reference.box[mine, 4] - engine.box[theirs, 4])) % 90
    turned = float(np.median(np.minimum(apart, 90 - apart)))
    return Symptom(
        kind="angle branch lost",
        found=turned > TURNED_DEGREES,
        sentence=f"the engine's boxes are turned by {turned:.1f} degrees (median of {len(mine)} in the same places)",
    )


def _squares(of: Detections) -> Detections:
    """Return upright squares in the places of rotated boxes, as large."""
    half = np.sqrt(np.maximum(of.box[:, 2] * of.box[:, 3], 0))[:, None] / 2
    return Detections(of.image, of.cls, of.conf, np.concatenate([of.box[:, :2] - half, of.box[:, :2] + half], axis=1))


def _branch(reference: Arm, engine: Arm, branch: str) -> Symptom:
    """Test whether boxes are found and their masks or keypoints are not."""
    kind = f"{branch} branch lost"
    boxes = [int(arm.boxed.sum()) for arm in (reference, engine)]
    if min(boxes) < FEWEST:
        return Symptom(kind=kind, found=False, sentence="too few boxes are right to compare what is in them")
    shares = [
        float((arm.records.tp[:, 0] & arm.boxed).sum() / count)
        for arm, count in zip((reference, engine), boxes, strict=True)
    ]
    return Symptom(
        kind=kind,
        found=shares[1] < GONE * shares[0] and boxes[1] > GONE * boxes[0],
        sentence=f"of boxes that are right, the {branch}s are right too in {100 * shares[1]:.0f} % "
        f"(the .pt {100 * shares[0]:.0f} %)",
    )


def in_a_sentence(metric: str, parts: Sequence[MetricPart], found: Sequence[Symptom], what: str) -> str:
    """Return the most telling of what was found; ``what`` the metric is about, such as ``keypoints``."""
    if told := [symptom for symptom in found if symptom.found]:
        return f"{told[0].kind}: {told[0].sentence}"
    return next(filter(None, (*_by_threshold(metric, parts, what), _by_group(metric, parts))), "")


def _by_threshold(metric: str, parts: Sequence[MetricPart], what: str) -> Iterator[str]:
    at = [part for part in parts if part.kind == "threshold"]
    if not at:
        return
    first, middle, fell = at[0], at[5], float(np.mean([part.drop for part in at]))
    told = f"{first.name} {-first.drop:+.4f}, {middle.name} {-middle.drop:+.4f}, mean of all thresholds {-fell:+.4f}"
    if max(fell, first.drop) < NO_HARM:
        yield f"{metric} is unharmed: {told}"
    elif first.drop < 0.25 * fell:
        yield f"{what} are imprecise everywhere, and none is missed: {told}"
    elif fell < 0.25 * first.drop:
        yield f"{what} are missed, and those found are as precise as before: {told}"


def _by_group(metric: str, parts: Sequence[MetricPart]) -> str:
    for kind in ("size", "class"):
        groups = sorted((part for part in parts if part.kind == kind), key=lambda part: -part.drop)
        if len(groups) > 1 and groups[0].drop > 2 * max(groups[1].drop, NO_HARM):
            worst, after = groups[:2]
            return (
                f"it falls on the {worst.name} ({worst.reference:.4f} -> {worst.engine:.4f}, {worst.objects} of them); "
                f"the next is {after.name} ({-after.drop:+.4f})"
            )
    at = [part for part in parts if part.kind == "threshold"]
    if at:
        return (
            f"{metric} falls at all thresholds alike: {at[0].name} {-at[0].drop:+.4f}, {at[5].name} {-at[5].drop:+.4f}"
        )
    return f"{metric} falls in all classes alike" if parts else ""
