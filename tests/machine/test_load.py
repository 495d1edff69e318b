"""Whether the machine is fit to be timed, as files and the GPU say."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_trtgate.machine import Machine
from pytest_trtgate.machine.gpus import Gpu, GpuNow, gpu_now
from pytest_trtgate.machine.load import own_ticks, why_busy


class System:
    """A ``/proc`` and ``/sys`` of our own, for a machine of four cores."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.after_a_moment: dict[str, str] = {}

    def why_busy(self) -> list[str]:
        """Return what disturbs timing."""
        return why_busy(self.root, 4, lambda _: [self.write(*file) for file in self.after_a_moment.items()] and None)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text + "\n")


@pytest.fixture
def system(tmp_path: Path) -> System:
    """A quiet machine of four cores."""
    found = System(tmp_path)
    found.write("proc/loadavg", "0.50 0.40 0.30 1/200 4711")
    found.write("sys/class/power_supply/AC/type", "Mains")
    for core in range(4):
        found.write(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", "schedutil")
    return found


def ticking(system: System, busy: int) -> None:
    """Let the machine use ``busy`` of the next 100 ticks."""
    system.write("proc/stat", "cpu 100 0 100 800 0 0 0 0 0 0\ncpu0 1")
    system.after_a_moment = {"proc/stat": f"cpu {100 + busy} 0 100 {900 - busy} 0 0 0 0 0 0"}


def test_a_quiet_machine_is_not_busy(system: System) -> None:
    assert system.why_busy() == []


def test_a_system_that_tells_nothing_is_not_busy(tmp_path: Path) -> None:
    assert System(tmp_path).why_busy() == []


def test_a_load_over_half_of_the_cores_is_busy(system: System) -> None:
    system.write("proc/loadavg", "2.10 0.40 0.30 1/200 4711")
    assert system.why_busy() == ["the load average is 2.1 on 4 cores before the start (busy is over 2)"]
    ticking(system, busy=40)
    told = "the load average is 2.1 on 4 cores and others use 40 % of them before the start"
    assert system.why_busy() == [f"{told} (busy is over 2 and 25 % or more)"]


def process(number: int, parent: int, ticks: int) -> tuple[str, str]:
    """Return where a process's state is told, and the state, in the form of Linux."""
    return f"proc/{number}/stat", f"{number} (a (b) c) S {parent} {'0 ' * 9}{ticks} 1 1 1 20 0 1"


@pytest.mark.parametrize(("parent", "busy"), [("run", False), ("another", True)])
def test_what_the_run_itself_uses_is_no_load(
    system: System, monkeypatch: pytest.MonkeyPatch, parent: str, busy: bool
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    system.write("proc/loadavg", "2.10 0.40 0.30 1/200 4711")
    ticking(system, busy=40)
    started = {"run": os.getpid(), "another": 1}[parent]
    for number, above in ((700, started), (701, 700)):
        system.write(*process(number, above, ticks=5))
        file, state = process(number, above, ticks=25)
        system.after_a_moment[file] = state
    assert bool(system.why_busy()) is busy


def test_the_workers_beside_are_of_the_run_too(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system.write(*process(700, os.getppid(), ticks=20))
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    assert own_ticks(system.root) == 23
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    assert own_ticks(system.root) == 0


def test_a_moment_of_load_is_none(system: System) -> None:
    system.write("proc/loadavg", "2.10 0.40 0.30 1/200 4711")
    used = iter((40, 10))
    ticks = {"used": 0, "idle": 0}

    def look(_: float) -> None:
        now = next(used)
        ticks.update(used=ticks["used"] + now, idle=ticks["idle"] + 100 - now)
        system.write("proc/stat", f"cpu {ticks['used']} 0 0 {ticks['idle']} 0 0 0 0 0 0")

    system.write("proc/stat", "cpu 0 0 0 0 0 0 0 0 0 0")
    assert why_busy(system.root, 4, look) == []


def test_a_load_that_is_over_is_not_busy(system: System) -> None:
    system.write("proc/loadavg", "3.90 0.40 0.30 1/200 4711")
    ticking(system, busy=10)
    assert system.why_busy() == []


def test_how_a_machine_is_set_between_speed_and_power_is_told(system: System) -> None:
    machine = Machine(system=system.root)
    assert machine.power_mode() == ["governor schedutil"]
    system.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance")
    system.write("var/lib/nvpmodel/status", "pmode:0002")
    gpu = Gpu("NVIDIA H200", "", "9.0", "", 450)
    assert machine.power_mode(gpu) == ["governor performance and schedutil", "nvpmodel 2", "GPU limit 450 W"]
    here = machine.environment("onnxruntime", "cpu", system.root)
    assert here.platform["power"] == "governor performance and schedutil, nvpmodel 2"


@pytest.mark.parametrize(("status", "busy"), [("Discharging", True), ("Charging", False)])
def test_a_battery_that_discharges_is_told(system: System, status: str, busy: bool) -> None:
    system.write("sys/class/power_supply/BAT0/type", "Battery")
    system.write("sys/class/power_supply/BAT0/status", status)
    assert system.why_busy() == ["the machine runs on its battery"] * busy


def test_the_battery_of_a_mouse_is_no_matter(system: System) -> None:
    for name, text in (("type", "Battery"), ("status", "Discharging"), ("scope", "Device")):
        system.write(f"sys/class/power_supply/hidpp/{name}", text)
    assert system.why_busy() == []


@pytest.mark.parametrize(
    ("driver", "preference", "told"),
    [
        ("acpi-cpufreq", "", "the CPU's governor is powersave, which keeps its clocks low"),
        ("intel_pstate", "balance_performance", ""),
        ("intel_pstate", "power", "the CPU prefers saving energy to speed (energy_performance_preference is power)"),
    ],
)
def test_saving_power_is_told_where_it_slows_down(system: System, driver: str, preference: str, told: str) -> None:
    core = "sys/devices/system/cpu/cpu2/cpufreq"
    system.write(f"{core}/scaling_governor", "powersave")
    system.write(f"{core}/scaling_driver", driver)
    system.write(f"{core}/energy_performance_preference", preference)
    assert system.why_busy() == ([told] if told else [])


def test_a_gpu_that_throttles_is_told(system: System) -> None:
    class Throttled(Machine):
        def gpu_now(self, uuid: str) -> GpuNow:
            return GpuNow(throttled=("power cap",))

    assert Throttled(system=system.root).why_busy() == []
    assert Throttled(system=system.root).why_busy("GPU-1") == ["the GPU holds its clocks back (power cap)"]


class FakeNvml:
    """Of NVML, what is asked of a GPU."""

    NVMLError = RuntimeError

    def __init__(self, reasons: int = 0x1) -> None:
        self.reasons = reasons

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: self.reasons,
            "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=7)],
        }
        if name == "nvmlDeviceGetCurrentClocksEventReasons":
            raise AttributeError(name)  # a name of newer bindings
        return answers.get(name, lambda: None)


def test_a_gpu_tells_what_it_does_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(0x40 | 0x1))
    assert gpu_now("GPU-1") == GpuNow(("thermal limit in hardware",), 1)


def test_a_gpu_that_nvml_does_not_know_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uuid: bytes) -> None:
        raise RuntimeError("not found")

    nvml = FakeNvml()
    nvml.nvmlDeviceGetHandleByUUID = refuse
    assert gpu_now("GPU-1", nvml) == GpuNow()
