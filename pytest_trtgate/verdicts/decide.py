"""What some checks come to: the outcome, whether it fails the run, and what there is to say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import JobError, TrtGateError
from ..judge import worst
from ..records import Cell, Check, Outcome
from .amend import Softening


@dataclass(frozen=True)
class Ruling:
    """What some checks come to.

    Attributes:
        outcome: The worst of what fails the run, else of all.
        failed: Whether it fails the run.
        summary: What the deciding checks say.
        by: Those checks.
        waived: Why a failure does not fail the run, where it does not.
    """

    outcome: Outcome
    failed: bool
    summary: str
    by: list[Check]
    waived: str


def decide(
    cell: Cell,
    checks: list[Check],
    fails: Callable[[Outcome], bool],
    waiver: tuple[bool, str],
    softenings: Iterable[Softening],
    *,
    measured: bool,
    accepting: bool = False,
) -> Ruling:
    """Return what the checks of one verdict come to.

    Args:
        cell: What was judged.
        checks: All of them.
        fails: Whether an outcome fails the run, by the user's policies.
        waiver: Whether a failure of this is waived, and what there is to say of that.
        softenings: What the project's own code bears.
        measured: Whether anything was: a failure that is borne where nothing was would be a green run of nothing.
        accepting: Whether this run is to become the cell's baseline.
    """
    # What fails the run decides, even where something worse is only a note by the user's policy.
    failing = [c for c in checks if fails(c.outcome)]
    outcome = worst(failing or checks)
    deciding = [c for c in checks if c.outcome is outcome]
    arm = f"{cell.precision}: "
    nothing = "nothing to compare with: this run is to become the baseline" if accepting else "nothing is gated"
    first, *others = list(dict.fromkeys(c.sentence for c in deciding)) or [arm + nothing]
    sentences = [first, *(sentence.removeprefix(arm) for sentence in others)]
    excused, said = waiver if failing else (False, "")
    # A waiver is of what was too slow or too inaccurate, not of what could not be judged.
    if outcome is not Outcome.FAIL:
        excused, said = False, f"no waiver counts: one excuses FAIL, not {outcome}" if excused else ""
    elif excused and not measured:
        excused, said = False, "no waiver counts: nothing was measured"
    failing = [c for c in failing if not (excused and c.outcome is Outcome.FAIL)]
    for softening in softenings:
        if borne := [c for c in failing if softening.bears(c)]:
            failing = [c for c in failing if c not in borne]
            excused, said = True, "; ".join(filter(None, (said, f"softened: {softening.reason}")))
    if said and not (excused and not failing):
        sentences += [said, *(c.sentence for c in failing if excused and c not in deciding)]
    return Ruling(
        outcome=outcome,
        failed=bool(failing),
        summary="; ".join(sentences),
        by=deciding,
        waived=said if excused and not failing else "",
    )


def explained(checks: list[Check], reason: str) -> list[Check]:
    """Return the checks with a reason added to the first that failed against the baseline."""
    failed = next((c for c in checks if c.against == "baseline" and c.outcome is Outcome.FAIL), None)
    if failed is None or not reason:
        return checks
    told = failed.model_copy(update={"sentence": f"{failed.sentence}; {reason}"})
    return [told if check is failed else check for check in checks]


def error_check(cell: Cell, error: TrtGateError) -> Check:
    """Return the check that says why nothing could be judged."""
    reason = f"{error.reason} [{error.job}]" if isinstance(error, JobError) else str(error)
    arm = f"{cell.precision}: "
    sentence = reason if reason.startswith(arm) else arm + reason
    return Check(name="measurement", against="", outcome=Outcome.ERROR, sentence=sentence)
