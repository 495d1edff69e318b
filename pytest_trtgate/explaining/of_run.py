"""Which cells of a run are to be explained, and the run with their explanations."""

from __future__ import annotations

from dataclasses import replace

from ..baselines import BROKEN
from ..errors import TrtGateError, reason_of
from ..measuring import RunContext
from ..records import Cell, Explanation, Outcome, RunRecord, Verdict
from ..repairing import Given
from .explain import explain


def to_explain(run: RunRecord) -> list[Cell]:
    """Return the cells whose accuracy failed, or looks broken by what was found."""
    return list(dict.fromkeys(verdict.cell for verdict in run.verdicts if _is_doubtful(verdict)))


def _is_doubtful(verdict: Verdict) -> bool:
    found = any(finding.id in BROKEN for finding in verdict.findings)
    return verdict.subject == "accuracy" and (verdict.outcome is Outcome.FAIL or found)


def with_explanations(context: RunContext, run: RunRecord) -> RunRecord:
    """Return a run with the explanations of its doubtful cells; a note says why one is missing."""
    found, notes = dict(run.explanations), list[str]()
    for cell in to_explain(run):
        given = Given(
            cell=cell,
            settings=context.settings,
            weights=context.plan.weights[cell.model],
            dataset=context.data[cell.model].dataset,
            environment=context.environment,
            caller=replace(context.caller, milestone=lambda _: None),  # each trial is one sentence
        )
        try:
            folder = context.workspace.path / f"explain-{cell.key}"
            found[cell.key] = explain(given, folder, 60 * context.settings.explain.minutes, context.milestone)
        except KeyboardInterrupt:
            notes.append(f"{cell.label}: its explanation was interrupted; all verdicts are whole")
            break
        except TrtGateError as error:
            notes.append(f"{cell.label}: not explained: {reason_of(error)}")
    return explained(run.model_copy(update={"notes": (*run.notes, *notes)}), found)


def explained(run: RunRecord, found: dict[str, Explanation]) -> RunRecord:
    """Return a run with explanations, which its verdicts no longer tell how to come by."""
    verdicts = (one.model_copy(update={"explain": ""}) if one.cell.key in found else one for one in run.verdicts)
    return run.model_copy(update={"explanations": found, "verdicts": tuple(verdicts)})
