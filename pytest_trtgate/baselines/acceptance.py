"""Accepting a run: which of its cells may become baselines, why the others may not, and writing those that may."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import BaselineError
from ..judge import worst
from ..judge.accuracy.parity import judge_parity
from ..judge.latency.fitness import why_unfit
from ..judge.latency.sessions import compare_sessions
from ..records import (
    ALLOW_BUSY,
    BUSY,
    INTERRUPTED,
    REFERENCE,
    AccuracyRecord,
    Baseline,
    Cell,
    Check,
    EngineRecord,
    LatencyRecord,
    Outcome,
    RunRecord,
    Verdict,
)
from ..settings import PERCENTILES, Settings
from .offset import machine_offset
from .remedies import settings_for
from .store import BaselineStore

INCOMPLETE = "this run did not judge both accuracy and latency"


@dataclass(frozen=True)
class Acceptable:
    """What a run measured of one cell, complete enough for a baseline.

    Attributes:
        refusal: Why it may not become the baseline all the same; empty where it may.
        before: The baseline that there is, None without one or where it is damaged.
        known: Whether that has this run already.
        join: Whether its launches join those stored, as they do while nothing has changed; else they replace them.
        remark: What whoever accepts it should know, in a sentence without its full stop; empty where that is nothing.
    """

    cell: Cell
    refusal: str
    engine: EngineRecord
    reference: AccuracyRecord
    accuracy: AccuracyRecord
    latency: LatencyRecord
    before: Baseline | None
    known: bool
    join: bool
    remark: str


def acceptable(
    store: BaselineStore,
    run: RunRecord,
    cell: Cell,
    settings: Settings,
    source: Path | None,
    *,
    allow_busy: bool = False,
) -> Acceptable | str:
    """Return what of a run may become the baseline of a cell, or why there is nothing that could.

    A cell may be accepted though it is slower or less accurate than its baseline: that is what accepting is for. What
    fails an absolute limit is not for a baseline to accept but for the settings, and a budget or speed-up that was not
    decided may be one that fails.

    Args:
        store: The baselines of the run's machine.
        run: The run.
        cell: One of its cells.
        settings: Those of the run.
        source: The file that holds the project's settings, if any.
        allow_busy: Whether a latency may be taken that was measured on a machine with other work to do.
    """
    refusal = why_refused(run, cell, settings, source, allow_busy=allow_busy)
    measured = _measured(run, cell)
    if measured is None:
        return refusal or INCOMPLETE
    engine, reference, accuracy, latency = measured
    try:
        before = store.find(cell).baseline
    except BaselineError:  # to be replaced
        before = None
    session = store.session(cell, latency, run.started_at)
    known = before is not None and session in before.sessions
    same = store.of_engine(cell, engine)
    comparable = same is not None and all(stored.threads == session.threads for stored in same.sessions)
    join = same is not None and comparable and _unchanged(same, latency, cell, settings)
    offset = None if known else machine_offset(before, run, cell, latency, settings)
    busy = f"the machine was busy: {run.preflight.busy}" if run.preflight.busy and allow_busy else ""
    remark = "; ".join(filter(None, (offset.sentence if offset else "", busy)))
    return Acceptable(cell, refusal, engine, reference, accuracy, latency, before, known, join, remark)


def why_refused(
    run: RunRecord, cell: Cell, settings: Settings, source: Path | None, *, allow_busy: bool = False
) -> str:
    """Return why nothing of a run may become the baseline of a cell; empty where it may. Arguments as above."""
    if run.unfinished == INTERRUPTED:
        return INTERRUPTED
    verdicts = [v for v in run.verdicts if v.cell == cell]
    for verdict in verdicts:
        if verdict.outcome is Outcome.ERROR:
            return f"its {verdict.subject} is ERROR"
        bad = blocking_check(verdict.subject, verdict.checks)
        if bad is not None and bad.outcome is Outcome.INCONCLUSIVE:
            return f"its latency is INCONCLUSIVE: {bad.sentence.removeprefix(f'{cell.precision}: ')}"
        if bad is not None:
            limits = [c for c in verdict.checks if c.outcome is Outcome.FAIL and c.against != "baseline"]
            change = settings_for(limits, cell, settings, source)
            why = f"its {verdict.subject} is FAIL"
            if change and not all(can_be_rejudged(check, settings.of(cell.model)) for check in limits):
                change += ", then measure again, since a run is judged by the limits that it had"
            return f"{why}; {change}" if change else why
    latency = _timed(run.latencies.get(cell.model), cell)
    if unfit := why_unfit(latency) if latency else "":
        return unfit
    if {v.subject for v in verdicts} != {"accuracy", "latency"} or _measured(run, cell) is None:
        return INCOMPLETE
    if run.preflight.busy and not allow_busy:
        return f"{run.preflight.busy} [{BUSY}]; measure again on a quiet machine, or take it as it is with {ALLOW_BUSY}"
    return ""


def _measured(run: RunRecord, cell: Cell) -> tuple[EngineRecord, AccuracyRecord, AccuracyRecord, LatencyRecord] | None:
    """Return a cell's engine, the accuracy of the ``.pt``, its own, and its launches; None unless the run has all."""
    engine, latency = run.engines.get(cell.key), _timed(run.latencies.get(cell.model), cell)
    reference, accuracy = run.accuracy(cell.model, REFERENCE), run.accuracy(cell.model, cell.precision)
    if engine is None or latency is None or reference is None or accuracy is None:
        return None
    return engine, reference, accuracy, latency


def blocking_check(subject: str, checks: Iterable[Check]) -> Check | None:
    """Return the check that keeps a cell from becoming a baseline, a failed one first; None where none does.

    Args:
        subject: ``accuracy`` or ``latency``. An accuracy that its images cannot prove bars nothing.
        checks: Those of the verdict.
    """
    bars = {Outcome.FAIL, Outcome.INCONCLUSIVE} if subject == "latency" else {Outcome.FAIL}
    found = [c for c in checks if c.against != "baseline" and c.outcome in bars]
    return max(found, key=lambda c: c.outcome.rank, default=None)


def accept(
    store: BaselineStore,
    run: RunRecord,
    cell: Cell,
    settings: Settings,
    source: Path | None,
    *,
    allow_busy: bool = False,
) -> tuple[str, bool]:
    """Write the baseline of a cell from a run, unless that is refused; arguments as of :func:`acceptable`.

    Returns:
        One sentence, and whether the run is in the baseline now.
    """
    found = acceptable(store, run, cell, settings, source, allow_busy=allow_busy)
    if isinstance(found, str) or found.refusal:
        why = found if isinstance(found, str) else found.refusal
        return f"{cell.label}: baseline not written, since {why}", False
    if found.known:
        return f"{cell.label}: the baseline has this run already ({store.path(cell)})", True
    measured = (found.engine, found.reference, found.accuracy, found.latency)
    try:
        path = store.write(cell, *measured, run.started_at, found.join, run.profiles.get(cell.key))
    except BaselineError as error:
        return str(error), False
    sentence = f"{cell.label}: baseline written to {path}" + (f"; {found.remark}" if found.remark else "")
    rule = settings.latency.unasked_speedup(cell.precision, cell.backend, settings.precisions)
    if rule is not None:
        sentence += f"; not judged was its speed-up over {rule.over}, which is not in this run"
    return sentence, True


def _timed(latency: LatencyRecord | None, cell: Cell) -> LatencyRecord | None:
    """Return a model's launches where some timed a cell; None where none did."""
    return latency if latency is not None and latency.of_arm(cell.precision) else None


def _unchanged(baseline: Baseline, latency: LatencyRecord, cell: Cell, settings: Settings) -> bool:
    """Return whether a run's launches are within the thresholds of the stored ones."""
    rules = settings.latency
    for name, percent in PERCENTILES.items():
        threshold = rules.limit(cell.precision, name, cell.backend).regression
        stored = baseline.per_session_ms(rules.context, percent)
        if threshold is None:
            continue
        try:
            change = compare_sessions(latency.per_launch_ms(cell.precision, rules.context, percent), stored, threshold)
        except ValueError:  # nothing stored, or what is no time
            return False
        if change.outcome is not Outcome.PASS:
            return False
    return True


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
