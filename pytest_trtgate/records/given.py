"""Files that are gated as they are: what they are, and how images are fed to them."""

from __future__ import annotations

from typing import Any, Literal

from .base import FileRecord, Record

DESCRIPTION = "given.json"
"""Beside the copy of a given file: how to run it."""
Layout = Literal["raw", "transposed", "end2end", "efficientnms", "deepstream", "classes", "predictions"]
LAYOUTS: dict[Layout, str] = {
    "raw": "Ultralytics' raw head",
    "transposed": "Ultralytics' raw head, transposed",
    "end2end": "boxes that are final",
    "efficientnms": "EfficientNMS's four outputs",
    "deepstream": "DeepStream-Yolo's boxes",
    "classes": "a score per class",
    "predictions": "predictions in COCO's form",
}
"""What each layout is, in words."""


class Feed(Record):
    """How images are fed to a given file, where it is not as Ultralytics does it.

    Attributes:
        dtype: The type of its input: ``float32``, ``float16`` or ``uint8``.
        nhwc: Channels come last.
        bgr: They are blue, green, red.
        scale: The value of white.
        mean: Subtracted from each channel, after scaling; in the order of the input's channels.
        std: Each channel is divided by it then.
        padding: The grey of the letterbox, 0 to 255.
        corner: The picture lies in the upper left corner of its letterbox, not in the middle.
    """

    dtype: str = "float32"
    nhwc: bool = False
    bgr: bool = False
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    padding: int = 114
    corner: bool = False


class Description(FileRecord):
    """How a given file is run: its metadata as Ultralytics would have written them, and what differs.

    ``outputs``: the names of those that count, in the order that the layout has them.
    """

    metadata: dict[str, Any]
    layout: Layout
    outputs: tuple[str, ...] = ()
    feed: Feed = Feed()
    first_category: int = 0


class Given(Record):
    """Where a given file came from; ``sidecar`` is the path of what describes it, empty where nothing does."""

    source: str
    sidecar: str = ""
    layout: Layout

    @property
    def sentence(self) -> str:
        """What it is, as ``given: deploy/best.plan (Ultralytics' raw head)``."""
        beside = f", as {self.sidecar} says" if self.sidecar else ""
        return f"given: {self.source} ({LAYOUTS[self.layout]}{beside})"
