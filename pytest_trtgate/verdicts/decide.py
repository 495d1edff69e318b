"""What the checks of a verdict come to: the outcome, whether it fails the run, and what there is to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import JobError, TrtGateError
from ..findings import Found
from ..judge import worst
from ..records import Cell, Check, Outcome
from .amend import Softening

Judgement = tuple[list[Check], list[Found]]
"""What was judged, and what was found beside it."""


@dataclass(frozen=True)
class Excuses:
    """What may keep a failure from failing the run.

    Attributes:
        waived: Whether a waiver covers the verdict.
        said: What there is to say of that waiver.
        softenings: What the project's own code tolerates.
        measured: Whether anything was: to excuse a failure where nothing was would make a green run of nothing.
    """

    waived: bool
    said: str
    softenings: Sequence[Softening]
    measured: bool

    def waiver(self, outcome: Outcome) -> tuple[bool, str]:
        """Return whether the waiver applies to an outcome that fails the run, and what there is to say of that."""
        if outcome is Outcome.FAIL and (self.measured or not self.waived):
            return self.waived, self.said
        # A waiver is of what was too slow or too inaccurate, not of what could not be judged.
        why = "nothing was measured" if outcome is Outcome.FAIL else f"it covers FAIL, not {outcome}"
        return False, f"the waiver does not apply: {why}" if self.waived else ""


@dataclass(frozen=True)
class Ruling:
    """What some checks come to.

    Attributes:
        outcome: The worst of what fails the run, else of all.
        failed: Whether it fails the run.
        summary: What the deciding checks say.
        waived_because: Why a failure does not fail the run; empty where it does.
    """

    outcome: Outcome
    failed: bool
    summary: str
    waived_because: str


def decide(
    cell: Cell, checks: list[Check], fails: Callable[[Outcome], bool], excuses: Excuses, *, accepting: bool
) -> Ruling:
    """Return what the checks of one verdict come to.

    ``fails``: whether an outcome fails the run, by the user's policies. ``accepting``: the run is to become the cell's
    baseline.
    """
    # What fails the run decides, even where something worse is only a note by the user's policy.
    failing = [check for check in checks if fails(check.outcome)]
    outcome = worst(failing or checks)
    deciding = [check for check in checks if check.outcome is outcome]
    if outcome in (Outcome.NO_BASELINE, Outcome.INCOMPATIBLE):  # what there is no baseline of may be in doubt besides
        deciding += [check for check in checks if check.outcome is Outcome.INCONCLUSIVE]
    excused, said = excuses.waiver(outcome) if failing else (False, "")
    left = [check for check in failing if not (excused and check.outcome is Outcome.FAIL)]
    for softening in excuses.softenings:
        if borne := [check for check in left if softening.bears(check)]:
            left = [check for check in left if check not in borne]
            excused, said = True, "; ".join(filter(None, (said, f"softened: {softening.reason}")))
    sentences = _deciding_sentences(cell, deciding, accepting)
    waived_because = said if excused and not left else ""
    if said and not waived_because:
        sentences += [said, *(check.sentence for check in left if excused and check not in deciding)]
    summary = "; ".join(sentences)
    return Ruling(outcome=outcome, failed=bool(left), summary=summary, waived_because=waived_because)


def _deciding_sentences(cell: Cell, deciding: list[Check], accepting: bool) -> list[str]:
    """Return what the deciding checks say, each once; the first names the arm."""
    arm = f"{cell.precision}: "
    if not deciding:
        nothing = "nothing to compare with: this run is to become the baseline" if accepting else "nothing is gated"
        return [arm + nothing]
    first, *others = dict.fromkeys(check.sentence for check in deciding)
    return [first, *(sentence.removeprefix(arm) for sentence in others)]


def explained(checks: list[Check], reason: str) -> list[Check]:
    """Return the checks with a reason added to the first that failed against the baseline."""
    failed = next((c for c in checks if c.against == "baseline" and c.outcome is Outcome.FAIL), None)
    if failed is None or not reason:
        return checks
    told = failed.model_copy(update={"sentence": f"{failed.sentence}; {reason}"})
    return [told if check is failed else check for check in checks]


def no_baseline(cell: Cell, subject: str, outcome: Outcome, note: str) -> Check:
    """Return the check that says why one subject of a cell was not compared with a baseline."""
    sentence = f"{cell.precision}: {subject} was not compared with a baseline: {note}"
    return Check(name="baseline", against="baseline", outcome=outcome, sentence=sentence)


def to_be_accepted(checks: list[Check]) -> list[Check]:
    """Return checks against a baseline that the run is to replace: what they measured stays, and fails nothing."""
    said = "this run is to become the baseline"
    moved = [check for check in checks if check.change is not None or check.outcome is Outcome.PASS]
    return [
        check
        if check.outcome is Outcome.PASS
        else check.model_copy(update={"outcome": Outcome.PASS, "sentence": f"{check.sentence}; {said}"})
        for check in moved
    ]


def error_check(cell: Cell, error: TrtGateError) -> Check:
    """Return the check that says why nothing could be judged."""
    reason = f"{error.reason} [{error.job}]" if isinstance(error, JobError) else str(error)
    arm = f"{cell.precision}: "
    sentence = reason if reason.startswith(arm) else arm + reason
    return Check(name="measurement", against="", outcome=Outcome.ERROR, sentence=sentence)
