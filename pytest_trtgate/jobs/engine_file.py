"""The files that Ultralytics exports, and what it writes into them. Needs neither TensorRT nor torch.

An ``.engine`` file: 4 bytes of length, that much JSON, then TensorRT's plan.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

_LITERALS = frozenset({"imgsz", "names", "args", "end2end", "kpt_shape", "kpt_names", "dynamic"})
_INTEGERS = frozenset({"batch", "stride", "channels"})


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


def read_onnx_metadata(artifact: Path) -> dict[str, Any]:
    """Return what Ultralytics wrote into an ONNX file, as texts; empty where it wrote nothing."""
    import onnx

    return {p.key: p.value for p in onnx.load(artifact, load_external_data=False).metadata_props}


def read_metadata(artifact: Path) -> dict[str, Any]:
    """Return what Ultralytics wrote into an ``.engine`` or ``.onnx`` file (task, batch, imgsz, names, args, ...).

    Raises:
        Exception: The file cannot be read as what its name says.
    """
    raw = read_engine_metadata(artifact) if artifact.suffix == ".engine" else read_onnx_metadata(artifact)
    # Class indices become strings in JSON anyhow; here, so that a record equals what is read back from it.
    values: dict[str, Any] = json.loads(json.dumps({k: _value(k, v) for k, v in raw.items()}, default=str))
    return values


def _value(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ast.literal_eval(value) if key in _LITERALS else int(value) if key in _INTEGERS else value


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
