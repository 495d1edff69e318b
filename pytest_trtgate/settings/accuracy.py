"""Settings of accuracy and of single models: tolerances by metric and precision, and one model's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_serializer, model_validator

from ..records import GATED, METRICS, PRECISIONS, Precision, Task
from .given import BACKENDS, ENGINES, PREDICTIONS, TIMES, Files, check_endings
from .quantization import Quantization
from .types import (
    DATA,
    IMGSZ,
    POSITIVE,
    TOLERANCE,
    Count,
    ImageSize,
    Place,
    PositiveInt,
    Section,
    Tolerance,
    field_allowing,
    one_or_many,
)

DEFAULT_TOLERANCE: Mapping[Precision, float] = {"fp32": 0.001, "fp16": 0.003, "int8": 0.01}
"""Largest allowed drop of each metric that is gated by default."""
CONFIRM_BELOW = 300
"""From so many images on, a drop over its tolerance fails without more ado."""


class Tolerances(Section):
    """Largest allowed drop of each metric from the ``.pt``; None leaves the metric ungated or at its default."""

    example = '{ "mAP50-95" = 0.01 }'
    map50: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="mAP50")
    map50_95: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="mAP50-95")
    precision: Tolerance | None = field_allowing(TOLERANCE, default=None)
    recall: Tolerance | None = field_allowing(TOLERANCE, default=None)
    mask_map50: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="mask mAP50")
    mask_map50_95: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="mask mAP50-95")
    mask_precision: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="mask precision")
    mask_recall: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="mask recall")
    pose_map50: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="pose mAP50")
    pose_map50_95: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="pose mAP50-95")
    pose_precision: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="pose precision")
    pose_recall: Tolerance | None = field_allowing(TOLERANCE, default=None, alias="pose recall")
    top1: Tolerance | None = field_allowing(TOLERANCE, default=None)
    top5: Tolerance | None = field_allowing(TOLERANCE, default=None)

    def given(self) -> dict[str, float]:
        """Return the tolerances that were set, by the metrics' public names."""
        values = {field.alias or name: getattr(self, name) for name, field in Tolerances.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class Accuracy(Tolerances):
    """``[tool.trtgate.accuracy]``: tolerances for all precisions, then for one.

    ``mode``: whether a drop is judged on the given images (``contract``), or in the population that they come from.
    ``confirm_below``: with ``contract`` and fewer images than this, a drop over its tolerance fails only if its
    one-sided 95 % lower limit is over 0, else it is INCONCLUSIVE; 0 for never. ``builds``: how many builds of each
    engine of TensorRT are evaluated; a drop fails only if it is over its tolerance in all of them.
    """

    mode: Literal["contract", "population"] = field_allowing("contract or population", default="contract")
    confirm_below: Count = field_allowing("a number of images, 0 for never", default=CONFIRM_BELOW)
    builds: PositiveInt = field_allowing(POSITIVE, default=1)
    fp32: Tolerances = Tolerances()
    fp16: Tolerances = Tolerances()
    int8: Tolerances = Tolerances()

    def tolerances(self, precision: Precision, task: Task) -> dict[str, float]:
        """Return the gated metrics of one precision and task with their largest allowed drop."""
        default = dict.fromkeys(GATED[task], DEFAULT_TOLERANCE[precision])
        chosen = default | self._given(precision)
        return {name: chosen[name] for name in METRICS[task] if name in chosen}

    def foreign(self, precision: Precision, task: Task) -> list[str]:
        """Return the metrics that were set for one precision, but that the task does not have."""
        return [name for name in self._given(precision) if name not in METRICS[task]]

    def _given(self, precision: Precision) -> dict[str, float]:
        own: Tolerances = getattr(self, precision)
        return {**self.given(), **own.given()}

    def with_own(self, own: Accuracy) -> Accuracy:
        """Return these settings with one model's own over them, which win even over those of one precision."""
        merged = {precision: {**self._given(precision), **own._given(precision)} for precision in PRECISIONS}
        of = {n: own if n in own.model_fields_set else self for n in ("mode", "confirm_below", "builds")}
        return Accuracy.model_validate({**{n: getattr(x, n) for n, x in of.items()}, **merged})


class Model(Section):
    """One entry of ``models``: a checkpoint, and its own settings in place of the general ones.

    ``name``: what the report and the baselines call it; by default its file name without the ending. ``engines`` and
    ``predictions`` are gated in place of what would be built; ``times`` are those of predictions. ``reference``, in
    place of ``path``, is an ``.onnx``, of which nothing can be built.
    """

    example = '{ path = "best.pt" }'
    path: Place = field_allowing("the path of a .pt file; or of an .onnx file as reference")
    data: Place | None = field_allowing(DATA, default=None)
    imgsz: ImageSize | None = field_allowing(IMGSZ, default=None)
    accuracy: Accuracy | None = None
    quantization: Quantization | None = None
    engines: Files = field_allowing(ENGINES, default={})
    predictions: Files = field_allowing(PREDICTIONS, default={})
    times: dict[Precision, Annotated[tuple[Place, ...], BeforeValidator(one_or_many)]] = field_allowing(
        TIMES, default={}
    )
    name: str = field_allowing("what a file name may be", default="", min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        """Read a bare path as one, and name a model after its file where the settings give it no name."""
        if isinstance(value, (str, Path)):
            value = {"path": value}
        if isinstance(value, Mapping) and "reference" in value:
            if "path" in value:
                raise ValueError("models: path and reference name the same thing; keep one")
            value = {"path": value["reference"], **{k: v for k, v in value.items() if k != "reference"}}
        if isinstance(value, Mapping) and isinstance(path := value.get("path"), (str, Path)):
            return {"name": Path(path).stem, **value}
        return value

    @model_validator(mode="after")
    def _one_file_each(self) -> Model:
        if both := sorted(self.engines.keys() & self.predictions.keys()):
            raise ValueError(f"models: {self.name} has an engine and predictions for {both[0]}; keep one")
        if alone := sorted(self.times.keys() - self.predictions.keys()):
            raise ValueError(f"models: {self.name} has times for {alone[0]}, but no predictions that they are of")
        check_endings("engines", self.engines, tuple(BACKENDS))
        check_endings("predictions", self.predictions, (".json",))
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, serialize: Any) -> Any:
        # A bare path is stored as one: a run record reads as the settings do.
        values = {name: value for name, value in serialize(self).items() if value not in (None, {})}
        if self.quantization is not None:  # what it does not say is the general table's
            values["quantization"] = self.quantization.model_dump(mode="json", exclude_unset=True)
        if self.name == self.path.stem:
            del values["name"]
        return values if len(values) > 1 else values["path"]
