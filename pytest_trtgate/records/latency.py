"""Launches: what each arm took in them, the state of the machine, and profiles of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from pydantic import Field

from .base import Failure, FileRecord, Record
from .cell import Cell, Context, replay_of
from .names import InnerPath

_LEAST, _MOST = 1e-12, 1e15
"""Beyond these, what is computed of durations may overflow."""


class Timing(Record):
    """The durations of one arm in one context of one launch; ``quantiles_ms`` holds p1 to p99, ascending."""

    n: int
    mean_ms: float
    min_ms: float
    max_ms: float
    quantiles_ms: tuple[float, ...] = Field(min_length=99, max_length=99)

    @classmethod
    def of_ms(cls, durations: Any) -> Timing:
        """Summarize durations in milliseconds; quantiles are interpolated linearly between samples."""
        import numpy as np

        ms = np.asarray(durations, dtype=np.float64)
        # To the nanosecond, which is what the clock tells: more digits only make baselines longer.
        quantiles = np.quantile(ms, np.arange(1, 100) / 100).round(6)
        return cls(
            n=len(ms),
            mean_ms=round(float(ms.mean()), 6),
            min_ms=float(ms.min()),
            max_ms=float(ms.max()),
            quantiles_ms=tuple(quantiles.tolist()),
        )

    def quantile_ms(self, percent: int) -> float:
        """Return a percentile, 1 to 99, in milliseconds."""
        return self.quantiles_ms[percent - 1]


class ArmLaunch(Record):
    """One arm in one launch. Fields after ``clock`` are of a GPU, and None if it does not report them.

    Attributes:
        course_ms: Per context, the medians of equal parts of the launch, in the order of time: in the same part, all
            arms of a launch meet the same conditions.
        over_budget: For each percentile with a budget, how many inferences in the gated context took longer than it.
        clock: What timed ``engine`` and the copies; the host's clock times everything else.
        cuda_graph: Whether a CUDA graph replayed the engine.
        memory_peak_bytes: How much free device memory the arm took, from before loading to after its first batch. The
            ``.pt`` bears torch's memory too; a spare engine, which is not timed, bears that of the engines' library.
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
    """The machine's state around a launch; None where the platform does not report it.

    Fields after ``temperature_c``, the CPU's, are of the GPU. ``throttle_reasons`` says in words what holds its clocks
    down; ``other_processes`` counts the processes besides the launch that computed on it.
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

    ``during``: the GPU's state between timed blocks. ``recorded``: the file of times that stands for a launch, where
    its arm was timed elsewhere.
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
    samples: InnerPath = ""
    recorded: str = ""

    @property
    def states(self) -> tuple[MachineState, ...]:
        """All states of the machine, in the order of time."""
        return (self.before, *self.during, self.after)

    @property
    def throttled(self) -> tuple[str, ...]:
        """What held the GPU's clocks down at any time, in words."""
        return tuple(dict.fromkeys(reason for state in self.states for reason in state.throttle_reasons))

    @property
    def foreign_processes(self) -> int:
        """The most other processes that computed on the GPU at any time; 0 if unknown."""
        return max(state.other_processes or 0 for state in self.states)


class LayerTime(Record):
    """One layer of an engine and its mean milliseconds per inference."""

    name: str
    ms: float


class LayerProfile(FileRecord):
    """How long each layer of a cell's engine takes, the slowest first; profiling disturbs, so the sum is no latency.

    ``failure`` says why there are no layers.
    """

    cell: Cell
    runs: int
    layers: tuple[LayerTime, ...] = ()
    failure: str = ""


class LatencyRecord(FileRecord):
    """All launches of one model: ``.pt``, its engines and stored baseline engines side by side.

    Later launches time only the arms and the context that need them. ``failures``: arms that could not be timed.
    ``discarded``: why launches were repeated, one sentence each.
    """

    model: str
    imgsz: int
    batch: int
    launches: tuple[Launch, ...]
    failures: dict[str, Failure] = Field(default_factory=dict)
    discarded: tuple[str, ...] = ()

    def per_launch_ms(self, arm: str, context: Context, percent: int) -> tuple[float, ...]:
        """Return one percentile per launch that timed the arm so, in milliseconds, in the order of the launches."""
        timings = (launch.arms[arm].timings.get(context) for launch in self.of_arm(arm))
        return tuple(timing.quantile_ms(percent) for timing in timings if timing is not None)

    def of_arm(self, arm: str) -> tuple[Launch, ...]:
        """Return the launches that timed an arm."""
        return tuple(launch for launch in self.launches if arm in launch.arms)

    def images_per_second(self, arm: str) -> float:
        """Return the median over the launches that timed an arm end to end; over all where none did."""
        timed = [launch.arms[arm] for launch in self.of_arm(arm)]
        return median(one.images_per_second for one in [x for x in timed if "end-to-end" in x.timings] or timed)


@dataclass(frozen=True)
class LayerChange:
    """One layer in two profiles, in mean milliseconds per inference."""

    name: str
    then_ms: float
    now_ms: float

    @property
    def slower_ms(self) -> float:
        """How much longer it takes; negative where it got faster."""
        return self.now_ms - self.then_ms


def slower_layers(now: Sequence[LayerTime], then: Sequence[LayerTime]) -> list[LayerChange]:
    """Return the layers that take longer than in an earlier profile, the largest loss first."""
    before = {layer.name: layer.ms for layer in then}
    changes = [LayerChange(x.name, before[x.name], x.ms) for x in now if x.name in before]
    return sorted((c for c in changes if c.slower_ms > 0), key=lambda c: -c.slower_ms)


def slowest_change(now: Sequence[LayerTime], then: Sequence[LayerTime]) -> str:
    """Return which layer lost most time, for a sentence; empty if none did."""
    changes = slower_layers(now, then)
    if not changes:
        return ""
    worst = changes[0]
    return f"its layer {worst.name} lost most time ({worst.then_ms:.3g} -> {worst.now_ms:.3g} ms)"


def usable(durations: Sequence[float]) -> bool:
    """Return whether there are durations, and all are some that a machine can take, in whichever unit."""
    return bool(durations) and all(_LEAST < v < _MOST for v in durations)


def is_replayed(latency: LatencyRecord, arm: str) -> bool:
    """Return whether the arm's stored baseline engine was timed beside it."""
    replay = replay_of(arm)
    return replay not in latency.failures and bool(latency.of_arm(replay))
