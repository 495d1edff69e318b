"""Write videos: one per arm, and one of all arms side by side with their running latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from ...errors import TrtGateError
from ...records import ClipRecord

CODECS = ("avc1", "mp4v")
"""Codecs of MP4 files by preference: H.264 plays anywhere, but OpenCV's wheels cannot write it; MPEG-4 Part 2 does not
play in browsers. VP9 would, and takes 0.1 s to write a frame of 640 x 360."""
FOR_BROWSERS = ("VP80",)
"""Codec of the WebM beside an MP4 that browsers do not play."""
MOST_SIDE_PX = 1280
"""Longest side of an arm's video."""
PANEL_PX = 400
"""Width of an arm's part of the video of all arms."""
BANNER_PX = 26
WINDOW = 30
"""Frames whose median is the running latency."""
POSTER_QUALITY = 75
POSTER_SIDE_PX = 1000
"""Longest side of the poster, which is part of the page: that of a tall clip would otherwise be too large."""
DEFAULT_FPS = 25.0


class Film:
    """One video file of the kind of its suffix, written with the first of ``codecs`` that OpenCV can write: ``codec``.

    ``size`` is width and height in pixels.

    Raises:
        TrtGateError: OpenCV writes none of the codecs, or not into this file.
    """

    def __init__(self, path: Path, codecs: Sequence[str], fps: float, size: tuple[int, int]) -> None:
        import cv2

        self.path = path
        self.size = size
        for self.codec in codecs:
            self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*self.codec), fps, size)
            if self._writer.isOpened():
                return
        raise TrtGateError(
            f"{path}: OpenCV {cv2.__version__} cannot write it (codecs tried: {', '.join(codecs)}); install "
            f"opencv-python with FFmpeg, or see whether the disk is full"
        )

    def write(self, frame: Any) -> None:
        """Add a frame: height x width x 3, BGR, of any size."""
        import cv2

        fits = frame.shape[1::-1] == self.size
        self._writer.write(frame if fits else cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA))

    def close(self) -> None:
        """Finish the file."""
        self._writer.release()


class Films:
    """The videos of one clip, at its frame rate, with the arms in the order in which they are shown.

    Attributes:
        of_arm: Each arm's own video.
        side_by_side: The video of all arms.
        for_browsers: The same as WebM if browsers do not play the former and OpenCV can write it; else None.
        poster: A frame of it, as JPEG.
    """

    def __init__(self, folder: Path, clip: ClipRecord, arms: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.arms = tuple(arms)
        fps = clip.fps or DEFAULT_FPS
        size = fitted(clip.width, clip.height, MOST_SIDE_PX / max(clip.width, clip.height))
        self._panel = fitted(clip.width, clip.height, PANEL_PX / clip.width)
        self._columns = 2 if len(arms) == 4 else min(3, len(arms))
        rows = -(-len(arms) // self._columns)
        whole = self._panel[0] * self._columns, (self._panel[1] + BANNER_PX) * rows
        self.of_arm = {arm: Film(folder / f"{arm}.mp4", CODECS, fps, size) for arm in arms}
        self.side_by_side = Film(folder / "side-by-side.mp4", CODECS, fps, whole)
        self.for_browsers = None
        if self.side_by_side.codec != CODECS[0]:
            with suppress(TrtGateError):
                self.for_browsers = Film(folder / "side-by-side.webm", FOR_BROWSERS, fps, whole)
        self.poster = folder / "poster.jpg"

    def __enter__(self) -> Films:
        return self

    def __exit__(self, *_: object) -> None:
        for film in (*self.of_arm.values(), self.side_by_side, self.for_browsers):
            if film is not None:
                film.close()

    def add(self, index: int, drawn: Mapping[str, Any], frame_ms: Mapping[str, Any], *, poster: bool) -> None:
        """Write frame ``index``, drawn by each arm (height x width x 3, BGR); ``poster``: use it as the poster.

        ``frame_ms`` has the milliseconds of each frame of the clip by arm.
        """
        import cv2

        for arm, picture in drawn.items():
            self.of_arm[arm].write(picture)
        running = {arm: median(frame_ms[arm][max(0, index + 1 - WINDOW) : index + 1].tolist()) for arm in self.arms}
        whole = self._mosaic(drawn, running)
        self.side_by_side.write(whole)
        if self.for_browsers is not None:
            self.for_browsers.write(whole)
        if poster:
            size = fitted(*self.side_by_side.size, POSTER_SIDE_PX / max(self.side_by_side.size))
            still = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(self.poster), still, [cv2.IMWRITE_JPEG_QUALITY, POSTER_QUALITY])

    def _mosaic(self, drawn: Mapping[str, Any], running_ms: Mapping[str, float]) -> Any:
        import cv2
        import numpy as np

        width, height = self._panel
        whole = np.zeros((self.side_by_side.size[1], self.side_by_side.size[0], 3), np.uint8)
        for place, arm in enumerate(self.arms):
            left, top = place % self._columns * width, place // self._columns * (height + BANNER_PX)
            panel = whole[top : top + BANNER_PX + height, left : left + width]
            panel[BANNER_PX:] = cv2.resize(drawn[arm], (width, height), interpolation=cv2.INTER_AREA)
            ms = running_ms[arm]
            write = (cv2.FONT_HERSHEY_SIMPLEX, 0.5)
            cv2.putText(panel, arm, (8, 18), *write, (255, 255, 255), 1, cv2.LINE_AA)
            said = f"{ms:.1f} ms  {1000 / ms:.0f} FPS"
            start = width - 8 - cv2.getTextSize(said, *write, 1)[0][0]
            cv2.putText(panel, said, (start, 18), *write, (190, 220, 255), 1, cv2.LINE_AA)
        return whole


def fitted(width: int, height: int, factor: float) -> tuple[int, int]:
    """Return a size scaled by ``factor``, at most 1, with the even sides that codecs need."""
    factor = min(1.0, factor)
    return max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)
