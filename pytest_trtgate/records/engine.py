"""Built engines: the manifest of a cache entry, and what the inspection found inside the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from .base import FileDigest, FileRecord, Record, Trouble
from .cell import Cell
from .given import Given
from .names import Name
from .tasks import Head, head_of

UNKNOWN = "unknown"
OTHER = "other"
"""Integers and booleans: shapes and indices, not activations."""


class EngineInspection(Record):
    """What an engine consists of.

    Attributes:
        detailed: Whether TensorRT reported the precision of each layer; if not, ``precisions`` is empty.
        layers: How many layers the engine has; None if TensorRT reported nothing.
        precisions: How many layers work in each precision: ``INT8``, ``FP16``, ``FP32``, ..., ``other``, ``unknown``.
        fused_layers: How many layers stand for several of the network.
        network: How many convolutions and matrix products of the network work in each precision; empty if TensorRT may
            choose another (before 11).
        plan_bytes: Size of the plan: the artifact without the metadata in front of it.
        device_memory_bytes: GPU memory for the engine's activations; None if unknown.
    """

    detailed: bool
    layers: int | None = None
    precisions: dict[str, int] = Field(default_factory=dict)
    fused_layers: int | None = None
    network: dict[str, int] = Field(default_factory=dict)
    plan_bytes: int
    device_memory_bytes: int | None = None

    @property
    def known(self) -> dict[str, int]:
        """``precisions``, else ``network``."""
        return self.precisions or self.network

    def share(self, precision: str) -> float:
        """Return the share, 0 to 1, that works in a precision such as ``FP16``."""
        return self.known.get(precision, 0) / total if (total := sum(self.known.values())) else 0.0

    def sentence(self, requested: str) -> str:
        """Return what was built, as ``int8 requested: 61 % of layers INT8, 22 % FP16, 17 % FP32``."""
        untold = "this TensorRT does not tell the precision of the layers"
        if not self.known:
            return f"{requested} requested: {untold}"
        of = "of layers" if self.detailed else "of the network's convolutions and matrix products"
        ranked = sorted(self.known, key=lambda name: -self.known[name])
        parts = [f"{100 * self.share(name):.0f} % {name}" for name in ranked]
        said = ", ".join([parts[0].replace(" % ", f" % {of} "), *parts[1:]])
        return f"{requested} requested: {said}" + ("" if self.detailed else f"; {untold}")


class Calibration(Record):
    """The images that an INT8 engine was calibrated on, as listed in ``calibration.txt`` of its cache entry.

    ``left_out``: those of the split that Ultralytics left out, since they or their labels are damaged.
    """

    split: str
    fraction: float
    images: int
    digest: str
    left_out: Trouble = Trouble()


class Layer(Record):
    """A layer that the exporter quantizes: a convolution or a matrix product.

    Attributes:
        name: Its place in the network's own terms, such as ``head.keypoints.8.last``.
        node: Its node in the ONNX graph.
        words: The same place for people.
        weights: How many weights it has.
        multiplications: How many it takes for one image of 640 x 640; 0 if unknown.
    """

    name: str
    node: str
    words: str
    weights: int = 0
    multiplications: int = 0


class QuantizationRecord(Record):
    """How the INT8 of an engine differs from what the exporter makes by itself.

    Attributes:
        settings: What was asked for, by its key under ``quantization.int8``.
        layers: How many layers the exporter would quantize.
        kept: The names of those that were kept out of INT8.
    """

    settings: dict[str, Any]
    layers: int
    kept: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What is special about the engine, as ``calibrator entropy; 9 of 88 layers (10 %) kept out of INT8``."""
        said = [f"{name} {str(value).lower()}" for name, value in self.settings.items() if name != "keep"]
        share = f" ({100 * len(self.kept) / self.layers:.0f} %)" if self.layers else ""
        return "; ".join([*said, f"{len(self.kept)} of {self.layers} layers{share} kept out of INT8"])


class EngineRecord(FileRecord):
    """One engine: the manifest of its cache entry, and how this run came by it. ``given``: it was not built here."""

    cell: Cell
    cache_key: Name
    key_parts: dict[str, Any]
    artifact: Name
    files: tuple[FileDigest, ...]
    sha256: str
    size_bytes: int
    built_at: str
    build_seconds: float
    calibration: Calibration | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    inspection: EngineInspection | None = None
    quantization: QuantizationRecord | None = None
    given: Given | None = None
    from_cache: bool = False
    entry: str = ""

    @property
    def path(self) -> Path:
        """The artifact on disk, on the machine that made the record."""
        return Path(self.entry) / self.artifact

    @property
    def runs(self) -> bool:
        """Whether there is something to run; there is not where predictions stand for the engine."""
        return self.given is None or self.given.layout != "predictions"

    @property
    def head(self) -> Head | None:
        """Where the engine's boxes are suppressed; None for a classifier, and for predictions, which do not tell."""
        return head_of(self.metadata) if self.runs else None
