"""The pictures and videos beside a run record, read with care: a record may come from anywhere."""

from __future__ import annotations

import base64
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from ..errors import RecordError
from ..records import BOOK, Picture, PictureBook, RunRecord, load, read_bytes

MOST_BYTES = 300_000
"""The gate writes no larger pictures."""
_PICTURE = re.compile(r"[0-9a-f]{16}\.jpg")
_RUN_ID = re.compile(r"[0-9A-Za-z-]{1,60}")


@dataclass(frozen=True)
class Media:
    """The folder of one run.

    Attributes:
        folder: The folder; None where it is not beside the record.
        page: The folder of the page, at which links start.
    """

    folder: Path | None
    page: Path

    @cached_property
    def book(self) -> dict[str, tuple[Picture, ...]]:
        """The pictures by :attr:`Cell.key`; empty where they are missing or damaged."""
        try:
            return {} if self.folder is None else load(self.folder / BOOK, PictureBook).cells
        except RecordError:
            return {}

    def picture(self, name: str) -> str:
        """Return a small picture as a data URI; empty where it is missing or not written by the gate."""
        if self.folder is None or not _PICTURE.fullmatch(name):
            return ""
        return _jpeg(self._inside(f"{PurePosixPath(BOOK).parent}/{name}"))

    def still(self, path: str) -> str:
        """Return a picture of a video as a data URI, given its path in the run's folder; empty where it is missing."""
        return _jpeg(self._inside(path))

    def link(self, path: str) -> str:
        """Return a link from the page to a file in the run's folder; empty where it is missing."""
        place = self._inside(path)
        with suppress(OSError):  # such as a name that is too long
            if place is not None and place.is_file():
                return quote(Path(os.path.relpath(place, self.page)).as_posix())
        return ""

    def _inside(self, path: str) -> Path | None:
        parts = PurePosixPath(path.replace("\\", "/")).parts
        if self.folder is None or not parts or path.startswith("/") or ".." in parts or "\0" in path:
            return None
        place = self.folder.joinpath(*parts)
        with suppress(OSError, RuntimeError):  # a loop of links
            if place.resolve().is_relative_to(self.folder.resolve()):  # no link leads out of the folder
                return place
        return None


def find_media(run: RunRecord, place: Path, page: Path) -> Media:
    """Return what lies beside a record that was read from ``place``: in the folder of its run below, or in its own."""
    below = sorted(place.glob(f"*-runs/{run.run_id}")) if _RUN_ID.fullmatch(run.run_id) else []
    folders = [folder for folder in (*below, place) if (folder / "pictures").is_dir() or (folder / "videos").is_dir()]
    return Media(folders[0] if folders else None, page)


def _jpeg(path: Path | None) -> str:
    try:
        data = read_bytes(path, MOST_BYTES) if path else b""
    except OSError:
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii") if data.startswith(b"\xff\xd8") else ""
