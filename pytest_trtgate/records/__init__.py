"""What every file on disk is: cells, engines, accuracies, latencies, verdicts, baselines and runs."""

from __future__ import annotations

from .accuracy import AccuracyRecord, AccuracySettings, ClassAccuracy
from .base import SCHEMA_VERSION, Failure, FileDigest, FileRecord, Record, Trouble, reworded
from .baseline import (
    NONE_YET,
    Accepted,
    AccuracyBaseline,
    AccuracyUse,
    Baseline,
    BaselineLaunch,
    BaselineSession,
    BaselineUse,
    Built,
)
from .cell import (
    CONTEXTS,
    DEPLOYED,
    PLACEBOS,
    PRECISIONS,
    REFERENCE,
    REPLAYS,
    Cell,
    Context,
    Environment,
    Precision,
    cell_of_key,
    placebo_of,
    replay_of,
)
from .engine import OTHER, UNKNOWN, Calibration, EngineInspection, EngineRecord, Layer, QuantizationRecord
from .explanation import (
    BlockSensitivity,
    Explanation,
    LayerNoise,
    MetricPart,
    OutlierImage,
    PartKind,
    RangeUse,
    Symptom,
)
from .figures import CURVE_RECALLS, SCORE_BINS, AccuracyFigures, Course, DropInterval, PrecisionRecall, Scores
from .files import (
    ENGINE_BYTES,
    FULL,
    LIST_BYTES,
    NOT_NAMED,
    RECORD_BYTES,
    TEXT_BYTES,
    Stamp,
    as_json,
    file_sha256,
    files_sha256,
    key_sha256,
    load,
    open_regular,
    open_stream,
    read_bytes,
    read_text,
    save,
    stamp,
    write_whole,
)
from .given import DESCRIPTION, LAYOUTS, Description, Feed, Given, Layout
from .latency import (
    ArmLaunch,
    LatencyRecord,
    Launch,
    LayerProfile,
    LayerTime,
    MachineState,
    Timing,
    is_replayed,
    slower_layers,
    slowest_change,
    usable,
)
from .media import (
    BOOK,
    STAGES,
    CellPictures,
    ClipRecord,
    Joint,
    Mark,
    Picture,
    PictureBook,
    Point,
    Shape,
    Stage,
    VideoArm,
    VideoRecord,
)
from .names import InnerPath, Name, why_no_name, why_outside
from .pack import EvaluationData, PackManifest
from .per_image import UNUSABLE, PerImage
from .run import INTERRUPTED, JobRecord, Phase, RunRecord
from .run_folder import RECORD_NAME, Workspace, load_run, new_run_id, run_folder_of
from .tasks import CURVE, GATED, KINDS, METRICS, PRIMARY, TASKS, TOP, Head, Task, head_of, true_positives
from .update_lock import updating
from .verdict import (
    ALLOW_BUSY,
    BUSY,
    FINDING,
    HOOK,
    PLATFORM,
    SUBJECTS,
    WORDS,
    Check,
    EarlyFinding,
    Finding,
    Outcome,
    Preflight,
    Subject,
    Verdict,
    failures,
    word,
)
