"""What a run uses of its machine: the backend, the device and the threads."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import SettingsError
from ..settings import Settings
from .gpus import VISIBLE
from .machine import Machine

OLDEST_TENSORRT = (8, 6)
WRONG_TENSORRT = (10, 2, 0)


def resolve_backend(settings: Settings, machine: Machine) -> tuple[str, str, str]:
    """Return the backend, the device that it runs on, and why it was chosen.

    Raises:
        SettingsError: The backend asked for is not available here, or cannot run on the device asked for.
    """
    versions = machine.versions()
    lacks = _why_not_tensorrt(settings, machine, versions)
    if settings.backend == "tensorrt" and lacks:
        raise SettingsError(f"backend = 'tensorrt' cannot be used here: {lacks}")
    if settings.backend == "tensorrt" or (settings.backend == "auto" and not lacks):
        device = "0" if settings.device == "auto" else settings.device
        why = machine.gpus()[int(device)].name
        return "tensorrt", device, f"asked for; {why}" if settings.backend != "auto" else why
    missing = [p for p in ("ultralytics", "torch", "onnx", "onnxruntime") if p not in versions]
    if missing:
        raise SettingsError(
            f"backend 'onnxruntime' needs {', '.join(missing)}, missing here: python -m pip install {' '.join(missing)}"
        )
    if settings.device not in ("auto", "cpu"):
        refused = f"device = '{settings.device}' is not usable by backend 'onnxruntime'; allowed: auto, cpu"
        raise SettingsError(refused + (f" (no 'tensorrt' either: {lacks})" if settings.backend == "auto" else ""))
    why = "asked for" if settings.backend != "auto" else f"since {lacks}"
    return "onnxruntime", "cpu", why


def planned_backend(settings: Settings) -> tuple[str, str, str] | None:
    """Return backend, device and why for a run on a fleet, which no machine is asked for; None for any other run.

    Raises:
        SettingsError: The settings do not name the backend.
    """
    address = settings.fleet.address
    if address is None:
        return None
    if settings.backend == "auto":
        raise SettingsError(
            "backend = 'auto' cannot be used with fleet.address, since no machine is asked before a test needs it; "
            "name tensorrt or onnxruntime"
        )
    device = settings.device if settings.device != "auto" else "0" if settings.backend == "tensorrt" else "cpu"
    machine = ", ".join(settings.machines) or "a machine"
    return settings.backend, device, f"asked for; {machine} of the Ray cluster {address}"


def _why_not_tensorrt(settings: Settings, machine: Machine, versions: Mapping[str, str]) -> str:
    """Return why TensorRT cannot build and run engines here; empty if it can, or if another backend is asked for."""
    if settings.backend == "onnxruntime":
        return ""
    if settings.device == "cpu":
        return "device = 'cpu'"
    version = versions.get("tensorrt")
    if version is None:
        gpu = "" if settings.backend == "auto" or machine.gpus() else ", and no NVIDIA GPU is visible"
        return f"TensorRT is not installed{gpu}"
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if release[:2] < OLDEST_TENSORRT:
        return f"TensorRT {version} is too old, 8.6 is the oldest that is supported"
    if release == WRONG_TENSORRT:
        return f"TensorRT {version} gives wrong results, install another release"
    missing = [p for p in ("ultralytics", "torch", "onnx") if p not in versions]
    if missing:
        return f"{', '.join(missing)} is missing, python -m pip install {' '.join(missing)}"
    gpus = machine.gpus()
    if not gpus:
        limit = machine.environ.get(VISIBLE)
        return "no NVIDIA GPU is visible" + ("" if limit is None else f" ({VISIBLE} = '{limit}')")
    if settings.device != "auto" and int(settings.device) >= len(gpus):
        there = ", ".join(f"{number} ({gpu.name})" for number, gpu in enumerate(gpus))
        return f"device = '{settings.device}' is not there, visible are {there}"
    return ""


def gpu_of_worker(settings: Settings, backend: str, device: str, worker: str, machine: Machine) -> tuple[str, bool]:
    """Return the UUID of the GPU that a process of the run uses, and whether its jobs see no other.

    If the setting ``device`` is ``auto`` and all GPUs are of one kind, xdist's workers take one each.

    Args:
        settings: The run's settings.
        backend: The backend chosen.
        device: The device chosen.
        worker: Name of the xdist worker, such as ``gw1``; empty in a run without xdist.
        machine: The machine.
    """
    if backend != "tensorrt":
        return "", False
    gpus = machine.gpus()
    alike = len({(gpu.name, gpu.compute_capability) for gpu in gpus}) == 1
    if worker and settings.device == "auto" and alike and len(gpus) > 1:
        number = int(re.sub(r"\D", "", worker) or 0) % len(gpus)
        return gpus[number].uuid, True
    return gpus[int(device)].uuid, False


def threads_of(settings: Settings, machine: Machine) -> int:
    """Return the threads of every arm: the setting, else the usable cores, at most 8."""
    return settings.threads or min(8, machine.usable_cores())
