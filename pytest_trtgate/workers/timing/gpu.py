"""What NVML tells of a GPU: clocks, power, temperature, energy, and other processes on it.

Nothing here fails: whatever a device, its driver or a missing pynvml does not tell is None.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from ...machine import Board, decoded, find_board, throttle_words

SETTLED = 0.02
"""Two readings of a clock that differ by no more than this ratio count as equal."""
CLOCK_INTERVAL_S = 0.1
"""Least time between two readings of a clock: NVML refreshes it that often."""
ENERGY_SECONDS = 0.8
ENERGY_PATIENCE_S = 3.0
_SM, _MEMORY, _TEMPERATURE_OF_GPU = 1, 2, 0


class Sensors:
    """One GPU as NVML sees it; without ``handle``, which is NVML's of the device, every reading is None."""

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
        """Return the energy in millijoules that the board has used since its driver was loaded."""
        return _number(self._ask("nvmlDeviceGetTotalEnergyConsumption"))

    def throttle_reasons(self) -> tuple[str, ...]:
        """Return what holds the clocks down, in words."""
        # Newer drivers have renamed it, and older ones lack the new name.
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") if bits is None else bits
        return throttle_words(int(bits or 0))

    def other_processes(self) -> int | None:
        """Return how many other processes compute on the device; this one must have done so already."""
        found = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if found is None:
            return None
        pids = {process.pid for process in found}
        # In a container NVML uses the host's numbers: one of them is this process.
        return len(pids - {self._pid}) if self._pid in pids else max(0, len(pids) - 1)

    def state(self) -> dict[str, Any]:
        """Return all that is known now, by the names of :class:`pytest_trtgate.records.MachineState`."""
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


class BoardSensors(Sensors):
    """The GPU of a Jetson, of which no energy is counted and other processes are not known."""

    def __init__(self, board: Board) -> None:
        super().__init__(None, None)
        self._board = board
        self._events = board.overcurrent_events()

    def sm_mhz(self) -> float | None:
        """Return the clock of the multiprocessors."""
        return self._board.gpu_mhz()

    def state(self) -> dict[str, Any]:
        """Return all that is known now; over-current events count where there were some since the last call."""
        found = self._board.state()
        before, self._events = self._events, self._board.overcurrent_events()
        if self._events > before:
            found["throttle_reasons"] = (*found["throttle_reasons"], "power cap")
        return found


def open_gpu(index: int) -> Sensors:
    """Return the GPU that torch knows by a number; one that tells nothing if neither NVML nor a Jetson knows it."""
    if (board := find_board()) is not None:
        return BoardSensors(board)
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
    """Return NVML's handle of the device with torch's ``properties``, or None.

    NVML numbers all GPUs of the machine by their place on the bus; CUDA numbers those that ``CUDA_VISIBLE_DEVICES``
    leaves, the fastest first. So a device is found by its UUID or bus address; by ``index``, CUDA's number, only if
    torch is too old to give these.
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
        # Only with a single GPU is it clear which one is meant.
        return ask(nvml, "nvmlDeviceGetHandleByIndex", 0) if ask(nvml, "nvmlDeviceGetCount") == 1 else None
    if index >= len(names) or names[index].isdecimal():
        return None
    return ask(nvml, "nvmlDeviceGetHandleByUUID", names[index].encode())


def ask(nvml: Any, name: str, *arguments: Any) -> Any:
    """Return what a function of NVML answers; None if it does not exist or is not supported."""
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

    ``read`` returns the clock in MHz, or None if it is not known; ``now`` the time in seconds.
    """

    def __init__(self, read: Callable[[], float | None], now: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now = now
        self._mhz = read()
        self._at = now()
        self._agreed = False

    def settled(self) -> bool:
        """Take a reading if one is due, and return whether the last two agree; True if the clock is not known."""
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

    The counter that ``read`` returns, in millijoules, moves in steps of some 20 to 100 ms: counting begins and ends at
    a step. None if there is no counter, or if it does not move. ``now`` returns the time in seconds.
    """
    began = now()

    def step(value: float | None) -> tuple[float | None, int]:
        """Call until the counter leaves a value; return its new value, and the number of calls."""
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
    # No reading meanwhile: it may take longer than a call, and the device would idle.
    while now() < due:
        call()
        calls += 1
    last, more = step(read())
    return None if last is None else (last - first) / (calls + more)
