"""A machine that tests pretend: quiet, of many cores, and with the versions and GPUs that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_trtgate.machine import Machine
from pytest_trtgate.machine.gpus import Gpu, GpuNow
from pytest_trtgate.records import Environment

VERSIONS = {
    "ultralytics": "8.4.190",
    "torch": "2.11.0",
    "onnx": "1.20.0",
    "onnxruntime": "1.31.0",
    "onnxslim": "0.1.90",
    "numpy": "2.2.0",
    "pillow": "12.0.0",
}


@dataclass(frozen=True)
class PretendedMachine(Machine):
    """Answers with what it was given; nothing of the true machine disturbs a test.

    Attributes:
        installed: Versions by package.
        visible: The GPUs that CUDA would show.
        now: What each of them does.
        cores: How many this process may use.
        busy: What disturbs timing, in sentences.
        fingerprint: Fields of the environment that differ.
    """

    temporary: tuple[str, ...] = ()
    installed: Mapping[str, str] = field(default_factory=lambda: VERSIONS)
    visible: tuple[Gpu, ...] = ()
    now: GpuNow = field(default_factory=GpuNow)
    cores: int = 64
    busy: tuple[str, ...] = ()
    fingerprint: Mapping[str, Any] = field(default_factory=dict)

    def versions(self) -> dict[str, str]:
        """Return the versions that are pretended."""
        return dict(self.installed)

    def edits(self, distribution: str) -> str:
        """Return that nothing was edited."""
        return ""

    def gpus(self) -> tuple[Gpu, ...]:
        """Return the GPUs that are pretended."""
        return self.visible

    def gpu_now(self, uuid: str) -> GpuNow:
        """Return what every GPU is pretended to do."""
        return self.now

    def usable_cores(self) -> int:
        """Return the cores that are pretended."""
        return self.cores

    def cpu_instructions(self) -> tuple[str, ...]:
        """Return the instructions of a processor on which INT8 does not saturate."""
        return ("avx2", "avx512f", "avx512_vnni")

    def why_busy(self, gpu: str = "") -> list[str]:
        """Return what is pretended to disturb timing."""
        return list(self.busy)

    def power_mode(self, gpu: Gpu | None = None) -> list[str]:
        """Return how the machine is pretended to be set."""
        return ["governor performance"]

    def environment(self, backend: str, device: str, folder: Path) -> Environment:
        """Return the environment with the fields that differ."""
        return super().environment(backend, device, folder).model_copy(update=dict(self.fingerprint))
