"""What machine this is and which versions it runs: found without importing torch or any backend."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from .errors import SettingsError
from .records import Environment
from .settings import Settings

PACKAGES = ("ultralytics", "torch", "torchvision", "onnx", "onnxruntime", "onnxslim", "tensorrt", "numpy")
"""Distributions whose version can change an engine or a measurement."""
BACKENDS = ("onnxruntime",)
"""Backends that can build and run engines here, in the order in which ``auto`` tries them."""


def installed_versions() -> dict[str, str]:
    """Return the versions of those of :data:`PACKAGES` that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def resolve_backend(settings: Settings) -> tuple[str, str, str]:
    """Return the backend, the device that it runs on, and why it was chosen.

    Raises:
        SettingsError: The backend asked for is not available here, or cannot run on the device asked for.
    """
    versions = installed_versions()
    if settings.backend == "tensorrt":
        raise SettingsError(f"backend = 'tensorrt' is not part of this release; allowed: auto, {', '.join(BACKENDS)}")
    missing = [p for p in ("ultralytics", "torch", "onnx", "onnxruntime") if p not in versions]
    if missing:
        raise SettingsError(
            f"backend 'onnxruntime' needs {', '.join(missing)}, missing here: python -m pip install pytest-trtgate"
        )
    if settings.device not in ("auto", "cpu"):
        raise SettingsError(f"device = '{settings.device}' is not usable by backend 'onnxruntime'; allowed: auto, cpu")
    why = "asked for" if settings.backend != "auto" else "the embedded default"
    return "onnxruntime", "cpu", why


def threads_of(settings: Settings) -> int:
    """Return how many threads every arm gets: the setting, else the cores this process may use, at most 8."""
    return settings.threads or min(8, usable_cores())


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        return os.cpu_count() or 1


def collect(backend: str, device: str, folder: Path) -> Environment:
    """Return the fingerprint of this machine for one backend and device.

    Args:
        backend: ``onnxruntime`` or ``tensorrt``.
        device: ``cpu`` or a GPU number.
        folder: Where to look for the git commit that is being gated.
    """
    versions = installed_versions()
    version = versions.get(backend, "unknown")
    arch = platform.machine()
    return Environment(
        machine=machine_slug(f"{device}-{arch}-{cpu_name(cpu_model())}-{usable_cores()}c", backend, version),
        os=_os_name(),
        arch=arch,
        python=platform.python_version(),
        cpu=cpu_model(),
        cpu_count=usable_cores(),
        memory_bytes=_memory_bytes(),
        backend=backend,
        backend_version=version,
        device=device,
        versions=versions,
        commit=_commit(folder),
    )


def machine_slug(device: str, backend: str, version: str) -> str:
    """Return the name of a kind of machine, such as ``nvidia-h200_tensorrt-8.6``: the folder of its baselines."""
    name = re.sub(r"[^a-z0-9_.]+", "-", device.lower()).strip("-")
    return f"{name}_{backend}-{minor(version)}"


def cpu_name(model: str) -> str:
    """Return a CPU's name without what says nothing of its speed that the number of cores does not."""
    return re.sub(r"\((r|tm)\)|\b(cpu|processor|\d+-core)\b|@.*", " ", model, flags=re.IGNORECASE)


def minor(version: str) -> str:
    """Return the first two parts of a version."""
    return ".".join(version.split(".")[:2])


def differences(now: Environment, then: Environment) -> list[str]:
    """Return what makes latencies of two environments incomparable, each as ``what: now, baseline: then``."""
    pairs = [
        ("backend", now.backend, then.backend),
        (f"{now.backend} version", minor(now.backend_version), minor(then.backend_version)),
    ]
    if now.device == "cpu":
        pairs += [("CPU", now.cpu, then.cpu), ("CPU cores", str(now.cpu_count), str(then.cpu_count))]
    else:
        pairs += [("GPU", str(now.gpu), str(then.gpu))]
    return [f"{what} {a}, baseline {b}" for what, a, b in pairs if a != b]


@lru_cache
def cpu_model() -> str:
    """Return the CPU's name as the operating system gives it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _commit(folder: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
