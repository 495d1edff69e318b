"""The machine of a worker, as the gate asks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..machine import Gpu, GpuNow, Machine
from ..records import Environment


@dataclass(frozen=True)
class WorkersMachine(Machine):
    """Answers with what a worker says of its machine; the project, and so its commit, is on ours.

    Attributes:
        ask: Returns what the worker answers to the name of a method and its arguments.
    """

    ask: Callable[..., Any] = lambda *_: None

    def versions(self) -> dict[str, str]:
        """Return the versions of packages there."""
        return dict(self.ask("versions"))

    def edits(self, distribution: str) -> str:
        """Return a digest of a package's sources there, where they are not those of its version."""
        return str(self.ask("edits", distribution))

    def gpus(self) -> tuple[Gpu, ...]:
        """Return the GPUs that the worker may use."""
        return tuple(self.ask("gpus"))

    def gpu_now(self, uuid: str) -> GpuNow:
        """Return the present state of one of them."""
        found: GpuNow = self.ask("gpu_now", uuid)
        return found

    def usable_cores(self) -> int:
        """Return how many cores the worker may use."""
        return int(self.ask("usable_cores"))

    def cpu_model(self) -> str:
        """Return the name of its CPU."""
        return str(self.ask("cpu_model"))

    def cpu_numbers(self) -> str:
        """Return the numbers of its CPU."""
        return str(self.ask("cpu_numbers"))

    def cpu_instructions(self) -> tuple[str, ...] | None:
        """Return what its CPU can do."""
        found: tuple[str, ...] | None = self.ask("cpu_instructions")
        return found

    def why_busy(self, gpu: str = "") -> list[str]:
        """Return what would disturb timing there."""
        return list(self.ask("why_busy", gpu))

    def power_mode(self, gpu: Gpu | None = None) -> list[str]:
        """Return how it is set between speed and power."""
        return list(self.ask("power_mode", gpu))

    def foreign_processes(self, gpu: str) -> int:
        """Return how many processes that are no job's compute on a GPU there."""
        return int(self.ask("foreign_processes", gpu))

    def environment(self, backend: str, device: str, folder: Path) -> Environment:
        """Return the record of the worker's machine, with the commit of ``folder`` here."""
        found: Environment = self.ask("environment", backend, device, Path())
        node = str(self.ask("node"))
        return found.model_copy(update={"commit": self.commit(folder), "extra": {"node": node}})
