"""The kinds of jobs, a row each: what their process runs, what ends it, and what can be done ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .contract import JobKind

_ARMS = "pytest_trtgate.workers.timing.arms"


@dataclass(frozen=True)
class JobSpec:
    """How jobs of one kind run.

    Attributes:
        module: What their process runs.
        limit: The setting under ``timeouts`` that ends them.
        imports: What they import first, for a process that does so ahead.
        copied: Whether on a CPU each is a copy of one process, which has imported for all of them.
        uses_device: False where they are short, use no device and time nothing: such jobs wait for none.
    """

    module: str
    limit: Literal["build_s", "accuracy_s", "launch_s", "video_s"] = "launch_s"
    imports: tuple[str, ...] = ()
    copied: bool = False
    uses_device: bool = True


JOBS: Mapping[JobKind, JobSpec] = {
    "build": JobSpec(
        "pytest_trtgate.workers.building.build",
        "build_s",
        imports=(
            *(_ARMS, "pytest_trtgate.workers.building.tensorrt_build", "onnx", "onnxslim"),
            *("onnxruntime.quantization", "onnxruntime.transformers.float16"),
        ),
        copied=True,
    ),
    "given": JobSpec("pytest_trtgate.workers.given.look", "build_s"),
    "accuracy": JobSpec(
        "pytest_trtgate.workers.evaluating.accuracy",
        "accuracy_s",
        imports=(_ARMS, "pytest_trtgate.workers.evaluating.collectors", "onnxruntime"),
        copied=True,
    ),
    "merge": JobSpec(
        "pytest_trtgate.workers.evaluating.merging",
        "accuracy_s",
        imports=(_ARMS, "pytest_trtgate.workers.evaluating.collectors"),
        copied=True,
    ),
    "latency": JobSpec(
        "pytest_trtgate.workers.timing.latency", imports=(_ARMS, "pytest_trtgate.workers.timing.cuda_timing")
    ),
    "profile": JobSpec("pytest_trtgate.workers.timing.profile"),
    "pictures": JobSpec("pytest_trtgate.workers.media.pictures", uses_device=False),
    "clip": JobSpec("pytest_trtgate.workers.media.clip", uses_device=False),
    "video": JobSpec("pytest_trtgate.workers.media.video", "video_s"),
    "survey": JobSpec("pytest_trtgate.workers.survey.survey", "accuracy_s", uses_device=False),
    "layers": JobSpec("pytest_trtgate.workers.building.layers", "build_s", uses_device=False),
    "explain": JobSpec("pytest_trtgate.workers.explaining.explain", "build_s"),
}
