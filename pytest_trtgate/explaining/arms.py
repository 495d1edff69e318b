"""What per-image records tell of two arms: the metric taken apart, symptoms, and the images to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecordError
from ..measuring import compared_images
from ..records import KINDS, PRIMARY, AccuracyRecord, Explanation, PerImage, true_positives
from ..settings import DEPLOYMENT_CONF

if TYPE_CHECKING:
    from ..judge.accuracy.apart import Arm
    from ..judge.accuracy.classification import Classified

WORST, CONTROL = 16, 16
"""Images on which layers are compared: those of worst disagreement, and others drawn at random."""
SEED = 0
_WHAT = {"segment": "masks", "pose": "keypoints"}
_ARRAYS = ("conf", "pred_cls", "pred_image", "target_cls", "target_image")


def of_metric(found: Explanation, folder: Path, reference: AccuracyRecord, engine: AccuracyRecord) -> Explanation:
    """Return an explanation with the metric taken apart, symptoms, and both in a sentence.

    ``folder`` is the run's, at which the records' paths start.

    Raises:
        RecordError: The per-image records are missing or cannot be compared.
    """
    from ..judge.accuracy import apart
    from ..judge.accuracy import symptoms as of_symptoms

    metric, task = PRIMARY[engine.task], engine.task
    files = [PerImage(folder / record.per_image) for record in (reference, engine)]
    try:
        names = dict(enumerate(map(str, files[0].read(["names"])["names"].tolist())))
        if task == "classify":
            before, after = map(_classified, files)
            parts = apart.classified_parts(before, after, names)
            seen = of_symptoms.classified_symptoms(before, after, names)
        else:
            arms = [_arm(file, engine) for file in files]
            threshold = "OKS" if task == "pose" else "IoU"
            parts = apart.take_apart(arms[0], arms[1], names, threshold=threshold, conf=DEPLOYMENT_CONF)
            branch = _WHAT.get(task, "")[:-1]
            seen = of_symptoms.symptoms(arms[0], arms[1], names, conf=DEPLOYMENT_CONF, branch=branch)
    except (ValueError, IndexError, TypeError) as error:
        raise RecordError(f"{files[1].path}: the per-image records cannot be compared ({error})") from error
    return found.model_copy(
        update={
            "metric": metric,
            "reference": reference.metrics.get(metric, 0.0),
            "engine": engine.metrics.get(metric, 0.0),
            "parts": parts,
            "symptoms": seen,
            "sentence": of_symptoms.in_a_sentence(metric, parts, seen, _WHAT.get(task, "boxes")),
        }
    )


def _classified(file: PerImage) -> Classified:
    from ..judge.accuracy.classification import Classified

    return Classified(*file.read(["top", "top_conf", "target"]).values())


def _arm(file: PerImage, engine: AccuracyRecord) -> Arm:
    import numpy as np

    from ..judge.accuracy.agreement import Detections
    from ..judge.accuracy.apart import Arm
    from ..judge.accuracy.average_precision import ImageRecords

    box = "rbox" if engine.task == "obb" else "box"
    points = ["pred_keypoints", "target_keypoints"] if engine.task == "pose" else []
    tp = true_positives(KINDS[engine.task][-1])
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


def chosen_images(folder: Path, reference: AccuracyRecord, engine: AccuracyRecord) -> tuple[list[str], int]:
    """Return the images to compare layers on, as the records name them, and how many of the first disagree most.

    Raises:
        RecordError: As :func:`of_metric`.
    """
    import numpy as np

    if engine.task == "classify":
        names, worst = _classified_images(folder, reference, engine)
    else:
        arms, differing = compared_images(folder, reference, engine)
        names, worst = arms[0]["images"].tolist(), [one.image for one in differing]
    worst = worst[:WORST]
    others = np.setdiff1d(np.arange(len(names)), worst)
    control = np.random.default_rng(SEED).permutation(others)[:CONTROL]
    return [names[image] for image in [*worst, *sorted(control.tolist())]], len(worst)


def _classified_images(folder: Path, reference: AccuracyRecord, engine: AccuracyRecord) -> tuple[list[str], list[int]]:
    """Return all images, and those that arms put into other classes, the surest first."""
    import numpy as np

    files = [PerImage(folder / record.per_image) for record in (reference, engine)]
    before, after = map(_classified, files)
    differing = np.flatnonzero(before.top[:, 0] != after.top[:, 0])
    order = np.argsort(-np.maximum(before.conf, after.conf)[differing], kind="stable")
    return files[0].read(["images"])["images"].tolist(), differing[order].tolist()
