"""What per-image records tell of two arms: the metric taken apart, symptoms, and the images to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecordError
from ..measuring import EvaluatedData, compared_images
from ..records import GATED, KINDS, AccuracyRecord, Explanation, MetricPart, PerImage, Symptom, true_positives
from ..settings import DEPLOYMENT_CONF

if TYPE_CHECKING:
    from ..judge.accuracy.apart import Arm
    from ..judge.accuracy.classification import Classified

WORST, CONTROL = 16, 16
"""Images on which layers are compared: those of worst disagreement, and others drawn at random."""
SEED = 0
_WHAT = {"mask ": "masks", "pose ": "keypoints"}
_ARRAYS = ("conf", "pred_cls", "pred_image", "target_cls", "target_image")


def of_metric(found: Explanation, folder: Path, reference: AccuracyRecord, engine: AccuracyRecord) -> Explanation:
    """Return an explanation with the metric that fell most taken apart, symptoms, and both in a sentence.

    ``folder`` is the run's, at which the records' paths start. Where per-image records cannot be used, the sentence
    says so.
    """
    metric = fell_most(reference, engine)
    values = {"reference": reference.metrics.get(metric, 0.0), "engine": engine.metrics.get(metric, 0.0)}
    found = found.model_copy(update={"metric": metric, **values})
    try:
        parts, seen, sentence = _taken_apart(metric, folder, reference, engine)
    except (RecordError, ValueError, IndexError, TypeError) as error:
        return found.model_copy(update={"sentence": f"{metric} was not taken apart ({error})"})
    return found.model_copy(update={"parts": parts, "symptoms": seen, "sentence": sentence})


def _taken_apart(
    metric: str, folder: Path, reference: AccuracyRecord, engine: AccuracyRecord
) -> tuple[tuple[MetricPart, ...], tuple[Symptom, ...], str]:
    from ..judge.accuracy import apart
    from ..judge.accuracy import symptoms as of_symptoms

    kind = kind_of(metric, engine)
    files = [PerImage(folder / record.per_image) for record in (reference, engine)]
    names = dict(enumerate(map(str, files[0].read(["names"])["names"].tolist())))
    if engine.task == "classify":
        before, after = map(_classified, files)
        parts = apart.classified_parts(before, after, names)
        seen = of_symptoms.classified_symptoms(before, after, names)
    else:
        arms = [_arm(file, engine, kind) for file in files]
        threshold = "OKS" if kind.strip() == "pose" else "IoU"
        parts = apart.take_apart(arms[0], arms[1], names, threshold=threshold, conf=DEPLOYMENT_CONF)
        branch = _WHAT.get(kind, "")[:-1]
        seen = of_symptoms.symptoms(arms[0], arms[1], names, conf=DEPLOYMENT_CONF, branch=branch)
    return parts, seen, of_symptoms.in_a_sentence(metric, parts, seen, _WHAT.get(kind, "boxes"))


def fell_most(reference: AccuracyRecord, engine: AccuracyRecord) -> str:
    """Return the gated metric that fell most; of metrics that fell alike, the last, which the task is about."""
    drops = {name: reference.metrics.get(name, 0.0) - engine.metrics.get(name, 0.0) for name in GATED[engine.task]}
    return max(reversed(drops), key=lambda name: round(drops[name], 4))


def kind_of(metric: str, engine: AccuracyRecord) -> str:
    """Return which of the task's kinds of detections a metric is of; empty of boxes, and of a classifier."""
    return next((kind for kind in reversed(KINDS[engine.task]) if metric.startswith(kind)), "")


def _classified(file: PerImage) -> Classified:
    from ..judge.accuracy.classification import Classified

    return Classified(*file.read(["top", "top_conf", "target"]).values())


def _arm(file: PerImage, engine: AccuracyRecord, kind: str) -> Arm:
    import numpy as np

    from ..judge.accuracy.agreement import Detections
    from ..judge.accuracy.apart import Arm
    from ..judge.accuracy.average_precision import ImageRecords

    box = "rbox" if engine.task == "obb" else "box"
    points = ["pred_keypoints", "target_keypoints"] if engine.task == "pose" else []
    tp = true_positives(kind)
    wanted = dict.fromkeys((*_ARRAYS, "tp", tp, f"pred_{box}", f"target_{box}", *points))
    a: dict[str, Any] = file.read(wanted)
    return Arm(
        records=ImageRecords(tp=a[tp].astype(bool), **{name: a[name] for name in _ARRAYS}),
        boxed=a["tp"][:, 0].astype(bool),
        detections=Detections(a["pred_image"], a["pred_cls"], a["conf"], a[f"pred_{box}"]),
        objects=Detections(a["target_image"], a["target_cls"], np.ones(len(a["target_cls"])), a[f"target_{box}"]),
        keypoints=a["pred_keypoints"] if points else None,
        labelled=a["target_keypoints"] if points else None,
    )


def chosen_images(
    folder: Path, reference: AccuracyRecord, engine: AccuracyRecord, data: EvaluatedData
) -> tuple[tuple[str, ...], int]:
    """Return the paths of images to compare layers on, and how many of the first are those that disagree most.

    Where per-image records cannot be used, all are drawn at random.
    """
    import numpy as np

    try:
        if engine.task == "classify":
            names, worst = _classified_images(folder, reference, engine)
        else:
            arms, differing = compared_images(folder, reference, engine)
            names, worst = arms[0]["images"].tolist(), [one.image for one in differing]
    except (RecordError, ValueError, IndexError, TypeError):
        names, worst = list(map(str, data.images)), []
    worst = worst[:WORST]
    others = np.setdiff1d(np.arange(len(names)), worst)
    control = np.random.default_rng(SEED).permutation(others)[:CONTROL]
    chosen = [names[image] for image in [*worst, *sorted(control.tolist())]]
    return tuple(str(data.dataset.root / name) for name in chosen), len(worst)


def _classified_images(folder: Path, reference: AccuracyRecord, engine: AccuracyRecord) -> tuple[list[str], list[int]]:
    """Return all images, and those that arms put into other classes, the surest first."""
    import numpy as np

    files = [PerImage(folder / record.per_image) for record in (reference, engine)]
    before, after = map(_classified, files)
    differing = np.flatnonzero(before.top[:, 0] != after.top[:, 0])
    order = np.argsort(-np.maximum(before.conf, after.conf)[differing], kind="stable")
    return files[0].read(["images"])["images"].tolist(), differing[order].tolist()
