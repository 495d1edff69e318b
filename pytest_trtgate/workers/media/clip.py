"""Job: check that a video file can be decoded, before anything else is done for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import DataError
from ...jobs import ClipRequest, ClipResponse
from ...records import ClipRecord
from ..worker import PHASES, leave, main


def work(request: ClipRequest, folder: Path) -> ClipResponse:
    """Open the clip and decode its first frame.

    Raises:
        DataError: It is no video, has no frames, or is in a format that this OpenCV does not know.
    """
    PHASES.begin("work")
    capture = open_clip(request.clip)
    try:
        return ClipResponse(clip=describe(capture, request.clip, request.max_pixels))
    finally:
        capture.release()


def open_clip(path: str) -> Any:
    """Return OpenCV's ``VideoCapture`` of a clip, which decodes only as it is read, on the reading thread.

    Raises:
        DataError: OpenCV cannot open it.
    """
    import cv2

    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise DataError(
            f"{path}: cannot be opened as a video; it is damaged, or in a format or codec that OpenCV "
            f"{cv2.__version__} does not know; convert it, for example to MP4 with H.264"
        )
    return capture


def describe(capture: Any, path: str, most_pixels: int) -> ClipRecord:
    """Decode the first frame of an opened clip, and return what the file says of itself.

    Raises:
        DataError: Its frames have more than so many pixels, or none can be decoded.
    """
    import cv2

    pixels = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)) * int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if pixels > most_pixels:
        most = f"inputs.max_megapixels = {most_pixels / 1e6:g}"
        raise DataError(f"{path}: its frames have {pixels / 1e6:,.1f} megapixels, more than {most}")
    number = int(capture.get(cv2.CAP_PROP_FOURCC))
    codec = "".join(chr(number >> shift & 0xFF) for shift in (0, 8, 16, 24))
    codec = "".join(c for c in codec if c.isascii() and c.isprintable()).strip()
    decoded, frame = capture.read()
    if not decoded or frame is None:
        raise DataError(
            f"{path}: no frame of it can be decoded (codec '{codec or 'unknown'}'); it is empty or damaged, or "
            f"OpenCV {cv2.__version__} does not know the codec; convert it, for example to MP4 with H.264"
        )
    height, width = frame.shape[:2]
    fps, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return ClipRecord(
        path=path,
        width=width,
        height=height,
        fps=float(fps) if 0 < fps < 1000 else 0.0,
        frames=int(frames) if 0 < frames < 1e9 else 0,
        codec=codec,
    )


if __name__ == "__main__":
    leave(main(ClipRequest, work))
