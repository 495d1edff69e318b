"""Accepting a run: which of its cells may become baselines, why the others may not, and writing those that may."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .amending import HOOK
from .baselines import BaselineStore
from .config import table_name
from .errors import BaselineError
from .findings import FINDING, VOID
from .judge.accuracy import ROUNDING
from .judge.engine import ENGINE_BUDGETS
from .judge.fitness import why_unfit
from .judge.sessions import compare_sessions
from .machine_offset import machine_offset
from .records import REFERENCE, AccuracyRecord, Cell, EngineRecord, LatencyRecord
from .rejudging import can_be_rejudged
from .run_record import ALLOW_BUSY, BUSY, INTERRUPTED, Baseline, Check, Outcome, RunRecord, Verdict
from .settings import PERCENTILES, Settings

INCOMPLETE = "this run did not judge both accuracy and latency"
BUDGET_KEYS = {"energy": "energy_mj", "memory": "memory_mb"}
"""Settings of the budgets that are not milliseconds."""


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
        bad = barring(verdict.subject, verdict.checks)
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


def barring(subject: str, checks: Iterable[Check]) -> Check | None:
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


def way_to_accept(
    command: str,
    cell: Cell,
    subject: str,
    checks: Sequence[Check],
    deciding: Sequence[Check],
    settings: Settings,
    source: Path | None,
) -> str:
    """Return what the user would do to accept an outcome on purpose; empty where there is nothing to accept.

    Where both limits and a baseline stand against it, one run is enough: with other limits, it writes the baseline.

    Args:
        command: What gates these cells again, for ``--trt-baselines`` to be added.
        cell: The cell.
        subject: ``accuracy`` or ``latency``.
        checks: All checks of the verdict.
        deciding: Those that have its outcome.
        settings: Those of the run.
        source: The file that holds the project's settings, if any.
    """
    outcome = deciding[0].outcome if deciding else Outcome.PASS
    if outcome in (Outcome.PASS, Outcome.ERROR):
        return ""
    limits = [check for check in deciding if check.against != "baseline"]
    if subject == "accuracy" and any(check.against == FINDING and check.name in VOID for check in limits):
        return ""  # to look away makes no accuracy
    change = settings_for(limits, cell, settings, source)
    behind = [check for check in _behind(checks) if check in deciding or settings.fails(check.outcome)]
    others = [check for check in checks if check not in limits]
    if not behind or (limits and not change) or barring(subject, others) is not None:
        return change  # no baseline would be written, or none has to be
    add = all(check.outcome is Outcome.NO_BASELINE for check in behind)
    again = f"{command} --trt-baselines={'add' if add else 'update'}"
    return f"{change}, then {again}" if change else again


def _behind(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that only another baseline would let pass."""
    good = (Outcome.PASS, Outcome.ERROR)
    return [check for check in checks if check.against == "baseline" and check.outcome not in good]


def with_cell_commands(
    run: RunRecord, settings: Settings, source: Path | None, command: Callable[[Sequence[Cell]], str]
) -> RunRecord:
    """Return a run whose verdicts say how to accept their one cell from the run's record, where that is possible.

    Where it is for several cells, the run says how to accept those at once.

    Where a limit of the cell's other subject stands against that, they say that it has to change first. Where all that
    does is that the machine was busy, the command takes the run nevertheless.

    Args:
        run: The run, as it is written.
        settings: Its settings.
        source: The file that holds the project's settings, if any.
        command: Returns what accepts some cells; all of the run where none is named.
    """

    def line(cells: Sequence[Cell]) -> str:
        return command(cells) + (f" {ALLOW_BUSY}" if run.preflight.busy else "")

    def offered(verdict: Verdict) -> Verdict:
        cell = verdict.cell
        deciding = [check for check in verdict.checks if check.outcome is verdict.outcome]
        if not verdict.accept or not _behind(deciding):
            return verdict
        other = [check for v in run.verdicts if v.cell == cell and v.subject != verdict.subject for check in v.checks]
        limits = [check for check in other if check.against != "baseline" and check.outcome is Outcome.FAIL]
        if change := settings_for(limits, cell, settings, source):
            joint = ", then" if verdict.accept.startswith("pytest ") else ";"
            return verdict.model_copy(update={"accept": f"{change}{joint} {verdict.accept}"})
        if any(check.against != "baseline" for check in deciding):
            return verdict
        if why_refused(run, cell, settings, source, allow_busy=True):
            # What no setting lets pass either stands against every way to accept.
            return verdict.model_copy(update={"accept": ""}) if limits else verdict
        return verdict.model_copy(update={"accept_cell": line([cell])})

    verdicts = tuple(map(offered, run.verdicts))
    cells = list(dict.fromkeys(verdict.cell for verdict in verdicts if verdict.accept_cell))
    joint = line([] if set(cells) == set(run.cells) else cells) if len(cells) > 1 else ""
    return run.model_copy(update={"verdicts": verdicts, "accept_cells": joint})


def settings_for(checks: Iterable[Check], cell: Cell, settings: Settings, source: Path | None) -> str:
    """Return the settings that would let failed checks pass; empty where none would, or only a baseline."""
    tables: dict[str, list[str]] = {}
    for check in checks:
        found = _setting(check, cell, settings)
        if found is not None:
            tables.setdefault(found[0], []).append(found[1])
    places = {section: f"under {table_name(source, section)}" for section in tables} | {"models": "in models"}
    changes = [(list(dict.fromkeys(keys)), places[section]) for section, keys in tables.items()]
    return "; ".join(f"set {' and '.join(keys)} {place}" for keys, place in changes)


def _setting(check: Check, cell: Cell, settings: Settings) -> tuple[str, str] | None:
    """Return the table and the key, with its value where that is known, that would let a failed check pass."""
    if check.against in ("baseline", HOOK):
        return None
    if check.against == REFERENCE and check.unit == "points":
        if not check.reference or check.change is None:
            return None  # no tolerance helps a checkpoint that finds nothing
        own = next((model.accuracy for model in settings.models if model.name == cell.model), None)
        population = settings.of(cell.model).accuracy.mode == "population" and check.high is not None
        # A limit must be under the tolerance, while a drop may equal it.
        enough = math.ceil((check.change - ROUNDING) * 1e4)
        steps = math.floor(check.high * 1e4) + 1 if population and check.high else enough
        if own is not None:
            return "models", f'accuracy.{cell.precision}."{check.name}" = {steps / 1e4:.4f} of {cell.model}'
        return f"accuracy.{cell.precision}", f'"{check.name}" = {steps / 1e4:.4f}'
    if check.name in ENGINE_BUDGETS:
        return f"engine.{cell.precision}", ENGINE_BUDGETS[check.name]
    if check.against == "budget":
        key = BUDGET_KEYS.get(check.name, f"{check.name}.budget_ms")
        if check.value is not None and check.unit == "ms" and check.name not in BUDGET_KEYS:
            # What was measured, and a tenth: a budget at just that would be met in every other run.
            key += f" = {math.ceil(check.value * 110) / 100:.2f}"
        return f"latency.{cell.precision}", key
    if check.against == FINDING:
        # What is not decided for a finding has been only warned of.
        return "findings", f'{check.name} = "{"off" if check.outcome is Outcome.INCONCLUSIVE else "warn"}"'
    if check.change is None:
        return f"latency.{cell.precision}", "speedup"
    least = math.floor(check.change * 90) / 100
    return f"latency.{cell.precision}", f'speedup = {{ over = "{check.against}", at_least = {least:.2f} }}'
