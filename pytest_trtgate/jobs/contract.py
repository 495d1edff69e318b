"""What a job is asked and what it answers: JSON in, JSON (+ npz) out.

The launcher writes ``request.json`` into the job's folder and runs ``python -m MODULE FOLDER`` there; the job writes
``response.json`` (or ``error.json``, with one sentence) and exits 0 (or 1). Lines that start with ``PROGRESS`` on its
standard output are shown to the user; everything else goes to the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from ..records import (
    CONTEXTS,
    PRECISIONS,
    REFERENCE,
    AccuracySettings,
    Cell,
    ClassAccuracy,
    ClipRecord,
    Context,
    EngineInspection,
    FileRecord,
    Head,
    Launch,
    Layer,
    LayerNoise,
    LayerTime,
    Layout,
    Name,
    OutlierImage,
    Phase,
    QuantizationRecord,
    RangeUse,
    Record,
    Task,
    Trouble,
    VideoRecord,
    placebo_of,
    replay_of,
)
from ..settings import Calibration, Int8, Latency, Sidecar
from .paths import DataPlace, InputFile, LabelledImage, OutputFile, OutputFolder, OwnFolder, TimingCache

JobKind = Literal[
    "build",
    "given",
    "accuracy",
    "merge",
    "latency",
    "profile",
    "pictures",
    "clip",
    "video",
    "survey",
    "layers",
    "explain",
]
PROGRESS = "@trtgate-progress "
"""Prefix of a line that reports progress: the rest of the line is for the user."""
ARM_NAME = "arm.txt"
"""File in the folder of an accuracy job that names the arm that it is at."""
INPUTS = "inputs.npy"
"""File in the folder in which launches of a model share what they have made of the images."""
RESERVED = frozenset({"batch", "data", "device", "fraction", "imgsz", "split"}) | {
    *("format", "half", "int8", "mode", "model", "name", "project", "quantize", "task"),
}
"""Arguments of the exporter that a build request itself decides."""


class Response(FileRecord):
    """Base of all responses; ``phases`` says where the time of the job's process went, in seconds.

    ``ahead_s``: for how long that process, or the one that it is a copy of, imported before the job began. ``read``:
    the SHA-256 of each file that was measured, as it was when it was read, by path; empty of one that was missing.
    """

    phases: dict[Phase, float] = Field(default_factory=dict)
    ahead_s: float = 0.0
    read: dict[str, str] = Field(default_factory=dict)


A = TypeVar("A", bound=Response)


class Request(FileRecord, Generic[A]):
    """Base of all requests: each names its kind of job, and in its base class the class of its answer.

    ``threads``: those of each numeric library. ``safe_weights``: load no checkpoint that names other classes than those
    of torch and Ultralytics. ``max_pixels``: decode no image of more.
    """

    kind: ClassVar[JobKind]
    threads: int = 1
    safe_weights: bool = False
    max_pixels: int = 200_000_000

    @property
    def artifacts(self) -> tuple[str, ...]:
        """The checkpoints and engines whose SHA-256 the answer has to tell."""
        return ()

    @classmethod
    def response(cls) -> type[A]:
        """Return the class of the answer."""
        base: Any = cls.__bases__[0]
        found: type[A] = base.__pydantic_generic_metadata__["args"][0]
        return found


class BuildResponse(Response):
    """A built engine. ``artifact`` is a file name inside ``output``; ``calibration_images`` are absolute paths.

    ``left_out``: images that Ultralytics left out of the calibration.
    """

    artifact: Name
    metadata: dict[str, Any]
    calibration_images: tuple[str, ...] | None = None
    left_out: Trouble = Trouble()
    inspection: EngineInspection | None = None
    quantization: QuantizationRecord | None = None


class BuildRequest(Request[BuildResponse]):
    """Build the engine of one cell from a checkpoint. ``data`` is None unless the precision is calibrated.

    For TensorRT: ``optimization_level`` is the builder's, None for its default; ``timing_cache`` is the file that keeps
    the builder's measurements from one build to the next. For ONNX Runtime: ``traced`` is a folder for the graph that
    builds of other precisions of the same model, shape and arguments can use too; None to share nothing. ``ranges`` is
    one for what calibrations by each calibrator have found, where all builds have the same images.
    """

    kind: ClassVar[JobKind] = "build"
    weights: InputFile
    cell: Cell
    data: DataPlace | None = None
    calibration: Calibration = Calibration()
    quantization: Int8 = Int8()
    export_args: dict[str, Any] = Field(default_factory=dict)
    optimization_level: int | None = None
    timing_cache: TimingCache | None = None
    traced: OwnFolder | None = None
    ranges: OwnFolder | None = None
    output: OutputFolder

    @property
    def artifacts(self) -> tuple[str, ...]:
        """The checkpoint."""
        return (self.weights,)

    @property
    def data_split(self) -> str:
        """The split of ``data`` that is read."""
        return self.calibration.split


class GivenResponse(Response):
    """What a given file is. ``artifact`` is the name of its copy inside ``output``, beside its description."""

    artifact: Name
    metadata: dict[str, Any]
    layout: Layout
    inspection: EngineInspection | None = None


class GivenRequest(Request[GivenResponse]):
    """Look into a file that is gated as it is: whether it can be run here, and fits what it is to be compared with.

    ``file`` is only read. ``weights``: the checkpoint; empty for a file that is the reference itself. ``sidecar``: what
    is said of the file beside it. ``data``: the resolved YAML, or the folder, on whose split ``data_split`` it is
    evaluated; ``images``: its images, of which predictions have to tell.
    """

    kind: ClassVar[JobKind] = "given"
    file: InputFile
    weights: InputFile = ""
    cell: Cell
    sidecar: Sidecar
    data: DataPlace
    data_split: str
    images: tuple[InputFile, ...] = ()
    device: str
    output: OutputFolder

    @property
    def artifacts(self) -> tuple[str, ...]:
        """The file, and the checkpoint."""
        return (self.file, *filter(None, [self.weights]))


class LayersResponse(Response):
    """The layers that the exporter would quantize, in the order of the graph."""

    layers: tuple[Layer, ...]


class BuildingRequest(Request[A], Generic[A]):
    """Base of the requests that begin as ``build`` does; how inputs are loaded is said once, for both."""

    build: BuildRequest

    @model_validator(mode="before")
    @classmethod
    def _loading_alike(cls, raw: Any) -> Any:
        """Give the build what this request says of loading: jobs are told it of the whole request alone."""
        if not isinstance(raw, Mapping) or "build" not in raw:
            return raw
        build = raw["build"]
        kept = {name: raw[name] for name in ("safe_weights", "max_pixels") if name in raw}
        build = {**build, **kept} if isinstance(build, Mapping) else build.model_copy(update=kept)
        return {**raw, "build": build}

    @property
    def artifacts(self) -> tuple[str, ...]:
        """The checkpoint."""
        return self.build.artifacts


class LayersRequest(BuildingRequest[LayersResponse]):
    """Name the layers of a checkpoint by the FP32 graph that ``build`` would begin with; no engine is left."""

    kind: ClassVar[JobKind] = "layers"


Marking = Literal["debug tensors", "outputs"]


class ExplainResponse(Response):
    """How an engine's layers and ranges compare with FP32; ``network``: all layers that the exporter would quantize.

    ``images`` were compared; ``calibration_images`` were searched for outliers; ``peak_bytes`` is the memory taken.
    ``marked``: what TensorRT's tensors were marked as to be told; None where ONNX Runtime ran the engine's graph.
    """

    network: tuple[Layer, ...]
    layers: tuple[LayerNoise, ...]
    ranges: tuple[RangeUse, ...] = ()
    outliers: tuple[OutlierImage, ...] = ()
    images: int
    calibration_images: int = 0
    peak_bytes: int = 0
    marked: Marking | None = None


class ExplainRequest(BuildingRequest[ExplainResponse]):
    """Compare an engine with the FP32 graph of its checkpoint on ``images`` (absolute paths).

    ``build`` is what the engine was built by. ``engine`` is its ONNX graph; where it is empty, the job builds one as
    ``build`` says, with TensorRT one that tells its layers. The first ``worst`` of the images are those on which arms
    disagree most. ``calibration``: images that the engine was calibrated on.
    """

    kind: ClassVar[JobKind] = "explain"
    engine: InputFile = ""
    images: tuple[InputFile, ...]
    worst: int = 0
    calibration: tuple[InputFile, ...] = ()

    @property
    def artifacts(self) -> tuple[str, ...]:
        """The checkpoint, and the engine where one is given."""
        return (*super().artifacts, *filter(None, [self.engine]))


class AccuracyArm(Record):
    """One arm to be evaluated; its per-image records go to ``per_image``."""

    arm: str
    artifact: InputFile
    per_image: OutputFile


class ArmAccuracy(Record):
    """The accuracy of one arm; ``task`` says which metrics there are, ``head`` how boxes were thinned out.

    ``unreadable`` names images that Ultralytics left out of every arm, since they or their labels are damaged;
    ``left_out`` says why the first was. ``seconds`` leaves out decoding, which all arms share.
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
    """The accuracy of each arm that could be evaluated, and in a sentence each why others could not."""

    arms: dict[str, ArmAccuracy] = Field(default_factory=dict)
    failures: dict[str, str] = Field(default_factory=dict)


class AccuracyRequest(Request[AccuracyResponse]):
    """Evaluate ``arms`` on one split of the resolved YAML ``data``, in one pass over its images.

    ``sparing``: memory may be short, so a checkpoint gets one batch at a time. While the job works, ``arm.txt`` in its
    folder names the arm that it is at. ``part``: which part of the images it is, from 1, and of how many. Of one of
    several the answer has no metrics, and there are no per-image records where it has no images.
    """

    kind: ClassVar[JobKind] = "accuracy"
    arms: tuple[AccuracyArm, ...]
    data: DataPlace
    device: str
    settings: AccuracySettings
    sparing: bool = False
    part: tuple[int, int] = (1, 1)

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Those of the arms."""
        return tuple(arm.artifact for arm in self.arms)

    @property
    def data_split(self) -> str:
        """The split of ``data`` that is read."""
        return self.settings.split


class MergeArm(Record):
    """One arm that was evaluated in ``parts``, of which these are the per-image records; all go to ``per_image``."""

    arm: str
    task: Task
    parts: tuple[InputFile, ...]
    per_image: OutputFile


class MergeResponse(Response):
    """The accuracy of each arm, without what its parts alone tell: ``head``, ``unreadable``, ``left_out``, seconds."""

    arms: dict[str, ArmAccuracy]


class MergeRequest(Request[MergeResponse]):
    """Put the parts of each arm together, and compute the metrics of the whole split once."""

    kind: ClassVar[JobKind] = "merge"
    arms: tuple[MergeArm, ...]


class ArmRequest(Record):
    """One arm of a launch; ``budgets_ms`` by percentile, if it has any. A ``spare`` is loaded and not timed.

    Its sampling ends early once each percentile of ``sharp`` is known to this ratio of it (half of the 95 % limits'
    distance). An arm that is ``shown`` is compared with nothing in the launch, and gets less time.
    """

    arm: str
    artifact: InputFile
    sha256: str
    budgets_ms: dict[str, float] = Field(default_factory=dict)
    sharp: dict[str, float] = Field(default_factory=dict)
    shown: bool = False
    spare: bool = False

    @property
    def family(self) -> str:
        """What the arms share that are compared with each other: the precision of an engine and its replays."""
        return next((one for one in PRECISIONS if self.arm in (replay_of(one), placebo_of(replay_of(one)))), self.arm)


class LatencyResponse(Response):
    """One finished launch."""

    launch: Launch


class LatencyRequest(Request[LatencyResponse]):
    """One launch: time ``arms`` interleaved on ``images`` (absolute paths), decoded before the clock starts.

    It takes the first ``rules.images`` of them that can be read. Each arm gets at most ``rules.samples`` timed
    inferences per context, fewer where they would take longer than ``rules.max_seconds``, and where fewer tell what
    they are for (``ArmRequest.sharp``); arms of one family get as many each. Where limits apply to one context only,
    ``gated``, the others are for show and get a quarter of both. Raw durations in nanoseconds go to ``samples_file``,
    one array per ``ARM/CONTEXT``. ``energy``: whether that of each arm is measured too, where a GPU tells it.
    ``inputs``: folder in which the first launch of a model leaves what it has made of the images, for launches that can
    do without torch; empty for none.
    """

    kind: ClassVar[JobKind] = "latency"
    index: int
    arms: tuple[ArmRequest, ...]
    device: str
    images: tuple[InputFile, ...]
    contexts: tuple[Context, ...] = CONTEXTS
    gated: Context | None = None
    how: AccuracySettings
    rules: Latency
    samples_file: OutputFile
    energy: bool = True
    inputs: OwnFolder = ""

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Those of the arms."""
        return tuple(arm.artifact for arm in self.arms)

    @property
    def seed(self) -> int:
        """What decides the order of the arms: another number for each launch."""
        return self.rules.seed + self.index

    @property
    def load_order(self) -> tuple[ArmRequest, ...]:
        """The arms in the order in which they are loaded: checkpoints, a spare engine, then engines.

        The first of three copies of an engine has been seen to be slower by 1 % than the others in a whole session, so
        no engine that is timed comes first: the spare does, another copy of the first that is timed. Whatever else a
        place may do, an engine swaps places with its baseline engine from launch to launch, and stands between the two
        copies of that.
        """
        engines = {arm.arm: arm for arm in self.arms if arm.arm != REFERENCE and not arm.artifact.endswith(".pt")}
        together = ((replay_of(name), name, placebo_of(replay_of(name))) for name in engines)
        names = dict.fromkeys(name for family in together for name in family if name in engines)
        order = [engines[name] for name in names][:: -1 if self.index % 2 else 1]
        spare = [arm.model_copy(update={"spare": True}) for arm in order[:1]]
        return (*(arm for arm in self.arms if arm.arm not in engines), *spare, *order)


class ProfileResponse(Response):
    """The layers, the slowest first, with their mean times over the runs."""

    layers: tuple[LayerTime, ...]


class ProfileRequest(Request[ProfileResponse]):
    """Time each layer of an engine, over ``runs`` inferences on random input."""

    kind: ClassVar[JobKind] = "profile"
    arm: str
    artifact: InputFile
    device: str
    runs: int


class SmallPicture(Record):
    """A small copy: its file name, and the size of the original in pixels."""

    file: Name
    width: int
    height: int


class PicturesResponse(Response):
    """The small copies by the paths of their originals; what cannot be decoded is not among them."""

    pictures: dict[str, SmallPicture]


class PicturesRequest(Request[PicturesResponse]):
    """Make small copies of ``images`` (absolute paths), at most ``side_px`` wide and high, in the folder ``output``."""

    kind: ClassVar[JobKind] = "pictures"
    images: tuple[InputFile, ...]
    output: OutputFolder
    side_px: int


class ClipResponse(Response):
    """What the file says of itself."""

    clip: ClipRecord


class ClipRequest(Request[ClipResponse]):
    """Open a video file and decode its first frame."""

    kind: ClassVar[JobKind] = "clip"
    clip: InputFile


class VideoResponse(Response):
    """The record, with paths of files relative to ``output``."""

    video: VideoRecord


class VideoRequest(Request[VideoResponse]):
    """Time the arms of a launch on the frames of ``clip``, in turns, then write videos and a poster into ``output``.

    Images, contexts, samples and blocks mean nothing here. At most ``frames`` frames are taken.
    """

    kind: ClassVar[JobKind] = "video"
    launch: LatencyRequest
    clip: InputFile
    frames: int
    output: OutputFolder


class SplitRequest(Record):
    """One split to be looked at: the absolute paths of its images."""

    name: str
    images: tuple[LabelledImage, ...]


class SplitFacts(FileRecord):
    """What was seen of one split.

    Attributes:
        images: How many there are.
        corrupt: Those that are missing, damaged or too small.
        bad_labels: Label files for which a model that finds no key points leaves out their images.
        bad_poses: The same of one that finds key points, where the dataset has a shape of them.
        boxes: Label files of boxes, with no outline.
        repeated: Label files with rows that are there twice, of which one counts.
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
    repeated: Trouble = Trouble()
    unlabelled: int = 0
    without_image: Trouble = Trouble()
    classes: dict[int, int] = Field(default_factory=dict)
    brightness: tuple[float, ...] = ()
    contrast: tuple[float, ...] = ()
    object_sizes: tuple[float, ...] = ()


class CheckpointFacts(FileRecord):
    """What a checkpoint says of its training; None where it does not tell. ``problem``: why nothing is known.

    ``unusable``: Ultralytics cannot load it. ``single_cls``: it was trained to take all objects for one class, whatever
    classes the dataset has. ``modules``: the modules of its classes that no package of a known version has, nor Python.
    """

    imgsz: int | None = None
    names: dict[int, str] | None = None
    kpt_shape: tuple[int, int] | None = None
    single_cls: bool = False
    task: str | None = None
    version: str | None = None
    modules: tuple[str, ...] = ()
    problem: str = ""
    unusable: bool = False


class EngineFacts(FileRecord):
    """What Ultralytics wrote into an engine, or as ``problem`` why that cannot be read."""

    metadata: dict[str, Any] = Field(default_factory=dict)


class SurveyResponse(Response):
    """What was seen of what was asked for."""

    splits: dict[str, SplitFacts] = Field(default_factory=dict)
    checkpoints: dict[str, CheckpointFacts] = Field(default_factory=dict)
    deployed: EngineFacts | None = None


class SurveyRequest(Request[SurveyResponse]):
    """Look at the images and labels of ``splits``, into ``checkpoints`` by model, and into the ``deployed`` engine.

    ``classes``: how many the dataset has; ``kpt_shape``: how many key points follow each box, and the numbers of each,
    where its YAML says so. Up to ``sample`` images of each split are decoded for their brightness and contrast.
    """

    kind: ClassVar[JobKind] = "survey"
    splits: tuple[SplitRequest, ...] = ()
    classes: int
    kpt_shape: tuple[int, int] | None = None
    sample: int
    checkpoints: dict[str, InputFile] = Field(default_factory=dict)
    deployed: InputFile | None = None

    @property
    def artifacts(self) -> tuple[str, ...]:
        """The checkpoints and the deployed engine."""
        return (*self.checkpoints.values(), *([self.deployed] if self.deployed else []))


class JobFailure(FileRecord):
    """Why a job gave up, in one sentence."""

    sentence: str


REQUESTS: Mapping[JobKind, type[Request[Any]]] = {
    one.kind: one
    for one in (
        *(BuildRequest, AccuracyRequest, LatencyRequest, ProfileRequest, PicturesRequest, ClipRequest, VideoRequest),
        *(SurveyRequest, LayersRequest, ExplainRequest, GivenRequest, MergeRequest),
    )
}
"""The requests by the kind of their jobs."""
