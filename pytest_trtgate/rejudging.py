"""The accuracies of a recorded run judged by the tolerances that the project has now: nothing is measured for that."""

from __future__ import annotations

from collections.abc import Collection

from .judge import worst
from .judge.accuracy import judge_parity
from .records import REFERENCE, Cell
from .run_record import Check, Outcome, RunRecord, Verdict
from .settings import Settings


def can_be_rejudged(check: Check, settings: Settings) -> bool:
    """Return whether a record holds all that a check is judged by, whatever its limit: it does for a drop in accuracy.

    How many inferences took longer than a budget is known of that budget alone, and a population's limits of a drop
    need what was found on each image.

    Args:
        check: One of a run's.
        settings: Those of the model.
    """
    return check.against == REFERENCE and check.unit == "points" and settings.accuracy.mode == "contract"


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
        if verdict.subject == "accuracy" and verdict.cell in cells and model in models:
            verdict, change = _rejudged(verdict, run, settings.of(model))
            said += [change] if change else []
        verdicts.append(verdict)
    return run.model_copy(update={"verdicts": tuple(verdicts)}), said


def _rejudged(verdict: Verdict, run: RunRecord, settings: Settings) -> tuple[Verdict, str]:
    cell = verdict.cell
    reference, engine = (run.accuracy(cell.model, arm) for arm in (REFERENCE, cell.precision))
    before = [check for check in verdict.checks if can_be_rejudged(check, settings)]
    if verdict.outcome is Outcome.ERROR or not before or reference is None or engine is None:
        return verdict, ""
    now = judge_parity(reference, engine, settings.accuracy.tolerances(cell.precision, engine.task))
    others = (check for check in verdict.checks if check not in before)
    then, outcome = worst(before), worst(now)
    said = f"{cell.label}: its accuracy to the .pt was {then} in that run, and is {outcome} by the tolerances of now"
    return verdict.model_copy(update={"checks": (*now, *others)}), "" if then is outcome else said
