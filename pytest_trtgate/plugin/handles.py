"""What the fixtures give to a test: one cell's engine, latency and verdicts."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median
from typing import Any

from ..records import Cell, Context, EngineRecord, LatencyRecord


class Engine:
    """One engine on disk.

    Attributes:
        cell: The cell that it belongs to.
        record: How it was built, from what, and whether it came from the cache.
    """

    def __init__(self, record: EngineRecord) -> None:
        self.cell = record.cell
        self.record = record

    @property
    def path(self) -> Path:
        """The artifact, inside the engine cache: read it, do not write it."""
        return self.record.path

    @property
    def size_bytes(self) -> int:
        """Size of the artifact."""
        return self.record.size_bytes

    @property
    def sha256(self) -> str:
        """Digest of the artifact's bytes."""
        return self.record.sha256

    def load(self) -> Any:
        """Return Ultralytics' ``AutoBackend`` for this engine, loaded into the calling process.

        The only way in which torch and the engine get into the test process; a crash of the engine then ends the
        session. Call it with a float tensor of shape (batch, 3, imgsz, imgsz), values 0 to 1.
        """
        # What jobs set for themselves: nothing is installed, fetched or reported behind the user's back.
        for name, value in (("YOLO_AUTOINSTALL", "false"), ("YOLO_OFFLINE", "True"), ("ORT_DISABLE_TELEMETRY", "1")):
            os.environ.setdefault(name, value)
        from ..workers.yolo import load_backend

        return load_backend(self.path, self.record.cell.device)

    def __repr__(self) -> str:
        return f"<Engine {self.cell.key} {self.size_bytes} bytes>"


class CellLatency:
    """One arm's launches.

    Attributes:
        record: All launches of the model, with every arm; later ones leave out what needs no judging any more.
        arm: The arm that the figures are of.
        files: Folder at which the records' sample files start.
    """

    def __init__(self, record: LatencyRecord, cell: Cell, files: Path) -> None:
        self.record = record
        self.arm: str = cell.precision
        self.files = files

    def percentile_ms(self, percent: int, context: Context = "engine") -> float:
        """Return the median over launches of one percentile, in milliseconds.

        Args:
            percent: 1 to 99.
            context: What was timed.
        """
        return median(self.record.per_launch_ms(self.arm, context, percent))

    @property
    def p50_ms(self) -> float:
        """Median latency, tensor in to tensors out, in milliseconds."""
        return self.percentile_ms(50)

    @property
    def p95_ms(self) -> float:
        """95th percentile, tensor in to tensors out, in milliseconds."""
        return self.percentile_ms(95)

    @property
    def p99_ms(self) -> float:
        """99th percentile, tensor in to tensors out, in milliseconds."""
        return self.percentile_ms(99)

    @property
    def images_per_second(self) -> float:
        """Images per second end to end: the median over launches."""
        return median(launch.arms[self.arm].images_per_second for launch in self.record.of_arm(self.arm))

    def samples_s(self, context: Context = "engine") -> list[float]:
        """Return every measured duration of all launches in seconds, in the order in which they were taken."""
        import numpy as np

        durations: list[float] = []
        for launch in self.record.of_arm(self.arm):
            with np.load(self.files / launch.samples) as arrays:
                durations += (arrays[f"{self.arm}/{context}"] / 1e9).tolist()
        return durations
