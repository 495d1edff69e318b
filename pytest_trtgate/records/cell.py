"""The cells of the matrix, the names of arms and contexts, and the environment of a run."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from .base import Record
from .names import Name

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_MOST = 100_000
REFERENCE = "pt"
"""Name of the arm that every engine is compared with: the checkpoint itself."""
DEPLOYED = "deployed"
"""Name of the arm that is the engine deployed now, where it is compared with."""
Context = Literal["engine", "end-to-end", "preprocess", "inference", "postprocess", "host", "copy-in", "copy-out"]
"""What was timed. ``engine``: tensor in, tensors out. ``end-to-end``: image in, final boxes out; then its stages.

On a GPU also ``host``, the engine by the host's clock, which waits for the device; ``copy-in`` and ``copy-out``, the
copies of inputs and outputs between page-locked memory and the device, are part of no other context.
"""
CONTEXTS: tuple[Context, ...] = ("engine", "end-to-end")
"""Contexts that are timed by themselves and may be judged."""


def replay_of(precision: str) -> str:
    """Return the name of the arm that times a cell's stored baseline engine again, beside the new one."""
    return f"baseline-{precision}"


def placebo_of(arm: str) -> str:
    """Return the name of the arm that times a second copy of an arm's engine: a difference between both is noise."""
    return f"{arm}-placebo"


REPLAYS = frozenset(replay_of(precision) for precision in PRECISIONS)
PLACEBOS = frozenset(placebo_of(replay) for replay in REPLAYS)


class Cell(Record):
    """One square of the matrix: model x precision x image size x batch x backend x device x machine.

    ``machine``: the kind of machine, such as ``nvidia-l4``, in a run on several kinds; empty in any other.
    """

    model: Name
    precision: Precision
    imgsz: int = Field(ge=1, le=_MOST)
    batch: int = Field(ge=1, le=_MOST)
    backend: Name
    device: Name
    machine: str = ""

    @model_serializer(mode="wrap")
    def _as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the machine out where there is none: files of runs on one machine stay as they were."""
        found: dict[str, Any] = serialize(self)
        if not self.machine:
            found.pop("machine", None)
        return found

    # Runs of many cells compare and look up each with all others, for which those of a model are slow.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    @property
    def key(self) -> str:
        """Stable, readable name, safe as a file name; independent of any pytest node id, and of the kind of machine."""
        device = self.device.replace(":", "")
        return f"{self.model}-{self.precision}-{self.imgsz}-b{self.batch}-{self.backend}-{device}"

    @property
    def on_any_gpu(self) -> Cell:
        """The same cell without machine and number of the GPU: the kinds of both are in the environment."""
        device = self.device if self.device == "cpu" else "gpu"
        return self if self.device == device and not self.machine else self.on(device=device)

    def on(self, machine: str = "", device: str = "") -> Cell:
        """Return the same cell on a kind of machine, and on a device if one is given."""
        return self.model_copy(update={"machine": machine, "device": device or self.device})

    @property
    def label(self) -> str:
        """Short name for people, without image size, batch and backend."""
        return f"{self.arm_label} on {self.machine}" if self.machine else self.arm_label

    @property
    def arm_label(self) -> str:
        """The same without machine, where that is told beside it."""
        return f"{self.model} {self.precision}"


def cell_of_key(key: str) -> Cell | None:
    """Return the cell that has a key, or None where no cell has it."""
    parts = re.fullmatch(rf"(.+)-({'|'.join(PRECISIONS)})-(\d+)-b(\d+)-([^-]+)-([^-]+)", key)
    if parts is None:
        return None
    names = ("model", "precision", "imgsz", "batch", "backend", "device")
    try:
        return Cell.model_validate(dict(zip(names, parts.groups(), strict=True)))
    except ValidationError:
        return None


class Environment(Record):
    """The machine and the versions that a run used.

    ``extra``: fields that the project's own code adds, by label; they are shown, and nothing depends on them.
    ``instructions``: the CPU's, with which it computes INT8; None if unknown, as in older records. ``cpu_model``: its
    family and model, such as ``f6m143``. ``cpu_quota``: how many cores' time a container may use; None if all.
    ``power``: how the machine is set between speed and power; None if it does not tell. ``variables``: environment
    variables that change how libraries compute.
    """

    machine: Name
    os: str
    arch: str
    python: str
    cpu: str
    cpu_count: int
    cpu_model: str = ""
    cpu_quota: float | None = None
    power: str | None = None
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
    variables: dict[str, str] = Field(default_factory=dict)

    @property
    def names(self) -> tuple[str, str]:
        """Names of the kind of machine: without and with its backend, such as ``nvidia-l4``."""
        return self.machine.rpartition("_")[0], self.machine

    @property
    def platform(self) -> dict[str, str]:
        """What may change on one machine and move all its latencies, by name; empty of what is not there."""
        driver, instructions = self.driver or "", " ".join(self.instructions or ())
        own = {"driver": driver, "power": self.power or "", "os": self.os, "python": self.python}
        return own | {"instructions": instructions} | self.versions | self.variables
