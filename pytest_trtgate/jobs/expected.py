"""What the launcher is told to prepare before its jobs are known, so that no job waits for imports."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from .contract import JobKind
from .launcher import Launcher, PreparingLauncher


class ExpectedJobs:
    """Tells a launcher what will come, if it is one that prepares anything.

    Args:
        launcher: Runs the jobs.
        device: The device that they use.
        threads: Threads of each numeric library.
        folder: Where processes may write before they have a job.
        launches: How many each model gets where nothing is in doubt.
    """

    def __init__(self, launcher: Launcher, device: str, threads: int, folder: Path, launches: int) -> None:
        self._launcher = launcher if isinstance(launcher, PreparingLauncher) else None
        self._device = device
        self._threads = threads
        self._folder = folder
        self._launches = launches
        self._models: set[str] = set()
        self._builds = False

    def expect(self, models: Collection[str], builds: bool) -> None:
        """Take note of what a run is likely to do.

        Args:
            models: Those that will be timed.
            builds: Whether engines will be built first. Launches are then prepared beside the first build.
        """
        self._models = set(models)
        self._builds = builds

    def begin(self) -> None:
        """Prepare what the run begins with."""
        if self._builds:
            self._prepare("build", 1)
        elif self._models:
            self._prepare("latency", self._launches)

    def before(self, kind: JobKind) -> None:
        """Prepare launches beside a job that leaves the processor time for it and times nothing.

        TensorRT chooses kernels by timing them.
        """
        if self._models and (kind == "accuracy" or (kind == "build" and self._device == "cpu")):
            self._prepare("latency", self._launches)

    def before_launches(self, model: str) -> None:
        """Prepare the launches of a model, which come now."""
        self._models.discard(model)
        self._prepare("latency", self._launches)

    def _prepare(self, kind: JobKind, count: int) -> None:
        if self._launcher is not None:
            self._launcher.prepare(kind, count, self._device, self._threads, self._folder)

    def close(self) -> None:
        """End what is left waiting."""
        if self._launcher is not None:
            self._launcher.close()
