"""What a project's own code may add to a verdict: checks of its own, and reasons to tolerate a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..errors import SettingsError
from ..records import HOOK, REFERENCE, AccuracyRecord, Cell, Check, EngineRecord, LatencyRecord, Outcome, Workspace


@dataclass(frozen=True)
class Judged:
    """One verdict before it is final, and what was measured for it; None where that was not measured, or failed.

    Attributes:
        cell: What is judged.
        subject: ``accuracy`` or ``latency``.
        checks: What the gate has judged.
        engine: The cell's engine.
        reference: Accuracy of the ``.pt``.
        accuracy: Accuracy of the engine.
        latency: All launches of the model.
    """

    cell: Cell
    subject: str
    checks: tuple[Check, ...] = field(default=())
    engine: EngineRecord | None = None
    reference: AccuracyRecord | None = None
    accuracy: AccuracyRecord | None = None
    latency: LatencyRecord | None = None


@dataclass(frozen=True)
class Softening:
    """A tolerated failure: the verdict stays FAIL, says why, and does not fail the run.

    Attributes:
        reason: Why, in words for the report; must not be empty.
        checks: Names of the failed checks that are tolerated, such as ``mAP50-95``; empty for all of them.
    """

    reason: str
    checks: tuple[str, ...] = ()

    def bears(self, check: Check) -> bool:
        """Return whether a check is tolerated: only one that failed is, never what could not be judged."""
        return check.outcome is Outcome.FAIL and (not self.checks or check.name in self.checks)


Amend = Callable[[Judged], Sequence[Check | Softening]]


def no_amendment(judged: Judged) -> Sequence[Check | Softening]:
    """Return nothing: what a project without code of its own adds."""
    return ()


def context_of(workspace: Workspace, cell: Cell, subject: str, checks: Iterable[Check]) -> Judged:
    """Return what hooks are told of a verdict: what was measured anyway."""
    get, model = workspace.get, cell.model
    return Judged(
        cell=cell,
        subject=subject,
        checks=tuple(checks),
        engine=get(f"engine-{cell.key}", EngineRecord),
        reference=get(f"accuracy-{model}-{REFERENCE}", AccuracyRecord),
        accuracy=get(f"accuracy-{model}-{cell.precision}", AccuracyRecord),
        latency=get(f"latency-{model}", LatencyRecord),
    )


def parse_answers(answers: Iterable[object]) -> tuple[list[Check], list[Softening]]:
    """Return the checks and the softenings among the answers of hooks, each of which may be a list of them.

    Raises:
        SettingsError: An answer is neither, or a softening gives no reason.
    """
    checks: list[Check] = []
    softenings: list[Softening] = []
    for answer in answers:
        for one in answer if isinstance(answer, (list, tuple)) else (answer,):
            if isinstance(one, Softening) and one.reason.strip():
                softenings.append(one)
            elif isinstance(one, Check):
                checks.append(one.model_copy(update={"against": HOOK}))
            else:
                what = "a Softening without a reason" if isinstance(one, Softening) else f"a {type(one).__name__}"
                raise SettingsError(f"pytest_trtgate_verdict returned {what}; allowed: Check, Softening with a reason")
    return checks, softenings
