"""Records: the only thing that passes between the parts of the gate, and what every file on disk is.

Times are in milliseconds where a name ends in ``_ms``; moments are ISO 8601 in UTC.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from .base import Record

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
REFERENCE = "pt"
"""Name of the arm that every engine is compared with: the checkpoint itself."""
COPY = "-placebo"
"""Ending of the arm that is a second copy of a stored baseline engine."""
Context = Literal["engine", "end-to-end", "preprocess", "inference", "postprocess", "host", "copy-in", "copy-out"]
"""What was timed. ``engine``: tensor in, tensors out. ``end-to-end``: image in, final boxes out; then its stages.

On a GPU also ``host``: the engine by the clock of the host, which waits for the device; and the copies of the input to
the device and of the outputs back, between page-locked memory and the device, which are part of no other context.
"""
CONTEXTS: tuple[Context, ...] = ("engine", "end-to-end")
"""Those that are timed by themselves, and may be judged."""


def replay_of(precision: str) -> str:
    """Return the name of the arm that is a cell's stored baseline engine, timed again beside the new one."""
    return f"baseline-{precision}"


class Cell(Record):
    """One square of the matrix: model x precision x image size x batch x backend x device."""

    model: str
    precision: Precision
    imgsz: int
    batch: int
    backend: str
    device: str

    @property
    def key(self) -> str:
        """Stable, readable name, safe as a file name; independent of any pytest node id."""
        device = self.device.replace(":", "")
        return f"{self.model}-{self.precision}-{self.imgsz}-b{self.batch}-{self.backend}-{device}"

    @property
    def on_any_gpu(self) -> Cell:
        """The same cell without the number of its GPU, which says nothing of the kind: that is in the environment."""
        return self if self.device == "cpu" else self.model_copy(update={"device": "gpu"})

    @property
    def label(self) -> str:
        """Short name for people, where image size, batch and backend are plain from the context."""
        return f"{self.model} {self.precision}"


def cell_of_key(key: str) -> Cell | None:
    """Return the cell that has a key, or None where no cell has it."""
    parts = re.fullmatch(rf"(.+)-({'|'.join(PRECISIONS)})-(\d+)-b(\d+)-([^-]+)-([^-]+)", key)
    if parts is None:
        return None
    names = ("model", "precision", "imgsz", "batch", "backend", "device")
    return Cell.model_validate(dict(zip(names, parts.groups(), strict=True)))


class Environment(Record):
    """The machine and the versions that a run used, and which of them a latency baseline depends on.

    ``extra``: what the project's own code adds, by label; shown and recorded, and nothing depends on it.
    ``instructions``: those of the CPU that INT8 is computed with; None where that is not known, as in older records.
    """

    machine: str
    os: str
    arch: str
    python: str
    cpu: str
    cpu_count: int
    instructions: tuple[str, ...] | None = None
    memory_bytes: int
    gpu: str | None = None
    compute_capability: str | None = None
    driver: str | None = None
    backend: str
    backend_version: str
    device: str
    versions: dict[str, str]
    commit: str | None = None
    extra: dict[str, str] = Field(default_factory=dict)
