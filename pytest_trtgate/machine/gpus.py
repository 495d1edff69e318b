"""Which NVIDIA GPUs this process may use: asked of the driver, without CUDA, torch or TensorRT.

GPUs are numbered as ``nvidia-smi`` does, by PCI bus; jobs are told to do so too (``CUDA_DEVICE_ORDER``).
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

An idle GPU (0x001) and clocks set on purpose (0x002, 0x100) are not throttled.
"""


@dataclass(frozen=True)
class GpuNow:
    """A GPU's present state: what holds its clocks back, in words, and how many processes compute on it."""

    throttled: tuple[str, ...] = ()
    processes: int = 0


@dataclass(frozen=True)
class Gpu:
    """One GPU. ``compute_capability``, such as ``9.0``, and the limit are None if the driver does not report them."""

    name: str
    uuid: str
    compute_capability: str | None
    driver: str
    power_limit_w: int | None = None


@lru_cache
def all_gpus() -> tuple[Gpu, ...]:
    """Return the machine's GPUs by PCI bus; none without a driver."""
    api = _nvml()
    return tuple(_from_smi() if api is None else _from_nvml(api))


def gpu_now(uuid: str, api: Any = None) -> GpuNow:
    """Return the present state of the GPU with a UUID; empty without pynvml, or if the driver does not report it."""
    api = api or _nvml()
    if api is None:
        return GpuNow()
    try:
        with _session(api):
            handle = api.nvmlDeviceGetHandleByUUID(uuid.encode())
            # Renamed in newer drivers, and older bindings lack the new name.
            names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
            ask = next(getattr(api, name) for name in names if hasattr(api, name))
            return GpuNow(throttle_words(int(ask(handle))), len(api.nvmlDeviceGetComputeRunningProcesses(handle)))
    except api.NVMLError:
        return GpuNow()


def _nvml() -> Any:
    """Return NVML's bindings, or None if they are not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


@contextmanager
def _session(api: Any) -> Iterator[None]:
    api.nvmlInit()
    try:
        yield
    finally:
        api.nvmlShutdown()


def throttle_words(bits: int) -> tuple[str, ...]:
    """Return NVML's reasons for throttling in words."""
    return tuple(word for bit, word in THROTTLE_WORDS.items() if bits & bit)


def chosen(found: Sequence[Gpu], wanted: str | None) -> list[Gpu]:
    """Return which GPUs ``CUDA_VISIBLE_DEVICES`` leaves, in its order.

    Args:
        found: All GPUs of the machine, by PCI bus.
        wanted: The variable's text: numbers or beginnings of UUIDs; None if it is not set.
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
    found = []
    try:
        with _session(api):
            driver = decoded(api.nvmlSystemGetDriverVersion())
            for number in range(api.nvmlDeviceGetCount()):
                handle = api.nvmlDeviceGetHandleByIndex(number)
                major, minor = api.nvmlDeviceGetCudaComputeCapability(handle)
                name, uuid = (decoded(ask(handle)) for ask in (api.nvmlDeviceGetName, api.nvmlDeviceGetUUID))
                found.append(Gpu(name, uuid, f"{major}.{minor}", driver, _power_limit_w(api, handle)))
    except api.NVMLError:
        return []
    return found


def _power_limit_w(api: Any, handle: Any) -> int | None:
    try:
        return int(api.nvmlDeviceGetEnforcedPowerLimit(handle)) // 1000
    except (AttributeError, api.NVMLError):  # older bindings, and GPUs that have none
        return None


def decoded(value: str | bytes) -> str:
    """Return a text of NVML, which older bindings give as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _from_smi() -> list[Gpu]:
    try:
        done = subprocess.run(_SMI, capture_output=True, encoding="utf-8", errors="replace", timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if len(row) == 4]
    return [
        Gpu(name, uuid, None if "N/A" in capability else capability, driver) for name, uuid, capability, driver in rows
    ]
