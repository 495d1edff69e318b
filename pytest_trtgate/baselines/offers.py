"""How a user accepts an outcome on purpose: by settings, by a baseline, or by both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..records import ALLOW_BUSY, FINDING, Cell, Check, Outcome, Verdict
from ..settings import FINDING_KINDS, Settings
from .acceptance import Acceptance, blocking_check
from .remedies import settings_for


def way_to_accept(verdict: Verdict, settings: Settings, source: Path | None, command: str) -> str:
    """Return what the user would do to accept a verdict on purpose; empty where there is nothing to accept.

    Where both limits and a baseline stand against it, one run is enough: with other limits, it writes the baseline.

    Args:
        verdict: The verdict.
        settings: Those of the run.
        source: The file that holds the project's settings, if any.
        command: What gates these cells again, for ``--trt-baselines`` to be added.
    """
    if verdict.outcome in (Outcome.PASS, Outcome.ERROR):
        return ""
    deciding = _deciding(verdict)
    limits = [check for check in deciding if check.against != "baseline"]
    if verdict.subject == "accuracy" and any(c.against == FINDING and FINDING_KINDS[c.name].void for c in limits):
        return ""  # to look away makes no accuracy
    change = settings_for(limits, verdict.cell, settings, source)
    behind = [c for c in _baseline_checks(verdict.checks) if c in deciding or settings.fails(c.outcome)]
    others = [check for check in verdict.checks if check not in limits]
    if not behind or (limits and not change) or blocking_check(verdict.subject, others) is not None:
        return change  # no baseline would be written, or none has to be
    add = all(check.outcome is Outcome.NO_BASELINE for check in behind)
    again = f"{command} --trt-baselines={'add' if add else 'update'}"
    return f"{change}, then {again}" if change else again


def _deciding(verdict: Verdict) -> list[Check]:
    return [check for check in verdict.checks if check.outcome is verdict.outcome]


def _baseline_checks(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that only another baseline would let pass."""
    good = (Outcome.PASS, Outcome.ERROR)
    return [check for check in checks if check.against == "baseline" and check.outcome not in good]


def cell_commands(acceptance: Acceptance, command: Callable[[Sequence[Cell]], str]) -> dict[str, Any]:
    """Return the ``verdicts`` and ``accept_cells`` of a run, with how to accept cells from the run's record.

    Where that is possible, a verdict says how to accept its one cell, and the run how to accept all of them at once. A
    limit of the cell's other subject has to change first, and the verdict then says that. If only machine-busy blocks
    it, the command has ``--allow-busy``.

    Args:
        acceptance: Accepts the run.
        command: Returns what accepts some cells; all of the run where none is named.
    """
    run = acceptance.run
    flag = f" {ALLOW_BUSY}" if run.preflight.busy else ""

    def offered(verdict: Verdict) -> Verdict:
        update = _offer(verdict, acceptance, lambda cell: command([cell]) + flag)
        return verdict.model_copy(update=update) if update else verdict

    verdicts = tuple(map(offered, run.verdicts))
    cells = list(dict.fromkeys(verdict.cell for verdict in verdicts if verdict.accept_cell))
    joint = command([] if set(cells) == set(run.cells) else cells) + flag if len(cells) > 1 else ""
    return {"verdicts": verdicts, "accept_cells": joint}


def _offer(verdict: Verdict, acceptance: Acceptance, command: Callable[[Cell], str]) -> dict[str, str]:
    """Return what a verdict is to say otherwise of how it is accepted."""
    cell, deciding = verdict.cell, _deciding(verdict)
    if not verdict.accept or not _baseline_checks(deciding):
        return {}
    others = [v for v in acceptance.run.verdicts if v.cell == cell and v.subject != verdict.subject]
    failed = [check for other in others for check in other.checks if check.outcome is Outcome.FAIL]
    limits = [check for check in failed if check.against != "baseline"]
    if change := settings_for(limits, cell, acceptance.settings, acceptance.source):
        joint = ", then" if verdict.accept.startswith("pytest ") else ";"
        return {"accept": f"{change}{joint} {verdict.accept}"}
    if any(check.against != "baseline" for check in deciding):
        return {}
    if acceptance.why_never(cell):
        # What no setting lets pass either stands against every way to accept.
        return {"accept": ""} if limits else {}
    return {"accept_cell": command(cell)}
