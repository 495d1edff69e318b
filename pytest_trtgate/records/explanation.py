"""Why an engine's accuracy differs from its checkpoint's, as far as that was looked into."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import FileRecord, Record
from .cell import Cell

PartKind = Literal["threshold", "size", "class", "score", "keypoint"]


class MetricPart(Record):
    """One part of the metric: its value for the ``.pt`` and the engine.

    Attributes:
        kind: By what the metric was taken apart.
        name: Which part, for people, such as ``IoU 0.75``.
        reference: The value of the ``.pt``; of a keypoint, its mean error in percent of the object's size.
        engine: That of the engine.
        objects: How many objects, or images of a classifier, the part is about.
    """

    kind: PartKind
    name: str
    reference: float
    engine: float
    objects: int = 0

    @property
    def drop(self) -> float:
        """By how much the engine is worse."""
        fell = self.reference - self.engine
        return -fell if self.kind == "keypoint" else fell


class Symptom(Record):
    """Something that engines are known to lose, whether it was found, and its evidence in a sentence."""

    kind: str
    found: bool
    sentence: str


class LayerNoise(Record):
    """How well one layer's output keeps to FP32, as signal-to-quantization-noise ratios in decibels.

    Attributes:
        name: The layer, as ``trtgate layers`` prints it.
        words: Its place for people.
        local_db: With FP32 inputs: the noise that the layer adds.
        arriving_db: In the engine: what earlier layers bring and the layer adds.
        worst_db: ``arriving_db`` over the images of worst disagreement alone; None where there were none.
        lower: Whether the engine computes it in a lower precision.
    """

    name: str
    words: str
    local_db: float
    arriving_db: float
    worst_db: float | None = None
    lower: bool = True


class BlockSensitivity(Record):
    """What one block of the network costs in INT8; None where the time did not suffice.

    Attributes:
        name: The block, as ``quantization.int8.keep`` takes it.
        layers: How many layers it has.
        alone: The drop of the metric where only this block is quantized.
        without: The drop where all but this block is.
        drop: The drop of the engine as it is, on the same images.
        images: On how many images that was measured.
    """

    name: str
    layers: int
    alone: float | None = None
    without: float | None = None
    drop: float | None = None
    images: int = 0


class RangeUse(Record):
    """The range that calibration gave the output of a layer, against the values seen on evaluated images.

    Attributes:
        name: The layer.
        words: Its place for people.
        low: The least value that INT8 can tell, with ``high`` the largest.
        high: The largest.
        seen_low: The least that was seen.
        seen_high: The largest.
        clipped: The share of values outside of the range, from 0 to 1.
        unused: The share of the range that no value reached, from 0 to 1.
    """

    name: str
    words: str
    low: float
    high: float
    seen_low: float
    seen_high: float
    clipped: float
    unused: float


class OutlierImage(Record):
    """A calibration image that alone sets the range of layers.

    Attributes:
        image: Its path.
        layers: In how many layers it has the value farthest from zero.
        times: How far that is from zero, over the median of all images' farthest, in the layer where this is most.
        layer: That layer.
        picture: A small copy as JPEG, in Base64; empty where there is none.
    """

    image: str
    layers: int
    times: float
    layer: str
    picture: str = Field(default="", pattern=r"^[A-Za-z0-9+/=]*$", max_length=60_000)


class Explanation(FileRecord):
    """Why one cell's accuracy fell.

    Attributes:
        cell: The cell.
        sentence: The most telling of what was found.
        metric: The metric that was taken apart.
        reference: Its value for the ``.pt``.
        engine: For the engine.
        parts: The metric taken apart.
        symptoms: What was tested for.
        layers: The layers, those that add most noise first.
        layers_note: Which graphs were compared, or why none was.
        images: How many images they were compared on.
        blocks: The sensitivity of each block to INT8.
        blocks_drop: The drop of the engine as it is, on the most images that a block was tried on; None where it was
            not measured.
        blocks_note: On what it was measured, or why it was not.
        ranges: The use of calibrated ranges, the most clipped first.
        outliers: Calibration images that alone set ranges.
        ranges_note: On how many images that rests.
        seconds: How long the explanation took.
        peak_bytes: The most memory that the comparison of layers took.
    """

    cell: Cell
    sentence: str = ""
    metric: str = ""
    reference: float = 0.0
    engine: float = 0.0
    parts: tuple[MetricPart, ...] = ()
    symptoms: tuple[Symptom, ...] = ()
    layers: tuple[LayerNoise, ...] = ()
    layers_note: str = ""
    images: int = 0
    blocks: tuple[BlockSensitivity, ...] = ()
    blocks_drop: float | None = None
    blocks_note: str = ""
    ranges: tuple[RangeUse, ...] = ()
    outliers: tuple[OutlierImage, ...] = ()
    ranges_note: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0

    def saved(self, block: BlockSensitivity) -> float | None:
        """Return the drop that is saved with a block kept out of INT8; None where it was not measured."""
        drop = self.blocks_drop if block.drop is None else block.drop
        return None if drop is None or block.without is None else drop - block.without
