"""Job: the arms of a model on one clip, from the decoder to the drawn frame, then videos of what they found."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DataError
from ...jobs import VideoRequest, VideoResponse
from ...records import STAGES, Stage, VideoArm, VideoRecord
from ..timing.latency import balanced_orders, course_ms, timing
from ..worker import PHASES, leave, main, progress
from .clip import describe, open_clip

if TYPE_CHECKING:
    from ..timing.arms import Arm
    from .film import Films

COURSE_PARTS = 160
"""Parts of a clip whose medians are kept."""


def work(request: VideoRequest, folder: Path) -> VideoResponse:
    """Time all arms on the frames of a clip, in turns, and only then draw and encode what they found.

    Every duration goes to the launch's ``samples_file``: nanoseconds as int64, in the order of the frames, one array
    per ``ARM/STAGE``. With a batch of N, frames go through in groups of N; a frame's time is its part of the group's.

    Raises:
        DataError: The clip or an artifact is missing or cannot be read.
        TrtGateError: An arm does not fit the request, fails, or returns NaN or infinite values; or OpenCV can write no
            video.
    """
    import numpy as np
    import torch

    from .. import yolo
    from ..timing.arms import load_arms
    from .film import Films

    PHASES.begin("load")
    yolo.isolate(request.threads)
    name = Path(request.clip).name
    capture = open_clip(request.clip)
    clip = describe(capture, request.clip)
    capture.release()
    progress(f"{name}: loading {', '.join(arm.arm for arm in request.launch.arms)}")
    arms = load_arms(request.launch, folder, lambda _, load: load())
    tracks = [Track(arm, request.launch.how.batch, open_clip(request.clip)) for arm in arms]
    PHASES.begin("warm-up")
    with torch.inference_mode():
        for track in tracks:
            progress(f"{name}: warming up {track.arm.name}")
            track.warm_up(request)
        PHASES.begin("work")
        gc.collect()
        gc.disable()
        try:
            frames = _measure(tracks, request, name)
        finally:
            gc.enable()
        PHASES.begin("write")
        for track in tracks:
            track.capture.release()
        arrays = {f"{t.arm.name}/{stage}": array for t in tracks for stage, array in t.arrays(frames).items()}
        np.savez_compressed(request.launch.samples_file, **arrays)
        order = [arm.arm for arm in request.launch.arms]
        tracks.sort(key=lambda track: order.index(track.arm.name))
        films = Films(Path(request.output), clip, [track.arm.name for track in tracks])
        _draw(tracks, films, request, frames, name)
    return VideoResponse(
        video=VideoRecord(
            model="",
            clip=name,
            width=clip.width,
            height=clip.height,
            clip_fps=clip.fps,
            frames=frames,
            cut=frames == request.frames and clip.frames > frames,
            imgsz=request.launch.how.imgsz,
            batch=request.launch.how.batch,
            conf=request.launch.how.conf,
            threads=request.threads,
            seed=request.launch.seed,
            arms=tuple(_summary(track, frames, films) for track in tracks),
            side_by_side=films.side_by_side.path.name,
            side_by_side_codec=films.side_by_side.codec,
            for_browsers=films.for_browsers.path.name if films.for_browsers else "",
            poster=films.poster.name,
            poster_width=films.side_by_side.size[0],
            poster_height=films.side_by_side.size[1],
        )
    )


@dataclass
class Track:
    """One arm on its own copy of the clip's frames.

    Attributes:
        capture: Its own decoder, so that every arm's frame time holds the decoding.
        spent: Nanoseconds of each group of frames in each of :data:`STAGES`.
        found: What it detected in each frame, without the frame.
    """

    arm: Arm
    batch: int
    capture: Any
    spent: list[tuple[int, ...]] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)

    def warm_up(self, request: VideoRequest) -> None:
        """Run on the first frames until that was often enough; then the clip is at its beginning again."""
        frames = self._read()
        self.arm.aim(frames)
        self.arm.rehearse(frames, request.launch.how.imgsz)
        deadline = time.monotonic() + request.launch.rules.warmup_max_seconds
        for _ in range(request.launch.rules.warmup_min):
            self._detect(frames)
            if time.monotonic() > deadline:
                break
        self.capture.release()
        self.capture = open_clip(request.clip)

    def step(self) -> int:
        """Take the next frames through all stages; return how many there were, 0 at the end of the clip."""
        clock = time.perf_counter_ns
        start = clock()
        frames = self._read()
        if not frames:
            return 0
        decoded = clock()
        results, readings = self._detect(frames + frames[-1:] * (self.batch - len(frames)))
        ends = (start, decoded, *readings)
        self.spent.append(tuple(after - before for before, after in pairwise(ends)))
        self.found += [_light(result) for result in results[: len(frames)]]
        return len(frames)

    def _read(self) -> list[Any]:
        frames: list[Any] = []
        while len(frames) < self.batch:
            decoded, frame = self.capture.read()
            if not decoded:
                break
            frames.append(frame)
        return frames

    def _detect(self, frames: list[Any]) -> tuple[Any, tuple[int, ...]]:
        """Return the results of a batch, drawn, and the clock after each stage."""
        clock, arm = time.perf_counter_ns, self.arm
        tensor = arm.preprocess(frames)
        arm.synchronize()
        ready = clock()
        output = arm.infer(tensor)
        inferred = clock()
        results = arm.postprocess(output, tensor, frames)
        arm.synchronize()
        done = clock()
        for result in results:
            result.plot()
        return results, (ready, inferred, done, clock())

    def arrays(self, frames: int) -> dict[Stage, Any]:
        """Return the nanoseconds of each stage of each frame, and of all of them as ``frame``."""
        import numpy as np

        groups = np.array(self.spent, dtype=np.int64) // self.batch
        each = np.repeat(groups, self.batch, axis=0)[:frames]
        stages: dict[Stage, Any] = {stage: each[:, place] for place, stage in enumerate(STAGES)}
        return {"frame": each.sum(axis=1), **stages}


def _light(result: Any) -> Any:
    """Return a result on the host without its picture and masks, which would be megabytes a frame."""
    light = result.cpu()
    light.orig_img = light.masks = None
    return light


def _measure(tracks: Sequence[Track], request: VideoRequest, name: str) -> int:
    """Take all arms through the clip, group by group, in a new balanced order each time; return how many frames."""
    orders = balanced_orders(random.Random(request.launch.seed), list(tracks))
    frames = 0
    while frames < request.frames:
        taken = [track.step() for track in next(orders)]
        if not taken[0]:
            break
        if len(set(taken)) > 1:
            raise DataError(f"{request.clip}: decoding it twice gave different numbers of frames; it is damaged")
        frames += taken[0]
        progress(f"{name}: {frames} frames timed")
    return min(frames, request.frames)


def _draw(tracks: Sequence[Track], films: Films, request: VideoRequest, frames: int, name: str) -> None:
    """Decode the clip once more and write what each arm found in it, and when."""
    frame_ms = {track.arm.name: track.arrays(frames)["frame"] / 1e6 for track in tracks}
    with films:
        for index, frame in enumerate(_frames(request.clip, frames)):
            drawn = {track.arm.name: track.found[index].plot(img=frame) for track in tracks}
            films.add(index, drawn, frame_ms, poster=index == frames // 2)
            progress(f"{name}: {index + 1} of {frames} frames written")


def _frames(path: str, count: int) -> Iterator[Any]:
    capture = open_clip(path)
    for _ in range(count):
        decoded, frame = capture.read()
        if not decoded:
            break
        yield frame
    capture.release()


def _summary(track: Track, frames: int, films: Films) -> VideoArm:
    arrays = track.arrays(frames)
    film = films.of_arm[track.arm.name]
    return VideoArm(
        arm=track.arm.name,
        timings={stage: timing(array) for stage, array in arrays.items()},
        course_ms=course_ms(arrays["frame"], COURSE_PARTS),
        file=film.path.name,
        codec=film.codec,
    )


if __name__ == "__main__":
    leave(main(VideoRequest, work))
