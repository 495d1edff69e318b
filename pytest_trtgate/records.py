"""Records: the only thing that passes between the parts of the gate, and what every file on disk is.

Times are in milliseconds where a name ends in ``_ms``; moments are ISO 8601 in UTC.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from .inspection import EngineInspection
from .record_base import Failure, FileDigest, FileRecord, Record
from .tasks import Head, Task, head_of

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
    """

    machine: str
    os: str
    arch: str
    python: str
    cpu: str
    cpu_count: int
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


class Calibration(Record):
    """The images that an INT8 engine was calibrated on, as listed in ``calibration.txt`` of its cache entry."""

    split: str
    fraction: float
    images: int
    digest: str


class EngineRecord(FileRecord):
    """One built engine: the manifest of its cache entry, and how this run came by it."""

    cell: Cell
    cache_key: str
    key_parts: dict[str, Any]
    artifact: str
    files: tuple[FileDigest, ...]
    sha256: str
    size_bytes: int
    built_at: str
    build_seconds: float
    calibration: Calibration | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    inspection: EngineInspection | None = None
    from_cache: bool = False
    entry: str = ""

    @property
    def path(self) -> Path:
        """The artifact on disk; meaningful on the machine that made the record."""
        return Path(self.entry) / self.artifact

    @property
    def head(self) -> Head | None:
        """Where the engine's boxes are thinned out; None for a classifier."""
        return head_of(self.metadata)


class ClassAccuracy(Record):
    """Accuracy of one class: ``metrics`` has the same keys as the overall ones."""

    name: str
    images: int
    instances: int
    metrics: dict[str, float]


class AccuracySettings(Record):
    """What an evaluation was run with; equal for every arm, or the arms are not comparable.

    ``nms``: as the exporter was asked for it, see the setting ``export.nms``.
    """

    split: str
    imgsz: int
    batch: int
    conf: float
    iou: float
    max_det: int
    rect: bool = False
    nms: bool | None = None

    def differing(self, other: AccuracySettings) -> list[str]:
        """Return what differs from other settings, as ``name here, there``."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in type(self).model_fields)
        return [f"{name} {mine} and {theirs}" for name, mine, theirs in pairs if mine != theirs]


class AccuracyRecord(FileRecord):
    """Accuracy of one arm on one split; ``unreadable`` names damaged images that no arm was evaluated on.

    ``head``: how its boxes were thinned out; None for a classifier, and in records that do not say.
    """

    model: str
    arm: str
    task: Task = "detect"
    head: Head | None = None
    settings: AccuracySettings
    images: int
    instances: int
    data_digest: str = ""
    unreadable: tuple[str, ...] = ()
    metrics: dict[str, float]
    classes: tuple[ClassAccuracy, ...]
    per_image: str
    seconds: float
    measured_at: str = ""
    reused: bool = False


class Timing(Record):
    """The durations of one arm in one context of one launch.

    ``quantiles_ms`` holds p1 to p99: 99 numbers in ascending order.
    """

    n: int
    mean_ms: float
    min_ms: float
    max_ms: float
    quantiles_ms: tuple[float, ...] = Field(min_length=99, max_length=99)

    def quantile_ms(self, percent: int) -> float:
        """Return the p-th percentile in milliseconds.

        Args:
            percent: 1 to 99.
        """
        return self.quantiles_ms[percent - 1]


class ArmLaunch(Record):
    """One arm in one launch. What follows ``clock`` is of a GPU, and None where it does not tell.

    Attributes:
        course_ms: Per context, the medians of equal parts of the launch, in the order of time: arms of one launch meet
            the same conditions in the same part.
        over_budget: For each percentile with a budget, how many inferences in the gated context took longer than it.
        clock: What ``engine`` and the copies were timed by; all else is timed by the clock of the host.
        cuda_graph: Whether the engine was replayed from a CUDA graph.
        memory_peak_bytes: How much less of the device's memory was free once the arm was loaded and had done its first
            batch. An arm that is the first to use a library bears that library's memory too.
        energy_mj: Energy of the whole board per inference, in millijoules, while inferences run back to back.
    """

    arm: str
    sha256: str
    warmup_iterations: int
    warmup_stable: bool
    images_per_second: float
    timings: dict[Context, Timing]
    course_ms: dict[Context, tuple[float, ...]] = Field(default_factory=dict)
    over_budget: dict[str, int] = Field(default_factory=dict)
    clock: Literal["cuda events", "host"] = "host"
    cuda_graph: bool | None = None
    memory_peak_bytes: int | None = None
    energy_mj: float | None = None


class MachineState(Record):
    """What the machine was doing around a launch; None where the platform does not tell.

    What follows ``temperature_c``, the CPU's, is of the GPU. ``throttle_reasons`` says in words what holds its clocks
    down, ``other_processes`` how many processes besides the launch computed on it.
    """

    load_average: float | None = None
    cpu_mhz: float | None = None
    temperature_c: float | None = None
    gpu_uuid: str | None = None
    gpu_temperature_c: float | None = None
    sm_mhz: float | None = None
    memory_mhz: float | None = None
    power_w: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    other_processes: int | None = None


class Launch(Record):
    """One fresh process that loaded its arms, warmed them up and timed them interleaved.

    ``during``: readings of the GPU between timed blocks.
    """

    index: int
    seed: int
    threads: int
    block: int
    started_at: str
    seconds: float
    arms: dict[str, ArmLaunch]
    before: MachineState = MachineState()
    after: MachineState = MachineState()
    during: tuple[MachineState, ...] = ()
    samples: str = ""

    @property
    def states(self) -> tuple[MachineState, ...]:
        """All readings of the machine, in the order of time."""
        return (self.before, *self.during, self.after)

    @property
    def throttled(self) -> tuple[str, ...]:
        """What held the GPU's clocks down at any time, in words; empty where nothing did."""
        return tuple(dict.fromkeys(reason for state in self.states for reason in state.throttle_reasons))

    @property
    def foreign_processes(self) -> int:
        """The most other processes that computed on the GPU at any time; 0 where it is not known."""
        return max(state.other_processes or 0 for state in self.states)


class LayerTime(Record):
    """One layer of an engine and its mean milliseconds per inference."""

    name: str
    ms: float


class LayerProfile(FileRecord):
    """How long each layer of a cell's engine takes, the slowest first; profiling disturbs, so the sum is no latency.

    ``failure`` says why there are no layers, where there are none.
    """

    cell: Cell
    runs: int
    layers: tuple[LayerTime, ...] = ()
    failure: str = ""


class LatencyRecord(FileRecord):
    """All launches of one model: ``.pt``, its engines and stored baseline engines side by side.

    Later launches time only the arms that need them. ``failures``: arms that could not be timed. ``discarded``: why
    launches were repeated, one sentence each.
    """

    model: str
    imgsz: int
    batch: int
    launches: tuple[Launch, ...]
    failures: dict[str, Failure] = Field(default_factory=dict)
    discarded: tuple[str, ...] = ()

    def per_launch_ms(self, arm: str, context: Context, percent: int) -> tuple[float, ...]:
        """Return one percentile per launch that timed the arm, in milliseconds, in the order of the launches."""
        return tuple(launch.arms[arm].timings[context].quantile_ms(percent) for launch in self.of_arm(arm))

    def of_arm(self, arm: str) -> tuple[Launch, ...]:
        """Return the launches that timed an arm."""
        return tuple(launch for launch in self.launches if arm in launch.arms)
