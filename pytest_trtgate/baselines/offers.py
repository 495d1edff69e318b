"""How a user accepts an outcome on purpose: by settings, by a baseline, or by both."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..records import ALLOW_BUSY, FINDING, Cell, Check, Outcome, RunRecord, Verdict
from ..settings import FINDING_KINDS, Settings, recorded_settings
from .acceptance import Acceptance, blocking_check
from .advice import ways_out, why_broken
from .remedies import settings_for, toml_for
from .store import BaselineStore

VOID = frozenset(name for name, kind in FINDING_KINDS.items() if kind.void)
"""Findings without whose cause there is no accuracy."""


def with_way_to_accept(verdict: Verdict, settings: Settings, source: Path | None, command: str) -> Verdict:
    """Return a verdict with what accepts it on purpose, and the settings of that as TOML; arguments are as below."""
    accept = _way_to_accept(verdict, settings, source, command)
    limits = [check for check in _deciding(verdict) if check.against != "baseline"]
    toml = toml_for(limits, verdict.cell, settings, source) if accept.startswith("set ") else ""
    return verdict.model_copy(update={"accept": accept, "accept_toml": toml})


def _way_to_accept(verdict: Verdict, settings: Settings, source: Path | None, command: str) -> str:
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
    if verdict.subject == "accuracy" and any(c.against == FINDING and c.name in VOID for c in verdict.checks):
        return ""  # to look away makes no accuracy
    if why_broken(verdict):
        return ""
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

    def flag(*cells: Cell) -> str:
        return f" {ALLOW_BUSY}" if any(map(acceptance.busy, cells)) else ""

    def offered(verdict: Verdict) -> Verdict:
        update = _offer(verdict, acceptance, lambda cell: command([cell]) + flag(cell))
        return verdict.model_copy(update=update) if update else verdict

    verdicts = tuple(map(offered, run.verdicts))
    cells = list(dict.fromkeys(verdict.cell for verdict in verdicts if verdict.accept_cell))
    joint = command([] if set(cells) == set(run.cells) else cells) + flag(*cells) if len(cells) > 1 else ""
    return {"verdicts": verdicts, "accept_cells": joint}


def offered_anew(run: RunRecord, record: Path, source: Path | None) -> RunRecord:
    """Return a run that was read from a file, with commands that are made here of its values.

    Whoever pastes a line trusts it, and the file may be anybody's. What names no value of the record, such as the
    command line of the run, is left out.

    Args:
        run: The run.
        record: Its file, as the commands are to name it.
        source: The file that holds the settings of the project here, if any.
    """
    try:
        settings = recorded_settings(run.settings, record)
    except SettingsError:  # of another version
        settings = None

    def anew(verdict: Verdict) -> Verdict:
        cell = verdict.cell
        if settings and verdict.accept:
            verdict = with_way_to_accept(verdict, settings, source, "pytest")
        else:
            verdict = verdict.model_copy(update={"accept": "", "accept_toml": ""})
        # Only what pytest takes in an expression, and does not write otherwise in the name of a test.
        named = "-".join(filter(None, (cell.model, cell.precision, cell.machine)))
        known = re.fullmatch(r"[A-Za-z0-9_.+-]+", named)
        rerun = shlex.join(["pytest", "-k", named]) if verdict.rerun and known else ""
        told = {"accept_cell": "", "rerun": rerun, **ways_out(verdict, record, run.engines.get(cell.key))}
        return verdict.model_copy(update=told)

    def command(cells: Sequence[Cell]) -> str:
        only = [word for cell in cells for word in ("--only", cell.key)]
        return shlex.join(["trtgate", "baseline", "accept", str(record), *only])

    run = run.model_copy(update={"verdicts": tuple(map(anew, run.verdicts)), "accept_cells": "", "command": ""})
    if settings is None:
        return run
    store = BaselineStore(settings.baseline_dir, run.environment)  # not looked into
    return run.model_copy(update=cell_commands(Acceptance(run, store, settings, source, allow_busy=True), command))


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
        parts = [toml_for(limits, cell, acceptance.settings, acceptance.source)]
        parts += [verdict.accept_toml] if verdict.accept.startswith("set ") else []
        toml = "\n\n".join(parts) if all(parts) else ""
        return {"accept": f"{change}{joint} {verdict.accept}", "accept_toml": toml}
    if any(check.against != "baseline" for check in deciding):
        return {}
    if acceptance.why_never(cell):
        # What no setting lets pass either stands against every way to accept.
        return {"accept": ""} if limits else {}
    return {"accept_cell": command(cell)}
