"""Baselines in which Git left conflict markers: what both sides accepted, as one file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..errors import BaselineError, RecordError
from ..records import Accepted, AccuracyBaseline, Baseline, FileRecord, load
from ..text import plural
from .lookup import machine_differences, session_threads
from .store import ACCURACY, RESTORE, fitting, has_conflict, save_baseline, seen_from
from .waivers import FILE_NAME, Waivers, save_waivers

F = TypeVar("F", bound=FileRecord)
_HUNK = re.compile(rb"^<{7} .*?\n(.*?)(?:^\|{7}.*?\n.*?)?^={7}\r?\n(.*?)^>{7} .*?(?:\n|\Z)", re.MULTILINE | re.DOTALL)


def resolve(root: Path) -> Iterator[str]:
    """Make one file of both sides of each baseline, and of the waivers, that hold conflict markers.

    Yields:
        A sentence per file that says what was taken.

    Raises:
        BaselineError: One side of a file is no baseline, or the file cannot be written.
    """
    waivers = root / FILE_NAME
    if waivers.exists() and has_conflict(waivers):
        ours, theirs = _sides(waivers, Waivers)
        latest_first = sorted((*ours.waivers, *theirs.waivers), key=lambda one: one.until, reverse=True)
        kept = {(one.cell, one.subject, one.machine): one for one in latest_first}
        save_waivers(waivers, Waivers(waivers=tuple(kept.values())))
        yield f"{waivers}: the waivers of both sides; of two for the same, that which ends first"
    for path in filter(has_conflict, sorted(root.glob("*/*/*.json"))):
        if path.parts[-3] == ACCURACY:
            accuracies = _sides(path, AccuracyBaseline)
            newest: Accepted = max(accuracies, key=lambda one: one.recorded_at)
            said = "the accuracy that was measured last"
        else:
            newest, said = _joined(*_sides(path, Baseline))
        # One side may have given the model another name, and Git has put both under that.
        cell = newest.cell.model_copy(update={"model": path.parts[-2]})
        save_baseline(path, newest.model_copy(update={"cell": cell}))
        yield f"{path}: {said}"


def _joined(ours: Baseline, theirs: Baseline) -> tuple[Baseline, str]:
    older, newer = sorted((ours, theirs), key=lambda one: one.sessions[-1].recorded_at if one.sessions else "")
    machines = (older.environment, session_threads(older), newer.environment, session_threads(newer))
    if older.engine_sha256 != newer.engine_sha256 or machine_differences(*machines):
        return newer, "the engine that was measured last; no session of one engine tells of another"
    others = [one for one in seen_from(newer.environment, older) if not any(map(one.is_same_run, newer.sessions))]
    changed = {
        "sessions": tuple(sorted((*others, *newer.sessions), key=lambda one: one.recorded_at)),
        "accepted": tuple(dict.fromkeys((*older.accepted, *newer.accepted))),
    }
    joined = fitting(newer.model_copy(update=changed))
    return joined, f"{plural(len(joined.sessions), 'session')} of both sides"


def _sides(path: Path, kind: type[F]) -> tuple[F, F]:
    try:
        ours, theirs = (load(path, kind, opened=partial(_side, number=number)) for number in (1, 2))
    except RecordError as error:
        raise BaselineError(f"{error}; {RESTORE}") from error
    return ours, theirs


def _side(content: bytes, number: int) -> bytes:
    return _HUNK.sub(lambda hunk: hunk[number], content)
