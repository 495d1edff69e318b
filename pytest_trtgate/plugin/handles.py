"""What the fixtures give to a test: one cell's engine, latency and verdicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .. import text as fmt
from ..errors import TrtGateError
from ..records import Cell, Check, Context, EngineRecord, LatencyRecord, Launch, Outcome


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
        return f"<Engine {self.cell.key}: {fmt.plain(fmt.size(self.size_bytes))}, sha256 {self.sha256[:12]}>"


class CellLatency:
    """One arm's launches.

    Attributes:
        record: All launches of the model, with every arm; later ones leave out what needs no judging any more.
        arm: The arm that the figures are of.
        files: Folder at which the records' sample files start.
    """

    def __init__(
        self, record: LatencyRecord, cell: Cell, files: Path, since_baseline: Callable[[], Sequence[Check]] = tuple
    ) -> None:
        self.record = record
        self._key = cell.key
        self._since_baseline = since_baseline
        self.arm: str = cell.precision
        self.files = files

    @property
    def _launches(self) -> tuple[Launch, ...]:
        return self.record.of_arm(self.arm)

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
        """Images per second end to end: the median over the launches that timed that."""
        return self.record.images_per_second(self.arm)

    def samples_s(self, context: Context = "engine") -> list[float]:
        """Return every measured duration of all launches in seconds, in the order in which they were taken."""
        import numpy as np

        durations: list[float] = []
        for launch in (one for one in self._launches if context in one.arms[self.arm].timings):
            with np.load(self.files / launch.samples) as arrays:
                durations += (arrays[f"{self.arm}/{context}"] / 1e9).tolist()
        return durations

    def __repr__(self) -> str:
        """Return the figures, and what the baseline has for them."""
        times = fmt.plain(f"p50 {fmt.ms(self.p50_ms)}, p95 {fmt.ms(self.p95_ms)}")
        figures = f"{times}, {fmt.plural(len(self._launches), 'launch')}"
        try:
            said = list(map(_since_baseline, self._since_baseline()))
        except TrtGateError as error:
            said = [str(error)]
        return f"<CellLatency {'; '.join([f'{self._key}: {figures}', *said])}>"


def _since_baseline(check: Check) -> str:
    """Return in a few words what a comparison with the baseline found."""
    if check.change is not None:
        moved = f"{fmt.percent(check.change)} since the baseline ({fmt.ms(check.reference)} -> {fmt.ms(check.value)})"
        return f"{check.name} {fmt.plain(moved)}"
    identical = check.name == "engine" and check.outcome is Outcome.PASS
    return "identical to the baseline's engine" if identical else check.sentence
