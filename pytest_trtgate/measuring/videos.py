"""Clips: looked at before anything is built, and each model's arms timed on them once all verdicts are reached."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..errors import TrtGateError, reason_of
from ..jobs import ClipRequest, VideoRequest
from ..records import Cell, ClipRecord, LatencyRecord, RunRecord, VideoRecord
from .context import RunContext
from .engines import Engines
from .latencies import engine_arm, launch_request, reference_arm

MOST_FRAMES = 3000
"""Frames of a clip that are timed: each takes memory until it is drawn."""


def open_clips(context: RunContext) -> None:
    """Open every clip of the settings once per run.

    Raises:
        JobError: One is no video, has no frames, or is in a format that OpenCV does not know.
    """
    for number, clip in enumerate(context.settings.videos, 1):
        name = f"clip-{number}"
        context.workspace.once(name, ClipRecord, partial(_open, context, name, clip))


def _open(context: RunContext, name: str, clip: Path) -> ClipRecord:
    return context.job(name, ClipRequest(clip=str(clip))).clip


def film(engines: Engines, latency: LatencyRecord) -> None:
    """Time the arms of a model on every clip, once per run; one that fails says why, and fails nothing else.

    The model's launches, ``latency``, are over: nothing is filmed beside a launch.
    """
    context = engines.context
    for number, clip in enumerate(context.settings.videos if latency.launches else (), 1):
        name = f"video-{latency.model}-{number}"
        context.workspace.once(name, VideoRecord, partial(_film, engines, latency, name, clip))


def _film(engines: Engines, latency: LatencyRecord, name: str, clip: Path) -> VideoRecord:
    context, model = engines.context, latency.model
    context.milestone(f"{model}: timing its arms on {clip.name}, then writing the videos")
    try:
        timed = [cell for cell in context.plan.of_model(model) if _is_timed(context, latency, cell)]
        arms = [engine_arm(cell.precision, engines.of(cell)) for cell in timed]
        place = Path("videos") / name.removeprefix("video-")
        request = VideoRequest(
            launch=launch_request(context, model, name, 0, [reference_arm(engines, model), *arms]),
            threads=context.threads,
            clip=str(clip),
            frames=MOST_FRAMES,
            output=str(context.workspace.path / place),
        )
        answer = context.job(name, request).video
    except TrtGateError as error:
        return VideoRecord(model=model, clip=clip.name, failure=reason_of(error))
    names = {key: getattr(answer, key) for key in ("side_by_side", "for_browsers", "poster")}
    files = {key: (place / name).as_posix() if name else "" for key, name in names.items()}
    shown = tuple(arm.model_copy(update={"file": (place / arm.file).as_posix()}) for arm in answer.arms)
    return answer.model_copy(update={**files, "model": model, "arms": shown})


def _is_timed(context: RunContext, latency: LatencyRecord, cell: Cell) -> bool:
    return cell.precision not in latency.failures and not context.plan.is_predicted(cell)


def with_videos(context: RunContext, run: RunRecord) -> RunRecord:
    """Return a run's record with what was measured on its clips."""
    videos = tuple(context.workspace.all("video-", VideoRecord))
    notes = [f"{x.model}: {x.clip} was not filmed: {x.failure}" for x in videos if x.failure]
    return run.model_copy(update={"videos": videos, "notes": (*run.notes, *notes)})
