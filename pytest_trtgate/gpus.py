"""Which NVIDIA GPUs this process may use: asked of the driver, without CUDA, torch or TensorRT.

GPUs are numbered as ``nvidia-smi`` does, by PCI bus; jobs are told to do so too (``CUDA_DEVICE_ORDER``).
"""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"
_SMI = ("nvidia-smi", "--query-gpu=name,uuid,compute_cap,driver_version", "--format=csv,noheader")


@dataclass(frozen=True)
class Gpu:
    """One GPU. ``compute_capability`` is such as ``9.0``, None where the driver does not tell."""

    name: str
    uuid: str
    compute_capability: str | None
    driver: str


@lru_cache
def visible_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA would show to this process, in its order; none where there is no driver."""
    try:
        import pynvml
    except ImportError:
        found = _from_smi()
    else:
        found = _from_nvml(pynvml)
    return tuple(chosen(found, os.environ.get(VISIBLE)))


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
        driver = _text(api.nvmlSystemGetDriverVersion())
        found = []
        for number in range(api.nvmlDeviceGetCount()):
            handle = api.nvmlDeviceGetHandleByIndex(number)
            major, minor = api.nvmlDeviceGetCudaComputeCapability(handle)
            name, uuid = (_text(ask(handle)) for ask in (api.nvmlDeviceGetName, api.nvmlDeviceGetUUID))
            found.append(Gpu(name, uuid, f"{major}.{minor}", driver))
        return found
    except api.NVMLError:
        return []
    finally:
        api.nvmlShutdown()


def _text(value: str | bytes) -> str:
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
