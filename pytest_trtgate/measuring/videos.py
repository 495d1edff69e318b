"""Clips: looked at before anything is built, and each model's arms timed on them once all verdicts are reached."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..errors import TrtGateError, reason_of
from ..jobs import ArmRequest, ClipRequest, ClipResponse, VideoRequest, VideoResponse
from ..records import REFERENCE, ClipRecord, LatencyRecord, RunRecord, VideoRecord
from .context import Measurements

MOST_FRAMES = 3000
"""Frames of a clip that are timed: what is kept of each until it is drawn again takes memory."""


def check_clips(measure: Measurements) -> None:
    """Open every clip of the settings once per run.

    Raises:
        JobError: One is no video, has no frames, or is in a format that OpenCV does not know.
    """
    for number, clip in enumerate(measure.settings.videos, 1):
        _clip(measure, number, clip)


def _clip(measure: Measurements, number: int, clip: Path) -> ClipRecord:
    def look() -> ClipRecord:
        limit_s = measure.settings.timeouts.launch_s
        return measure.job(f"clip-{number}", "clip", ClipRequest(clip=str(clip)), limit_s, ClipResponse).clip

    return measure.workspace.once(f"clip-{number}", ClipRecord, look)


def film(measure: Measurements, latency: LatencyRecord) -> None:
    """Time the arms of a model on every clip, once per run; one that fails says why, and fails nothing else.

    Args:
        measure: What the run measures.
        latency: The model's launches, which are over: nothing is filmed beside a launch.
    """
    for number, clip in enumerate(measure.settings.videos if latency.launches else (), 1):
        name = f"video-{latency.model}-{number}"
        measure.workspace.once(name, VideoRecord, partial(_film, measure, latency, name, clip))


def _film(measure: Measurements, latency: LatencyRecord, name: str, clip: Path) -> VideoRecord:
    model = latency.model
    measure.milestone(f"{model}: timing its arms on {clip.name}, then writing the videos")
    try:
        timed = [cell for cell in measure.plan.of_model(model) if cell.precision not in latency.failures]
        engines = [(cell.precision, measure.engine(cell)) for cell in timed]
        arms = [ArmRequest(arm=arm, artifact=str(engine.path), sha256=engine.sha256) for arm, engine in engines]
        weights = ArmRequest(arm=REFERENCE, artifact=str(measure.plan.weights[model]), sha256="")
        place = Path("videos") / name.removeprefix("video-")
        request = VideoRequest(
            **measure.launch_request(model, name, 0, [weights, *arms]).model_dump(),
            clip=str(clip),
            frames=MOST_FRAMES,
            output=str(measure.workspace.path / place),
        )
        answer = measure.job(name, "video", request, measure.settings.timeouts.video_s, VideoResponse).video
    except TrtGateError as error:
        return VideoRecord(model=model, clip=clip.name, failure=reason_of(error))
    names = {key: getattr(answer, key) for key in ("side_by_side", "for_browsers", "poster")}
    files = {key: (place / name).as_posix() if name else "" for key, name in names.items()}
    shown = tuple(arm.model_copy(update={"file": (place / arm.file).as_posix()}) for arm in answer.arms)
    return answer.model_copy(update={**files, "model": model, "arms": shown})


def with_videos(measure: Measurements, run: RunRecord) -> RunRecord:
    """Return a run's record with what was measured on its clips."""
    videos = tuple(measure.workspace.all("video-", VideoRecord))
    notes = [f"{x.model}: {x.clip} was not filmed: {x.failure}" for x in videos if x.failure]
    return run.model_copy(update={"videos": videos, "notes": (*run.notes, *notes)})
