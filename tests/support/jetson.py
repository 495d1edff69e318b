"""The files by which Jetson Linux tells of an AGX Orin and of an AGX Thor, laid out as its Developer Guide describes.

Release r36 of Orin and r38 of Thor: power modes, thermal zones, cooling devices, over-current events, power monitors.
Names of boards are those of the kernel's device trees.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_THERMAL = "sys/class/thermal"
_HWMON = "sys/class/hwmon"
_MODES = """\
# MAXN is the NONE power model to release all constraints
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
GPU MAX_FREQ -1

< POWER_MODEL ID={low} NAME={name} >
CPU_ONLINE CORE_0 1

< PM_CONFIG DEFAULT={low} >
"""


def _zones(**millidegrees: str) -> dict[str, str]:
    found = {}
    for number, (name, text) in enumerate(millidegrees.items()):
        found |= {f"{_THERMAL}/thermal_zone{number}/type": name.replace("_", "-")}
        found |= {f"{_THERMAL}/thermal_zone{number}/temp": text}
    return found


def _cooling(*names: str) -> dict[str, str]:
    """Return cooling devices that do nothing, but for the fan and the scaling of clocks, which always may."""
    found = {}
    for number, name in enumerate(names):
        works = "0" if name.endswith("-alert") else "2"
        found |= {
            f"{_THERMAL}/cooling_device{number}/type": name,
            f"{_THERMAL}/cooling_device{number}/cur_state": works,
        }
    return found


def _rails(monitor: str, rails: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Return an INA3221, with the millivolts and milliamperes of each of its channels."""
    found = {f"{_HWMON}/{monitor}/name": "ina3221"}
    for number, (label, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
        found[f"{_HWMON}/{monitor}/in{number}_label"] = label
        found[f"{_HWMON}/{monitor}/in{number}_input"] = str(millivolts)
        found[f"{_HWMON}/{monitor}/curr{number}_input"] = str(milliamperes)
    return found | {f"{_HWMON}/{monitor}/in7_label": "sum of shunt voltages", f"{_HWMON}/{monitor}/in7_input": "120"}


def _clocks(gpu: str, cores: int) -> dict[str, str]:
    found = {f"sys/class/devfreq/{gpu}/{name}_freq": hz for name, hz in (("min", "306000000"), ("max", "1300500000"))}
    found[f"sys/class/devfreq/{gpu}/cur_freq"] = "1300500000"
    for core in range(cores):
        place = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        found |= {f"{place}/scaling_min_freq": "729600", f"{place}/scaling_max_freq": "2201600"}
        found[f"{place}/scaling_governor"] = "schedutil"
    return found


ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: ...",
    "etc/nvpmodel.conf": _MODES.format(low=2, name="MODE_30W"),
    "var/lib/nvpmodel/status": "pmode:0000 fmode:quiet",
    **_clocks("17000000.gpu", 12),
    **_zones(cpu_thermal="51250", gpu_thermal="47500", cv0_thermal="", soc0_thermal="48000", tj_thermal="51250"),
    **_cooling("pwm-fan", "cpufreq-cpu0", "cpu-throttle-alert", "gpu-throttle-alert", "hot-surface-alert"),
    **_rails("hwmon3", {"VDD_GPU_SOC": (19_000, 400), "VDD_CPU_CV": (19_000, 100), "VIN_SYS_5V0": (5_000, 900)}),
    **_rails("hwmon4", {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (5_000, 200)}),
    f"{_HWMON}/hwmon5/name": "soctherm_oc",
    **{f"{_HWMON}/hwmon5/oc{number}_event_cnt": "0" for number in (1, 2)},
    f"{_HWMON}/hwmon5/oc3_event_cnt": "27",
}
THOR = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
    "etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64, DATE: ...",
    "etc/nvpmodel.conf": _MODES.format(low=1, name="120W"),
    "var/lib/nvpmodel/status": "pmode:0001",
    **_clocks("gpu-gpc-0", 14),
    **_clocks("gpu-nvd-0", 0),
    "sys/class/devfreq/bwmgr/cur_freq": "4266000000",
    **_zones(cpu_thermal="53700", soc012_thermal="55100", gpu_thermal="", tj_thermal="55100"),
    **_cooling("cpufreq-cpu0", "pwm-fan", "cpu-throttle-alert", "gpu-throttle-alert", "devfreq-gpu-gpc-0"),
    **_rails("hwmon2", {"VDD_GPU": (12_000, 1_000), "VDD_CPU_SOC_MSS": (12_000, 500), "VIN_SYS_5V0": (5_000, 1_300)}),
    f"{_HWMON}/hwmon3/name": "ina238",
    f"{_HWMON}/hwmon3/power1_input": "31400000",
    f"{_HWMON}/hwmon5/oc3_event_cnt": "0",
}


def write_board(root: Path, files: Mapping[str, str], **changed: str) -> Path:
    """Write the files of a board below ``root``, and return that; ``changed``: the contents of some, by their ends."""
    for path, text in files.items():
        content = next((new for end, new in changed.items() if path.endswith(end)), text)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content if content.endswith("\0") else f"{content}\n", encoding="utf-8")
    return root
