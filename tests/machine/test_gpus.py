"""Which GPUs, versions and backend the machine has, and what a run uses of them."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
from pretended import PretendedMachine
from project import H200

from pytest_trtgate.machine import gpu_of_worker, gpus, resolve_backend
from pytest_trtgate.machine.gpus import Gpu, chosen
from pytest_trtgate.machine.packages import installed_versions
from pytest_trtgate.settings.settings import Settings

SECOND = Gpu("NVIDIA H200", "GPU-3333", "9.0", "575.57")
L4 = Gpu("NVIDIA L4", "GPU-2222", "8.9", "575.57")


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (None, [H200, L4]),
        ("1", [L4]),
        ("1,0", [L4, H200]),
        ("GPU-11", [H200]),
        (" 1 , GPU-1111", [L4, H200]),
        ("", []),
        ("-1", []),
        ("0,7,1", [H200]),
        ("GPU-", []),
        ("NoDevFiles", []),
    ],
)
def test_visible_devices_are_understood_as_cuda_does(wanted: str | None, kept: list[Gpu]) -> None:
    assert chosen([H200, L4], wanted) == kept


def test_the_driver_is_asked_through_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: closed.append(True),
        nvmlSystemGetDriverVersion=lambda: b"575.57",
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetName=lambda handle: "NVIDIA H200",
        nvmlDeviceGetUUID=lambda handle: "GPU-1111",
        nvmlDeviceGetCudaComputeCapability=lambda handle: (9, 0),
    )
    assert gpus._from_nvml(nvml) == [H200]
    assert closed == [True]
    nvml.nvmlDeviceGetEnforcedPowerLimit = lambda handle: 450_500
    assert gpus._from_nvml(nvml) == [replace(H200, power_limit_w=450)]
    nvml.nvmlInit = lambda: (_ for _ in ()).throw(RuntimeError("no driver"))
    assert gpus._from_nvml(nvml) == []


def test_without_nvml_nvidia_smi_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "NVIDIA H200, GPU-1111, 9.0, 575.57\nOrin (nvgpu), GPU-3, [N/A], 540.3\n"
    smi = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    smi.write_text(f"#!/bin/sh\nprintf '{rows}'")
    smi.chmod(0o755)
    assert gpus._from_smi() == [H200, Gpu("Orin (nvgpu)", "GPU-3", None, "540.3")]
    smi.write_text("#!/bin/sh\nprintf 'broken \\377\\n'")
    assert gpus._from_smi() == []
    smi.write_text("#!/bin/sh\nexit 9")
    assert gpus._from_smi() == []


def test_another_distribution_of_tensorrt_counts() -> None:
    def version(name: str) -> str:
        if name == "tensorrt-cu12":
            return "10.16.1.11"
        raise PackageNotFoundError(name)

    assert installed_versions(version) == {"tensorrt": "10.16.1.11"}


def test_no_driver_is_asked_where_tensorrt_is_not_installed() -> None:
    class Asked(PretendedMachine):
        def gpus(self) -> tuple[Gpu, ...]:
            pytest.fail("the driver was asked")

    assert resolve_backend(Settings(), Asked())[:2] == ("onnxruntime", "cpu")


@pytest.mark.parametrize(
    ("device", "worker", "found", "uuid", "alone"),
    [
        ("auto", "", [H200, SECOND], "GPU-1111", False),
        ("auto", "gw0", [H200, SECOND], "GPU-1111", True),
        ("auto", "gw1", [H200, SECOND], "GPU-3333", True),
        ("auto", "gw2", [H200, SECOND], "GPU-1111", True),
        ("auto", "gw1", [H200], "GPU-1111", False),
        ("auto", "gw1", [H200, L4], "GPU-1111", False),
        ("1", "gw0", [H200, SECOND], "GPU-3333", False),
    ],
)
def test_workers_take_one_of_several_equal_gpus_each(
    device: str, worker: str, found: list[Gpu], uuid: str, alone: bool
) -> None:
    settings, machine = Settings(device=device), PretendedMachine(visible=tuple(found))
    place = "0" if device == "auto" else device
    assert gpu_of_worker(settings, "tensorrt", place, worker, machine) == (uuid, alone)
    assert gpu_of_worker(settings, "onnxruntime", "cpu", worker, machine) == ("", False)
