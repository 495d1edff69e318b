"""Load, clock and temperature of the CPU around a launch."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import fmean

from ...records import MachineState


def machine_state(system: Path = Path("/")) -> MachineState:
    """Return load, mean clock and highest temperature of the CPU, each None if the platform does not tell."""
    clocks = _clocks(system / "proc/cpuinfo")
    return MachineState(
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        cpu_mhz=fmean(clocks) if clocks else None,
        temperature_c=max(_temperatures(system / "sys/class/thermal"), default=None),
    )


def _clocks(cpuinfo: Path) -> list[float]:
    lines = _text(cpuinfo).splitlines()
    return [number for line in lines if line.startswith("cpu MHz") for number in _numbers(line.partition(":")[2])]


def _temperatures(thermal: Path) -> list[float]:
    found = [number for zone in thermal.glob("thermal_zone*/temp") for number in _numbers(_text(zone))]
    # Zones without a sensor report nonsense.
    return [t / 1000 for t in found if 0 < t < 150_000]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _numbers(text: str) -> list[float]:
    try:
        return [float(text)]
    except ValueError:
        return []
