"""Job: one launch, which loads its arms into one process, warms them up and times them interleaved."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

from ...jobs import ArmRequest, LatencyRequest, LatencyResponse
from ...records import ArmLaunch, Context, Launch, MachineState, Timing
from ..worker import PHASES, leave, main, progress
from .cpu import machine_state
from .gpu import ClockWatch, Sensors, energy_per_call_mj, open_gpu

if TYPE_CHECKING:
    from .arms import Arm, Batch
    from .cuda_timing import GpuBench

T = TypeVar("T")
PRIMERS = 2
"""Inferences that open each block untimed: they bring the arm's weights and threads back after another arm's turn."""
WINDOW = 10
"""Inferences whose median is compared with that of the next as many, to tell when an arm is warm."""
STABLE = 0.05
LEAST_SAMPLES = 30
GLANCE = 3
"""Inferences that tell how long one takes, of an arm that is warm already."""
SHOWN_SHARE, LEAST_SHOWN = 4, 10
"""Contexts without limits get a quarter of the timed inferences and of their time, but so many at least."""
PARTS = 20
"""Parts of a launch whose medians are kept, at most ``LEAST_SAMPLES``."""
STAGES: tuple[Context, ...] = ("preprocess", "inference", "postprocess")
ON_GPU: tuple[Context, ...] = ("host", "copy-in", "copy-out")
"""Contexts that come with ``engine`` on a GPU."""
BY_EVENTS: tuple[Context, ...] = ("engine", "copy-in", "copy-out")
"""Contexts that are timed by CUDA events on a GPU."""
LOOKS = 5
"""How often the GPU is read during a launch, between timed blocks."""


def work(request: LatencyRequest, folder: Path) -> LatencyResponse:
    """Run one launch and write every duration to ``request.samples_file``.

    The ``.npz`` holds nanoseconds as int64, in the order of time: durations as ``ARM/CONTEXT``, and when each began,
    since the first timed inference of the launch, as ``ARM/CONTEXT/at``.

    Raises:
        DataError: An image or an artifact is missing or cannot be read.
        TrtGateError: An arm does not fit the request, fails, or returns NaN or infinite values; or there is no such
            GPU.
    """
    import numpy as np
    import torch

    started, began = datetime.now(timezone.utc), time.monotonic()
    before = machine_state()
    name = f"launch {request.index + 1}"
    progress(f"{name}: loading {', '.join(arm.arm for arm in request.arms)}")

    from .. import yolo
    from . import cuda_timing
    from .arms import decode, load_arms

    PHASES.begin("images")
    yolo.isolate(request.threads)
    batches = decode(request)
    PHASES.begin("load")
    device = cuda_timing.open_device(request.device)
    gpu = None if device is None else open_gpu(device.index)
    before = before if gpu is None else before.model_copy(update=gpu.state())
    memory = cuda_timing.MemoryMeter(device)
    arms = load_arms(request, folder, memory.charge)
    with torch.inference_mode():
        for arm in arms:
            arm.aim(batches[0])
            memory.charge(arm.name, partial(arm.rehearse, batches[0], request.how.imgsz))
        inputs = _inputs(arms, batches)
        benches = {} if device is None else cuda_timing.make_benches(arms, inputs, device)
        tracks = [
            Track(arm, context, batches, inputs[arm.half], benches.get(arm.name))
            for context in contexts(request)
            for arm in arms
        ]
        PHASES.begin("warm-up")
        gc.collect()
        gc.disable()
        try:
            warm: dict[str, Track] = {}
            for track in reversed(tracks):
                progress(f"{name}: warming up {track.arm.name}, {track.context}")
                # On a CPU, end-to-end comes last and holds all that the engine alone does.
                track.warm_up(request, None if gpu is None else ClockWatch(gpu.sm_mhz), warm.get(track.arm.name))
                if gpu is None:
                    warm.setdefault(track.arm.name, track)
            PHASES.begin("work")
            during = _measure(tracks, request, name, gpu)
            energies = {} if gpu is None else {arm: _energy_mj(gpu, bench) for arm, bench in benches.items()}
        finally:
            gc.enable()
    PHASES.begin("write")
    after = machine_state()
    arrays = {key: value for track in tracks for key, value in track.arrays(min(t.at[0] for t in tracks)).items()}
    np.savez_compressed(request.samples_file, **arrays)
    launch = Launch(
        index=request.index,
        seed=request.seed,
        threads=request.threads,
        block=request.rules.block,
        started_at=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        arms={
            a.arm: _summary(a, request, tracks, arrays).model_copy(
                update={"memory_peak_bytes": memory.taken.get(a.arm), "energy_mj": energies.get(a.arm)}
            )
            for a in request.arms
        },
        before=before,
        after=after if gpu is None else after.model_copy(update=gpu.state()),
        during=during,
        samples=Path(request.samples_file).name,
    )
    return LatencyResponse(launch=launch)


def contexts(request: LatencyRequest) -> tuple[Context, ...]:
    """Return what is to be timed; the stages come with ``end-to-end``, and on a GPU host and copies with ``engine``."""
    wanted: list[Context] = []
    if "engine" in request.contexts:
        wanted += ["engine", *(ON_GPU if request.device.isdecimal() else ())]
    if set(request.contexts) - {"engine"}:
        wanted.append("end-to-end")
    return tuple(wanted)


@dataclass
class Track:
    """The durations of one arm in one context, as they are measured.

    Attributes:
        bench: The arm on a GPU, which times ``engine`` and the copies by events; None on a CPU.
        durations: Nanoseconds of each timed inference.
        stages: For ``end-to-end``, the nanoseconds of its three stages, from the same readings of the clock.
        at: When each began, in nanoseconds on the clock.
        planned: How many timed inferences there will be.
    """

    arm: Arm
    context: Context
    batches: Sequence[Batch]
    inputs: Sequence[Any]
    bench: GpuBench | None = None
    durations: list[int] = field(default_factory=list)
    stages: list[tuple[int, int, int]] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    planned: int = 0
    warmup_iterations: int = 0
    warmup_stable: bool = False

    def once(self, number: int) -> tuple[int, tuple[int, int, int], int]:
        """Run one inference, on the input of that number, and return its nanoseconds, those of its stages, and when."""
        clock, arm, index = time.perf_counter_ns, self.arm, number % len(self.batches)
        if self.bench is not None and self.context in BY_EVENTS:
            start = clock()
            return self.bench.time(self.context, index), (0, 0, 0), start
        if self.context in ("engine", "host"):
            tensor = self.inputs[index]
            start = clock()
            output = arm.run(tensor)
            end = clock()
            del output
            return end - start, (0, 0, 0), start
        images = self.batches[index]
        start = clock()
        tensor = arm.preprocess(images)
        arm.synchronize()
        ready = clock()
        output = arm.infer(tensor)
        inferred = clock()
        results = arm.postprocess(output, tensor, images)
        arm.synchronize()
        end = clock()
        del output, results
        return end - start, (ready - start, inferred - ready, end - inferred), start

    def warm_up(self, request: LatencyRequest, clock: ClockWatch | None, warm: Track | None) -> None:
        """Run until two successive windows agree, and so does the clock of a GPU; plan how many inferences to time.

        Args:
            request: The launch.
            clock: Reads the clock of the GPU; None on a CPU.
            warm: The same arm in another context, where that has warmed up all of this one: then a glance is enough.
        """
        durations: list[int] = []
        deadline = time.monotonic() + request.rules.warmup_max_seconds
        while warm is not None and len(durations) < GLANCE:
            durations.append(self.once(len(durations))[0])
        self.warmup_stable = warm is not None and warm.warmup_stable
        while warm is None and not self.warmup_stable and (time.monotonic() < deadline or not durations):
            durations.append(self.once(len(durations))[0])
            count = len(durations)
            if count >= max(request.rules.warmup_min, 2 * WINDOW) and count % WINDOW == 0:
                earlier, later = median(durations[-2 * WINDOW : -WINDOW]), median(durations[-WINDOW:])
                agree = abs(later - earlier) < STABLE * earlier
                self.warmup_stable = agree and (clock is None or clock.settled())
        self.warmup_iterations = len(durations)
        judged = request.gated in (None, self.context)
        share, least = (1, LEAST_SAMPLES) if judged else (SHOWN_SHARE, LEAST_SHOWN)
        affordable = int(request.rules.max_seconds * 1e9 / max(1.0, median(durations[-WINDOW:])))
        self.planned = min(request.rules.samples, max(least, min(request.rules.samples, affordable) // share))

    def block(self, count: int) -> None:
        """Time ``count`` inferences, after some that are not timed."""
        first = len(self.durations)
        for number in range(first - PRIMERS, first):
            self.once(number)
        for number in range(first, first + count):
            duration, stages, start = self.once(number)
            self.durations.append(duration)
            self.stages.append(stages)
            self.at.append(start)

    def arrays(self, origin: int) -> dict[str, Any]:
        """Return the durations as arrays, under the names that they have in the file; ``origin`` is time zero."""
        import numpy as np

        at = np.array(self.at, dtype=np.int64) - origin
        arrays: dict[str, Any] = {self.context: (np.array(self.durations, dtype=np.int64), at)}
        if self.context == "end-to-end":
            for place, stage in enumerate(STAGES):
                spent = np.array([stages[place] for stages in self.stages], dtype=np.int64)
                arrays[stage] = (spent, at)
                at = at + spent
        name = self.arm.name
        return {
            f"{name}/{context}{suffix}": array
            for context, pair in arrays.items()
            for suffix, array in zip(("", "/at"), pair, strict=True)
        }


def _inputs(arms: Sequence[Arm], batches: Sequence[Batch]) -> dict[bool, list[Any]]:
    """Return the letterboxed input of each batch, once for arms that take FP16 and once for those that do not."""
    return {half: [arm.preprocess(batch) for batch in batches] for half, arm in {a.half: a for a in arms}.items()}


def _measure(
    tracks: Sequence[Track], request: LatencyRequest, name: str, gpu: Sensors | None
) -> tuple[MachineState, ...]:
    """Time all tracks in alternating blocks, each spread over the whole of the launch; return readings of the GPU."""
    during = []
    rng = random.Random(request.seed)
    by_context = {c: [t for t in tracks if t.context == c] for c in contexts(request)}
    rounds = max(math.ceil(track.planned / request.rules.block) for track in tracks)
    context_orders = balanced_orders(rng, list(by_context))
    arm_orders = {context: balanced_orders(rng, found) for context, found in by_context.items()}
    total = sum(track.planned for track in tracks)
    for number in range(1, rounds + 1):
        for context in next(context_orders):
            for track in next(arm_orders[context]):
                # Rounding up spreads a slow arm's fewer inferences evenly and ends at exactly what was planned.
                blocks = -(-track.planned * number // (rounds * request.rules.block))
                due = min(track.planned, blocks * request.rules.block)
                if due > len(track.durations):
                    track.block(due - len(track.durations))
        if gpu is not None and number % -(-rounds // LOOKS) == 0:
            during.append(MachineState(**gpu.state()))
        progress(f"{name}: {100 * sum(len(t.durations) for t in tracks) // total} %")
    return tuple(during)


def _energy_mj(gpu: Sensors, bench: GpuBench) -> float | None:
    """Return the energy of one inference in millijoules, apart from what is timed."""
    return energy_per_call_mj(gpu.energy_mj, partial(bench.time, "engine", 0))


def balanced_orders(rng: random.Random, items: Sequence[T]) -> Iterator[list[T]]:
    """Yield orders of ``items`` without end, such that in each run of ``len(items)`` each takes each place once.

    They are the rows, in random order, of Latin squares with randomly named symbols.
    """
    while True:
        names = rng.sample(items, len(items))
        rows = [names[shift:] + names[:shift] for shift in range(len(names))]
        yield from rng.sample(rows, len(rows))


def _summary(asked: ArmRequest, request: LatencyRequest, tracks: Sequence[Track], arrays: dict[str, Any]) -> ArmLaunch:
    arm = asked.arm
    mine = [track for track in tracks if track.arm.name == arm]
    timings: dict[Context, Timing] = {}
    courses_ms: dict[Context, tuple[float, ...]] = {}
    for track in mine:
        for context in (track.context, *(STAGES if track.context == "end-to-end" else ())):
            timings[context] = timing(arrays[f"{arm}/{context}"])
            courses_ms[context] = course_ms(arrays[f"{arm}/{context}"])
    whole = timings.get("end-to-end") or timings["engine"]
    return ArmLaunch(
        arm=arm,
        sha256=asked.sha256,
        warmup_iterations=sum(track.warmup_iterations for track in mine),
        warmup_stable=all(track.warmup_stable for track in mine),
        images_per_second=request.how.batch * 1000 / whole.mean_ms,
        timings=timings,
        course_ms=courses_ms,
        over_budget={
            percentile: int((arrays[f"{arm}/{request.gated}"] > ms * 1e6).sum())
            for percentile, ms in asked.budgets_ms.items()
        },
        clock="host" if mine[0].bench is None else "cuda events",
        cuda_graph=mine[0].arm.cuda_graph,
    )


def timing(nanoseconds: Any) -> Timing:
    """Summarize durations; quantiles are interpolated linearly between samples."""
    import numpy as np

    ms = np.asarray(nanoseconds) / 1e6
    # To the nanosecond, which is what the clock tells: more digits only make baselines longer.
    quantiles = np.quantile(ms, np.arange(1, 100) / 100).round(6)
    return Timing(
        n=len(ms),
        mean_ms=round(float(ms.mean()), 6),
        min_ms=float(ms.min()),
        max_ms=float(ms.max()),
        quantiles_ms=tuple(quantiles.tolist()),
    )


def course_ms(nanoseconds: Any, parts: int = PARTS) -> tuple[float, ...]:
    """Return the medians of some equal parts of durations in the order of time, or all if fewer, in milliseconds."""
    import numpy as np

    pieces = np.array_split(nanoseconds, min(parts, len(nanoseconds)))
    return tuple(float(np.median(piece)) / 1e6 for piece in pieces)


if __name__ == "__main__":
    leave(main(LatencyRequest, work))
