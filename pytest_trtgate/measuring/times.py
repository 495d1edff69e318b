"""Times that were recorded elsewhere, beside predictions: as launches of their own, each of one file."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..records import ArmLaunch, Cell, Context, Launch, Timing, file_sha256, read_bytes
from ..settings import TIMES_BYTES
from .context import RunContext

LEAST = 30
"""So many inferences are taken of an engine here, too."""
MOST_MS = 600_000.0
_UNKNOWN = (LookupError, TypeError, ValueError, AttributeError, RecursionError, ArithmeticError, csv.Error)
"""What reading raises where a file is of another form."""
KINDS = "a CSV file of milliseconds, what trtexec --exportTimes writes, or perf_analyzer --profile-export-file"


def recorded_launches(context: RunContext, cell: Cell, first: int) -> Iterator[Launch]:
    """Yield a launch for each file of times of a cell, with numbers from ``first`` on.

    Raises:
        DataError: A file cannot be read, or is of no known form.
    """
    rules, model = context.settings.latency, next(m for m in context.settings.models if m.name == cell.model)
    limits = rules.limits(cell.precision, cell.backend)
    for number, file in enumerate(model.times.get(cell.precision, ()), start=first):
        found = read_times(file, rules.context)
        gated_ms = found[rules.context]
        written_s = max(0.0, min(file.stat().st_mtime, time.time()))  # a date knows no year over 9999
        samples = context.workspace.job_folder(f"times-{cell.key}-{number + 1}") / "samples.npz"
        _save(samples, cell.precision, found)
        arm = ArmLaunch(
            arm=cell.precision,
            sha256=file_sha256(file),
            warmup_iterations=0,
            warmup_stable=True,
            images_per_second=cell.batch * 1000 * len(gated_ms) / sum(gated_ms),
            timings={name: Timing.of_ms(each) for name, each in found.items()},
            over_budget={
                name: sum(ms > limit.budget_ms for ms in gated_ms)
                for name, limit in limits.items()
                if limit.budget_ms is not None
            },
        )
        yield Launch(
            index=number,
            seed=0,
            threads=context.threads,
            block=1,
            started_at=datetime.fromtimestamp(written_s, timezone.utc).isoformat(timespec="seconds"),
            seconds=sum(gated_ms) / 1000,
            arms={cell.precision: arm},
            samples=str(samples.relative_to(context.workspace.path)),
            recorded=str(file),
        )


def _save(path: Path, arm: str, found: dict[Context, list[float]]) -> None:
    import numpy as np

    arrays: dict[str, Any] = {}
    for name, each in found.items():
        arrays[f"{arm}/{name}"] = ns = (np.array(each) * 1e6).astype(np.int64)
        arrays[f"{arm}/{name}/at"] = np.cumsum(ns) - ns
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def read_times(file: Path, context: Context) -> dict[Context, list[float]]:
    """Return the milliseconds of each inference by context; where the file tells of one time, it is ``context``.

    Raises:
        DataError: The file cannot be read, or is of no known form.
    """
    try:
        content = read_bytes(file, TIMES_BYTES)
        text = content.decode("utf-8-sig")
        found = _of_json(json.loads(text), context) if file.suffix.lower() == ".json" else {context: _of_csv(text)}
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except _UNKNOWN as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{file}: no times that are known ({why}); it may be {KINDS}") from error
    for each in found.values():
        if len(each) < LEAST:
            raise DataError(f"{file}: {len(each)} inferences, fewer than {LEAST}, tell too little")
        wrong = [ms for ms in each if not 0 < ms <= MOST_MS]  # which not a number is not, either
        if wrong:
            raise DataError(f"{file}: {wrong[0]:g} is no time of an inference in milliseconds")
    return found


def _of_json(content: Any, context: Context) -> dict[Context, list[float]]:
    if isinstance(content, dict):  # perf_analyzer's, in nanoseconds
        requests = [one for experiment in content["experiments"] for one in experiment["requests"]]
        return {context: [(one["response_timestamps"][-1] - one["timestamp"]) / 1e6 for one in requests]}
    # trtexec's: of the GPU alone, and of the whole with its copies.
    return {
        "engine": [float(one["computeMs"]) for one in content],
        "end-to-end": [float(one["latencyMs"]) for one in content],
    }


def _of_csv(text: str) -> list[float]:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    head: list[str] = []
    try:
        float(rows[0][-1])
    except ValueError:
        head = [name.strip().lower() for name in rows.pop(0)]
    if "concurrency" in head or "p50 latency" in head:
        raise ValueError("a summary of perf_analyzer; take its --profile-export-file")
    columns = [place for place, name in enumerate(head) if name == "ms" or name.endswith("_ms")]
    if head and not columns:
        raise ValueError(f"its columns are {', '.join(head)}, and none is called ms or ends in _ms")
    if len(columns) > 1 or (not head and len(rows[0]) > 1):
        raise ValueError("it has several columns of times, or none with a name")
    return [float(row[columns[0] if columns else 0]) for row in rows]
