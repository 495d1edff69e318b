"""Whether an engine that ran on one machine may be loaded on another, told without loading anything."""

from __future__ import annotations

import re

from ..records import Environment
from .machine import Machine

_NAMES = {"tensorrt": "TensorRT", "onnxruntime": "ONNX Runtime"}


def why_not_loadable(then: Environment, machine: Machine) -> list[str]:
    """Return why a machine may not load an engine that ran in an environment, each as a sentence without its full stop.

    TensorRT loads engines of its own version and kind of GPU only. A driver, and ONNX Runtime, load what an older one
    did.
    """
    here = machine.versions().get(then.backend)
    name = _NAMES.get(then.backend, then.backend)
    if here is None:
        found = [f"{name} is not installed; the engine ran on {then.backend_version}"]
    elif then.backend == "tensorrt" and here != then.backend_version:
        found = [f"{name} is {here}; the engine is of {then.backend_version}, and no other loads it"]
    elif _release(here) < _release(then.backend_version):
        found = [f"{name} is {here}, older than the {then.backend_version} that the engine ran on"]
    else:
        found = []
    return found if then.gpu is None else found + _why_not_on(then, machine)


def _why_not_on(then: Environment, machine: Machine) -> list[str]:
    gpus = machine.gpus()
    same = [gpu for gpu in gpus if (gpu.name, gpu.compute_capability) == (then.gpu, then.compute_capability)]
    if not same:
        there = ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in gpus) or "none"
        return [f"the engine is of {then.gpu} ({then.compute_capability}); visible GPUs: {there}"]
    driver = same[0].driver
    if then.driver and _release(driver) < _release(then.driver):
        return [f"the driver is {driver}, older than the {then.driver} that the engine ran on"]
    return []


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d{1,9}", version)))
