"""The files of a finished run: the report, the run record and a table, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import RecordError
from ..records import RECORD_NAME, RunRecord, Workspace, as_json, write_whole

_FORMATS = {".html": "html", ".htm": "html", ".md": "markdown", ".csv": "csv", ".parquet": "parquet"}


def publish(run: RunRecord, report: Path, workspace: Workspace) -> None:
    """Write ``run.json`` into the run's folder and beside the report.

    Raises:
        RecordError: A file cannot be written.
    """
    record = as_json(run)
    for path in (workspace.path / RECORD_NAME, report.parent / RECORD_NAME):
        try:
            write_whole(path, record)
        except OSError as error:
            raise RecordError(f"{path}: cannot be written ({error.strerror})") from error


def write_reports(runs: Sequence[RunRecord], report: Path, places: Sequence[Path]) -> None:
    """Write the report of run records, and a CSV beside it; ``places`` are the folders of the runs.

    Raises:
        RecordError: A file cannot be written.
    """
    render(runs, report, places=places)
    render(runs, report.with_suffix(".csv"))


def render(runs: Sequence[RunRecord], path: Path, format_: str | None = None, places: Sequence[Path] = ()) -> Path:
    """Write run records in one format.

    Args:
        runs: The records.
        path: The file to write.
        format_: ``html``, ``markdown``, ``csv`` or ``parquet``; by default from the suffix of ``path``.
        places: The folder of each record, for the pictures and videos that lie there.

    Returns:
        ``path``.

    Raises:
        RecordError: The suffix names no format, the format needs what is not installed, or the file cannot be written.
    """
    chosen = format_ or _FORMATS.get(path.suffix.lower())
    try:
        if chosen == "html":
            from .media import find_media
            from .page import html

            found = zip(runs, places, strict=True) if places else ()
            html.write(path, runs, [find_media(run, place, path.parent) for run, place in found])
        elif chosen == "markdown":
            from . import markdown

            write_whole(path, markdown.render(runs).encode("utf-8", "replace"))
        elif chosen in ("csv", "parquet"):
            from . import measurements_table

            (measurements_table.write_csv if chosen == "csv" else measurements_table.write_parquet)(path, runs)
        else:
            raise RecordError(f"{path}: its suffix names no format; allowed: {', '.join(_FORMATS)}; or give --format")
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror})") from error
    return path
