"""Whether this machine is fit to be timed before anything starts: load, battery and power saving."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from .quota import file_text, quota_share

LOADED = 0.5
"""A load average over this share of the cores means that others work too."""
BUSY_SHARE = 0.25
"""A high load average counts only while others use more than this share of the processor time."""
LOOKS_S = (0.2, 1.0)
"""What a moment's look takes for busy, a longer one has to confirm."""
SELF_GOVERNED = ("intel_pstate", "amd-pstate-epp")
"""Drivers whose usual governor ``powersave`` raises clocks at once; their energy preference counts instead."""


def why_busy(system: Path, cores: int, wait: Callable[[float], None] = time.sleep) -> list[str]:
    """Return what would disturb timing, each as a sentence without its full stop.

    Args:
        system: The root folder of ``/proc`` and ``/sys``.
        cores: How many cores the machine has.
        wait: Waits so many seconds.
    """
    return [
        why
        for why in (_load(system, cores, wait), _quota(system, wait), _battery(system), _power_saving(system))
        if why
    ]


def _load(system: Path, cores: int, wait: Callable[[float], None]) -> str:
    load = _first_number(system / "proc/loadavg")
    if load is None or load <= LOADED * cores:
        return ""
    used = ""
    for look_s in LOOKS_S:
        share = _share_of_others(system, look_s, wait)
        if share is None:  # the system does not report it
            break
        if share < BUSY_SHARE:
            return ""  # the last minute was busy, perhaps by a run of ours, and now is not
        used = f" and others use {100 * share:.0f} % of them"
    limits = f"over {LOADED * cores:g}" + (f" and {100 * BUSY_SHARE:g} % or more" if used else "")
    return f"the load average is {load:.1f} on {cores} cores{used} before the start (busy is {limits})"


def _quota(system: Path, wait: Callable[[float], None]) -> str:
    share: float | None = 0.0
    for look_s in LOOKS_S:
        share = quota_share(system, look_s, wait, own_ticks)
        if share is None or share <= LOADED:
            return ""
    used = f"others use {100 * (share or 0):.0f} % of the processor time that this container may use, before the start"
    return f"{used} (busy is over {100 * LOADED:g} %)"


def _share_of_others(system: Path, look_s: float, wait: Callable[[float], None]) -> float | None:
    """Return the share of all cores' time that others use over a moment, 0 to 1; None if the system does not say."""
    before, own_before = _ticks(system / "proc/stat"), own_ticks(system)
    wait(look_s)
    after, own = _ticks(system / "proc/stat"), own_ticks(system) - own_before
    if before is None or after is None or after[1] <= before[1]:
        return None
    return max(0.0, 1 - (after[0] - before[0] + own) / (after[1] - before[1]))


def own_ticks(system: Path) -> float:
    """Return the processor time that this run has used, in ticks: of pytest, its workers, and all that they started."""
    root = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    parents, used = {}, {}
    for stat in (system / "proc").glob("[0-9]*/stat"):
        fields = file_text(stat).rpartition(")")[2].split()  # the name before may hold anything
        if len(fields) > 14:
            process = int(stat.parent.name)
            parents[process], used[process] = int(fields[1]), sum(map(float, fields[11:15]))
    ours = {root}
    while more := {process for process, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used.get(process, 0.0) for process in ours)


def _ticks(stat: Path) -> tuple[float, float] | None:
    """Return the idle and the whole time of all cores, in ticks."""
    fields = file_text(stat).partition("\n")[0].split()
    if len(fields) < 6 or fields[0] != "cpu":
        return None
    numbers = [float(field) for field in fields[1:9]]
    return numbers[3] + numbers[4], sum(numbers)


def _battery(system: Path) -> str:
    for supply in sorted((system / "sys/class/power_supply").glob("*")):
        # The battery of a mouse is a supply too, of scope Device.
        is_battery = file_text(supply / "type") == "Battery" and file_text(supply / "scope") != "Device"
        if is_battery and file_text(supply / "status") == "Discharging":
            return "the machine runs on its battery"
    return ""


def _power_saving(system: Path) -> str:
    for core in sorted((system / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")):
        governor = file_text(core / "scaling_governor")
        if governor == "powersave" and file_text(core / "scaling_driver") not in SELF_GOVERNED:
            return "the CPU's governor is powersave, which keeps its clocks low"
        if file_text(core / "energy_performance_preference") == "power":
            return "the CPU prefers saving energy to speed (energy_performance_preference is power)"
    return ""


def power_mode(system: Path) -> list[str]:
    """Return how the machine is set between speed and power, in words, as far as the system tells."""
    cores = sorted((system / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    told = {
        "governor": [file_text(core / "scaling_governor") for core in cores],
        "energy preference": [file_text(core / "energy_performance_preference") for core in cores],
        "power profile": [file_text(system / "sys/firmware/acpi/platform_profile")],
    }
    return [f"{name} {' and '.join(sorted(set(found)))}" for name, found in told.items() if found and all(found)]


def too_many_threads(threads: int, cores: int) -> str:
    """Return that more threads are asked for than there are usable cores; empty where they fit."""
    said = f"threads = {threads} on {cores} usable cores: every arm waits for its own threads"
    return said if threads > cores else ""


def _first_number(path: Path) -> float | None:
    try:
        return float(file_text(path).split()[0])
    except (IndexError, ValueError):
        return None
