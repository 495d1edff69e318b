"""What was found, before it is graded by the settings."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import EarlyFinding, Finding
from ..settings import FINDING_KINDS, Findings


@dataclass(frozen=True)
class Found:
    """A kind of finding, what it says, and what it concerns; empty ``models`` or ``precisions`` mean all of them.

    ``remedy``: what to do about it, where that is not what there is to do about the others of its kind. ``fails``: it
    fails a run even where its kind only warns. ``warns``: it only warns even where its kind fails a run.
    """

    id: str
    sentence: str
    models: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    remedy: str = ""
    fails: bool = False
    warns: bool = False

    def graded(self, severities: Findings) -> tuple[Finding, ...]:
        """Return the finding with its severity and remedy; none where the settings switch its kind off."""
        severity = severities.of(self.id)
        if severity == "off":
            return ()
        severity = "fail" if self.fails else "warn" if self.warns else severity
        remedy = self.remedy or FINDING_KINDS[self.id].remedy
        return (Finding(id=self.id, severity=severity, sentence=self.sentence, remedy=remedy),)

    def graded_early(self, severities: Findings) -> tuple[EarlyFinding, ...]:
        """Return the same with what it concerns, as of what is found before anything is built."""
        about = {"models": self.models, "precisions": self.precisions, "subjects": FINDING_KINDS[self.id].subjects}
        return tuple(EarlyFinding(finding=finding, **about) for finding in self.graded(severities))
