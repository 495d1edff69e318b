"""What a build job is asked for one cell, and the record of what it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..jobs import BuildRequest, BuildResponse
from ..records import Calibration, Cell, EngineRecord, files_sha256
from ..settings import Settings


def build_request(
    cell: Cell,
    settings: Settings,
    weights: Path,
    data: Path | None,
    export_args: dict[str, Any],
    threads: int,
    timing_cache: str | None,
    traced: Path | None,
    output: Path,
) -> BuildRequest:
    """Return the request for the engine of a cell.

    Args:
        cell: What the engine is for.
        settings: The run's settings.
        weights: The checkpoint.
        data: The resolved data YAML to calibrate on; None where nothing is calibrated.
        export_args: What the exporter is asked for beyond what the cell says.
        threads: Threads of each numeric library.
        timing_cache: Where TensorRT's builder keeps what it measures; None for another backend.
        traced: Where this run keeps the graphs that builds of several precisions begin with; None to keep none.
        output: The folder of the cache entry.
    """
    return BuildRequest(
        weights=str(weights),
        precision=cell.precision,
        imgsz=cell.imgsz,
        batch=cell.batch,
        backend=cell.backend,
        device=cell.device,
        threads=threads,
        data=None if data is None else str(data),
        split=settings.calibration.split,
        fraction=settings.calibration.fraction,
        export_args=export_args,
        optimization_level=settings.export.builder_level(cell.backend),
        timing_cache=timing_cache,
        traced=None if traced is None else str(traced),
        output=str(output),
    )


def engine_record(
    cell: Cell,
    key: str,
    parts: dict[str, Any],
    request: BuildRequest,
    answer: BuildResponse,
    log: Path,
    seconds: float,
    built_at: str,
) -> EngineRecord:
    """Return the record of a built engine, and put the log and the list of calibration images beside the engine.

    Args:
        cell: What the engine is for.
        key: Its key in the cache.
        parts: What the key is the digest of.
        request: What was asked.
        answer: What the job made of it.
        log: The log of the job.
        seconds: How long it took.
        built_at: When it was done, as ISO 8601.
    """
    folder = Path(request.output)
    (folder / "build.log").write_bytes(log.read_bytes() if log.exists() else b"")
    calibration = None
    if answer.calibration_images is not None:
        (folder / "calibration.txt").write_text("\n".join(answer.calibration_images) + "\n", encoding="utf-8")
        calibration = Calibration(
            split=request.split,
            fraction=request.fraction,
            images=len(answer.calibration_images),
            digest=files_sha256(map(Path, answer.calibration_images)),
            left_out=answer.left_out,
        )
    return EngineRecord(
        cell=cell,
        cache_key=key,
        key_parts=parts,
        artifact=answer.artifact,
        files=(),
        sha256="",
        size_bytes=0,
        built_at=built_at,
        build_seconds=seconds,
        calibration=calibration,
        metadata=answer.metadata,
        inspection=answer.inspection,
    )
