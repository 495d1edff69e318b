"""NVIDIA Jetson, whose GPU is part of the processor: told by files of Jetson Linux, without NVML and nvidia-smi.

Sources: the NVIDIA Jetson Linux Developer Guide, "Platform Power and Performance", of Orin (r36) and Thor (r38), for
power modes, thermal zones, cooling devices, over-current events and power monitors; the kernel's documentation of the
drivers ina3221 and ina238; its device trees of tegra234 and tegra264.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .gpus import VISIBLE, Gpu
from .quota import file_text

_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
_MODULE = re.compile(r"nvidia,.*\+(p\d+-\d+)")
_GPU_CLOCK = re.compile(r"gpu-gpc-0|.*\.(gpu|ga10b|gv11b)")
"""The GPU's clock in ``/sys/class/devfreq``: of Thor; of Orin and Xavier, in present and older releases."""
_MEMORY_CLOCK = "bwmgr"
_GPU_ZONE = re.compile("gpu-therm", re.IGNORECASE)
_ALERT = re.compile("(cpu|gpu)-throttle-alert|hot-surface-alert")
"""Cooling devices that act while a limit of temperature holds clocks down; others, such as a fan, always may."""
_WHOLE = ("VIN", "VDD_IN")
"""Rails that all power of a module passes: of Thor; of Orin NX and Nano."""
_PARTS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")
"""Rails that add up to it, where no such rail is measured: AGX Orin's. Others are fed by these."""


@dataclass(frozen=True)
class Board:
    """A Jetson.

    Attributes:
        system: Root folder of ``/proc`` and ``/sys``.
        name: Its name, with the module that is on it: the same kit comes with several.
        release: Of Jetson Linux, such as ``36.4.3``; it is that of the GPU's driver too.
    """

    system: Path
    name: str
    release: str

    def gpus(self) -> tuple[Gpu, ...]:
        """Return its GPUs; none where the CUDA driver is missing, as in a container without NVIDIA's runtime."""
        return tuple(
            Gpu(
                name=self.name if told["integrated"] else told["name"],
                uuid=told["uuid"],
                compute_capability=told["compute_capability"],
                driver=f"Jetson Linux {self.release}",
            )
            for told in cuda_devices()
        )

    def throttled(self) -> tuple[str, ...]:
        """Return what holds its clocks back, in the words that NVML's reasons have."""
        devices = (self.system / "sys/class/thermal").glob("cooling_device*")
        hot = any(_ALERT.match(file_text(one / "type")) and _number(one / "cur_state") for one in devices)
        return ("thermal limit in software",) if hot else ()

    def overcurrent_events(self) -> int:
        """Return how often, since it was started, too low a voltage or too high a current has held its clocks back."""
        counts = map(_number, (self.system / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt"))
        return int(sum(filter(None, counts)))

    def state(self) -> dict[str, Any]:
        """Return what it tells now, by the names of :class:`pytest_trtgate.records.MachineState`."""
        zones = (self.system / "sys/class/thermal").glob("thermal_zone*")
        degrees = [_number(zone / "temp") for zone in zones if _GPU_ZONE.match(file_text(zone / "type"))]
        rails = dict(self._rails_w())
        whole = [rails[name] for name in _WHOLE if name in rails]
        parts = [rails[name] for name in _PARTS if name in rails]
        return {
            "gpu_temperature_c": next((found / 1000 for found in degrees if found is not None), None),
            "sm_mhz": self.gpu_mhz(),
            "memory_mhz": _mhz(self.system / "sys/class/devfreq" / _MEMORY_CLOCK / "cur_freq"),
            "power_w": whole[0] if whole else sum(parts) if parts else None,
            "throttle_reasons": self.throttled(),
        }

    def gpu_mhz(self) -> float | None:
        """Return the clock of the GPU."""
        return _mhz(self._gpu_clock / "cur_freq")

    def clocks(self) -> list[str]:
        """Return whether its clocks are fixed, as ``jetson_clocks`` does, in words; nothing where that is unknown."""
        cores = sorted((self.system / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
        ranges = [(core / "scaling_min_freq", core / "scaling_max_freq") for core in cores]
        ranges.append((self._gpu_clock / "min_freq", self._gpu_clock / "max_freq"))
        known = [(low, high) for low, high in (map(file_text, pair) for pair in ranges) if low and high]
        if not known:
            return []
        return ["clocks fixed" if all(low == high for low, high in known) else "clocks not fixed"]

    @property
    def _gpu_clock(self) -> Path:
        root = self.system / "sys/class/devfreq"
        return next((one for one in sorted(root.glob("*")) if _GPU_CLOCK.fullmatch(one.name)), root / "gpu")

    def _rails_w(self) -> Iterator[tuple[str, float]]:
        """Yield each rail that is measured, by its name, and its power."""
        for monitor in (self.system / "sys/class/hwmon").glob("hwmon*"):
            if file_text(monitor / "name") == "ina238" and (found := _number(monitor / "power1_input")) is not None:
                yield _WHOLE[0], found / 1e6
            for label in monitor.glob("in*_label"):
                number = label.name.removeprefix("in").removesuffix("_label")
                millivolts, milliamperes = (
                    _number(monitor / f"in{number}_input"),
                    _number(monitor / f"curr{number}_input"),
                )
                if millivolts is not None and milliamperes is not None:
                    yield file_text(label), millivolts * milliamperes / 1e6


def find_board(system: Path = Path("/")) -> Board | None:
    """Return the Jetson that this is; None on other machines."""
    compatible = file_text(system / "proc/device-tree/compatible").split("\0")
    release = _RELEASE.search(file_text(system / "etc/nv_tegra_release"))
    if not release and not any(name.startswith("nvidia,tegra") for name in compatible):
        return None
    # A container may not see the device tree.
    name = file_text(system / "proc/device-tree/model").strip("\0") or "NVIDIA Jetson"
    module = next((found[1] for one in compatible if (found := _MODULE.fullmatch(one))), "")
    return Board(system, f"{name} {module}".strip(), ".".join(release.groups()) if release else "unknown")


def nvpmodel(system: Path) -> str:
    """Return the name of the power mode that ``nvpmodel`` has set, such as ``MAXN``, or its number; empty without."""
    found = re.search(r"pmode:0*(\d+)", file_text(system / "var/lib/nvpmodel/status"))
    if found is None:
        return ""
    models = file_text(system / "etc/nvpmodel.conf")
    named = re.search(rf"^\s*<\s*POWER_MODEL\s+ID=0*{found[1]}\s+NAME=(\S+)", models, re.MULTILINE)
    return named[1] if named else found[1]


@lru_cache
def cuda_devices() -> tuple[dict[str, Any], ...]:
    """Return what the CUDA driver tells of the GPUs, by PCI bus; nothing without a driver."""
    program = str(Path(__file__).with_name("cuda_driver.py"))
    environ = {name: value for name, value in os.environ.items() if name != VISIBLE} | {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID"
    }
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run([sys.executable, "-I", program], env=environ, capture_output=True, timeout=60, check=True)
        return tuple(json.loads(done.stdout))
    return ()


def _number(path: Path) -> float | None:
    try:
        return float(file_text(path))
    except ValueError:  # a part that sleeps has no temperature
        return None


def _mhz(path: Path) -> float | None:
    found = _number(path)
    return None if found is None else found / 1e6
