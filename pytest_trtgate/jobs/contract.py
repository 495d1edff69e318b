"""What a job is asked and what it answers: JSON in, JSON (+ npz) out.

The launcher writes ``request.json`` into the job's folder and runs ``python -m MODULE FOLDER`` there; the job writes
``response.json`` (or ``error.json``, with one sentence) and exits 0 (or 1). Lines that start with ``PROGRESS`` on its
standard output are shown to the user; everything else goes to the log.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..records import (
    CONTEXTS,
    AccuracySettings,
    ClassAccuracy,
    ClipRecord,
    Context,
    EngineInspection,
    FileRecord,
    Head,
    Launch,
    LayerTime,
    Phase,
    Precision,
    Record,
    Task,
    Trouble,
    VideoRecord,
)

JobKind = Literal["build", "accuracy", "latency", "profile", "pictures", "clip", "video", "survey"]
PROGRESS = "@trtgate-progress "
"""Prefix of a line that reports progress: the rest of the line is for the user."""
ARM_NAME = "arm.txt"
"""File in the folder of an accuracy job that names the arm that it is at."""
RESERVED = frozenset({"batch", "data", "device", "fraction", "imgsz", "split"}) | {
    *("format", "half", "int8", "mode", "model", "name", "project", "quantize", "task"),
}
"""Arguments of the exporter that a build request itself decides."""


class Message(FileRecord):
    """Base of all requests and responses."""


class Response(Message):
    """Base of all responses; ``phases`` says where the time of the job's process went, in seconds.

    ``ahead_s`` is how long that process, or the one that it is a copy of, had imported before the job began.
    """

    phases: dict[Phase, float] = Field(default_factory=dict)
    ahead_s: float = 0.0


class BuildRequest(Message):
    """Build one engine from one checkpoint. ``data`` is None unless the precision is calibrated.

    For TensorRT: ``optimization_level`` is the builder's, None for its default, and ``timing_cache`` the file in which
    the builder's measurements are kept from one build to the next. For ONNX Runtime: ``traced`` is a folder for what
    builds of other precisions of the same model, shape and arguments can use too, None to share nothing.
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
    traced: str | None = None
    output: str


class BuildResponse(Response):
    """A built engine. ``artifact`` is a file name inside ``output``; ``calibration_images`` are absolute paths.

    ``left_out``: images that Ultralytics left out of the calibration.
    """

    artifact: str
    metadata: dict[str, Any]
    calibration_images: tuple[str, ...] | None = None
    left_out: Trouble = Trouble()
    inspection: EngineInspection | None = None


class AccuracyArm(Record):
    """One arm to be evaluated; its per-image records go to ``per_image``."""

    arm: str
    artifact: str
    per_image: str


class AccuracyRequest(Message):
    """Evaluate ``arms`` on one split of the resolved YAML ``data``, in one pass over its images.

    ``sparing``: memory may be short, so that a checkpoint is given no more than one batch at a time. While the job
    works, ``arm.txt`` in its folder names the arm that it is at.
    """

    arms: tuple[AccuracyArm, ...]
    data: str
    device: str
    threads: int
    settings: AccuracySettings
    sparing: bool = False


class ArmAccuracy(Record):
    """What was found of one arm; ``task`` says which metrics there are, ``head`` how boxes were thinned out.

    ``unreadable`` names images that Ultralytics left out of every arm, since they or their labels are damaged;
    ``left_out`` says why the first was.
    ``seconds`` leaves out what all arms share: decoding.
    """

    images: int
    instances: int
    task: Task = "detect"
    head: Head | None = None
    metrics: dict[str, float]
    classes: tuple[ClassAccuracy, ...]
    unreadable: tuple[str, ...] = ()
    left_out: Trouble = Trouble()
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
    ``nms`` is as the exporter was asked for it. Raw durations in nanoseconds go to ``samples_file``, one array per
    ``ARM/CONTEXT``.
    """

    index: int
    seed: int
    arms: tuple[ArmRequest, ...]
    imgsz: int
    batch: int
    device: str
    threads: int
    images: tuple[str, ...]
    contexts: tuple[Context, ...] = CONTEXTS
    gated: Context | None = None
    samples: int
    max_seconds: float
    block: int
    warmup_min: int
    warmup_max_seconds: float
    conf: float
    iou: float
    max_det: int
    nms: bool | None = None
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


class SplitRequest(Record):
    """One split to be looked at: the absolute paths of its images."""

    name: str
    images: tuple[str, ...]


class SurveyRequest(Message):
    """Look at the images and labels of ``splits``, into ``checkpoints`` by model, and into the ``deployed`` engine.

    ``classes``: how many the dataset has; ``kpt_shape``: how many key points follow each box, and the numbers of each,
    where its YAML says so. Up to ``sample`` images of each split are decoded for their brightness and contrast.
    """

    threads: int
    splits: tuple[SplitRequest, ...] = ()
    classes: int
    kpt_shape: tuple[int, int] | None = None
    sample: int
    checkpoints: dict[str, str] = Field(default_factory=dict)
    deployed: str | None = None


class SplitFacts(FileRecord):
    """What was seen of one split.

    Attributes:
        images: How many there are.
        corrupt: Those that are missing, damaged or too small.
        bad_labels: Label files for which a model that finds no key points leaves out their images.
        bad_poses: The same of one that finds key points, where the dataset has a shape of them.
        boxes: Label files of boxes, with no outline.
        unlabelled: How many images have no label file.
        without_image: Label files to which there is no image.
        classes: How many objects there are of each class, by its index.
        brightness: Mean grey level, 0 to 1, of evenly spread images.
        contrast: Standard deviation of the grey levels of the same images.
        object_sizes: Median size of an image's objects, each the square root of its share of the image's area.
    """

    images: int
    corrupt: Trouble = Trouble()
    bad_labels: Trouble = Trouble()
    bad_poses: Trouble = Trouble()
    boxes: Trouble = Trouble()
    unlabelled: int = 0
    without_image: Trouble = Trouble()
    classes: dict[int, int] = Field(default_factory=dict)
    brightness: tuple[float, ...] = ()
    contrast: tuple[float, ...] = ()
    object_sizes: tuple[float, ...] = ()


class CheckpointFacts(FileRecord):
    """What a checkpoint says of its training; None where it does not tell. ``problem``: why nothing is known.

    ``single_cls``: it was trained to take all objects for one class, whatever classes the dataset has.
    """

    imgsz: int | None = None
    names: dict[int, str] | None = None
    kpt_shape: tuple[int, int] | None = None
    single_cls: bool = False
    task: str | None = None
    version: str | None = None
    problem: str = ""


class EngineFacts(FileRecord):
    """What Ultralytics wrote into an engine, or as ``problem`` why that cannot be read."""

    metadata: dict[str, Any] = Field(default_factory=dict)


class SurveyResponse(Response):
    """What was seen of what was asked for."""

    splits: dict[str, SplitFacts] = Field(default_factory=dict)
    checkpoints: dict[str, CheckpointFacts] = Field(default_factory=dict)
    deployed: EngineFacts | None = None


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
    "survey": SurveyResponse,
}
