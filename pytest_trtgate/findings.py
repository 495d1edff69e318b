"""Findings: what experience says to look at in a run, each with a name and a severity that the settings decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .run_record import Check, Finding, Outcome
from .settings import Findings

REMEDIES: Mapping[str, str] = {
    "few-images": "evaluate on a larger split: with so few images, one of them moves mAP",
    "precision-not-taken": "read build.log in the engine's cache entry, or gate the precision that it really has",
}
"""What to do about each kind of finding, by its id; the settings have a severity for each of these ids."""
FINDING = "finding"
"""What a check is against that stands for a finding."""
FEW_IMAGES = 100
"""Below this many evaluated images, an accuracy says little about the engine."""


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


def few_images(images: int, split: str) -> list[tuple[str, str]]:
    """Return a finding where a split has too few images to judge an engine by."""
    if images >= FEW_IMAGES:
        return []
    return [("few-images", f"split '{split}' has {images} images, fewer than {FEW_IMAGES}")]
