"""What is put into an entry of the engine cache beside the engine: the log of its job, and its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..jobs import LOG_NAME, BuildResponse, GivenResponse
from ..records import Cell, EngineRecord, key_sha256
from .context import RunContext, now


def keep_log(context: RunContext, job: str, folder: Path) -> None:
    """Put the log of a job into the folder of an entry."""
    log = context.workspace.job_folder(job) / LOG_NAME
    (folder / "build.log").write_bytes(log.read_bytes() if log.exists() else b"")


def new_record(
    cell: Cell, parts: dict[str, Any], answer: BuildResponse | GivenResponse, seconds: float
) -> EngineRecord:
    """Return the record of a new engine, to which the cache adds its files."""
    return EngineRecord(
        cell=cell,
        cache_key=key_sha256(parts),
        key_parts=parts,
        artifact=answer.artifact,
        files=(),
        sha256="",
        size_bytes=0,
        built_at=now(),
        build_seconds=seconds,
        metadata=answer.metadata,
        inspection=answer.inspection,
    )
