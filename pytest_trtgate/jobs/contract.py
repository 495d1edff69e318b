"""What a job is asked and what it answers: JSON in, JSON (+ npz) out.

The launcher writes ``request.json`` into the job's folder and runs ``python -m MODULE FOLDER`` there; the job writes
``response.json`` (or ``error.json``, with one sentence) and exits 0 (or 1). Lines that start with ``PROGRESS`` on its
standard output are shown to the user; everything else goes to the log.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..inspection import EngineInspection
from ..media_records import ClipRecord, VideoRecord
from ..record_base import FileRecord, Record
from ..records import AccuracySettings, ClassAccuracy, Context, Launch, LayerTime, Precision
from ..run_record import Phase

JobKind = Literal["build", "accuracy", "latency", "profile", "pictures", "clip", "video"]
PROGRESS = "@trtgate-progress "
"""Prefix of a line that reports progress: the rest of the line is for the user."""
ARM_NAME = "arm.txt"
"""File in the folder of an accuracy job that names the arm that it is at."""


class Message(FileRecord):
    """Base of all requests and responses."""


class Response(Message):
    """Base of all responses; ``phases`` says where the time of the job's process went, in seconds."""

    phases: dict[Phase, float] = Field(default_factory=dict)


class BuildRequest(Message):
    """Build one engine from one checkpoint. ``data`` is None unless the precision is calibrated.

    For TensorRT: ``optimization_level`` is the builder's, None for its default, and ``timing_cache`` the file in which
    the builder's measurements are kept from one build to the next.
    """

    weights: str
    precision: Precision
    imgsz: int
    batch: int
    backend: str
    device: str
    threads: int
    data: str | None = None
    split: str = "train"
    fraction: float = 1.0
    export_args: dict[str, Any] = Field(default_factory=dict)
    optimization_level: int | None = None
    timing_cache: str | None = None
    output: str


class BuildResponse(Response):
    """A built engine. ``artifact`` is a file name inside ``output``; ``calibration_images`` are absolute paths."""

    artifact: str
    metadata: dict[str, Any]
    calibration_images: tuple[str, ...] | None = None
    inspection: EngineInspection | None = None


class AccuracyArm(Record):
    """One arm to be evaluated; its per-image records go to ``per_image``."""

    arm: str
    artifact: str
    per_image: str


class AccuracyRequest(Message):
    """Evaluate ``arms`` on one split of the resolved YAML ``data``, in one pass over its images.

    While it works, ``arm.txt`` in the job's folder names the arm that it is at.
    """

    arms: tuple[AccuracyArm, ...]
    data: str
    device: str
    threads: int
    settings: AccuracySettings


class ArmAccuracy(Record):
    """What was found of one arm; metrics are ``mAP50``, ``mAP50-95``, ``precision`` and ``recall``.

    ``unreadable`` names images that Ultralytics left out of every arm, since they or their labels are damaged.
    ``seconds`` leaves out what all arms share: decoding.
    """

    images: int
    instances: int
    metrics: dict[str, float]
    classes: tuple[ClassAccuracy, ...]
    unreadable: tuple[str, ...] = ()
    seconds: float = 0.0


class AccuracyResponse(Response):
    """The arms that could be evaluated, and in one sentence each why others could not."""

    arms: dict[str, ArmAccuracy] = Field(default_factory=dict)
    failures: dict[str, str] = Field(default_factory=dict)


class ArmRequest(Record):
    """One arm of a launch."""

    arm: str
    artifact: str
    sha256: str


class LatencyRequest(Message):
    """One launch: time ``arms`` interleaved on ``images`` (absolute paths), decoded before the clock starts.

    Each arm gets ``samples`` timed inferences per context, fewer where they would take longer than ``max_seconds``.
    Where limits apply to one context only, ``gated``, the others are for show and get a quarter of both.
    Raw durations in nanoseconds go to ``samples_file``, one array per ``ARM/CONTEXT``.
    """

    index: int
    seed: int
    arms: tuple[ArmRequest, ...]
    imgsz: int
    batch: int
    device: str
    threads: int
    images: tuple[str, ...]
    contexts: tuple[Context, ...] = ("engine", "end-to-end")
    gated: Context | None = None
    samples: int
    max_seconds: float
    block: int
    warmup_min: int
    warmup_max_seconds: float
    conf: float
    iou: float
    max_det: int
    samples_file: str

    @property
    def load_order(self) -> tuple[ArmRequest, ...]:
        """The arms in the order in which they are loaded: checkpoints, then engines, every other launch from the last.

        The first of three copies of an engine has been seen to be slower by 1 % than the others in a whole session. In
        a fixed order, that would pass for a change of the engine.
        """
        checkpoints = tuple(arm for arm in self.arms if arm.artifact.endswith(".pt"))
        engines = tuple(arm for arm in self.arms if arm not in checkpoints)
        return checkpoints + engines[:: -1 if self.index % 2 else 1]


class LatencyResponse(Response):
    """One finished launch."""

    launch: Launch


class ProfileRequest(Message):
    """Time each layer of an engine, over ``runs`` inferences on random input."""

    arm: str
    artifact: str
    device: str
    threads: int
    runs: int


class ProfileResponse(Response):
    """The layers, the slowest first, with their mean times over the runs."""

    layers: tuple[LayerTime, ...]


class PicturesRequest(Message):
    """Make small copies of ``images`` (absolute paths), at most ``side_px`` wide and high, in the folder ``output``."""

    images: tuple[str, ...]
    output: str
    side_px: int
    threads: int = 1


class SmallPicture(Record):
    """A small copy: its file name, and the size of the original in pixels."""

    file: str
    width: int
    height: int


class PicturesResponse(Response):
    """The small copies by the paths of their originals; what cannot be decoded is not among them."""

    pictures: dict[str, SmallPicture]


class ClipRequest(Message):
    """Open a video file and decode its first frame."""

    clip: str
    threads: int = 1


class ClipResponse(Response):
    """What the file says of itself."""

    clip: ClipRecord


class VideoRequest(LatencyRequest):
    """Time the arms of a launch on the frames of ``clip``, in turns, then write videos and a poster into ``output``.

    ``images``, ``contexts``, ``samples`` and ``block`` are a launch's own. At most ``frames`` frames are taken.
    """

    clip: str
    frames: int
    output: str


class VideoResponse(Response):
    """The record, with paths of files relative to ``output``."""

    video: VideoRecord


class JobFailure(Message):
    """Why a job gave up, in one sentence."""

    sentence: str


RESPONSES: dict[JobKind, type[Response]] = {
    "build": BuildResponse,
    "accuracy": AccuracyResponse,
    "latency": LatencyResponse,
    "profile": ProfileResponse,
    "pictures": PicturesResponse,
    "clip": ClipResponse,
    "video": VideoResponse,
}
