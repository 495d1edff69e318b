"""The accuracies of a recorded run judged by the tolerances that the project has now: nothing is measured for that."""

from __future__ import annotations

from collections.abc import Collection

from .judge import worst
from .judge.accuracy import judge_parity
from .records import REFERENCE, Cell
from .run_record import Outcome, RunRecord, Verdict
from .settings import Settings


def can_be_rejudged(subject: str, settings: Settings) -> bool:
    """Return whether a record holds all that other limits on a subject are judged by.

    How many inferences took longer than a budget is known of that budget alone, and a population's limits of a drop
    need what was found on each image.

    Args:
        subject: ``accuracy`` or ``latency``.
        settings: Those of the model.
    """
    return subject == "accuracy" and settings.accuracy.mode == "contract"


def with_tolerances_of(settings: Settings, run: RunRecord, cells: Collection[Cell]) -> tuple[RunRecord, list[str]]:
    """Return a run as it would have been judged with a project's tolerances, and in sentences what that changes.

    Args:
        settings: The project's. Models that they do not name stay as they were judged.
        run: The run.
        cells: Those of its cells that are judged.
    """
    models = {model.name for model in settings.models}
    verdicts, said = [], []
    for verdict in run.verdicts:
        model = verdict.cell.model
        if verdict.cell in cells and model in models and can_be_rejudged(verdict.subject, settings.of(model)):
            verdict, change = _rejudged(verdict, run, settings.of(model))
            said += [change] if change else []
        verdicts.append(verdict)
    return run.model_copy(update={"verdicts": tuple(verdicts)}), said


def _rejudged(verdict: Verdict, run: RunRecord, settings: Settings) -> tuple[Verdict, str]:
    cell = verdict.cell
    reference, engine = (run.accuracy(cell.model, arm) for arm in (REFERENCE, cell.precision))
    before = [check for check in verdict.checks if check.against == REFERENCE]
    if verdict.outcome is Outcome.ERROR or not before or reference is None or engine is None:
        return verdict, ""
    now = judge_parity(reference, engine, settings.accuracy.tolerances(cell.precision, engine.task))
    others = (check for check in verdict.checks if check.against != REFERENCE)
    then, outcome = worst(before), worst(now)
    said = f"{cell.label}: its accuracy to the .pt was {then} in that run, and is {outcome} by the tolerances of now"
    return verdict.model_copy(update={"checks": (*now, *others)}), "" if then is outcome else said
