"""Accepting a run: which of its cells may become baselines, why the others may not, and writing those that may."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..records import (
    ALLOW_BUSY,
    FINDING,
    Cell,
    Check,
    Outcome,
    RunRecord,
    Verdict,
)
from ..settings import VOID, Settings
from .acceptance import blocking_check, why_refused
from .remedies import settings_for


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
    behind = [check for check in baseline_checks(checks) if check in deciding or settings.fails(check.outcome)]
    others = [check for check in checks if check not in limits]
    if not behind or (limits and not change) or blocking_check(subject, others) is not None:
        return change  # no baseline would be written, or none has to be
    add = all(check.outcome is Outcome.NO_BASELINE for check in behind)
    again = f"{command} --trt-baselines={'add' if add else 'update'}"
    return f"{change}, then {again}" if change else again


def baseline_checks(checks: Iterable[Check]) -> list[Check]:
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
        if not verdict.accept or not baseline_checks(deciding):
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
