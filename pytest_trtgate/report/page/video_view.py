"""What was measured on clips: numbers, latency over the frames, a poster, and links to the videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ... import text as fmt
from ...records import REFERENCE, STAGES, RunRecord, VideoArm, VideoRecord
from ..media import Media
from ..numbers import ABSURD_MS
from .charts import WIDTH
from .parts import Row, Table
from .svg import Scale, axis, picture, polyline, side_axis, tag, text

PLAYERS = {
    "avc1": "MP4 with H.264, which plays anywhere",
    "mp4v": "MP4 with MPEG-4 Part 2, which players such as VLC play and browsers do not",
}
"""What is known of the codecs that videos are written with."""


@dataclass(frozen=True)
class VideoView:
    """One model on one clip; ``failure`` says why nothing was filmed, empty where it was."""

    title: str
    facts: str
    table: Table
    chart: str
    poster: str
    links: tuple[tuple[str, str], ...]
    files: str
    failure: str


def video_views(run: RunRecord, media: Media | None) -> tuple[VideoView, ...]:
    """Return the clips of a run; without ``media`` there are numbers only."""
    return tuple(_view(video, media) for video in run.videos)


def _view(video: VideoRecord, media: Media | None) -> VideoView:
    title = f"{fmt.clip(video.model, 60)} on {fmt.clip(video.clip, 60)}"
    video = video.model_copy(update={"arms": tuple(arm for arm in video.arms if "frame" in arm.timings)})
    reference = next((arm for arm in video.arms if arm.arm == REFERENCE), None)
    still = media.still(video.poster) if media else ""
    played = dict.fromkeys(arm.codec for arm in video.arms)
    mp4, webm = (media.link(path) if media else "" for path in (video.side_by_side, video.for_browsers))
    return VideoView(
        title=title,
        facts=_facts(video),
        table=Table(
            label=title,
            columns=("Arm", "p50", "p95", "p99", "FPS", "Speed-up", *(stage.capitalize() for stage in STAGES), "Video"),
            rows=tuple(_row(arm, number, reference, media) for number, arm in enumerate(video.arms)),
            caption=Markup("<b>Milliseconds per frame</b>; stages and speed-up by p50, FPS by the mean"),
            classes={"p50": "d", "FPS": "d", "Video": "l"},
        ),
        chart=frame_chart(video.arms, video.frames, f"{title}: milliseconds per frame"),
        poster=_poster(video, still, f"{title}, all arms side by side") if still else "",
        links=tuple((name, link) for name, link in (("WebM, for browsers", webm), ("MP4", mp4)) if link),
        files=_files(video, bool(mp4), [PLAYERS[codec] for codec in played if codec in PLAYERS]),
        failure=f"Not filmed: {fmt.clip(video.failure, 400)}." if video.failure else "",
    )


def _name(arm: VideoArm, length: int) -> str:
    return ".pt" if arm.arm == REFERENCE else fmt.clip(arm.arm.upper(), length)


def _facts(video: VideoRecord) -> str:
    frames = fmt.plural(video.frames, "frame")
    counted = f"the first {frames}" if video.cut else frames
    batch = f" in groups of {video.batch}" if video.batch > 1 else ""
    how = f"{video.imgsz} px, confidence {video.conf:g}, {fmt.plural(video.threads, 'thread')} for every arm"
    return f"{counted} of {video.width}\N{MULTIPLICATION SIGN}{video.height}{batch}; {how}"


def _row(arm: VideoArm, number: int, reference: VideoArm | None, media: Media | None) -> Row:
    frame = arm.timings["frame"]
    then = reference.timings["frame"].quantile_ms(50) if reference is not None and reference is not arm else 0.0
    now, link = frame.quantile_ms(50), media.link(arm.file) if media else ""
    entries = (
        Markup('<span class="key v{}"></span>{}').format(number % 4, _name(arm, 40)),
        *(fmt.ms(frame.quantile_ms(percent)) for percent in (50, 95, 99)),
        fmt.number(arm.fps if frame.mean_ms else None),
        fmt.times(then / now) if then and now else fmt.MISSING,
        *(fmt.number(times.quantile_ms(50) if (times := arm.timings.get(stage)) else None) for stage in STAGES),
        Markup('<a href="{}">MP4</a>').format(link) if link else fmt.MISSING,
    )
    return Row(entries)


def _files(video: VideoRecord, found: bool, players: Sequence[str]) -> str:
    if not video.arms:
        return ""
    if not found:
        return "The videos are in the run's folder, which is not beside this record."
    return f"Of each arm: {'; '.join(players)}." if players else ""


def _poster(video: VideoRecord, still: str, title: str) -> str:
    width, height = max(1, video.poster_width), max(1, video.poster_height)
    return picture(width, height, title, tag("image", href=still, width=width, height=height), "poster")


def frame_chart(arms: Sequence[VideoArm], frames: int, title: str) -> str:
    """Return each arm's time per frame over the clip, from 0; empty without times."""
    courses = [(n, arm, [ms for ms in arm.course_ms if 0 <= ms < ABSURD_MS]) for n, arm in enumerate(arms)]
    known = [(n, arm, course) for n, arm, course in courses if len(course) > 1]
    if not known:
        return ""
    height = 200
    values = sorted(ms for _, _, course in known for ms in course)
    # A few frames that something held up would press all else flat.
    top = min(values[-1] * 1.05, values[int(0.98 * (len(values) - 1))] * 1.5) or 1.0
    x, y = Scale(0, max(frames, 2), 40, WIDTH - 52), Scale(0, top, height - 34, 8)
    parts = [axis(x, height - 34.0, height - 30.0, ""), side_axis(y, x.start, x.end)]
    beyond = f" (the slowest, up to {fmt.ms(values[-1])}, are cut off)" if values[-1] > top else ""
    parts.append(text((x.start + x.end) / 2, height - 4, f"frame{beyond}", "t m", "middle"))
    ends = _apart([y(course[-1]) + 4 for _, _, course in known], 16.0, height - 36.0)
    for (n, arm, course), place in zip(known, ends, strict=True):
        step = frames / len(course)
        points = [(x((index + 0.5) * step), y(ms)) for index, ms in enumerate(course)]
        parts.append(tag("path", class_=f"curve v{n % 4}", d=polyline(points)))
        parts.append(text(x.end + 4, place, _name(arm, 9), "t b"))
    return picture(WIDTH, height, title, "".join(parts))


def _apart(places: Sequence[float], least: float, bottom: float) -> list[float]:
    """Return the heights of labels, moved so that none lies on another and none is below the bottom."""
    order = sorted(range(len(places)), key=lambda index: -places[index])
    moved = list(places)
    limit = bottom
    for index in order:  # from the lowest upwards
        moved[index] = min(moved[index], limit)
        limit = moved[index] - least
    return moved
