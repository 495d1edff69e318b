"""Waivers: failures that a project lets pass until a date, with a reason, in one file beside the baselines."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from ..errors import BaselineError, RecordError
from ..records import FileRecord, Record, Subject, cell_of_key, load, save, updating

FILE_NAME = "waivers.json"


class Waiver(Record):
    """One cell that may fail.

    ``subject`` None stands for both; ``machine`` empty for each kind of machine; ``until`` is the last day in UTC on
    which it holds.
    """

    cell: str
    subject: Subject | None = None
    machine: str = ""
    until: date
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

    def covers(self, cell: str, subject: str, machines: Collection[str] = ()) -> bool:
        """Return whether this is about one subject of a cell, given by its key, on a machine of some names."""
        return _same_cell(self.cell, cell) and self.subject in (None, subject) and self.machine in ("", *machines)

    def holds(self, today: date) -> bool:
        """Return whether it has not expired."""
        return today <= self.until

    @property
    def what(self) -> str:
        """What it is about: ``shapes-int8-320-b1-onnxruntime-cpu latency``."""
        on = f" on {self.machine}" if self.machine else ""
        return f"{self.cell}{on} {self.subject or 'accuracy and latency'}"


class Waivers(FileRecord):
    """The waivers of a project."""

    waivers: tuple[Waiver, ...] = ()

    def find(self, cell: str, subject: str, machines: Collection[str] = ()) -> Waiver | None:
        """Return the waiver of one subject of a cell, of several the one with the latest day; it may have expired."""
        covering = (w for w in self.waivers if w.covers(cell, subject, machines))
        return max(covering, key=lambda w: w.until, default=None)

    def granted(self, waiver: Waiver) -> Waivers:
        """Return these waivers with one more, in the place of an earlier one of the same cell, machine and subject."""
        return Waivers(waivers=(*self.removed(waiver.cell, waiver.subject, waiver.machine).waivers, waiver))

    def renamed(self, old: str, new: str) -> Waivers:
        """Return these waivers with another name of a model."""
        cells = [cell_of_key(waiver.cell) for waiver in self.waivers]
        keys = [cell.model_copy(update={"model": new}).key if cell and cell.model == old else "" for cell in cells]
        kept = (w.model_copy(update={"cell": key or w.cell}) for w, key in zip(self.waivers, keys, strict=True))
        return Waivers(waivers=tuple(kept))

    def removed(self, cell: str, subject: Subject | None, machine: str | None = None) -> Waivers:
        """Return these waivers without those of a cell; only without those of a subject or machine, if one is given."""

        def is_meant(w: Waiver) -> bool:
            return _same_cell(w.cell, cell) and subject in (None, w.subject) and machine in (None, w.machine)

        return Waivers(waivers=tuple(w for w in self.waivers if not is_meant(w)))


def _same_cell(key: str, other: str) -> bool:
    """Return whether two keys are of one cell, on whichever GPU."""
    return _on_any_gpu(key) == _on_any_gpu(other)


def _on_any_gpu(key: str) -> str:
    """Return the key of a cell without the number of its GPU; a text that is no key as it is."""
    cell = cell_of_key(key)
    return cell.on_any_gpu.key if cell else key


def load_waivers(root: Path) -> Waivers:
    """Return the waivers beside the baselines under ``root``; none where there is no file.

    Raises:
        RecordError: The file is damaged or of a newer schema.
    """
    path = root / FILE_NAME
    return load(path, Waivers) if path.exists() else Waivers()


def change_waivers(root: Path, change: Callable[[Waivers], Waivers]) -> Path:
    """Write the waivers that ``change`` makes of those that there are, or delete their file where none are left.

    Returns:
        The file.

    Raises:
        RecordError: What there is cannot be read, or the file cannot be written.
    """
    path = root / FILE_NAME
    with updating(root):
        waivers = change(load_waivers(root))
        save_waivers(path, waivers)
    return path


def save_waivers(path: Path, waivers: Waivers) -> None:
    """Write waivers, or delete their file where there are none.

    Raises:
        BaselineError: It cannot be written.
    """
    try:
        if waivers.waivers:
            save(path, waivers)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise BaselineError(f"{path}: cannot be written ({error.strerror})") from error


def waiver_of(root: Path, cell: str, subject: str, machines: Collection[str], today: date) -> tuple[bool, str]:
    """Return whether a failure of one subject of a cell is waived on a day in UTC, and what there is to say of that.

    ``machines``: the names that the kind of machine may have.
    """
    try:
        waiver = load_waivers(root).find(cell, subject, machines)
    except RecordError as error:
        return False, f"no waiver applies: {error}"
    if waiver is None:
        return False, ""
    if waiver.holds(today):
        return True, f"waived until {waiver.until}: {waiver.reason}"
    return False, f"its waiver until {waiver.until} has expired: {waiver.reason}"
