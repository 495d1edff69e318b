"""Settings of findings: what each kind does, and what is known of the place that the engines are made for."""

from __future__ import annotations

from .setting_types import POSITIVE, SEVERITY, Place, PositiveInt, Section, Severity, allowed


class Findings(Section):
    """``[tool.trtgate.findings]``: what each kind of finding does: nothing, a warning, or a failed run."""

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
    machine_busy: Severity = allowed(SEVERITY, default="warn", alias="machine-busy")
    preflight_incomplete: Severity = allowed(SEVERITY, default="warn", alias="preflight-incomplete")

    def of(self, name: str) -> Severity:
        """Return the severity of a kind of finding, by its id."""
        severity: Severity = getattr(self, name.replace("-", "_"))
        return severity


class Deployment(Section):
    """``[tool.trtgate.deployment]``: how the engine is run where it is deployed, to be compared with what is gated.

    ``engine``: the file that is deployed now, an ``.engine`` or ``.onnx`` of Ultralytics; it is read, never run.
    """

    example = "{ imgsz = 640, batch = 8 }"
    engine: Place | None = allowed("the path of an .engine or .onnx file", default=None)
    imgsz: PositiveInt | None = allowed(POSITIVE, default=None)
    batch: PositiveInt | None = allowed(POSITIVE, default=None)
