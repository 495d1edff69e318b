"""What a GPU tells through NVML, with a stand-in for pynvml that knows what a device may refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from records_example import latency

from pytest_trtgate.machine.gpus import throttle_words
from pytest_trtgate.records.latency import MachineState
from pytest_trtgate.workers.timing.gpu import (
    CLOCK_INTERVAL_S,
    ENERGY_SECONDS,
    ClockWatch,
    Sensors,
    energy_per_call_mj,
    find_handle,
)

PID = 4242


class NotSupportedError(Exception):
    """Stands for ``pynvml.NVMLError``."""


class FakeNvml:
    """Answers what it was given, by the name of the function; all else is not supported."""

    NVMLError = NotSupportedError

    def __init__(self, **answers: Any) -> None:
        self._answers = answers
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def function(*arguments: Any) -> Any:
            self.asked.append((name, *arguments))
            answer = self._answers.get(name)
            if isinstance(answer, dict):
                answer = answer.get(arguments[-1])
            if answer is None:
                raise NotSupportedError(name)
            return answer

        return function


def processes(*pids: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid) for pid in pids]


def gpu(**answers: Any) -> Sensors:
    return Sensors(FakeNvml(**answers), "handle", PID)


def test_everything_that_a_gpu_tells_is_recorded_in_its_unit() -> None:
    state = gpu(
        nvmlDeviceGetUUID=b"GPU-12ab",
        nvmlDeviceGetClockInfo={1: 1980, 2: 3201},
        nvmlDeviceGetTemperature=44,
        nvmlDeviceGetPowerUsage=212_500,
        nvmlDeviceGetCurrentClocksEventReasons=0x4,
        nvmlDeviceGetComputeRunningProcesses=processes(PID, 7),
    ).state()
    assert MachineState(**state) == MachineState(
        gpu_uuid="GPU-12ab",
        sm_mhz=1980,
        memory_mhz=3201,
        gpu_temperature_c=44,
        power_w=212.5,
        throttle_reasons=("power cap",),
        other_processes=1,
    )


@pytest.mark.parametrize("nothing", [Sensors(None, None), Sensors(FakeNvml(), "handle")])
def test_what_a_gpu_does_not_tell_is_none(nothing: Sensors) -> None:
    assert MachineState(**nothing.state()) == MachineState()
    assert nothing.energy_mj() is None


def test_an_older_driver_is_asked_by_the_older_name() -> None:
    assert gpu(nvmlDeviceGetCurrentClocksThrottleReasons=0x40).throttle_reasons() == ("thermal limit in hardware",)


@pytest.mark.parametrize(("bits", "count"), [(0x0, 0), (0x1, 0), (0x2, 0), (0x103, 0), (0x4, 1), (0x68, 3)])
def test_an_idle_gpu_and_clocks_set_on_purpose_are_not_throttled(bits: int, count: int) -> None:
    assert len(throttle_words(bits)) == count


@pytest.mark.parametrize(
    ("pids", "others"),
    [((PID,), 0), ((PID, 1, 2), 2), ((99,), 0), ((98, 99), 1), ((), 0)],
    ids=["alone", "two others", "alone in a container", "one other beside a container", "nothing listed"],
)
def test_other_processes_do_not_count_this_one_under_whatever_number(pids: tuple[int, ...], others: int) -> None:
    assert gpu(nvmlDeviceGetComputeRunningProcesses=processes(*pids)).other_processes() == others


def test_a_device_is_found_by_what_it_is_and_not_by_its_number() -> None:
    nvml = FakeNvml(nvmlDeviceGetHandleByUUID={b"GPU-12ab": "third"})
    assert find_handle(nvml, SimpleNamespace(uuid="12ab"), 0) == "third"
    nvml = FakeNvml(nvmlDeviceGetHandleByPciBusId={b"00000001:3B:00.0": "second"})
    place = SimpleNamespace(uuid="unknown to it", pci_domain_id=1, pci_bus_id=0x3B, pci_device_id=0)
    assert find_handle(nvml, place, 0) == "second"


@pytest.mark.parametrize(
    ("visible", "count", "index", "found"),
    [
        (None, 1, 0, "only"),
        (None, 2, 0, None),
        ("GPU-b,GPU-a", 2, 1, "a"),
        ("1,0", 2, 0, None),
        ("GPU-a", 2, 1, None),
        ("", 1, 0, None),
    ],
)
def test_a_device_that_torch_cannot_name_is_found_only_without_doubt(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int, index: int, found: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = FakeNvml(
        nvmlDeviceGetCount=count,
        nvmlDeviceGetHandleByIndex={0: "only"},
        nvmlDeviceGetHandleByUUID={b"GPU-a": "a", b"GPU-b": "b"},
    )
    assert find_handle(nvml, SimpleNamespace(), index) == found


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def watched(*mhz: float | None) -> list[bool]:
    """Return what a watch says after each reading but the first, taken as far apart as they must be."""
    time, readings = Time(), iter(mhz)
    watch = ClockWatch(lambda: next(readings), time)
    said = []
    for _ in mhz[1:]:
        time.s += 1.01 * CLOCK_INTERVAL_S
        said.append(watch.settled())
    return said


def test_a_clock_has_settled_when_two_readings_in_a_row_agree() -> None:
    assert watched(345, 1500, 1900, 1980, 1980) == [False, False, False, True]
    assert watched(1980, 1950, 1500) == [True, False]


def test_a_clock_that_is_not_told_holds_nothing_up() -> None:
    assert ClockWatch(lambda: None, Time()).settled()
    assert watched(1980, None) == [True]


def test_readings_at_the_same_moment_prove_nothing() -> None:
    assert not ClockWatch(lambda: 1980, Time()).settled()


def energy(step_s: float, watts: float, call_s: float) -> float | None:
    """Return the energy of a call that takes ``call_s``, by a counter that moves every ``step_s``."""
    time = Time()

    def call() -> None:
        time.s += call_s

    return energy_per_call_mj(lambda: watts * 1000 * (time.s // step_s) * step_s, call, time)


@pytest.mark.parametrize("step_s", [0.02, 0.1])
@pytest.mark.parametrize("call_s", [0.001, 0.03])
def test_energy_per_inference_is_power_times_time_whatever_the_counters_step(step_s: float, call_s: float) -> None:
    assert energy(step_s, 300.0, call_s) == pytest.approx(300.0 * 1000 * call_s, rel=0.07)


def test_time_that_the_counter_takes_to_be_read_is_hardly_counted() -> None:
    time, used_mj = Time(), [0.0]

    def spend(seconds: float, watts: float) -> None:
        time.s += seconds
        used_mj[0] += 1000 * watts * seconds

    def read() -> float:
        spend(0.003, 80.0)
        return used_mj[0] // 5000 * 5000

    assert energy_per_call_mj(read, lambda: spend(0.001, 130.0), time) == pytest.approx(130.0, rel=0.12)


def test_energy_is_measured_for_long_enough() -> None:
    time = Time()

    def call() -> None:
        time.s += 0.001

    energy_per_call_mj(lambda: time.s // 0.02, call, time)
    assert time.s >= ENERGY_SECONDS


@pytest.mark.parametrize("counter", [None, 5.0])
def test_a_counter_that_is_missing_or_stands_gives_no_energy(counter: float | None) -> None:
    time = Time()

    def call() -> None:
        time.s += 0.01

    assert energy_per_call_mj(lambda: counter, call, time) is None


def test_a_launch_was_throttled_if_it_was_at_any_time() -> None:
    launch = latency().launches[0]
    assert launch.throttled == ()
    assert launch.foreign_processes == 0
    hot = MachineState(throttle_reasons=("power cap",), other_processes=2)
    hotter = MachineState(throttle_reasons=("power cap", "thermal limit in software"))
    launch = launch.model_copy(update={"during": (hot,), "after": hotter})
    assert launch.throttled == ("power cap", "thermal limit in software")
    assert launch.foreign_processes == 2
