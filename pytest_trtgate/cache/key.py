"""The key of an engine: all that can change its bytes or their meaning."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from ..errors import CacheError
from ..machine import DECODERS, slug, versions_in_key
from ..records import SCHEMA_VERSION, Cell, EngineRecord, Environment

BUILDER_VERSION = 2
"""Part of every key. Raise it when the build job makes something else of the same request."""
KEY_VERSIONS = ("ultralytics", "torch", "onnx", "onnxslim", "numpy")
"""Distributions that take part in a build, besides the backend itself."""
BACKEND_VERSIONS = {"tensorrt": ("nvidia-modelopt",)}
"""Distributions that take part in the builds of one backend only: TensorRT 11 gets its precision from them."""
CALIBRATION_VERSIONS = ("torchvision", *DECODERS)
"""Distributions that decode and resize the images that are calibrated on."""


def key_parts(
    cell: Cell,
    environment: Environment,
    weights_sha256: str,
    export: dict[str, Any],
    calibration: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return everything that can change the bytes of an engine or their meaning; its key is the digest of this.

    ``export``: arguments for the exporter beyond those of the cell. ``calibration``: split, fraction and all that can
    change the calibration images; None where nothing is calibrated.
    """
    versions = (*KEY_VERSIONS, cell.backend, *BACKEND_VERSIONS.get(cell.backend, ()))
    versions += CALIBRATION_VERSIONS if calibration is not None else ()
    return {
        "schema": SCHEMA_VERSION,
        "builder": BUILDER_VERSION,
        "weights": weights_sha256,
        "precision": cell.precision,
        "imgsz": cell.imgsz,
        "batch": cell.batch,
        "dynamic": bool(export.get("dynamic", False)),
        "calibration": calibration,
        "export": export,
        "backend": cell.backend,
        "device": "cpu" if cell.device == "cpu" else "gpu",
        "gpu": environment.gpu,
        "compute_capability": environment.compute_capability,
        "driver": environment.driver,
        "os": platform.system(),
        "arch": environment.arch,
        "versions": versions_in_key(versions, environment.versions),
        **({"variables": environment.variables} if environment.variables else {}),
    }


def check_built_here(engine: EngineRecord, now: Environment) -> None:
    """Check that TensorRT can load an engine here: it takes those of its own version and kind of GPU only.

    Raises:
        CacheError: The engine's manifest says that it was built with others.
    """
    parts = engine.key_parts
    if engine.cell.backend != "tensorrt":
        return
    then = (parts.get("versions", {}).get("tensorrt"), parts.get("gpu"), parts.get("compute_capability"))
    here = (now.versions.get("tensorrt"), now.gpu, now.compute_capability)
    if then != here:
        built, this = (f"TensorRT {version} on {gpu} ({capability})" for version, gpu, capability in (then, here))
        raise CacheError(f"built with {built}, this is {this}; rebuild it: delete {engine.entry}")


def timing_cache_path(root: Path, environment: Environment) -> str | None:
    """Return the file in which TensorRT's builder keeps what it measured, one per GPU and version; None for others."""
    if environment.backend != "tensorrt" or environment.gpu is None:
        return None
    return str(root / "timing" / f"{slug(environment.gpu)}_{slug(environment.backend_version)}.cache")
