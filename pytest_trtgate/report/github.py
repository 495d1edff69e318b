"""A run on GitHub Actions: its Markdown in the step's summary, and an annotation for each verdict that failed it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import text as fmt
from ..records import WORDS, RunRecord, open_stream
from . import markdown
from .page.cards import from_artifact
from .page.parts import sentence_of

_PACKAGE = Path(__file__).resolve().parents[1]
Place = tuple[str, int]
"""A file, relative to the repository, and a line from 1."""


def active() -> bool:
    """Tell whether this process runs in a workflow of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def write_summary(runs: Sequence[RunRecord]) -> str:
    """Append runs to the summary of the step; return why that failed, empty where it did not."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return ""
    try:
        with open_stream(Path(path), os.O_APPEND | os.O_CREAT) as file:
            file.write(f"{markdown.render(runs)}\n".encode(errors="replace"))
    except OSError as error:
        return f"{path}: the step's summary cannot be written ({error.strerror})"
    return ""


def annotate(runs: Sequence[RunRecord], places: Mapping[tuple[str, str, str], Place]) -> Iterator[str]:
    """Yield a workflow command per verdict that failed a run; ``places`` are by machine, cell key and subject."""
    for verdict in (verdict for run in runs for verdict in run.verdicts):
        if verdict.failed:
            title = f"{verdict.cell.label} {verdict.subject}: {WORDS[verdict.outcome]}"
            accept = verdict.accept_cell or verdict.accept
            said = sentence_of(verdict) + (f"\nAccept{from_artifact(accept)}: {accept}" if accept else "")
            yield command(said, title, places.get((verdict.cell.machine, verdict.cell.key, verdict.subject)))


def command(message: str, title: str, place: Place | None = None) -> str:
    """Return a workflow command that shows an error."""
    at = {} if place is None else {"file": place[0], "line": str(place[1])}
    fields = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in {**at, "title": title}.items())
    return f"::error {fields}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    """Escape what would end a command or one of its fields."""
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return fmt.clean(text)


def places_of(reports: Iterable[Any], root: Path, about: Iterable[Path] = ()) -> dict[tuple[str, str, str], Place]:
    """Return where the tests are, by machine, cell key and subject; those outside the repository are left out.

    Args:
        reports: Pytest's on those tests. They have the properties that the gate gave them.
        root: Where their places start.
        about: Files that say what is gated. The first in the repository stands for the ready-made tests, which lie in
            the installed package.
    """
    workspace = Path(os.path.realpath(os.environ.get("GITHUB_WORKSPACE") or root))
    known = (path.resolve() for path in about)
    instead = next((path for path in known if path.is_file() and path.is_relative_to(workspace)), None)
    found = {}
    for report in reports:
        properties = dict(getattr(report, "user_properties", ()))
        for subject in ("accuracy", "latency"):
            if "trtgate_cell" in properties and f"trtgate_{subject}" in properties:
                path, line, _ = report.location
                file = (root / path).resolve()
                if file.parent == _PACKAGE and instead is not None:
                    file, line = instead, 0
                if file.is_relative_to(workspace):
                    place = file.relative_to(workspace).as_posix(), (line or 0) + 1
                    cell = str(properties.get("trtgate_machine", "")), str(properties["trtgate_cell"])
                    found[(*cell, subject)] = place
    return found
