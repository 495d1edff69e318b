"""Settings of findings: the severity and remedy of each kind, and how the engine is deployed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..records import Finding
from .types import POSITIVE, SEVERITY, Place, PositiveInt, Section, Severity, allowed


class Findings(Section):
    """``[tool.trtgate.findings]``: whether each kind of finding is off, warns, or fails the run."""

    example = '{ few-images = "off" }'
    few_images: Severity = allowed(SEVERITY, default="warn", alias="few-images")
    precision_not_taken: Severity = allowed(SEVERITY, default="fail", alias="precision-not-taken")
    calibration_leak: Severity = allowed(SEVERITY, default="warn", alias="calibration-leak")
    confidence_collapse: Severity = allowed(SEVERITY, default="warn", alias="confidence-collapse")
    low_agreement: Severity = allowed(SEVERITY, default="warn", alias="low-agreement")
    detections_not_compared: Severity = allowed(SEVERITY, default="warn", alias="detections-not-compared")
    class_mismatch: Severity = allowed(SEVERITY, default="fail", alias="class-mismatch")
    no_labels: Severity = allowed(SEVERITY, default="fail", alias="no-labels")
    batch_mismatch: Severity = allowed(SEVERITY, default="warn", alias="batch-mismatch")
    imgsz_mismatch: Severity = allowed(SEVERITY, default="warn", alias="imgsz-mismatch")
    weak_calibration: Severity = allowed(SEVERITY, default="warn", alias="weak-calibration")
    throwaway_cache: Severity = allowed(SEVERITY, default="warn", alias="throwaway-cache")
    unfair_timing: Severity = allowed(SEVERITY, default="warn", alias="unfair-timing")
    dynamic_shapes: Severity = allowed(SEVERITY, default="warn", alias="dynamic-shapes")
    version_skew: Severity = allowed(SEVERITY, default="warn", alias="version-skew")
    dataset_trouble: Severity = allowed(SEVERITY, default="warn", alias="dataset-trouble")
    int8_saturates: Severity = allowed(SEVERITY, default="warn", alias="int8-saturates")
    machine_busy: Severity = allowed(SEVERITY, default="warn", alias="machine-busy")
    preflight_incomplete: Severity = allowed(SEVERITY, default="warn", alias="preflight-incomplete")

    def of(self, name: str) -> Severity:
        """Return the severity of a kind of finding."""
        severity: Severity = getattr(self, name.replace("-", "_"))
        return severity


class Deployment(Section):
    """``[tool.trtgate.deployment]``: how the engine is deployed, to be compared with what is gated.

    ``engine``: the file deployed now, an ``.engine`` or ``.onnx`` of Ultralytics; it is read, never run.
    """

    example = "{ imgsz = 640, batch = 8 }"
    engine: Place | None = allowed("the path of an .engine or .onnx file", default=None)
    imgsz: PositiveInt | None = allowed(POSITIVE, default=None)
    batch: PositiveInt | None = allowed(POSITIVE, default=None)


REMEDIES: Mapping[str, str] = {
    "few-images": "evaluate on a larger split: with so few images, one of them moves mAP",
    "precision-not-taken": "read build.log in the engine's cache entry, or gate the precision that it really has",
    "calibration-leak": "calibrate on other images than those evaluated: INT8 looks better on what it was tuned to",
    "confidence-collapse": "calibrate on more typical images, or lower the confidence that the engine is deployed with",
    "low-agreement": "look at images on which they differ before shipping: mAP hides what one confidence shows",
    "detections-not-compared": "evaluate again with --trt-fresh: low-agreement and confidence-collapse were not judged",
    "class-mismatch": "gate the model on data of its own classes, in its order: else no accuracy can be trusted",
    "no-labels": "label the images, each in a file such as labels/test/NAME.txt: else there is no accuracy",
    "batch-mismatch": "gate the batch that is deployed: latency and memory of one say little of another",
    "imgsz-mismatch": "gate the size that is trained and deployed for: one says little of another",
    "weak-calibration": "calibrate with fraction = 1 on 300 or more images that look like those the engine will see",
    "throwaway-cache": "name a lasting cache_dir, or cache it between jobs: else every job builds its engines again",
    "unfair-timing": "time all arms alike, on a device of their own: else their ratio is of something else",
    "dynamic-shapes": "export with fixed shapes: a dynamic engine's latency is not that of a fixed one",
    "version-skew": "export again with the versions that run, or accept anew: a change may come from the versions",
    "dataset-trouble": "mend the dataset: such images and labels are left out, or count wrongly",
    "int8-saturates": "gate on a processor with VNNI if that is what ships; else quantize with reduce_range, or "
    "run the engine with session.x64quantprecision = 1, an option of its session",
    "machine-busy": "wait until the machine is quiet, plugged in and at full clocks: latencies measured now are noise",
    "preflight-incomplete": "read the job's log: some of what goes wrong later was not looked for",
}
"""What to do about each kind of finding."""
OF_DETECTIONS = ("low-agreement", "confidence-collapse")
"""Kinds of findings that compare the detections of two arms."""
VOID = ("class-mismatch", "no-labels")
"""Kinds of findings with which no accuracy can be trusted."""


def graded(severities: Findings, found: Iterable[tuple[str, str]]) -> tuple[Finding, ...]:
    """Return findings, from pairs of id and sentence, with their severity and remedy, without those that are off."""
    return tuple(
        Finding(id=name, severity=severity, sentence=sentence, remedy=REMEDIES[name])
        for name, sentence in found
        if (severity := severities.of(name)) != "off"
    )


SURVEYED = (
    *("imgsz-mismatch", "batch-mismatch", "weak-calibration", "dataset-trouble", "version-skew", "dynamic-shapes"),
    *VOID,
)
"""Kinds of findings that need the survey job's answer."""


def severity_of(severities: Findings, name: str) -> Severity:
    """Return the severity of a kind of finding; an incomplete preflight fails if a kind set to ``fail`` needed it."""
    given = {kind for kind in SURVEYED if kind.replace("-", "_") in severities.model_fields_set}
    if name == "preflight-incomplete" and any(severities.of(kind) == "fail" for kind in given):
        return "fail"
    return severities.of(name)
