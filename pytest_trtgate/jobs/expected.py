"""What a run expects to do, told to the launcher before the jobs are known, so that none waits for its imports."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from .contract import JobKind
from .launcher import EarlyLauncher, Launcher


class ExpectedJobs:
    """Tells a launcher what will come, if it is one that prepares anything.

    Processes write into ``folder`` before they have a job. A model gets ``launches`` where an engine is new, and one
    where all are their baselines', as far as that launch needs what takes long to import.
    """

    def __init__(self, launcher: Launcher, device: str, threads: int, folder: Path, launches: int) -> None:
        self._launcher = launcher if isinstance(launcher, EarlyLauncher) else None
        self._where = device, threads, folder
        self._launches = launches
        self._models: set[str] = set()
        self._builds = False

    def expect(self, models: Collection[str], builds: bool) -> None:
        """Note which models will be timed, and whether engines are built first: launches are prepared beside that."""
        self._models = set(models)
        self._builds = builds

    def begin(self) -> None:
        """Prepare what the run begins with, where that are builds."""
        if self._builds:
            self._prepare("build", 1)

    def without(self, models: Collection[str]) -> None:
        """Prepare launches where there are no builds, but for models whose launch imports next to nothing."""
        self._models -= set(models)
        if self._models and not self._builds:
            self._prepare("latency", 1)

    def before(self, kind: JobKind) -> None:
        """Prepare launches beside a job that leaves processor time for it. TensorRT's builder must not be disturbed."""
        if self._models and (kind == "accuracy" or (kind == "build" and self._where[0] == "cpu")):
            self._prepare("latency", self._launches if self._builds else 1)

    def before_launches(self, model: str, count: int) -> None:
        """Prepare the launches of a model, which come now."""
        self._models.discard(model)
        self.further_launches(count)

    def further_launches(self, count: int) -> None:
        """Prepare launches that are needed as well: they import side by side before the first of them is timed."""
        self._prepare("latency", count)

    def _prepare(self, kind: JobKind, count: int) -> None:
        if self._launcher is not None:
            self._launcher.prepare(kind, count, *self._where)

    def close(self) -> None:
        """End what is left waiting."""
        if self._launcher is not None:
            self._launcher.close()
