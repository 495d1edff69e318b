"""The tasks that the gate judges, and the metrics of each, by the names that people see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Task = Literal["detect", "segment", "pose", "obb", "classify"]
TASKS: tuple[Task, ...] = ("detect", "segment", "pose", "obb", "classify")
CURVE = ("mAP50", "mAP50-95", "precision", "recall")
"""Metrics of detections of one kind: of boxes, rotated boxes (obb), masks or keypoints."""
TOP = ("top1", "top5")
"""Metrics of a classifier: shares of images whose class is the first, or among the first five, that it names."""
KINDS: Mapping[Task, tuple[str, ...]] = {
    "detect": ("",),
    "segment": ("", "mask "),
    "pose": ("", "pose "),
    "obb": ("",),
    "classify": (),
}
"""What each task finds, as prefixes of its metrics: none for (rotated) boxes, then masks or keypoints."""
METRICS: Mapping[Task, tuple[str, ...]] = {
    task: tuple(kind + name for kind in KINDS[task] for name in CURVE) or TOP for task in TASKS
}
"""The metrics of each task."""
PRIMARY: Mapping[Task, str] = {
    "detect": "mAP50-95",
    "segment": "mask mAP50-95",
    "pose": "pose mAP50-95",
    "obb": "mAP50-95",
    "classify": "top1",
}
"""The metric that stands for the accuracy of each task where only one is shown."""
GATED: Mapping[Task, tuple[str, ...]] = {
    task: tuple(name for name in METRICS[task] if name in TOP or "mAP" in name) for task in TASKS
}
"""Metrics that are gated by default, and that the bootstrap covers."""
Head = Literal["nms", "nms-free", "nms-in-engine"]
"""Where boxes are suppressed: after the engine, by its own head, or by suppression built into it."""


def true_positives(kind: str) -> str:
    """Return the name, in per-image records, of the true positives of one of :data:`KINDS`."""
    return f"tp_{kind.strip()}" if kind else "tp"


def head_of(metadata: Mapping[str, Any]) -> Head | None:
    """Return where an engine's boxes are suppressed, by its metadata; None for a classifier, which has none."""
    arguments = metadata.get("args")
    if metadata.get("task") == "classify":
        return None
    if isinstance(arguments, Mapping) and arguments.get("nms"):
        return "nms-in-engine"
    # A decoder such as RT-DETR's chooses its boxes itself.
    return "nms-free" if metadata.get("end2end") or metadata.get("head") == "RTDETRDecoder" else "nms"
