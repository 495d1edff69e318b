"""A job as it travels: inputs by content, outputs by role, and no path of the machine that asks."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ..errors import RecordError
from ..jobs import JobKind
from ..records import FileRecord, InnerPath, Name, Record, why_outside

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_PLACE = re.compile(r"(in|out|data|own|timing):([0-9a-f]{1,16})(?:/(.+))?", re.DOTALL)
ROOTS = {"file": "in", "labelled": "in", "output-file": "out", "output-folder": "out"}
"""What stands at the beginning of a place, by the role of its path, where that is another word than the role."""


def _file(path: str) -> str:
    if not path or why_outside(path) or {"", "."} & set(path.split("/")):
        raise ValueError("no path of a file inside a folder")
    return path


FilePath = Annotated[str, AfterValidator(_file)]
"""The path of a file inside a folder, step by step."""


class Entry(Record):
    """A file by its content."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)


class DataTree(Record):
    """What a data YAML says of a tree: ``root`` is the dataset's own inside it, and ``splits`` those that are read.

    Each place of a split is a folder, or a list of images.
    """

    root: InnerPath
    names: dict[int, str]
    extra: dict[str, Any]
    splits: dict[Name, tuple[InnerPath | tuple[FilePath, ...], ...]]
    by_folder: bool = False


class Tree(FileRecord):
    """A folder of inputs: its files by path, and folders that are there though they may be empty.

    ``copy_number`` tells apart two folders of one job that hold the same.
    """

    copy_number: int = 0
    files: dict[FilePath, Entry]
    folders: tuple[InnerPath, ...] = ()
    data: DataTree | None = None


class PortableJob(FileRecord):
    """A job of which every path is a place, as :func:`split_place` reads it.

    ``trees`` are the digests of its folders of inputs. ``made`` says of each output folder whether it is there before
    the job. ``code`` is the digest of a tree that is to be on Python's path for this job.
    """

    name: Name
    kind: JobKind
    request: dict[str, Any]
    trees: tuple[Sha256, ...]
    made: tuple[bool, ...]
    code: Sha256 | None = None
    device: str
    timeout_s: float
    wait_s: float


class Outcome(FileRecord):
    """What became of a portable job.

    Attributes:
        response: What it answered; None where it failed.
        failure: Why it failed, in a sentence.
        timed_out: Whether it ran past its limit.
        log_tail: The last lines of its log, where it failed.
        places: The worker's path of each place, by which its answer names files.
        files: What it wrote: outputs by their place, and of its own folder what begins with ``job/``.
    """

    response: dict[str, Any] | None = None
    failure: str = ""
    timed_out: bool = False
    log_tail: str = ""
    places: dict[str, str] = Field(default_factory=dict)
    files: dict[str, Entry] = Field(default_factory=dict)


def split_place(place: str, role: str) -> tuple[str, str]:
    """Return the root of a place, such as ``in:0``, and the path from there; empty for the root itself.

    Raises:
        RecordError: It is none of that role, or leads out of its root.
    """
    found = _PLACE.fullmatch(place)
    inside = found[3] or "" if found else ""
    if found is None or found[1] != ROOTS.get(role, role) or why_outside(inside):
        raise RecordError(f"{place!r:.80} is no place of a {role}")
    return f"{found[1]}:{found[2]}", inside
