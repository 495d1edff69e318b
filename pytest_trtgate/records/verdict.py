"""Verdicts: outcomes, the checks behind them, and findings."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Literal, get_args

from .base import FileRecord, Record
from .cell import Cell

Subject = Literal["accuracy", "latency"]
"""What of a cell a verdict is about."""
SUBJECTS: tuple[Subject, ...] = get_args(Subject)


class Outcome(str, Enum):
    """How a judgement ended, from best to worst."""

    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_BASELINE = "NO_BASELINE"
    INCOMPATIBLE = "INCOMPATIBLE"
    FAIL = "FAIL"
    ERROR = "ERROR"

    def __str__(self) -> str:
        return self.value

    @property
    def rank(self) -> int:
        """Position from best (0) to worst."""
        return list(Outcome).index(self)


BUSY = "machine-busy"
"""Id of the finding that other work used the machine."""
PLATFORM = "platform-changed"
"""Id of the finding that all arms share a change since the stored sessions."""
ALLOW_BUSY = "--allow-busy"
"""The option that accepts a run of a busy machine."""


class Check(Record):
    """One judged quantity: ``value`` against ``reference``, and the ``change`` between them against ``limit``.

    ``against`` is ``pt``, ``baseline``, ``budget``, ``finding``, ``hook`` or the name of another arm. ``unit`` is that
    of ``change`` and ``limit``: ``points`` for a drop in accuracy, ``ratio`` for a relative slow-down or a speed-up,
    and ``ms``, ``mJ`` (energy per inference) or ``MB`` for a budget. ``low`` and ``high`` bound ``change``: a two-sided
    95 % interval, or two one-sided 95 % limits if those decided, as in accuracy's population mode. ``statistics`` names
    the statistic that ``value`` and ``reference`` each are of several values.
    """

    name: str
    against: str
    value: float | None = None
    reference: float | None = None
    statistics: tuple[str, str] | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    unit: Literal["points", "ratio", "ms", "mJ", "MB"] = "points"
    outcome: Outcome
    sentence: str


class Finding(Record):
    """A known risk that was found, named by ``id``; ``severity`` says whether it fails the run."""

    id: str
    severity: Literal["warn", "fail"]
    sentence: str
    remedy: str = ""


class EarlyFinding(Record):
    """A finding from before the build, and which verdicts it concerns; an empty field means all."""

    finding: Finding
    models: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    def concerns(self, cell: Cell, subject: str) -> bool:
        """Return whether it concerns a verdict on a cell; an empty ``subject`` stands for any."""
        pairs = ((self.models, cell.model), (self.precisions, cell.precision), (self.subjects, subject))
        return all(not wanted or not one or one in wanted for wanted, one in pairs)


class Preflight(FileRecord):
    """All findings from before the build, and how long finding them took."""

    findings: tuple[EarlyFinding, ...] = ()
    seconds: float = 0.0

    @property
    def busy(self) -> str:
        """What kept the machine busy before anything was measured; empty if nothing did, or the finding is off."""
        return " and ".join(one.finding.sentence for one in self.findings if one.finding.id == BUSY)

    def concerning(self, cell: Cell, subject: str) -> list[Finding]:
        """Return what concerns a verdict on a cell, on any subject where none is given."""
        return [one.finding for one in self.findings if one.concerns(cell, subject)]


class Verdict(FileRecord):
    """The verdict on one cell's accuracy or latency, with the numbers that decided it.

    ``failed``: the outcome after the user's policy, by which a missing baseline may pass, and a failure may be waived;
    ``waived`` says until when and why. ``accept``: what would let the whole run pass, ``accept_toml``: the settings of
    that, to paste. ``accept_cell``: a command for this cell alone. ``advice``: what is probably wrong where the engine
    is broken; ``explain``: the command that finds out; ``repair``: the one that looks for an engine that passes.
    """

    cell: Cell
    subject: Subject
    outcome: Outcome
    failed: bool
    summary: str
    checks: tuple[Check, ...] = ()
    findings: tuple[Finding, ...] = ()
    accept: str = ""
    accept_toml: str = ""
    accept_cell: str = ""
    advice: str = ""
    explain: str = ""
    repair: str = ""
    rerun: str = ""
    log_tail: str = ""
    waived: str = ""

    def __repr__(self) -> str:
        return f"<Verdict {self.cell.key} {self.subject}: {self.outcome}; {self.summary}>"


HOOK = "hook"
"""``Check.against`` of a check that the project's own hook added."""
FINDING = "finding"
"""``Check.against`` of a check that stands for a finding."""


def failures(findings: Iterable[Finding]) -> list[Check]:
    """Return a failed check for each finding that fails the run; what a baseline would accept is against that."""
    return [
        Check(
            name=f.id,
            against="baseline" if f.id == PLATFORM else FINDING,
            outcome=Outcome.FAIL,
            sentence=f"{f.sentence} [{f.id}]; {f.remedy}",
        )
        for f in findings
        if f.severity == "fail"
    ]


WORDS: dict[Outcome, str] = {
    Outcome.PASS: "Pass",
    Outcome.INCONCLUSIVE: "Inconclusive",
    Outcome.NO_BASELINE: "No baseline",
    Outcome.INCOMPATIBLE: "Incompatible",
    Outcome.FAIL: "Fail",
    Outcome.ERROR: "Error",
}
"""The name of each outcome for people."""


def word(verdict: Verdict) -> str:
    """Return the name of a verdict for people: its outcome, and whether it is waived."""
    return WORDS[verdict.outcome] + (", waived" if verdict.waived else "")
