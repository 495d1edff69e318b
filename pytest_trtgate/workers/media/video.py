"""Job: time the arms of a model on one clip, from the decoder to the drawn frame, then write videos of it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DataError
from ...jobs import VideoRequest, VideoResponse
from ...records import STAGES, ClipRecord, Stage, VideoArm, VideoRecord
from ..timing.latency import balanced_orders, course_ms, no_garbage_collection, timing
from ..worker import PHASES, leave, main, progress
from .clip import describe, open_clip

if TYPE_CHECKING:
    from ..timing.arms import Arm
    from .film import Films

COURSE_PARTS = 160
"""Parts of a clip whose medians are kept."""
_UNEVEN = "{}: decoding it twice gave different numbers of frames; it is damaged"


def work(request: VideoRequest, folder: Path) -> VideoResponse:
    """Time all arms on the frames of a clip in turns, and only then draw and encode what they found.

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
    from ..timing.arms import channels_of, load_arms
    from .film import Films

    PHASES.begin("load")
    yolo.isolate(request)
    clip_name = Path(request.clip).name
    channels = channels_of(request.launch)
    if channels not in (1, 3):
        raise DataError(f"{request.clip}: a video has three channels, the model takes {channels}; it is not filmed")
    capture = open_clip(request.clip)
    clip = describe(capture, request.clip, request.max_pixels)
    capture.release()
    names = [arm.arm for arm in request.launch.arms]
    progress(f"{clip_name}: loading {', '.join(names)}")
    arms = load_arms(request.launch, request.launch.arms, folder, lambda _, load: load())
    batch, grey = request.launch.how.batch, channels == 1
    viewers = [Viewer(arm, batch, open_clip(request.clip), grey) for arm in arms]
    PHASES.begin("warm-up")
    with torch.inference_mode():
        for viewer in viewers:
            progress(f"{clip_name}: warming up {viewer.arm.name}")
            viewer.warm_up(request)
        PHASES.begin("work")
        with no_garbage_collection():
            frame_count = _measure(viewers, request, clip_name)
        PHASES.begin("write")
        for viewer in viewers:
            viewer.capture.release()
        viewers.sort(key=lambda viewer: names.index(viewer.arm.name))
        times = {viewer.arm.name: viewer.nanoseconds(frame_count) for viewer in viewers}
        arrays = {f"{arm}/{stage}": array for arm, stages in times.items() for stage, array in stages.items()}
        np.savez_compressed(request.launch.samples_file, **arrays)
        films = Films(Path(request.output), clip, names)
        _draw(viewers, films, request, times)
    return VideoResponse(video=_record(request, clip, frame_count, films, times))


def _record(
    request: VideoRequest, clip: ClipRecord, frame_count: int, films: Films, times: Mapping[str, Mapping[Stage, Any]]
) -> VideoRecord:
    return VideoRecord(
        model="",
        clip=Path(clip.path).name,
        width=clip.width,
        height=clip.height,
        clip_fps=clip.fps,
        frames=frame_count,
        cut=frame_count == request.frames and clip.frames > frame_count,
        imgsz=request.launch.how.imgsz,
        batch=request.launch.how.batch,
        conf=request.launch.how.conf,
        threads=request.threads,
        seed=request.launch.seed,
        arms=tuple(
            VideoArm(
                arm=arm,
                timings={stage: timing(array) for stage, array in stages.items()},
                course_ms=course_ms(stages["frame"], COURSE_PARTS),
                file=films.of_arm[arm].path.name,
                codec=films.of_arm[arm].codec,
            )
            for arm, stages in times.items()
        ),
        side_by_side=films.side_by_side.path.name,
        side_by_side_codec=films.side_by_side.codec,
        for_browsers=films.for_browsers.path.name if films.for_browsers else "",
        poster=films.poster.name,
        poster_width=films.side_by_side.size[0],
        poster_height=films.side_by_side.size[1],
    )


@dataclass
class Viewer:
    """One arm on its own copy of the clip's frames.

    Attributes:
        capture: Its own decoder, so that every arm's frame time holds the decoding.
        grey: Whether the arm takes frames in grey.
        readings: The clock in nanoseconds before each group of frames and after each of :data:`STAGES`.
        found: What it detected in each frame, without the frame.
    """

    arm: Arm
    batch: int
    capture: Any
    grey: bool = False
    readings: list[tuple[int, ...]] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)

    def warm_up(self, request: VideoRequest) -> None:
        """Run on the first frames often enough, then rewind the clip."""
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
        """Take the next frames through all stages; return their number, 0 at the end of the clip."""
        start = time.perf_counter_ns()
        frames = self._read()
        if not frames:
            return 0
        results, readings = self._detect(frames + frames[-1:] * (self.batch - len(frames)))
        self.readings.append((start, *readings))
        self.found += [_light(result) for result in results[: len(frames)]]
        return len(frames)

    def _read(self) -> list[Any]:
        frames: list[Any] = []
        while len(frames) < self.batch:
            decoded, frame = self.capture.read()
            if not decoded:
                break
            frames.append(_in_grey(frame) if self.grey else frame)
        return frames

    def _detect(self, frames: list[Any]) -> tuple[Any, tuple[int, ...]]:
        """Detect in a batch of frames and draw; return the results, and the clock at the start and after each stage."""
        results, readings = self.arm.detect(frames)
        for result in results:
            result.plot()
        return results, (*readings, time.perf_counter_ns())

    def nanoseconds(self, frame_count: int) -> dict[Stage, Any]:
        """Return the nanoseconds of each stage of each frame, and of all of them as ``frame``."""
        import numpy as np

        groups = np.diff(np.array(self.readings, dtype=np.int64)) // self.batch
        each = np.repeat(groups, self.batch, axis=0)[:frame_count]
        stages: dict[Stage, Any] = {stage: each[:, place] for place, stage in enumerate(STAGES)}
        return {"frame": each.sum(axis=1), **stages}


def _in_grey(frame: Any) -> Any:
    import cv2

    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)[..., None]


def _light(result: Any) -> Any:
    """Return a result on the host without its picture and masks, which take megabytes a frame."""
    light = result.cpu()
    light.orig_img = light.masks = None
    return light


def _measure(viewers: Sequence[Viewer], request: VideoRequest, clip_name: str) -> int:
    """Take all arms through the clip, each group of frames in a new balanced order; return the number of frames.

    Raises:
        DataError: The clip has ended for some arms and not for others.
    """
    orders = balanced_orders(random.Random(request.launch.seed), list(viewers))
    frame_count = 0
    while frame_count < request.frames:
        taken = {viewer.step() for viewer in next(orders)}
        if len(taken) > 1:
            raise DataError(_UNEVEN.format(request.clip))
        step = taken.pop()
        if not step:
            break
        frame_count += step
        progress(f"{clip_name}: {frame_count} frames timed")
    return min(frame_count, request.frames)


def _draw(
    viewers: Sequence[Viewer], films: Films, request: VideoRequest, times: Mapping[str, Mapping[Stage, Any]]
) -> None:
    """Decode the clip once more and write what each arm found in it, and when."""
    frame_ms = {arm: stages["frame"] / 1e6 for arm, stages in times.items()}
    frame_count = len(frame_ms[viewers[0].arm.name])
    clip_name = Path(request.clip).name
    with films:
        for index, frame in enumerate(_frames(request.clip, frame_count)):
            drawn = {viewer.arm.name: viewer.found[index].plot(img=frame) for viewer in viewers}
            films.add(index, drawn, frame_ms, poster=index == frame_count // 2)
            progress(f"{clip_name}: {index + 1} of {frame_count} frames written")


def _frames(path: str, frame_count: int) -> Iterator[Any]:
    capture = open_clip(path)
    try:
        for _ in range(frame_count):
            decoded, frame = capture.read()
            if not decoded:
                raise DataError(_UNEVEN.format(path))
            yield frame
    finally:
        capture.release()


if __name__ == "__main__":
    leave(main(VideoRequest, work))
