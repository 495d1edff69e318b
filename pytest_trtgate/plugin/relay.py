"""What xdist's workers say, shown by their controller, which alone has a terminal."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .narrator import ENDED, MILESTONE, Narrator

_INTERVAL_S = 0.5


class Relay:
    """Follows what the workers of a run write into its ``folders``, until it is closed."""

    def __init__(self, narrator: Narrator, folders: Sequence[Path]) -> None:
        self._narrator = narrator
        self._folders = folders
        self._read: dict[Path, int] = {}
        self._working: set[Path] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @staticmethod
    def file(folder: Path, worker: str) -> Path:
        """Return the file into which a worker writes what it says."""
        return folder / f"told-{worker}.txt"

    def close(self) -> None:
        """Show what was said last, and stop."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(_INTERVAL_S)
            for file in sorted(file for folder in self._folders for file in folder.glob("told-*.txt")):
                with suppress(OSError):
                    self._show(file)
            if self._working and not ended:
                self._narrator.tick()
        self._narrator.job_ended()

    def _show(self, file: Path) -> None:
        """Show the whole lines that a worker has written since the last time."""
        with file.open("rb") as stream:
            stream.seek(self._read.get(file, 0))
            new = stream.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read[file] = self._read.get(file, 0) + len(whole)
        for line in whole.decode(errors="replace").split("\n")[:-1]:
            kind, text = line[:1], line[1:]
            if kind == MILESTONE:
                self._narrator.milestone(text)
            elif kind == ENDED:
                self._working.discard(file)
                if not self._working:
                    self._narrator.job_ended()
            else:
                self._working.add(file)
                if text:
                    self._narrator.progress(text)
