"""The earlier, richer run whose report a new report overwrites."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ..errors import RecordError
from ..records import RECORD_NAME, RunRecord, load


def richer_run(run: RunRecord, report: Path) -> RunRecord | None:
    """Return the run whose report is about to be overwritten, where it has all verdicts of the new run and more."""
    try:
        before = load(report.parent / RECORD_NAME, RunRecord)
    except RecordError:
        return None
    then, now = ({(v.cell, v.subject) for v in one.verdicts} for one in (before, run))
    return before if then > now else None


def replaced(before: RunRecord, run: RunRecord, report: Path, runs: Path, here: Path) -> str:
    """Say what a report no longer shows, and which command shows it again.

    Args:
        before: The earlier run, see :func:`richer_run`.
        run: The run that the report is of now.
        report: The report.
        runs: The folder of the runs' folders, with those that are kept.
        here: The folder that a command will be given in.
    """
    said = f"this report has {len(run.verdicts)} of the {len(before.verdicts)} verdicts of the earlier run"
    record = runs / before.run_id / RECORD_NAME
    if not record.is_file():
        return f"{said}, whose record is not kept"
    again = report.with_name(f"{report.stem}-{before.run_id}{report.suffix}")
    command = shlex.join(["trtgate", "report", os.path.relpath(record, here), "-o", os.path.relpath(again, here)])
    return f"{said}; to see that again: {command}"
