"""The accuracy of one arm, of metrics as Ultralytics computed them and of per-image records."""

from __future__ import annotations

import math
from typing import Any

from ...errors import TrtGateError
from ...jobs import ArmAccuracy
from ...records import CURVE, KINDS, TOP, ClassAccuracy, Task

STATS = {"": "tp", "mask ": "tp_m", "pose ": "tp_p"}
"""Ultralytics' names of the true positives of each kind of detection."""
_METRICS = {"": "box", "mask ": "seg", "pose ": "pose"}
"""Ultralytics' names of their metrics."""


def accuracy_of(task: Task, metrics: Any, records: dict[str, Any]) -> ArmAccuracy:
    """Return metrics, overall and per class, with the images and objects of ``records``.

    ``metrics`` are Ultralytics' own; None where ``records`` are of a part of the images.
    """
    images = len(records["images"])
    found = ArmAccuracy(
        task=task,
        images=images,
        instances=images if task == "classify" else len(records["target_cls"]),
        metrics={},
        classes=(),
    )
    if metrics is None:
        return found
    overall, classes = (_of_classes if task == "classify" else _of_objects)(task, metrics, records)
    return found.model_copy(update={"metrics": overall, "classes": tuple(classes)})


def _of_objects(task: Task, metrics: Any, records: dict[str, Any]) -> tuple[dict[str, float], list[ClassAccuracy]]:
    import numpy as np

    overall: dict[str, float] = {}
    rows: dict[int, dict[str, float]] = {}
    for kind in KINDS[task]:
        found = getattr(metrics, _METRICS[kind])
        overall |= _named(kind, found.map50, found.map, found.mp, found.mr)
        for i, cls in enumerate(found.ap_class_index):
            row = rows.setdefault(int(cls), {})
            row |= _named(kind, found.ap50[i], found.ap[i], found.p[i], found.r[i])
    classes = []
    for index, name in enumerate(records["names"].tolist()):
        mine = records["target_cls"] == index
        images = len(np.unique(records["target_image"][mine]))
        classes.append(ClassAccuracy(name=name, images=images, instances=int(mine.sum()), metrics=rows.get(index, {})))
    return overall, classes


def _of_classes(_: Task, metrics: Any, records: dict[str, Any]) -> tuple[dict[str, float], list[ClassAccuracy]]:
    """Return top1 and top5 as Ultralytics returned them, and those of the images of each class."""
    hits = records["top"] == records["target"][:, None]
    classes = []
    for index, name in enumerate(records["names"].tolist()):
        mine = records["target"] == index
        count = int(mine.sum())
        values = (hits[mine, 0].mean(), hits[mine].any(axis=1).mean()) if count else ()
        found = {metric: float(value) for metric, value in zip(TOP, values, strict=False)}
        classes.append(ClassAccuracy(name=name, images=count, instances=count, metrics=found))
    return _finite({"top1": metrics.top1, "top5": metrics.top5}), classes


def _named(kind: str, *values: float) -> dict[str, float]:
    return _finite({kind + name: value for name, value in zip(CURVE, values, strict=True)})


def _finite(values: dict[str, float]) -> dict[str, float]:
    """Return metrics as plain numbers; raise if one is NaN or infinite."""
    if not all(math.isfinite(value) for value in values.values()):
        raise TrtGateError(f"Ultralytics returned metrics that are no numbers ({values})")
    return {name: float(value) for name, value in values.items()}
