"""The ``.engine`` file of Ultralytics: 4 bytes of length, that much JSON, then TensorRT's plan. Needs no TensorRT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_engine(artifact: Path) -> tuple[dict[str, Any], bytes]:
    """Return metadata and plan of an engine file.

    Raises:
        ValueError: It begins with no metadata of Ultralytics, or ends before the plan.
        OSError: It cannot be read.
    """
    metadata, start = _header(artifact)
    with artifact.open("rb") as file:
        file.seek(start)
        return metadata, file.read()


def read_engine_metadata(artifact: Path) -> dict[str, Any]:
    """Return the metadata alone; raises as :func:`read_engine` does."""
    return _header(artifact)[0]


def _header(artifact: Path) -> tuple[dict[str, Any], int]:
    with artifact.open("rb") as file:
        length = int.from_bytes(file.read(4), "little")
        if not 0 < length < artifact.stat().st_size:
            raise ValueError("no metadata of Ultralytics")
        metadata = json.loads(file.read(length))
    if not isinstance(metadata, dict):
        raise ValueError("no metadata of Ultralytics")
    if artifact.stat().st_size <= 4 + length:
        raise ValueError("it ends where TensorRT's plan should begin")
    return metadata, 4 + length
