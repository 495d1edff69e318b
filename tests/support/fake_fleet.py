"""A fleet whose machines are workers in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from other_machine import OtherMachine

from pytest_trtgate.fleet import FleetLanes, FleetLauncher


class FakeFleet:
    """Makes machines as they are asked for, each named after its folder.

    Args:
        folder: Where the machines have their folders.
        count: How many there can be.
        make: Makes a machine in a folder.
        most: How many a session may use; None for all.
    """

    def __init__(self, folder: Path, count: int, make: Callable[[Path], OtherMachine], most: int | None = None) -> None:
        self.made: list[OtherMachine] = []
        self._folder = folder
        self._count = count
        self._make = make
        self._making = threading.Lock()
        self.lanes = FleetLanes(FleetLauncher(self._first, self._further), lambda: count - len(self.made), most)

    def _first(self) -> OtherMachine:
        with self._making:
            return self._next()

    def _further(self) -> OtherMachine | None:
        with self._making:
            return self._next() if len(self.made) < self._count else None

    def _next(self) -> OtherMachine:
        folder = self._folder / f"machine-{len(self.made)}"
        self.made.append(self._make(folder))
        self.made[-1].name = folder.name
        return self.made[-1]
