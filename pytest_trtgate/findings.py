"""Findings: what experience says to look at in a run, each with a name and a severity that the settings decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .finding_settings import Findings
from .run_record import Check, Finding, Outcome

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
    "machine-busy": "wait until the machine is quiet, plugged in and at full clocks: latencies measured now are noise",
    "preflight-incomplete": "read the job's log: some of what goes wrong later was not looked for",
}
"""What to do about each kind of finding, by its id; the settings have a severity for each of these ids."""
OF_DETECTIONS = ("low-agreement", "confidence-collapse")
"""Kinds of findings that come from comparing the detections of two arms."""
VOID = ("class-mismatch", "no-labels")
"""Kinds of findings with which no accuracy can be trusted."""
FINDING = "finding"
"""What a check is against that stands for a finding."""
FEW_IMAGES = 100
"""Below this many evaluated images, an accuracy says little about the engine."""
COLLAPSE = 0.1
"""A median confidence that falls by more than this needs another threshold, and so is another detector."""
AGREEMENT = 0.9
"""An engine that has a smaller share of its checkpoint's detections is another detector, whatever its mAP."""


def graded(severities: Findings, found: Iterable[tuple[str, str]]) -> tuple[Finding, ...]:
    """Return findings with the severity and the remedy of their kind, without those that are switched off.

    Args:
        severities: The settings' severity of each kind.
        found: Pairs of id and sentence.
    """
    return tuple(
        Finding(id=name, severity=severity, sentence=sentence, remedy=REMEDIES[name])
        for name, sentence in found
        if (severity := severities.of(name)) != "off"
    )


def failures(findings: Iterable[Finding]) -> list[Check]:
    """Return a failed check for each finding that fails the run."""
    return [
        Check(name=f.id, against=FINDING, outcome=Outcome.FAIL, sentence=f"{f.sentence} [{f.id}]; {f.remedy}")
        for f in findings
        if f.severity == "fail"
    ]


def doubts(findings: Iterable[Finding]) -> list[Check]:
    """Return an undecided check for each finding that voids an accuracy which is measured all the same."""
    return [
        Check(
            name=f.id,
            against=FINDING,
            outcome=Outcome.INCONCLUSIVE,
            sentence=f"{f.sentence}, so the accuracy cannot be trusted [{f.id}]",
        )
        for f in findings
        if f.id in VOID and f.severity == "warn"
    ]


def few_images(images: int, split: str) -> list[tuple[str, str]]:
    """Return a finding where a split has too few images to judge an engine by."""
    if images >= FEW_IMAGES:
        return []
    return [("few-images", f"split '{split}' has {images} images, fewer than {FEW_IMAGES}")]


def calibration_leak(leaked: int, images: int, first: str, split: str) -> list[tuple[str, str]]:
    """Return a finding where INT8 is calibrated on images that it is evaluated on.

    Args:
        leaked: How many of the evaluated images are among the calibration images, by content.
        images: How many images there are.
        first: The first of those.
        split: The split that is evaluated.
    """
    if not leaked:
        return []
    return [("calibration-leak", f"{leaked} of {images} images of split '{split}' are calibrated on, first {first}")]


def confidence_collapse(arm: str, before: float, after: float, what: str = "boxes") -> list[tuple[str, str]]:
    """Return a finding where an engine finds the same boxes with far less confidence.

    Args:
        arm: The engine.
        before: Median confidence of the ``.pt`` in boxes that both have; NaN where there are none.
        after: That of the engine in the same.
        what: What both have: ``boxes``, or ``classes`` of a classifier.
    """
    if not before - after > COLLAPSE:
        return []
    sentence = f"{arm}: the median confidence of {what} shared with the .pt fell from {before:.2f} to {after:.2f}"
    return [("confidence-collapse", sentence)]


def low_agreement(arm: str, shared: int, detections: int, conf: float | None) -> list[tuple[str, str]]:
    """Return a finding where an engine lacks many of the detections of the ``.pt``.

    Args:
        arm: The engine.
        shared: How many of them it has.
        detections: How many the ``.pt`` has.
        conf: Confidence from which a detection counts; None for a classifier, which has one class per image.
    """
    if shared >= AGREEMENT * detections:
        return []
    share = f"{100 * shared / detections:.1f} %"
    sentence = f"{arm}: the engine has {share} of the {detections} detections of the .pt at confidence {conf}"
    if conf is None:
        sentence = f"{arm}: the engine names the class that the .pt names in {share} of {detections} images"
    return [("low-agreement", f"{sentence}, less than {100 * AGREEMENT:g} %")]


def detections_not_compared(arm: str, why: str) -> list[tuple[str, str]]:
    """Return the finding that an engine's detections could not be compared with those of the ``.pt``, and why."""
    return [("detections-not-compared", f"{arm}: the detections were not compared with those of the .pt: {why}")]


def skewed_engine(label: str, exported: str | None, running: str | None) -> list[tuple[str, str]]:
    """Return a finding where an engine says that another Ultralytics exported it than is installed.

    Args:
        label: The engine.
        exported: The version in its metadata; None where it does not tell.
        running: The version that is installed.
    """
    if not exported or not running or exported == running:
        return []
    return [("version-skew", f"{label} was exported by Ultralytics {exported}, {running} is running")]


def unstable_warmup(arm: str, unstable: int, launches: int) -> list[tuple[str, str]]:
    """Return a finding where an arm was timed before its times were stable, in most of its launches.

    Args:
        arm: The arm.
        unstable: In how many launches its warm-up came to its limit first.
        launches: How many launches there are.
    """
    if 2 * unstable <= launches:
        return []
    said = f"{arm}: the warm-up ended before its times were stable in {unstable} of {launches} launches"
    return [("unfair-timing", said)]
