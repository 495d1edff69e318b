"""Pictures on which two arms disagree most, and clips on which arms were timed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import FileRecord, Record
from .latency import Timing
from .names import InnerPath

Mark = Literal["same", "shifted", "class", "missed", "extra"]
"""How a detection compares with the other arm: both have it, alike, shifted or as another class; or only one has it."""
Stage = Literal["frame", "decode", "preprocess", "inference", "postprocess", "drawing"]
"""What was timed of a clip: ``frame`` is the sum of the stages after it."""
STAGES: tuple[Stage, ...] = ("decode", "preprocess", "inference", "postprocess", "drawing")
Point = tuple[float, float]
"""x and y in pixels."""
Joint = Point | None
"""The place of a keypoint; None where it is not seen."""
BOOK = "pictures/pictures.json"
"""Path of the picture book in a run's folder; the pictures lie beside it."""


class Shape(Record):
    """One object in a picture, in pixels of the original image.

    ``points``: two opposite corners of an upright box, or all corners of a rotated box or a mask's outline. ``joints``:
    its keypoints in the model's order. ``conf`` is None for ground truth.
    """

    label: str
    points: tuple[Point, ...]
    joints: tuple[Joint, ...] = ()
    conf: float | None = None
    mark: Mark = "same"


class Picture(Record):
    """One image on which an engine disagrees with its checkpoint.

    ``image``: its name in the dataset. ``file``: the small copy beside the book. ``width`` and ``height``: the original
    in pixels. ``left_out``: how many shapes were too many to draw.
    """

    image: str
    file: InnerPath
    width: int
    height: int
    badness: float
    reference: tuple[Shape, ...]
    engine: tuple[Shape, ...]
    truth: tuple[Shape, ...] = ()
    left_out: int = 0


class PictureBook(FileRecord):
    """The pictures of a run by :attr:`Cell.key`, the worst first; apart from ``run.json``, to keep that small."""

    cells: dict[str, tuple[Picture, ...]]


class CellPictures(Record):
    """How many images a cell's engine disagrees on, and how many the book holds; ``note`` says why none.

    ``undecoded``: how many of the worst were left out because they could not be decoded.
    """

    images: int = 0
    disagreeing: int = 0
    kept: int = 0
    undecoded: int = 0
    conf: float = 0.0
    note: str = ""


class ClipRecord(FileRecord):
    """A video file as OpenCV reads it; ``frames`` and ``fps`` are from its header, 0 if missing there."""

    path: str
    width: int
    height: int
    fps: float
    frames: int
    codec: str


class VideoArm(Record):
    """One arm on a clip. ``course_ms``: medians of successive parts of its frame times.

    ``file``: its annotated video in the run's folder, written with ``codec``.
    """

    arm: str
    timings: dict[Stage, Timing]
    course_ms: tuple[float, ...]
    file: InnerPath
    codec: str

    @property
    def fps(self) -> float:
        """Frames per second."""
        return 1000 / self.timings["frame"].mean_ms


class VideoRecord(FileRecord):
    """One model's arms on one clip: decoded, letterboxed, inferred, postprocessed and drawn frame by frame in turns.

    Paths start at the run's folder. ``for_browsers``: the video of all arms again, if browsers do not play the codec of
    ``side_by_side``. ``cut``: the clip has more frames than were taken. ``failure`` says why all else is empty.
    """

    model: str
    clip: str
    width: int = 0
    height: int = 0
    clip_fps: float = 0.0
    frames: int = 0
    cut: bool = False
    imgsz: int = 0
    batch: int = 1
    conf: float = 0.0
    threads: int = 0
    seed: int = 0
    arms: tuple[VideoArm, ...] = Field(default=())
    side_by_side: InnerPath = ""
    side_by_side_codec: str = ""
    for_browsers: InnerPath = ""
    poster: InnerPath = ""
    poster_width: int = 0
    poster_height: int = 0
    failure: str = ""
