"""A Jetson is told by its files, and no NVML or nvidia-smi is asked."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jetson import ORIN, THOR, write_board
from pretended import PretendedMachine
from records_example import environment

from pytest_trtgate.machine import Machine, cuda_driver, differences, find_board, tegra
from pytest_trtgate.machine.gpus import Gpu, GpuNow
from pytest_trtgate.workers.timing import gpu
from pytest_trtgate.workers.timing.gpu import BoardSensors

CUDA = {"name": "Orin", "uuid": "GPU-0f", "compute_capability": "8.7", "integrated": True}


@pytest.fixture
def orin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root folder of an AGX Orin."""
    monkeypatch.setattr(tegra, "cuda_devices", lambda: (CUDA,))
    return write_board(tmp_path, ORIN)


@pytest.fixture
def thor(tmp_path: Path) -> Path:
    """The root folder of an AGX Thor."""
    return write_board(tmp_path, THOR)


def test_a_board_is_a_gpu_of_its_own_name(orin: Path) -> None:
    name = "NVIDIA Jetson AGX Orin Developer Kit p3701-0005"
    machine = Machine(environ={}, system=orin)
    assert machine.gpus() == (Gpu(name, "GPU-0f", "8.7", "Jetson Linux 36.4.3"),)
    here = PretendedMachine(system=orin, visible=machine.gpus(), installed={"tensorrt": "10.3.0"})
    told = here.environment("tensorrt", "0", orin)
    assert told.machine == "nvidia-jetson-agx-orin-developer-kit-p3701-0005_tensorrt-10.3"
    assert (told.gpu, told.compute_capability, told.driver) == (name, "8.7", "Jetson Linux 36.4.3")
    assert Machine(environ={"CUDA_VISIBLE_DEVICES": ""}, system=orin).gpus() == ()


def test_a_board_is_told_by_the_device_tree_or_by_the_release(orin: Path, thor: Path, tmp_path: Path) -> None:
    board = find_board(thor)
    assert board is not None
    assert (board.name, board.release) == ("NVIDIA Jetson AGX Thor Developer Kit p3834-0008", "38.2.0")
    (thor / "etc/nv_tegra_release").unlink()
    assert getattr(find_board(thor), "release", None) == "unknown"
    alone = write_board(tmp_path / "container", {"etc/nv_tegra_release": ORIN["etc/nv_tegra_release"]})
    assert getattr(find_board(alone), "name", None) == "NVIDIA Jetson"


@pytest.mark.parametrize("files", [{}, {"proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0"}])
def test_another_machine_is_no_board(tmp_path: Path, files: dict[str, str]) -> None:
    assert find_board(write_board(tmp_path, files)) is None


def test_a_gpu_that_is_no_part_of_the_processor_keeps_its_name(orin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {**CUDA, "name": "NVIDIA RTX A6000", "integrated": False}
    monkeypatch.setattr(tegra, "cuda_devices", lambda: (other,))
    assert [one.name for one in Machine(environ={}, system=orin).gpus()] == ["NVIDIA RTX A6000"]


# Power modes and clocks


def test_the_power_mode_and_the_clocks_are_part_of_the_environment(orin: Path) -> None:
    machine = Machine(system=orin)
    assert machine.power_mode() == ["governor schedutil", "nvpmodel MAXN", "clocks not fixed"]
    for low in sorted(orin.glob("sys/**/*min_freq")):
        assert machine.power_mode()[-1] == "clocks not fixed"
        low.write_text(low.with_name(low.name.replace("min", "max")).read_text())
    assert machine.power_mode()[-1] == "clocks fixed"


@pytest.mark.parametrize(
    ("status", "mode"), [("pmode:0001", "120W"), ("pmode:0000 fmode:quiet", "MAXN"), ("pmode:0010", "10"), ("", "")]
)
def test_a_power_mode_is_named_as_in_its_configuration(tmp_path: Path, status: str, mode: str) -> None:
    assert tegra.nvpmodel(write_board(tmp_path, THOR, status=status)) == mode


def test_another_power_mode_than_the_baselines_is_not_compared() -> None:
    board = {"device": "0", "gpu": "NVIDIA Jetson AGX Orin Developer Kit p3701-0005"}
    modes = ("governor schedutil, nvpmodel MAXN, clocks fixed", "nvpmodel MODE_30W", "governor schedutil", None)
    maxn, low, *untold = (environment().model_copy(update={**board, "power": power}) for power in modes)
    assert differences(maxn, low) == ["power mode MAXN, baseline MODE_30W"]
    assert differences(maxn, low, timed=False) == []
    assert [found for other in (maxn, *untold) for found in differences(maxn, other)] == []


# What it does now


def test_a_launch_asks_the_board_and_no_nvml(orin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_board", lambda: tegra.Board(orin, "", ""))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.open_gpu(0).state()["sm_mhz"] == 1300.5


def test_an_orin_tells_of_itself_in_the_words_of_nvml(orin: Path) -> None:
    sensors = BoardSensors(tegra.Board(orin, "", ""))
    expected = {"gpu_temperature_c": 47.5, "sm_mhz": 1300.5, "memory_mhz": None, "throttle_reasons": ()}
    # The rails that all power passes: 7.6 + 1.9 + 4.5 W.
    assert sensors.state() == {**expected, "power_w": pytest.approx(14.0)}
    assert (sensors.sm_mhz(), sensors.energy_mj()) == (1300.5, None)


def test_a_thor_measures_all_its_power_and_its_gpu_may_sleep(thor: Path) -> None:
    found = BoardSensors(tegra.Board(thor, "", "")).state()
    expected = {"gpu_temperature_c": None, "sm_mhz": 1300.5, "memory_mhz": 4266.0, "throttle_reasons": ()}
    assert found == {**expected, "power_w": pytest.approx(31.4)}


def test_a_module_that_measures_its_input_needs_no_sum(tmp_path: Path) -> None:
    renamed = {f"hwmon3/in{n}_label": name for n, name in enumerate(("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), 1)}
    board = tegra.Board(write_board(tmp_path, ORIN, **renamed), "", "")
    assert board.state()["power_w"] == pytest.approx(7.6)


def test_a_board_without_such_files_tells_nothing(tmp_path: Path) -> None:
    assert set(BoardSensors(tegra.Board(tmp_path, "", "")).state().values()) == {None, ()}
    assert tegra.Board(tmp_path, "", "").clocks() == []


def test_throttling_by_heat_keeps_a_machine_from_being_fit(orin: Path) -> None:
    machine = Machine(system=orin)
    assert machine.gpu_now("GPU-0f") == GpuNow()
    write_board(orin, {"sys/class/thermal/cooling_device3/cur_state": "1"})
    assert machine.gpu_now("GPU-0f").throttled == ("thermal limit in software",)
    assert "the GPU holds its clocks back (thermal limit in software)" in machine.why_busy("GPU-0f")


def test_an_overcurrent_event_counts_once_and_not_those_of_before(orin: Path) -> None:
    sensors = BoardSensors(tegra.Board(orin, "", ""))
    assert sensors.state()["throttle_reasons"] == ()
    write_board(orin, {"sys/class/hwmon/hwmon5/oc3_event_cnt": "28"})
    assert [sensors.state()["throttle_reasons"] for _ in range(2)] == [("power cap",), ()]


# The CUDA driver


class FakeCuda:
    """``libcuda`` with one GPU."""

    def __init__(self, error: int = 0) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def answer(pointer: Any = 0, *arguments: Any) -> int:
            if name == "cuInit":
                return self.error
            if name in ("cuDeviceGetName", "cuDeviceGetUuid"):
                pointer.raw = (b"Orin\0" if name == "cuDeviceGetName" else bytes(range(16))).ljust(len(pointer), b"\0")
                return 0
            attributes = {75: 8, 76: 7, 18: 1}
            pointer._obj.value = {"cuDeviceGetCount": 1, "cuDeviceGet": 0}.get(name, attributes.get(*arguments[:1], 0))
            return 0

        return answer


def test_the_cuda_driver_tells_the_compute_capability() -> None:
    uuid = "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert list(cuda_driver.devices(FakeCuda())) == [{**CUDA, "uuid": uuid}]
    assert list(cuda_driver.devices(FakeCuda(error=100))) == []


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    cuda_driver.main()
    if not Path("/dev/nvidia0").exists():
        tegra.cuda_devices.cache_clear()
        assert tegra.cuda_devices() == ()


def test_it_is_a_program_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-I", cuda_driver.__file__], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")
