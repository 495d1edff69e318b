"""All settings as one frozen object, checked as a whole before anything runs."""

from __future__ import annotations

import os
import re
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, field_validator, model_validator

from ..records import PRECISIONS, Name, Outcome, Precision
from .accuracy import Accuracy, Model
from .findings import Deployment, Findings
from .given import BACKENDS, ENGINES, Files, check_endings
from .latency import Latency, Limits
from .quantization import Quantization
from .types import (
    DATA,
    IMGSZ,
    MEGABYTES,
    POSITIVE,
    SECONDS,
    Count,
    Flag,
    Fraction,
    ImageSize,
    Level,
    Place,
    PositiveFloat,
    PositiveInt,
    Section,
    field_allowing,
    one_or_many,
    own_or_general,
    split_commas,
)

SHARD_IMAGES = 1000
"""Images of a part for which a further machine is worth its start."""
DEPLOYMENT_CONF = 0.25
"""Boxes above this confidence are kept while timing, and by suppression inside an engine: Ultralytics' default."""


CACHE_KEY = "TRTGATE_CACHE_KEY"
"""Environment variable of the secret with which cached records are sealed; jobs, which run weights, do not get it."""
SIGN_PASSWORD = "TRTGATE_SIGN_PASSWORD"
"""Environment variable of the password of the key that release packs are signed with; jobs do not get it either."""


def in_ci() -> bool:
    """Return whether this process runs in a CI job: nearly all of them set ``CI``."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


class Calibration(Section):
    """``[tool.trtgate.calibration]``: which images INT8 is calibrated on."""

    example = '{ split = "train" }'
    split: str = field_allowing("a split of the data YAML", default="train", min_length=1)
    fraction: Fraction = field_allowing("more than 0, at most 1", default=1.0)


class Explain(Section):
    """``[tool.trtgate.explain]``: how long an explanation may try blocks of a network for."""

    example = "{ minutes = 5 }"
    minutes: PositiveFloat = field_allowing("minutes, more than 0", default=2.5)


class Validation(Section):
    """``[tool.trtgate.validation]``: with what every arm is evaluated."""

    example = "{ iou = 0.6 }"
    conf: Fraction = field_allowing("more than 0, at most 1", default=0.001)
    iou: Fraction = field_allowing("more than 0, at most 1", default=0.7)
    max_det: PositiveInt = field_allowing(POSITIVE, default=300)


class Timeouts(Section):
    """``[tool.trtgate.timeouts]``: seconds after which a job is ended; its cell's verdict is then ERROR.

    Where one process keeps a device, or builds an engine, for longer than the longest of them, jobs that wait for it
    end too.
    """

    example = "{ build_s = 7200 }"
    build_s: PositiveFloat = field_allowing(SECONDS, default=3600.0)
    accuracy_s: PositiveFloat = field_allowing(SECONDS, default=3600.0)
    launch_s: PositiveFloat = field_allowing(SECONDS, default=900.0)
    video_s: PositiveFloat = field_allowing(SECONDS, default=3600.0)


class Export(Section):
    """``[tool.trtgate.export]``: arguments for the exporter beyond those that the gate itself decides.

    ``nms``: unset, non-maximum suppression follows the engine; false asks for a head that needs none, if the model has
    one; true builds suppression into the engine, with a confidence of 0.25. ``workspace`` and ``optimization_level``
    are TensorRT's; the other backend ignores them, so that one file serves both.
    """

    example = "{ opset = 17 }"
    nms: Flag | None = field_allowing("true or false", default=None)
    opset: PositiveInt | None = field_allowing(POSITIVE, default=None)
    simplify: Flag = field_allowing("true or false", default=True)
    workspace: PositiveFloat | None = field_allowing("GiB, more than 0", default=None)
    optimization_level: Level | None = field_allowing("a whole number from 0 to 5", default=None)

    def arguments(self, backend: str) -> dict[str, Any]:
        """Return the exporter's arguments that are set and that a backend knows."""
        left_out = {"optimization_level"} if backend == "tensorrt" else {"optimization_level", "workspace"}
        return self.model_dump(exclude=left_out, exclude_none=True)

    def key_part(self, backend: str) -> dict[str, Any]:
        """Return all of these settings that can change an engine of a backend."""
        level = self.builder_level(backend)
        return self.arguments(backend) | ({} if level is None else {"optimization_level": level})

    def builder_level(self, backend: str) -> int | None:
        """Return TensorRT's ``builder_optimization_level``; None for its default and for another backend."""
        return self.optimization_level if backend == "tensorrt" else None


class Inputs(Section):
    """``[tool.trtgate.inputs]``: how large images and checkpoints may be once they are unpacked.

    A gigabyte is a billion bytes. ``max_weights_gb`` None: ten times the size of the file, and 0.1 at least.
    """

    example = "{ max_megapixels = 800 }"
    max_megapixels: PositiveFloat = field_allowing("megapixels, more than 0", default=200.0)
    max_weights_gb: PositiveFloat | None = field_allowing("gigabytes, more than 0", default=None)

    @property
    def max_pixels(self) -> int:
        """Pixels that an image may have."""
        return int(self.max_megapixels * 1e6)


class Fleet(Section):
    """``[tool.trtgate.fleet]``: the Ray cluster on which jobs are done.

    ``address``: ``auto`` for the cluster that this machine has joined. ``wait_s``: for how long a run waits until a
    machine is free. ``shards``: among how many machines of a kind an evaluation is divided at most, where further ones
    are free; ``auto`` gives each at least 1000 images. ``nodes``: on how many machines of a kind models are measured at
    once, at most; by default on all that are free.
    """

    example = '{ address = "auto" }'
    address: str | None = field_allowing("auto, HOST:PORT or ray://HOST:PORT", default=None, min_length=1)
    wait_s: PositiveFloat = field_allowing(SECONDS, default=600.0)
    shards: Literal["auto"] | PositiveInt = field_allowing("auto, or a whole number of at least 1", default="auto")
    nodes: PositiveInt | None = field_allowing("a whole number of at least 1", default=None)

    def parts(self, images: int) -> int:
        """Return into how many parts an evaluation of so many images is divided at most."""
        return max(1, min(images, images // SHARD_IMAGES if self.shards == "auto" else self.shards))


class EngineLimits(Section):
    """Budgets of an engine's size and memory; a megabyte is a million bytes."""

    example = "{ max_size_mb = 30 }"
    max_size_mb: PositiveFloat | None = field_allowing(MEGABYTES, default=None)
    max_device_memory_mb: PositiveFloat | None = field_allowing(MEGABYTES, default=None)


class EngineBudgets(EngineLimits):
    """``[tool.trtgate.engine]``: budgets for all precisions, then for one."""

    fp32: EngineLimits = EngineLimits()
    fp16: EngineLimits = EngineLimits()
    int8: EngineLimits = EngineLimits()

    def limits(self, precision: Precision) -> EngineLimits:
        """Return the budgets of one precision: its own, else the general ones."""
        own: EngineLimits = getattr(self, precision)
        return own_or_general(own, self)


class Settings(Section):
    """All settings of a run. Paths are absolute."""

    models: Annotated[tuple[Model, ...], BeforeValidator(one_or_many)] = field_allowing(
        "paths of .pt files, or tables with one", default=()
    )
    engines: Files = field_allowing(ENGINES, default={})
    data: Place | None = field_allowing(DATA, default=None)
    split: str = field_allowing("a split of the data YAML", default="test", min_length=1)
    precisions: Annotated[tuple[Precision, ...], BeforeValidator(split_commas)] = field_allowing(
        "fp32, fp16, int8", default=PRECISIONS, min_length=1
    )
    imgsz: ImageSize = field_allowing(IMGSZ, default=640)
    batch: PositiveInt = field_allowing("a whole number from 1 to 1024", default=1, le=1024)
    device: Annotated[str, BeforeValidator(str)] = field_allowing("auto, cpu or a GPU number", default="auto")
    backend: Literal["auto", "tensorrt", "onnxruntime"] = field_allowing(
        "auto, tensorrt or onnxruntime", default="auto"
    )
    machines: Annotated[tuple[Name, ...], BeforeValidator(split_commas)] = field_allowing(
        "kinds of machines, such as nvidia-l4", default=()
    )
    threads: PositiveInt | None = field_allowing(POSITIVE, default=None)
    cache_dir: Place | None = field_allowing("a folder", default=None)
    baselines: Literal["check", "add", "update"] = field_allowing("check, add or update", default="check")
    baseline_dir: Place = field_allowing("a folder", default=Path("baselines"))
    report: Place = field_allowing("the path of an .html file", default=Path("reports/trtgate.html"))
    promote: Place | None = field_allowing("a folder", default=None)
    videos: Annotated[tuple[Place, ...], BeforeValidator(one_or_many)] = field_allowing(
        "paths of video files", default=()
    )
    pictures: Count = field_allowing("a whole number, 0 for none", default=12)
    fresh: Flag = field_allowing("true or false", default=False)
    profile: Flag = field_allowing("true or false", default=False)
    explain_failed: Flag = field_allowing("true or false", default=False)
    keep_runs: PositiveInt = field_allowing(POSITIVE, default=5)
    weights: Literal["trusted", "safe"] = field_allowing("trusted or safe", default="trusted")
    strict: Flag = field_allowing("true or false", default=True)
    inconclusive: Literal["warn", "fail"] = field_allowing("warn or fail", default="warn")
    missing_baseline: Literal["auto", "record", "fail"] = field_allowing("auto, record or fail", default="auto")
    accuracy: Accuracy = Accuracy()
    latency: Latency = Latency()
    calibration: Calibration = Calibration()
    quantization: Quantization = Quantization()
    explain: Explain = Explain()
    validation: Validation = Validation()
    findings: Findings = Findings()
    deployment: Deployment = Deployment()
    timeouts: Timeouts = Timeouts()
    export: Export = Export()
    engine: EngineBudgets = EngineBudgets()
    inputs: Inputs = Inputs()
    fleet: Fleet = Fleet()

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        device = value.removeprefix("cuda:")
        if device not in ("auto", "cpu") and not re.fullmatch("[0-9]{1,4}", device):
            raise ValueError("not a device")
        return device

    @field_validator("precisions")
    @classmethod
    def _in_order(cls, value: tuple[Precision, ...]) -> tuple[Precision, ...]:
        return tuple(p for p in PRECISIONS if p in value)

    @field_validator("machines")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("report")
    @classmethod
    def _html(cls, value: Path) -> Path:
        if value.suffix.lower() not in (".html", ".htm"):
            raise ValueError("not an .html file")
        return value

    @model_validator(mode="after")
    def _machines_of_fleet(self) -> Settings:
        if self.machines and self.fleet.address is None:
            raise ValueError("machines names machines of a fleet, and fleet.address is not set")
        return self

    @model_validator(mode="after")
    def _speedup_over_another(self) -> Settings:
        tables = {"latency": self.latency} | {f"latency.machine.{k}": v for k, v in self.latency.machine.items()}
        for (name, table), precision in product(tables.items(), PRECISIONS):
            rule: Limits = getattr(table, precision)
            if rule.speedup is not None and rule.speedup.over == precision:
                raise ValueError(f"{name}.{precision}.speedup.over names {precision} itself")
        return self

    @model_validator(mode="after")
    def _engines_of_one_model(self) -> Settings:
        if self.engines and len(self.models) > 1:
            raise ValueError("engines outside of models are of one model, and there are more; name them in its table")
        check_endings("engines", self.engines, tuple(BACKENDS))
        if self.deployment.compared and len(self.models) > 1:
            raise ValueError("deployment.compare = true is for one model, and there are more; gate them apart")
        return self

    def given(self, model: str) -> dict[Precision, Path]:
        """Return what is gated of a model as it is, by precision: engines that others built, and predictions."""
        own = next((m for m in self.models if m.name == model), None)
        return {**self.engines, **(own.engines | own.predictions if own else {})}

    @property
    def conf(self) -> float:
        """Confidence for evaluating every arm; an engine with suppression inside has no boxes below its own."""
        return max(self.validation.conf, DEPLOYMENT_CONF) if self.export.nms else self.validation.conf

    def export_key(self, backend: str) -> dict[str, Any]:
        """Return all settings of the exporter that can change an engine of a backend."""
        return self.export.key_part(backend) | self._suppression

    def export_arguments(self, backend: str) -> dict[str, Any]:
        """Return the exporter's arguments beyond those that each cell decides."""
        return self.export.arguments(backend) | self._suppression

    @property
    def _suppression(self) -> dict[str, Any]:
        """Arguments of suppression inside an engine: the same as of suppression after the ``.pt``."""
        if not self.export.nms:
            return {}
        return {"conf": self.conf, "iou": self.validation.iou, "max_det": self.validation.max_det}

    def of(self, model: str) -> Settings:
        """Return the settings for one model: its own data, image size, tolerances and quantization over the general."""
        own = next((m for m in self.models if m.name == model), None)
        if own is None:
            return self
        accuracy = self.accuracy.with_own(own.accuracy) if own.accuracy else None
        general = self.quantization
        quantization = (
            general.model_copy(update={"int8": own.quantization.int8.over(general.int8)}) if own.quantization else None
        )
        changed = {"data": own.data, "imgsz": own.imgsz, "accuracy": accuracy, "quantization": quantization}
        return self.model_copy(update={name: value for name, value in changed.items() if value is not None})

    def on(self, machine: str) -> Settings:
        """Return the settings of a kind of machine's part of a run, with its own limits of latency."""
        return self.model_copy(update={"machines": (machine,), "latency": self.latency.on(machine)})

    @property
    def missing_baseline_fails(self) -> bool:
        """Whether a cell without a usable baseline fails the run: by default if ``CI`` is set."""
        if self.missing_baseline == "auto":
            return in_ci()
        return self.missing_baseline == "fail"

    def fails(self, outcome: Outcome) -> bool:
        """Return whether an outcome fails the run, by the policies."""
        if outcome in (Outcome.NO_BASELINE, Outcome.INCOMPATIBLE):
            return self.missing_baseline_fails
        if outcome is Outcome.INCONCLUSIVE:
            return self.inconclusive == "fail"
        return outcome in (Outcome.FAIL, Outcome.ERROR)
