"""Job: one launch, which loads its arms into one process, warms them up and times them interleaved."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, TypeVar

from ...jobs import INPUTS, ArmRequest, LatencyRequest, LatencyResponse
from ...records import DESCRIPTION, ArmLaunch, Context, Launch, MachineState, Timing
from ..worker import PHASES, leave, main, progress
from .cpu import machine_state
from .gpu import ClockWatch, Sensors, energy_per_call_mj, open_gpu
from .sampling import is_sharp

if TYPE_CHECKING:
    from .arms import Arm, Batch
    from .cuda_timing import GpuBench
    from .runtime_arms import RuntimeArm

T = TypeVar("T")
PRIMERS = 2
"""Untimed inferences that open each block: they bring the arm's weights and threads back after another arm's turn."""
WINDOW = 10
"""Inferences in each of the two windows whose medians agree when an arm is warm."""
STABLE, STABLE_NOISE = 0.05, 0.8
"""They agree where they differ by less than this ratio, or this share of the spread (between quartiles) inside them:
medians of ten steady times differ by less in 19 of 20 cases."""
LEAST_SAMPLES = 30
GLANCE = 3
"""Inferences that tell how long one takes if the arm is warm already."""
SHOWN_SHARE, LEAST_SHOWN = 4, 10
"""A context without limits gets a quarter of the timed inferences and of their time, but at least so many; and so does
an arm that is only shown."""
SHOWN_SHARP = 0.01
"""To this ratio the p50 of a context without limits is known when its sampling ends early."""
PARTS = 20
"""Parts of a launch whose medians are kept, at most ``LEAST_SAMPLES``."""
STAGES: tuple[Context, ...] = ("preprocess", "inference", "postprocess")
ON_GPU: tuple[Context, ...] = ("host", "copy-in", "copy-out")
"""Contexts that come with ``engine`` on a GPU."""
BY_EVENTS: tuple[Context, ...] = ("engine", "copy-in", "copy-out")
"""Contexts that CUDA events time on a GPU."""
LOOKS = 5
"""Readings of the GPU during a launch, between timed blocks."""


def work(request: LatencyRequest, folder: Path) -> LatencyResponse:
    """Run one launch and write every duration to ``request.samples_file``.

    The ``.npz`` holds nanoseconds as int64, in the order of time: durations as ``ARM/CONTEXT``, and when each began,
    since the first timed inference of the launch, as ``ARM/CONTEXT/at``.

    Raises:
        DataError: An image or an artifact is missing or cannot be read.
        TrtGateError: An arm does not fit the request, fails, or returns NaN or infinite values; or there is no such
            GPU.
    """
    started, began = datetime.now(timezone.utc), time.monotonic()
    before = machine_state()
    name = f"launch {request.index + 1}"
    progress(f"{name}: loading {', '.join(arm.arm for arm in request.arms)}")
    ready = _load_alone(request) if runs_alone(request) else _load(request, folder)
    every, gpu = ready.every, ready.gpu
    before = before.model_copy(update=ready.before)
    PHASES.begin("warm-up")
    with ready.guard, no_garbage_collection():
        _warm_up(every, request, name, gpu)
        PHASES.begin("work")
        during = _measure(every, request, name, gpu)
        energies = _energies_mj(every, gpu) if request.energy else {}
    PHASES.begin("write")
    after = machine_state()
    arrays = _save_samples(every, request)
    launch = Launch(
        index=request.index,
        seed=request.seed,
        threads=request.threads,
        block=request.rules.block,
        started_at=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        arms={
            a.arm: _summary(a, request, every, arrays).model_copy(
                update={"memory_peak_bytes": ready.memory_bytes.get(a.arm), "energy_mj": energies.get(a.arm)}
            )
            for a in request.arms
        },
        before=before,
        after=after.model_copy(update=gpu.state()),
        during=during,
        samples=Path(request.samples_file).name,
    )
    return LatencyResponse(launch=launch)


def runs_alone(request: LatencyRequest) -> bool:
    """Return whether a launch needs no more than ONNX Runtime, and inputs that another one left or that can be made.

    A given file may be fed in another way.
    """
    files = [Path(arm.artifact) for arm in request.arms]
    engines = all(file.suffix == ".onnx" and not file.with_name(DESCRIPTION).exists() for file in files)
    if not engines or request.device != "cpu" or request.contexts != ("engine",) or not request.inputs:
        return False
    from .runtime_arms import takes_pictures

    return Path(request.inputs, INPUTS).is_file() or all(map(takes_pictures, files))


def contexts(request: LatencyRequest) -> tuple[Context, ...]:
    """Return what is to be timed; the stages come with ``end-to-end``.

    On a GPU, host and copies come where both contexts are asked for.
    """
    wanted: list[Context] = []
    if "engine" in request.contexts:
        both = len(request.contexts) > 1
        wanted += ["engine", *(ON_GPU if both and request.device.isdecimal() else ())]
    if set(request.contexts) - {"engine"}:
        wanted.append("end-to-end")
    return tuple(wanted)


@dataclass
class Series:
    """What is measured of one arm in one context.

    Attributes:
        asked: What is wanted of the arm.
        bench: The arm on a GPU, which times ``engine`` and the copies by events; None on a CPU.
        readings: The clock in nanoseconds at the start of each timed inference and after each of its stages.
        planned: How many timed inferences there will be, at most.
    """

    arm: Arm | RuntimeArm
    asked: ArmRequest
    context: Context
    batches: Sequence[Batch]
    inputs: Sequence[Any]
    bench: GpuBench | None = None
    readings: list[tuple[int, ...]] = field(default_factory=list)
    planned: int = 0
    warmup_iterations: int = 0
    warmup_stable: bool = False

    def once(self, number: int) -> tuple[int, ...]:
        """Run one inference, on the input of that number, and return its readings of the clock."""
        clock, index = time.perf_counter_ns, number % len(self.batches)
        if self.bench is not None and self.context in BY_EVENTS:
            start = clock()
            return start, start + self.bench.time(self.context, index)
        if self.context == "end-to-end":
            readings: tuple[int, ...] = self.arm.detect(self.batches[index])[1]
            return readings
        tensor = self.inputs[index]
        start = clock()
        output = self.arm.run(tensor)
        end = clock()
        del output
        return start, end

    def warm_up(self, request: LatencyRequest, clock: ClockWatch, warm: Series | None) -> None:
        """Warm up, and plan how many inferences to time.

        ``warm`` is the same arm in another context that has warmed up all of this one: a glance is then enough.
        """
        if warm is None:
            durations = self._settle(request, clock)
        else:
            durations = [self._duration(number) for number in range(GLANCE)]
            self.warmup_stable = warm.warmup_stable
        self.warmup_iterations = len(durations)
        gated = request.gated in (None, self.context)
        share = (1 if gated else SHOWN_SHARE) * (SHOWN_SHARE if self.asked.shown else 1)
        least = LEAST_SAMPLES if gated else LEAST_SHOWN
        affordable = int(request.rules.max_seconds * 1e9 / max(1.0, median(durations[-WINDOW:])))
        self.planned = min(request.rules.samples, max(least, min(request.rules.samples, affordable) // share))

    def _settle(self, request: LatencyRequest, clock: ClockWatch) -> list[int]:
        """Run until two successive windows agree and the clock of a GPU has settled; return all durations."""
        durations: list[int] = []
        deadline = time.monotonic() + request.rules.warmup_max_seconds
        while not self.warmup_stable and (time.monotonic() < deadline or not durations):
            durations.append(self._duration(len(durations)))
            count = len(durations)
            if count >= max(request.rules.warmup_min, 2 * WINDOW) and count % WINDOW == 0:
                self.warmup_stable = agree(durations[-2 * WINDOW : -WINDOW], durations[-WINDOW:]) and clock.settled()
        return durations

    def _duration(self, number: int) -> int:
        readings = self.once(number)
        return readings[-1] - readings[0]

    def is_sharp(self, request: LatencyRequest) -> bool:
        """Return whether what was timed tells as much as is wanted."""
        import numpy as np

        asked = self.asked.sharp
        if request.gated not in (None, self.context):
            asked = {"p50": SHOWN_SHARP}
        return is_sharp(np.array([r[-1] - r[0] for r in self.readings]), asked, request.rules.block)

    def block(self, count: int) -> None:
        """Time ``count`` inferences, after some that are not timed."""
        first = len(self.readings)
        for number in range(first - PRIMERS, first):
            self.once(number)
        self.readings += [self.once(number) for number in range(first, first + count)]

    def arrays(self, origin: int) -> dict[str, Any]:
        """Return durations and starts as the file names them; ``origin`` is time zero."""
        import numpy as np

        clock = np.array(self.readings, dtype=np.int64)
        at, ends = clock[:, :-1] - origin, clock[:, 1:]
        arrays = {self.context: (clock[:, -1] - clock[:, 0], at[:, 0])}
        if self.context == "end-to-end":
            spent = ends - clock[:, :-1]
            arrays |= {stage: (spent[:, place], at[:, place]) for place, stage in enumerate(STAGES)}
        name = self.arm.name
        return {
            f"{name}/{context}{suffix}": array
            for context, pair in arrays.items()
            for suffix, array in zip(("", "/at"), pair, strict=True)
        }


@dataclass(frozen=True)
class Ready:
    """The arms of a launch, loaded and run once each.

    Attributes:
        arms: All of them; the spare engine keeps the memory that it took while the others are timed.
        every: All series, context by context.
        guard: What they are to be run inside of.
        gpu: The device, and in ``before`` what it told before anything was loaded.
        memory_bytes: What each arm took of it.
    """

    arms: Sequence[Arm | RuntimeArm]
    every: list[Series]
    guard: AbstractContextManager[Any] = field(default_factory=nullcontext)
    gpu: Sensors = field(default_factory=lambda: Sensors(None, None))
    before: Mapping[str, Any] = field(default_factory=dict)
    memory_bytes: Mapping[str, int] = field(default_factory=dict)


def agree(earlier: Sequence[int], later: Sequence[int]) -> bool:
    """Return whether the medians of two windows differ by no more than those of steady times do."""
    before, after = quantiles(earlier), quantiles(later)
    noise = STABLE_NOISE * (before[2] - before[0] + after[2] - after[0]) / 2
    return abs(after[1] - before[1]) < max(STABLE * before[1], noise)


def _load_alone(request: LatencyRequest) -> Ready:
    """Load engines by ONNX Runtime alone."""
    from .runtime_arms import load_alone

    PHASES.begin("load")
    arms, inputs = load_alone(request)
    asked = {arm.arm: arm for arm in request.arms}
    every = [
        Series(arm, asked[arm.name], "engine", inputs[arm.half], inputs[arm.half]) for arm in arms if not arm.spare
    ]
    return Ready(arms, every)


def _load(request: LatencyRequest, folder: Path) -> Ready:
    """Load the arms through Ultralytics, and leave their inputs for launches that do without."""
    import torch

    from .. import yolo
    from .arms import decode, load_arms
    from .cuda_timing import MemoryMeter, make_benches, open_device
    from .runtime_arms import leave_inputs

    PHASES.begin("images")
    yolo.isolate(request)
    batches = decode(request)
    PHASES.begin("load")
    device = open_device(request.device)
    gpu = Sensors(None, None) if device is None else open_gpu(device.index)
    before, memory = gpu.state(), MemoryMeter(device)
    loaded = load_arms(request, request.load_order, folder, memory.charge)
    with torch.inference_mode():
        for arm in loaded:
            arm.aim(batches[0])
            memory.charge("" if arm.spare else arm.name, partial(arm.rehearse, batches[0], request.how.imgsz))
        arms = [arm for arm in loaded if not arm.spare]
        # Letterboxed once for all arms that take the same.
        kinds = {arm.takes: arm for arm in arms}
        inputs = {takes: [arm.preprocess(batch) for batch in batches] for takes, arm in kinds.items()}
        benches = {} if device is None else make_benches(arms, inputs, device)
    asked = {arm.arm: arm for arm in request.arms}
    every = [
        Series(arm, asked[arm.name], context, batches, inputs[arm.takes], benches.get(arm.name))
        for context in contexts(request)
        for arm in arms
    ]
    plain = next((arm.takes for arm in arms if arm.plain), None)
    if request.inputs and device is None and plain is not None:
        leave_inputs(Path(request.inputs), [tensor.numpy() for tensor in inputs[plain]])
    return Ready(loaded, every, torch.inference_mode(), gpu, before, memory.taken)


def _warm_up(every: Sequence[Series], request: LatencyRequest, name: str, gpu: Sensors) -> None:
    """Warm up all series, and have arms that are compared time equal numbers of inferences.

    On a CPU, the gated context comes first, and a glance at the other is enough: both run the same engine. The clock of
    a GPU has to settle once, not again for each series.
    """
    warm: dict[str, Series] = {}
    clock = ClockWatch(gpu.sm_mhz)
    for series in sorted(every, key=lambda one: one.context != (request.gated or "end-to-end")):
        arm = series.arm.name
        progress(f"{name}: warming up {arm}, {series.context}")
        series.warm_up(request, clock, warm.get(arm))
        if series.bench is None:
            warm.setdefault(arm, series)
    for family in _families(every):
        for series in family:
            series.planned = min(other.planned for other in family)


def _families(every: Sequence[Series]) -> list[list[Series]]:
    """Return the series that are compared with each other: of one context, and of an engine and its baseline engine."""
    found: dict[tuple[str, str], list[Series]] = {}
    for series in every:
        found.setdefault((series.context, series.asked.family), []).append(series)
    return list(found.values())


def _measure(every: Sequence[Series], request: LatencyRequest, name: str, gpu: Sensors) -> tuple[MachineState, ...]:
    """Time all series in alternating blocks, each spread over the whole launch; return readings of the GPU.

    What tells enough is timed no longer.
    """
    during = []
    rng = random.Random(request.seed)
    by_context = {c: [series for series in every if series.context == c] for c in contexts(request)}
    rounds = max(math.ceil(series.planned / request.rules.block) for series in every)
    context_orders = balanced_orders(rng, list(by_context))
    arm_orders = {context: balanced_orders(rng, found) for context, found in by_context.items()}
    for number in range(1, rounds + 1):
        for context in next(context_orders):
            for series in next(arm_orders[context]):
                # Rounding up spreads a slow arm's fewer inferences evenly and ends at exactly what was planned.
                blocks = -(-series.planned * number // (rounds * request.rules.block))
                due = min(series.planned, blocks * request.rules.block)
                if due > len(series.readings):
                    series.block(due - len(series.readings))
        if every[0].bench is not None and number % -(-rounds // LOOKS) == 0:
            during.append(MachineState(**gpu.state()))
        for family in _families(every):
            if any(s.planned > len(s.readings) for s in family) and all(s.is_sharp(request) for s in family):
                for series in family:
                    series.planned = len(series.readings)
        done, total = (sum(counts) for counts in zip(*((len(s.readings), s.planned) for s in every), strict=True))
        progress(f"{name}: {100 * done // total} %")
        if done == total:
            break
    if every[0].bench is not None and not during:
        during.append(MachineState(**gpu.state()))
    return tuple(during)


def _energies_mj(every: Sequence[Series], gpu: Sensors) -> dict[str, float | None]:
    """Return the energy of one inference by arm, on a GPU: measured apart from what is timed, once for each arm."""
    return {
        series.arm.name: energy_per_call_mj(gpu.energy_mj, partial(series.bench.time, "engine", 0))
        for series in every
        if series.bench is not None and series.context == every[0].context
    }


def _save_samples(every: Sequence[Series], request: LatencyRequest) -> dict[str, Any]:
    """Write the durations and starts of all series to the request's file, and return them."""
    import numpy as np

    origin = min(series.readings[0][0] for series in every)
    arrays = {key: array for series in every for key, array in series.arrays(origin).items()}
    np.savez_compressed(request.samples_file, **arrays)
    return arrays


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect garbage now, and not while something is timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def balanced_orders(rng: random.Random, items: Sequence[T]) -> Iterator[list[T]]:
    """Yield orders of ``items`` without end, such that in each run of ``len(items)`` each takes each place once.

    They are the rows, in random order, of Latin squares with randomly named symbols.
    """
    while True:
        names = rng.sample(items, len(items))
        rows = [names[shift:] + names[:shift] for shift in range(len(names))]
        yield from rng.sample(rows, len(rows))


def _summary(asked: ArmRequest, request: LatencyRequest, every: Sequence[Series], arrays: dict[str, Any]) -> ArmLaunch:
    arm = asked.arm
    mine = [series for series in every if series.arm.name == arm]
    stages = STAGES if "end-to-end" in contexts(request) else ()
    found = {context: arrays[f"{arm}/{context}"] for context in (*contexts(request), *stages)}
    timings = {context: timing(durations) for context, durations in found.items()}
    whole = timings.get("end-to-end") or timings["engine"]
    return ArmLaunch(
        arm=arm,
        sha256=asked.sha256,
        warmup_iterations=sum(series.warmup_iterations for series in mine),
        warmup_stable=all(series.warmup_stable for series in mine),
        images_per_second=request.how.batch * 1000 / whole.mean_ms,
        timings=timings,
        course_ms={context: course_ms(durations) for context, durations in found.items()},
        over_budget={
            percentile: int((arrays[f"{arm}/{request.gated}"] > ms * 1e6).sum())
            for percentile, ms in asked.budgets_ms.items()
        },
        clock="host" if mine[0].bench is None else "cuda events",
        cuda_graph=mine[0].arm.cuda_graph,
    )


def timing(nanoseconds: Any) -> Timing:
    """Summarize durations."""
    import numpy as np

    return Timing.of_ms(np.asarray(nanoseconds) / 1e6)


def course_ms(nanoseconds: Any, parts: int = PARTS) -> tuple[float, ...]:
    """Return the medians of some equal parts of durations in the order of time, or all if fewer, in milliseconds."""
    import numpy as np

    pieces = np.array_split(nanoseconds, min(parts, len(nanoseconds)))
    return tuple(float(np.median(piece)) / 1e6 for piece in pieces)


if __name__ == "__main__":
    leave(main(LatencyRequest, work))
