"""What a GPU tells of itself through NVML: clocks, power, temperature, energy, and who else computes on it.

Nothing here fails: what a device, its driver or a missing pynvml does not tell is None.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from ...machine import decoded, throttle_words

SETTLED = 0.02
"""Two readings of a clock that differ by no more than this ratio are taken for the same."""
CLOCK_INTERVAL_S = 0.1
"""Readings of a clock are so far apart at least: NVML refreshes them that often."""
ENERGY_SECONDS = 0.8
ENERGY_PATIENCE_S = 3.0
_SM, _MEMORY, _TEMPERATURE_OF_GPU = 1, 2, 0


class Sensors:
    """One GPU as NVML sees it.

    Args:
        nvml: The module ``pynvml``, or None where there is none.
        handle: NVML's handle of the device, or None.
        pid: This process.
    """

    def __init__(self, nvml: Any, handle: Any, pid: int | None = None) -> None:
        self._nvml = nvml
        self._handle = handle
        self._pid = pid or os.getpid()

    def _ask(self, name: str, *arguments: Any) -> Any:
        return None if self._handle is None else ask(self._nvml, name, self._handle, *arguments)

    def sm_mhz(self) -> float | None:
        """Return the clock of the multiprocessors."""
        return _number(self._ask("nvmlDeviceGetClockInfo", _SM))

    def energy_mj(self) -> float | None:
        """Return the energy that the board has used since its driver was loaded, in millijoules."""
        return _number(self._ask("nvmlDeviceGetTotalEnergyConsumption"))

    def throttle_reasons(self) -> tuple[str, ...]:
        """Return what holds the clocks down, in words."""
        # Renamed in newer drivers, and older ones lack the new name.
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") if bits is None else bits
        return throttle_words(int(bits or 0))

    def other_processes(self) -> int | None:
        """Return how many processes compute on the device besides this one, which must have done so already."""
        found = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if found is None:
            return None
        pids = {process.pid for process in found}
        # In a container NVML names processes as the host does: one of them is this one, under another number.
        return len(pids - {self._pid}) if self._pid in pids else max(0, len(pids) - 1)

    def state(self) -> dict[str, Any]:
        """Return all that is known now, under the names of :class:`pytest_trtgate.records.latency.MachineState`."""
        power_mw = _number(self._ask("nvmlDeviceGetPowerUsage"))
        uuid = self._ask("nvmlDeviceGetUUID")
        return {
            "gpu_uuid": None if uuid is None else decoded(uuid),
            "gpu_temperature_c": _number(self._ask("nvmlDeviceGetTemperature", _TEMPERATURE_OF_GPU)),
            "sm_mhz": self.sm_mhz(),
            "memory_mhz": _number(self._ask("nvmlDeviceGetClockInfo", _MEMORY)),
            "power_w": None if power_mw is None else power_mw / 1000,
            "throttle_reasons": self.throttle_reasons(),
            "other_processes": self.other_processes(),
        }


def open_gpu(index: int) -> Sensors:
    """Return the GPU that torch knows under a number; one that tells nothing where NVML does not know it."""
    try:
        import pynvml
    except ImportError:
        return Sensors(None, None)
    import torch

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return Sensors(None, None)
    return Sensors(pynvml, find_handle(pynvml, torch.cuda.get_device_properties(index), index))


def find_handle(nvml: Any, properties: Any, index: int) -> Any:
    """Return NVML's handle of a device of CUDA, or None.

    NVML numbers all GPUs of the machine by their place on the bus; CUDA numbers those that ``CUDA_VISIBLE_DEVICES``
    leaves, and the fastest first. So a device is found by what it is.

    Args:
        nvml: The module ``pynvml``.
        properties: The device's properties as torch gives them.
        index: CUDA's number of the device, for a torch too old to give more.
    """
    handle = None
    if hasattr(properties, "uuid"):
        handle = ask(nvml, "nvmlDeviceGetHandleByUUID", f"GPU-{str(properties.uuid).removeprefix('GPU-')}".encode())
    if handle is None and hasattr(properties, "pci_bus_id"):
        domain, device = getattr(properties, "pci_domain_id", 0), getattr(properties, "pci_device_id", 0)
        place = f"{domain:08X}:{properties.pci_bus_id:02X}:{device:02X}.0"
        handle = ask(nvml, "nvmlDeviceGetHandleByPciBusId", place.encode())
    if handle is None:
        return _by_visibility(nvml, index, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return handle


def _by_visibility(nvml: Any, index: int, visible: str | None) -> Any:
    names = [name.strip() for name in visible.split(",")] if visible else []
    if visible is None:
        # Only a machine with a single GPU leaves no doubt which one is meant.
        return ask(nvml, "nvmlDeviceGetHandleByIndex", 0) if ask(nvml, "nvmlDeviceGetCount") == 1 else None
    if index >= len(names) or names[index].isdecimal():
        return None
    return ask(nvml, "nvmlDeviceGetHandleByUUID", names[index].encode())


def ask(nvml: Any, name: str, *arguments: Any) -> Any:
    """Return what a function of NVML answers; None where it does not exist or is not supported."""
    function = getattr(nvml, name, None)
    if function is None:
        return None
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


class ClockWatch:
    """Tells when the clock of a GPU has settled: two successive readings agree.

    Args:
        read: Returns the clock in MHz, or None where it is not known.
        now: The time in seconds.
    """

    def __init__(self, read: Callable[[], float | None], now: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now = now
        self._mhz = read()
        self._at = now()
        self._agreed = False

    def settled(self) -> bool:
        """Take a reading, if it is time for one, and return whether the last two agree; True where none can be had."""
        if self._mhz is None:
            return True
        if self._now() - self._at >= CLOCK_INTERVAL_S:
            before, self._mhz = self._mhz, self._read()
            self._at = self._now()
            self._agreed = self._mhz is None or abs(self._mhz - before) <= SETTLED * before
        return self._agreed


def energy_per_call_mj(
    read: Callable[[], float | None], call: Callable[[], object], now: Callable[[], float] = time.monotonic
) -> float | None:
    """Return the energy of one call in millijoules, from calls back to back for the better part of a second.

    The counter moves in steps of some 20 to 100 ms; counting begins and ends at a step, so that no part of one is lost.

    Args:
        read: Returns the counter in millijoules, or None where there is none.
        call: Does the work once, and waits for it.
        now: The time in seconds.

    Returns:
        None where there is no counter, or where it does not move.
    """
    began = now()

    def step(value: float | None) -> tuple[float | None, int]:
        """Call until the counter moves on from a value; return where to, and after how many calls."""
        calls, moved = 0, value
        while value is not None and moved == value and now() - began < ENERGY_PATIENCE_S:
            call()
            calls += 1
            moved = read()
        return (None if moved == value else moved), calls

    first, _ = step(read())
    if first is None:
        return None
    calls, due = 0, now() + ENERGY_SECONDS
    # Not read meanwhile: that may take longer than a call, and the device would idle.
    while now() < due:
        call()
        calls += 1
    last, more = step(read())
    return None if last is None else (last - first) / (calls + more)
