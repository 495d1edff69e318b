"""The machine that a figure was measured on, in one line for a README."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from pytest_trtgate.machine import Machine

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Return GPUs, CPU, cores, Python and the versions that matter."""
    here = Machine()
    versions = here.versions()
    packages = ("ultralytics", "torch", "onnxruntime", "tensorrt")
    shown = ", ".join(f"{name} {versions[name]}" for name in packages if name in versions)
    gpus = "".join(f"{gpu.name} (driver {gpu.driver}), " for gpu in here.gpus())
    return f"{gpus}{here.cpu_model()}, {here.usable_cores()} cores, Python {platform.python_version()}, {shown}"


def keep(name: str, figures: dict[str, Any]) -> None:
    """Write a benchmark's figures to ``results/NAME.json`` together with the machine, and print them."""
    text = json.dumps({"machine": machine(), **figures}, indent=1)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
