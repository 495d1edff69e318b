"""The machine that runs the gate, as one object that tests and fleets may replace."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from ..records import Environment
from . import load
from .commit import commit_of
from .environment import INSTRUCTIONS, NVPMODEL, cpu_name, machine_slug, numeric_variables
from .gpus import VISIBLE, Gpu, GpuNow, all_gpus, chosen, gpu_now
from .locks import LOCKS, device_lock
from .packages import edits, installed_versions, with_edits
from .quota import quota_cores
from .tegra import Board, find_board, nvpmodel

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")


@dataclass(frozen=True)
class Machine:
    """What this machine has, and what it does now. Override a method to pretend another.

    Attributes:
        environ: The process's environment variables.
        system: Root folder of ``/proc`` and ``/sys``.
        locks: Folder of the device locks, shared by all users of the machine.
        temporary: Folders whose files need not last.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    system: Path = Path("/")
    locks: Path = LOCKS
    temporary: tuple[str, ...] = field(default_factory=lambda: (*TEMPORARY, tempfile.gettempdir()))

    def versions(self) -> dict[str, str]:
        """Return the versions of the installed packages that can change an engine or a measurement."""
        return installed_versions()

    def edits(self, distribution: str) -> str:
        """Return a digest of a package's sources where they are not those of its version; else nothing."""
        return edits(distribution)

    def gpus(self) -> tuple[Gpu, ...]:
        """Return the GPUs that CUDA would show to this process, in its order; none without a driver."""
        return tuple(chosen(self._board.gpus() if self._board else all_gpus(), self.environ.get(VISIBLE)))

    def gpu_now(self, uuid: str) -> GpuNow:
        """Return the present state of the GPU with a UUID."""
        now = gpu_now(uuid)
        return replace(now, throttled=now.throttled or self._board.throttled()) if self._board else now

    @property
    def _board(self) -> Board | None:
        """The Jetson that this machine is; None for others."""
        return find_board(self.system)

    def usable_cores(self) -> int:
        """Return how many cores this process may run on, or use the time of, where a container limits that."""
        try:
            cores = len(os.sched_getaffinity(0))
        except AttributeError:  # not on every platform
            cores = os.cpu_count() or 1
        quota = quota_cores(self.system)
        # Threads that share a core's part would wait for one another.
        return cores if quota is None else max(1, min(cores, int(quota)))

    def cpu_model(self) -> str:
        """Return the CPU's name as the operating system gives it."""
        return _cpuinfo(self.system, "model name|Model") or platform.processor() or platform.machine()

    def cpu_numbers(self) -> str:
        """Return the numbers by which its maker tells this CPU from others, such as ``f6m143``; empty if unknown.

        Virtual machines name many CPUs alike, such as "AMD EPYC Processor".
        """
        named = (("f", "cpu family|CPU implementer"), ("m", "model|CPU part"))
        return "".join(letter + found for letter, names in named if (found := _cpuinfo(self.system, names)))

    def cpu_instructions(self) -> tuple[str, ...] | None:
        """Return which of :data:`INSTRUCTIONS` the CPU has; None where the operating system does not tell."""
        flags = _cpuinfo(self.system, "flags|Features")
        return None if flags is None else tuple(name for name in INSTRUCTIONS if name in flags.split())

    def commit(self, folder: Path) -> str | None:
        """Return the Git commit of a folder; None outside of a repository."""
        return commit_of(folder, self.environ)

    def why_busy(self, gpu: str = "") -> list[str]:
        """Return what would disturb timing, each as a sentence without its full stop.

        Args:
            gpu: UUID of the GPU that is timed; empty for the CPU.
        """
        throttled = self.gpu_now(gpu).throttled if gpu else ()
        found = [f"the GPU holds its clocks back ({', '.join(throttled)})"] if throttled else []
        return load.why_busy(self.system, os.cpu_count() or 1) + found

    def power_mode(self, gpu: Gpu | None = None) -> list[str]:
        """Return how this machine, and the GPU that is timed, are set between speed and power, in words."""
        limit = gpu.power_limit_w if gpu else None
        mode = nvpmodel(self.system)
        return [
            *load.power_mode(self.system),
            *([f"{NVPMODEL}{mode}"] if mode else []),
            *(self._board.clocks() if self._board else []),
            *([f"GPU limit {limit} W"] if limit else []),
        ]

    def foreign_processes(self, gpu: str) -> int:
        """Return how many processes compute on a GPU while no session's job does.

        A process's number does not tell whose it is: in a container, it is that of the host. So this counts only while
        the device's lock is free, and holds it meanwhile. Every launch counts again.

        Args:
            gpu: Its UUID.
        """
        lock = device_lock(gpu, self.locks)
        try:
            if not lock.take():
                return 0
        except OSError:  # no place for locks: jobs will say so
            pass
        try:
            return self.gpu_now(gpu).processes
        finally:
            lock.release()

    def device_locks(self) -> Path:
        """Return the folder of the device locks."""
        return self.locks

    def environment(self, backend: str, device: str, folder: Path) -> Environment:
        """Return this machine's record for one backend and device; ``folder`` is the project that is gated."""
        versions = with_edits(self.versions(), self.edits)
        version = versions.get(backend, "unknown")
        arch = platform.machine()
        gpu = None if device == "cpu" else self.gpus()[int(device)]
        model, quota = self.cpu_numbers(), quota_cores(self.system)
        limit = f"-quota{round(quota, 2):g}" if quota else ""
        cpu = f"{cpu_name(self.cpu_model())}-{model}-{self.usable_cores()}c{limit}"
        kind = gpu.name if gpu else f"{device}-{arch}-{cpu}"
        return Environment(
            machine=machine_slug(kind, backend, version),
            os=_os_name(),
            arch=arch,
            python=platform.python_version(),
            cpu=self.cpu_model(),
            cpu_count=self.usable_cores(),
            cpu_model=model,
            cpu_quota=quota,
            instructions=self.cpu_instructions(),
            power=", ".join(self.power_mode(gpu)) or None,
            memory_bytes=_memory_bytes(),
            gpu=gpu.name if gpu else None,
            compute_capability=gpu.compute_capability if gpu else None,
            driver=gpu.driver if gpu else None,
            backend=backend,
            backend_version=version,
            device=device,
            versions=versions,
            commit=self.commit(folder),
            variables=numeric_variables(self.environ),
        )


@lru_cache
def _cpuinfo(system: Path, names: str) -> str | None:
    """Return the first value that Linux tells of the CPU under any of some names, which ``|`` parts."""
    try:
        text = (system / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^(?:{names})\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else None


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
