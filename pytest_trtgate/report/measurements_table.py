"""All measurements of a run as one tidy table, for pandas and spreadsheets: the CSV and Parquet files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecordError
from ..records import AccuracyRecord, ArmLaunch, RunRecord, write_whole

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "run_id",
    "model",
    "precision",
    "imgsz",
    "batch",
    "backend",
    "device",
    "kind",
    "context",
    "launch",
    "class",
    "metric",
    "value",
    "unit",
)
LEVELS = (1, 5, 10, 25, 50, 75, 90, 95, 99)
"""The percentiles that the table has; all 99 are in the run record."""
Row = dict[str, Any]


def _accuracy(record: AccuracyRecord) -> Iterator[Row]:
    yield {"metric": "images", "value": record.images, "unit": "images"}
    yield {"metric": "instances", "value": record.instances, "unit": "instances"}
    for metric, value in record.metrics.items():
        yield {"metric": metric, "value": value, "unit": "points"}
    for entry in record.classes:
        yield {"class": entry.name, "metric": "images", "value": entry.images, "unit": "images"}
        yield {"class": entry.name, "metric": "instances", "value": entry.instances, "unit": "instances"}
        for metric, value in entry.metrics.items():
            yield {"class": entry.name, "metric": metric, "value": value, "unit": "points"}


def _latency(arm: ArmLaunch) -> Iterator[Row]:
    yield {"metric": "images_per_second", "value": arm.images_per_second, "unit": "1/s"}
    if arm.energy_mj is not None:
        yield {"metric": "energy", "value": arm.energy_mj, "unit": "mJ"}
    if arm.memory_peak_bytes is not None:
        yield {"metric": "memory_peak", "value": arm.memory_peak_bytes, "unit": "bytes"}
    for context, timing in arm.timings.items():
        yield {"context": context, "metric": "n", "value": timing.n, "unit": "samples"}
        levels = {f"p{level}": timing.quantile_ms(level) for level in LEVELS}
        levels |= {"mean": timing.mean_ms, "min": timing.min_ms, "max": timing.max_ms}
        for metric, value in levels.items():
            yield {"context": context, "metric": metric, "value": value, "unit": "ms"}


def rows(run: RunRecord) -> Iterator[Row]:
    """Yield one row per measured number; columns that a number does not have are left out."""
    machine = {"run_id": run.run_id, "backend": run.environment.backend, "device": run.environment.device}
    for record in run.accuracies:
        settings = record.settings
        arm = {"model": record.model, "precision": record.arm, "imgsz": settings.imgsz, "batch": settings.batch}
        for row in _accuracy(record):
            yield machine | arm | {"kind": "accuracy"} | row
    for latency in run.latencies.values():
        where = machine | {"model": latency.model, "imgsz": latency.imgsz, "batch": latency.batch, "kind": "latency"}
        for launch in latency.launches:
            for name, timed in launch.arms.items():
                for row in _latency(timed):
                    yield where | {"precision": name, "launch": launch.index} | row
    for engine in run.engines.values():
        cell = engine.cell
        here = {"run_id": run.run_id, **cell.model_dump(), "kind": "engine"}
        yield here | {"metric": "size", "value": engine.size_bytes, "unit": "bytes"}
        yield here | {"metric": "build", "value": engine.build_seconds, "unit": "s"}


def _rows_of(runs: RunRecord | Sequence[RunRecord]) -> Iterator[Row]:
    for run in [runs] if isinstance(runs, RunRecord) else runs:
        yield from rows(run)


def frame(runs: RunRecord | Sequence[RunRecord]) -> pd.DataFrame:
    """Return all measurements of one or several runs, one number a row.

    Returns:
        Columns as in :data:`COLUMNS`. ``precision`` names the arm, ``pt`` for the checkpoint; ``launch`` is a nullable
        integer; ``context`` and ``class`` are missing where they have no meaning.
    """
    import pandas as pd

    found = pd.DataFrame(_rows_of(runs), columns=list(COLUMNS))
    return found.astype({"launch": "Int64", "imgsz": "Int64", "batch": "Int64", "value": "float64"})


def write_parquet(path: Path, runs: RunRecord | Sequence[RunRecord]) -> None:
    """Write the table as Parquet.

    Raises:
        RecordError: pyarrow is not installed.
        OSError: The file cannot be written.
    """
    file = io.BytesIO()
    try:
        frame(runs).to_parquet(file, engine="pyarrow", index=False)
    except ImportError as error:
        raise RecordError(f"{path}: Parquet needs pyarrow; python -m pip install pyarrow") from error
    write_whole(path, file.getvalue())


def write_csv(path: Path, runs: RunRecord | Sequence[RunRecord]) -> None:
    """Write the table as CSV in UTF-8, with a line of column names.

    A name that a spreadsheet would take for a formula, such as ``=class``, has an apostrophe before it.

    Raises:
        OSError: The file cannot be written.
    """
    # Not through the frame: every run ends with a table, and pandas takes longer to import than all of it to write.
    file = io.StringIO(newline="")
    table = csv.writer(file, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in _rows_of(runs):
        value = float(row["value"])
        row["value"] = None if math.isnan(value) else value
        table.writerow([_no_formula(x) if isinstance(x, str) else x for x in map(row.get, COLUMNS)])
    write_whole(path, file.getvalue().encode("utf-8", "replace"))


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
