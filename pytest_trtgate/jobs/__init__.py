"""Jobs: the work that touches the device, each in a process of its own. The workers do it."""

from __future__ import annotations

from .contract import (
    ARM_NAME,
    INPUTS,
    PROGRESS,
    REQUESTS,
    RESERVED,
    AccuracyArm,
    AccuracyRequest,
    AccuracyResponse,
    ArmAccuracy,
    ArmRequest,
    BuildRequest,
    BuildResponse,
    CheckpointFacts,
    ClipRequest,
    ClipResponse,
    EngineFacts,
    ExplainRequest,
    ExplainResponse,
    GivenRequest,
    GivenResponse,
    JobFailure,
    JobKind,
    LatencyRequest,
    LatencyResponse,
    LayersRequest,
    LayersResponse,
    Marking,
    MergeArm,
    MergeRequest,
    MergeResponse,
    PicturesRequest,
    PicturesResponse,
    ProfileRequest,
    ProfileResponse,
    Request,
    Response,
    SmallPicture,
    SplitFacts,
    SplitRequest,
    SurveyRequest,
    SurveyResponse,
    VideoRequest,
    VideoResponse,
)
from .expected import ExpectedJobs
from .kinds import JOBS
from .launcher import LOG_NAME, EarlyLauncher, Job, LanedLauncher, Launcher, LocalLauncher, ParallelLauncher
from .logs import log_tail
from .paths import Role, with_paths
from .processes import READY
