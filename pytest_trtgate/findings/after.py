"""What can be found once something was measured: facts about data, engines and launches, as findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import JobError
from ..judge.engine import precision_finding
from ..machine import released
from ..measuring import Engines
from ..records import FINDING, Cell, Check, Finding, Outcome, Task, Trouble
from ..settings import DEPLOYMENT_CONF, FINDING_KINDS, LEFT_OUT
from .found import Found

if TYPE_CHECKING:
    from ..judge.accuracy.agreement import Agreement

FEW_IMAGES = 100
"""Below this many evaluated images, an accuracy says little about the engine."""
COLLAPSE = 0.1
"""A median confidence that falls by more than this needs another threshold, and so is another detector."""
AGREEMENT = 0.9
"""An engine that has a smaller share of its checkpoint's detections is another detector, whatever its mAP."""


def inconclusive_checks(findings: Iterable[Finding]) -> list[Check]:
    """Return an undecided check for each finding that voids an accuracy which is measured all the same."""
    return [
        Check(
            name=f.id,
            against=FINDING,
            outcome=Outcome.INCONCLUSIVE,
            sentence=f"{f.sentence}, so the accuracy cannot be trusted [{f.id}]",
        )
        for f in findings
        if FINDING_KINDS[f.id].void and f.severity == "warn"
    ]


def few_images(images: int, split: str) -> list[Found]:
    """Return a finding where a split has too few images to judge an engine by."""
    if images >= FEW_IMAGES:
        return []
    return [Found("few-images", f"split '{split}' has {images} images, fewer than {FEW_IMAGES}")]


def images_left_out(
    split: str, of_what: str, used: int, left_out: Trouble, allowed: float, precision: str = ""
) -> list[Found]:
    """Return a finding where Ultralytics left images out of what was measured; it fails over a share of the split.

    Args:
        split: The split.
        of_what: What they were left out of.
        used: How many images were not.
        left_out: How many were, and why the first.
        allowed: The share that may be left out, from 0 to 1.
        precision: The engine that they were left out of; empty where it is every arm.
    """
    if not left_out.count:
        return []
    total, engine = used + left_out.count, f"{precision}: " if precision else ""
    said = f"{engine}Ultralytics left {left_out.count} of {total} images of split '{split}' out of the {of_what}"
    said += f", first {left_out.first}" if left_out.first else ""
    fails = left_out.count > allowed * total
    return [Found(LEFT_OUT, said + (f"; allowed are {100 * allowed:g} %" if fails else ""), fails=fails)]


def calibration_leak(leaked: Sequence[Path], images: int, split: str) -> list[Found]:
    """Return a finding where INT8 is calibrated on some of the images that it is evaluated on."""
    if not leaked:
        return []
    said = f"{len(leaked)} of {images} images of split '{split}' are calibrated on, first {leaked[0].name}"
    return [Found("calibration-leak", said)]


def confidence_collapse(arm: str, before: float, after: float, what: str = "boxes") -> list[Found]:
    """Return a finding where an engine has far less confidence than the ``.pt`` in what both have found.

    ``before`` and ``after`` are median confidences in that, NaN where there is nothing.
    """
    if not before - after > COLLAPSE:
        return []
    sentence = f"{arm}: the median confidence of {what} shared with the .pt fell from {before:.2f} to {after:.2f}"
    return [Found("confidence-collapse", sentence)]


def low_agreement(arm: str, shared: int, detections: int, conf: float | None) -> list[Found]:
    """Return a finding where an engine lacks many of the detections of the ``.pt``.

    ``conf``: from which confidence a detection counts; None for a classifier, which has one class per image.
    """
    if shared >= AGREEMENT * detections:
        return []
    share = f"{100 * shared / detections:.1f} %"
    sentence = f"{arm}: the engine has {share} of the {detections} detections of the .pt at confidence {conf}"
    if conf is None:
        sentence = f"{arm}: the engine names the class that the .pt names in {share} of {detections} images"
    return [Found("low-agreement", f"{sentence}, less than {100 * AGREEMENT:g} %")]


def agreement_findings(arm: str, agreement: Agreement | str, task: Task, *, collapse: bool) -> list[Found]:
    """Return what is found by comparing an engine's detections with those of the ``.pt``.

    ``agreement``: how far they agree, or why they could not be compared. ``collapse``: a collapse is worth telling.
    """
    if isinstance(agreement, str):
        said = f"{arm}: the detections were not compared with those of the .pt: {agreement}"
        return [Found("detections-not-compared", said)]
    conf, what = (None, "classes") if task == "classify" else (DEPLOYMENT_CONF, "boxes")
    found = low_agreement(arm, agreement.shared, agreement.detections, conf)
    if collapse:
        found += confidence_collapse(arm, agreement.score_before, agreement.score_after, what)
    return found


def skewed_engine(label: str, exported: str | None, running: str | None) -> list[Found]:
    """Return a finding where an engine says that another Ultralytics exported it than is running."""
    if not exported or not running or exported == released(running):
        return []
    return [Found("version-skew", f"{label} was exported by Ultralytics {exported}, {running} is running")]


def engine_findings(engines: Engines, cell: Cell) -> list[Found]:
    """Return what is found of a cell's engine: other versions than those that run, and a precision that it has not."""
    engine, versions = engines.of(cell), engines.context.environment.versions
    found = skewed_engine(cell.label, engine.metadata.get("version"), versions.get("ultralytics"))
    asks_size = engine.inspection is not None and not engine.inspection.known
    fp32_bytes = _fp32_bytes(engines, cell) if asks_size else None
    sentence = precision_finding(cell.precision, engine.inspection, engine.size_bytes, fp32_bytes)
    return found + ([Found("precision-not-taken", f"{cell.model}: {sentence}")] if sentence else [])


def _fp32_bytes(engines: Engines, cell: Cell) -> int | None:
    """Return the size of the FP32 engine of a cell's model; None where this run has none."""
    try:
        found = [c for c in engines.context.plan.of_model(cell.model) if c.precision == "fp32"]
        return engines.of(found[0]).size_bytes if found else None
    except JobError:
        return None


def unstable_warmup(arm: str, unstable: int, launches: int) -> list[Found]:
    """Return a finding where an arm was timed before its times were stable, in most of its launches."""
    if 2 * unstable <= launches:
        return []
    said = f"{arm}: the warm-up ended before its times were stable in {unstable} of {launches} launches"
    return [Found("unfair-timing", said)]
