"""Findings: the one catalogue of their kinds, and the settings of what each kind does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import create_model, model_validator

from .types import POSITIVE, SEVERITY, Flag, Place, PositiveInt, Section, Severity, Share, field_allowing


class Kind(NamedTuple):
    """One kind of finding.

    Attributes:
        remedy: What to do about it.
        severity: What it does unless the settings say otherwise.
        subjects: The verdicts that it concerns, where it is found before anything is built; empty for both.
        surveyed: Whether it takes the survey job to find it.
        void: Whether no accuracy can be trusted with it.
        of_detections: Whether it comes from comparing the detections of two arms.
    """

    remedy: str
    severity: Severity = "warn"
    subjects: tuple[str, ...] = ()
    surveyed: bool = False
    void: bool = False
    of_detections: bool = False


LEFT_OUT = "images-left-out"
FINDING_KINDS: Mapping[str, Kind] = {
    "few-images": Kind("evaluate on a larger split: with so few images, one of them moves mAP", subjects=("accuracy",)),
    "precision-not-taken": Kind(
        "read build.log in the engine's cache entry, or gate the precision that it really has", "fail"
    ),
    "calibration-leak": Kind(
        "calibrate on other images than those evaluated: INT8 looks better on what it was tuned to"
    ),
    "confidence-collapse": Kind(
        "calibrate on more typical images, or lower the confidence that the engine is deployed with", of_detections=True
    ),
    "low-agreement": Kind(
        "look at images on which they differ before shipping: mAP hides what one confidence shows", of_detections=True
    ),
    "detections-not-compared": Kind(
        "evaluate again with --trt-fresh: low-agreement and confidence-collapse were not judged"
    ),
    "class-mismatch": Kind(
        "gate the model on data of its own classes, in its order: else no accuracy can be trusted",
        "fail",
        surveyed=True,
        void=True,
    ),
    "not-a-checkpoint": Kind(
        "name the .pt that the training wrote, such as runs/detect/train/weights/best.pt",
        "fail",
        surveyed=True,
    ),
    "no-labels": Kind(
        "label the images, each in a file such as labels/test/NAME.txt: else there is no accuracy",
        "fail",
        surveyed=True,
        void=True,
    ),
    "task-mismatch": Kind(
        "label the data for the task of the model, or gate a model of the task that the labels are for",
        "fail",
        surveyed=True,
        void=True,
    ),
    LEFT_OUT: Kind(
        "mend these images and labels, or take them out of the split: what is measured is of the others alone"
    ),
    "batch-mismatch": Kind(
        "gate the batch that is deployed: latency and memory of one say little of another", surveyed=True
    ),
    "imgsz-mismatch": Kind("gate the size that is trained and deployed for: one says little of another", surveyed=True),
    "weak-calibration": Kind(
        "calibrate with fraction = 1 on 300 or more images that look like those the engine will see", surveyed=True
    ),
    "throwaway-cache": Kind(
        "name a lasting cache_dir, or cache it between jobs: else every job builds its engines again"
    ),
    "weak-cache-key": Kind(
        "give TRTGATE_CACHE_KEY 32 random characters or more, such as of `openssl rand -hex 32`; or unset it"
    ),
    "unfair-timing": Kind(
        "time all arms alike, on a device of their own: else their ratio is of something else", subjects=("latency",)
    ),
    "dynamic-shapes": Kind(
        "export with fixed shapes: a dynamic engine's latency is not that of a fixed one",
        subjects=("latency",),
        surveyed=True,
    ),
    "version-skew": Kind(
        "export again with the versions that run, or accept anew: a change may come from the versions", surveyed=True
    ),
    "dataset-trouble": Kind("mend the dataset: such images and labels are left out, or count wrongly", surveyed=True),
    "int8-saturates": Kind(
        "gate on a processor with VNNI if that is what ships; else set quantization.int8.reduce_range = true, or run "
        "the engine with session.x64quantprecision = 1, an option of its session",
        subjects=("accuracy",),
    ),
    "platform-changed": Kind(
        "undo what changed, or accept the times of now with --trt-baselines=update: no engine is to blame",
    ),
    "machine-busy": Kind(
        "wait until the machine is quiet, plugged in and at full clocks: latencies measured now are noise",
        subjects=("latency",),
    ),
    "preflight-incomplete": Kind("read the job's log: some of what goes wrong later was not looked for"),
}
"""Every kind of finding, by its id."""


def _field(kind: str) -> str:
    return kind.replace("-", "_")


_FIELDS: dict[str, Any] = {
    _field(name): (Severity, field_allowing(SEVERITY, default=kind.severity, alias=name))
    for name, kind in FINDING_KINDS.items()
}


class Findings(create_model("_Severities", __base__=Section, **_FIELDS)):  # type: ignore[misc]
    """``[tool.trtgate.findings]``: what each kind of finding does: nothing, a warning, or a failed run.

    ``left-out-share``: ``images-left-out`` fails the run where more than this share of a split was left out.
    """

    example = '{ few-images = "off" }'
    left_out_share: Share = field_allowing("a number from 0 to 1", default=0.05, alias="left-out-share")

    def says(self, kind: str) -> bool:
        """Return whether the user has said what a kind of finding does."""
        return _field(kind) in self.model_fields_set

    def of(self, kind: str) -> Severity:
        """Return the severity of a kind of finding.

        If the survey could not look, and the user set any surveyed kind to ``fail``, ``preflight-incomplete`` fails
        too.
        """
        unseen = FINDING_KINDS if kind == "preflight-incomplete" else ()
        asked = [name for name in unseen if FINDING_KINDS[name].surveyed and self.says(name)]
        if any(self.of(name) == "fail" for name in asked):
            return "fail"
        severity: Severity = getattr(self, _field(kind))
        return severity


class Deployment(Section):
    """``[tool.trtgate.deployment]``: how the engine is deployed, to be compared with what is gated.

    ``engine``: the file deployed now. What Ultralytics wrote into it is read; it runs where ``compare`` is true.
    """

    example = "{ imgsz = 640, batch = 8 }"
    engine: Place | None = field_allowing("the path of an .engine or .onnx file", default=None)
    compare: Flag = field_allowing("true or false", default=False)
    imgsz: PositiveInt | None = field_allowing(POSITIVE, default=None)
    batch: PositiveInt | None = field_allowing(POSITIVE, default=None)

    @model_validator(mode="after")
    def _something_to_compare(self) -> Deployment:
        if self.compare and self.engine is None:
            raise ValueError("deployment.compare = true needs the engine: name it as deployment.engine")
        return self

    @property
    def compared(self) -> Path | None:
        """The deployed engine, where it is evaluated and timed beside the others."""
        return self.engine if self.compare else None
