"""``trtgate explain``: why an engine's accuracy fell."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecordError, SettingsError
from .baseline import RECORD, add_command, given_path, or_usage
from .quantization import given_of, minutes
from .saying import say

if TYPE_CHECKING:
    from ..records import Cell, Explanation, RunRecord, Workspace
    from ..settings import Settings

_EXPLAIN = (
    "Say why a cell's accuracy differs from its checkpoint's: the metric taken apart, symptoms that engines are known "
    "to have, the layers that add noise, calibrated ranges against what images have, and what each block costs in "
    "INT8. Accuracies come from the cache. The explanation goes into RUN.json, and into the report beside it."
)


def add_explain(commands: Any) -> None:
    """Add ``trtgate explain`` to the subcommands of a parser."""
    parser = add_command(commands, "explain", or_usage(_explain), "Say why an engine's accuracy fell", _EXPLAIN)
    parser.add_argument("record", type=given_path, metavar="RUN.json", help=RECORD)
    only = "The cell to explain, also one that passed (default: each whose accuracy failed or looks broken)"
    parser.add_argument("--only", metavar="KEY", help=only)
    limit = "Time to try blocks of each network for (default: explain.minutes of the run's settings)"
    parser.add_argument("--minutes", type=minutes, metavar="N", help=limit)


def _explain(arguments: argparse.Namespace) -> int:
    from ..explaining import explain, lines
    from ..records import load_run

    run = load_run(arguments.record)
    for cell in _cells(run, arguments):
        given = given_of(run, cell, arguments)
        folder = arguments.record.resolve().parent / f"explain-{cell.key}"
        limit = arguments.minutes or given.settings.explain.minutes
        found = explain(given, folder, 60 * limit, say)
        for line in lines(found):
            say(line)
        _save(run.run_id, found, arguments.record.resolve(), given.settings)
    return 0


def _cells(run: RunRecord, arguments: argparse.Namespace) -> list[Cell]:
    """Return the cells that are meant."""
    from ..explaining import to_explain

    cells = {cell.key: cell for cell in run.cells}
    listed = ", ".join(cells) or "none"
    if arguments.only is not None:
        if arguments.only not in cells:
            raise SettingsError(f"{arguments.record}: no cell '{arguments.only}'; it has: {listed}")
        return [cells[arguments.only]]
    found = to_explain(run)
    if not found:
        raise SettingsError(f"{arguments.record}: no accuracy failed; name a cell with --only, of: {listed}")
    return found


def _save(run_id: str, found: Explanation, record: Path, settings: Settings) -> None:
    """Put an explanation into the run's record, as it is by now, and into the report where that is of this run."""
    from ..explaining import explained
    from ..records import Workspace, as_json, load_run, run_folder_of, updating, write_whole
    from ..report import publish, write_reports

    with updating(record.parent):
        run = load_run(record)
        if run.run_id != run_id:
            raise RecordError(f"{record}: is the record of another run by now, so the explanation is not put into it")
        run = explained(run, {**run.explanations, found.cell.key: found})
        try:
            write_whole(record, as_json(run))
        except OSError as error:
            raise RecordError(f"{record}: cannot be written ({error.strerror})") from error
    space = Workspace(run_folder_of(settings.report), run.run_id)
    if record.parent == settings.report.parent and space.path.is_dir():
        publish(run, settings.report, space)
        report, runs, places = _session(run, settings.report, space)
        write_reports(runs, report, places)
        say(f"report: {report}")


def _session(run: RunRecord, report: Path, space: Workspace) -> tuple[Path, list[RunRecord], list[Path]]:
    """Return the report that has a run, and of which runs it is, with their folders: those of all its machines."""
    from ..records import RECORD_NAME, load_run

    if not any(cell.machine for cell in run.cells):
        return report, [run], [space.path]
    above = report.parent.parent
    own = {}
    for path in sorted(above.glob(f"*/{RECORD_NAME}")):
        with suppress(RecordError):  # somebody else's
            if (found := load_run(path)).run_id == run.run_id:
                own[path.parent] = found
    places = [folder / space.path.relative_to(report.parent) for folder in own]
    return above / report.name, list(own.values()), places
