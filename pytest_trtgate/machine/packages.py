"""Which versions of the packages that matter are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata

OPENCV = ("opencv-python", "opencv-python-headless")
"""Distributions of one library, of which any will do."""
DECODERS = (*OPENCV, "pillow")
"""Distributions that decode and resize images."""
PACKAGES = (
    *("ultralytics", "torch", "torchvision", "onnx", "onnxruntime", "onnxslim", "tensorrt", "nvidia-modelopt"),
    *("numpy", *DECODERS),
)
"""Distributions whose version can change an engine or a measurement."""
ALIASES = {"tensorrt": ("tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11", "tensorrt-bindings")}
"""Other distributions of the same library, of which one may be installed alone."""


def installed_versions(version: Callable[[str], str] = metadata.version) -> dict[str, str]:
    """Return the versions of those of :data:`PACKAGES` that are installed.

    Args:
        version: Returns the version of one distribution, or raises ``PackageNotFoundError``.
    """
    found = {}
    for package in PACKAGES:
        for name in (package, *ALIASES.get(package, ())):
            try:
                found[package] = version(name)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def package_lines(versions: Mapping[str, str]) -> list[str]:
    """Return a line per package: its version, or that it is not installed; of OpenCV's distributions, the installed."""
    there = [name for name in OPENCV if name in versions] or [OPENCV[0]]
    shown = [name for name in PACKAGES if name not in OPENCV or name in there]
    width = max(map(len, PACKAGES))
    lacking = {OPENCV[0]: f"not installed, nor is {' or '.join(OPENCV[1:])}"}
    return [f"{name:<{width}} {versions.get(name) or lacking.get(name, 'not installed')}" for name in shown]
