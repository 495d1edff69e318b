"""Which NVIDIA GPUs this process may use: asked of the driver, without CUDA, torch or TensorRT.

GPUs are numbered as ``nvidia-smi`` does, by PCI bus; jobs are told to do so too (``CUDA_DEVICE_ORDER``).
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"
_SMI = ("nvidia-smi", "--query-gpu=name,uuid,compute_cap,driver_version", "--format=csv,noheader")
THROTTLE_WORDS: dict[int, str] = {
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "synchronised with a slower GPU",
    0x020: "thermal limit in software",
    0x040: "thermal limit in hardware",
    0x080: "external power brake",
}
"""NVML's reasons for lower clocks, by their bits (NVML API, ``nvmlClocksThrottleReasons``).

An idle GPU (0x001) and clocks that somebody has set on purpose (0x002, 0x100) are not throttled.
"""


@dataclass(frozen=True)
class GpuNow:
    """What a GPU does at this moment: what holds its clocks back, in words, and how many processes compute on it."""

    throttled: tuple[str, ...] = ()
    processes: int = 0


@dataclass(frozen=True)
class Gpu:
    """One GPU. ``compute_capability`` is such as ``9.0``, None where the driver does not tell."""

    name: str
    uuid: str
    compute_capability: str | None
    driver: str


@lru_cache
def all_gpus() -> tuple[Gpu, ...]:
    """Return the machine's GPUs by PCI bus; none where there is no driver."""
    try:
        import pynvml
    except ImportError:
        return tuple(_from_smi())
    return tuple(_from_nvml(pynvml))


def gpu_now(uuid: str) -> GpuNow:
    """Return what the GPU of a UUID does now; nothing at all where there is no pynvml, or it does not tell."""
    try:
        import pynvml
    except ImportError:
        return GpuNow()
    return _now(pynvml, uuid)


def _now(api: Any, uuid: str) -> GpuNow:
    try:
        api.nvmlInit()
    except api.NVMLError:
        return GpuNow()
    try:
        handle = api.nvmlDeviceGetHandleByUUID(uuid.encode())
        # Renamed in newer drivers, and older bindings lack the new name.
        names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        ask = next(getattr(api, name) for name in names if hasattr(api, name))
        return GpuNow(throttle_words(int(ask(handle))), len(api.nvmlDeviceGetComputeRunningProcesses(handle)))
    except api.NVMLError:
        return GpuNow()
    finally:
        api.nvmlShutdown()


def throttle_words(bits: int) -> tuple[str, ...]:
    """Return NVML's reasons for lower clocks in words, without those that are no throttling."""
    return tuple(word for bit, word in THROTTLE_WORDS.items() if bits & bit)


def chosen(found: Sequence[Gpu], wanted: str | None) -> list[Gpu]:
    """Return which GPUs ``CUDA_VISIBLE_DEVICES`` leaves, in its order.

    Args:
        found: All GPUs of the machine, by PCI bus.
        wanted: The variable's text: numbers or beginnings of UUIDs; None where it is not set.
    """
    if wanted is None:
        return list(found)
    kept: list[Gpu] = []
    for entry in map(str.strip, wanted.split(",")):
        if entry.isdecimal():
            same = list(found[int(entry) : int(entry) + 1])
        else:
            same = [gpu for gpu in found if entry and gpu.uuid.startswith(entry)]
        if len(same) != 1:
            break  # CUDA ignores an entry that it does not know, and all after it
        kept += same
    return kept


def _from_nvml(api: Any) -> list[Gpu]:
    try:
        api.nvmlInit()
    except api.NVMLError:
        return []
    try:
        driver = text(api.nvmlSystemGetDriverVersion())
        found = []
        for number in range(api.nvmlDeviceGetCount()):
            handle = api.nvmlDeviceGetHandleByIndex(number)
            major, minor = api.nvmlDeviceGetCudaComputeCapability(handle)
            name, uuid = (text(ask(handle)) for ask in (api.nvmlDeviceGetName, api.nvmlDeviceGetUUID))
            found.append(Gpu(name, uuid, f"{major}.{minor}", driver))
        return found
    except api.NVMLError:
        return []
    finally:
        api.nvmlShutdown()


def text(value: str | bytes) -> str:
    """Return what older releases of NVML's bindings give as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _from_smi() -> list[Gpu]:
    try:
        done = subprocess.run(_SMI, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if len(row) == 4]
    return [
        Gpu(name, uuid, None if "N/A" in capability else capability, driver) for name, uuid, capability, driver in rows
    ]
