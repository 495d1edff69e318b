"""Whether the machine is fit to be timed, and whether its cache lasts, told from files and variables."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_trtgate.findings.cache_place import why_thrown_away
from pytest_trtgate.machine import Machine
from pytest_trtgate.machine.gpus import GpuNow, gpu_now
from pytest_trtgate.machine.load import why_busy


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
    assert system.why_busy() == ["the load average is 2.1 on 4 cores before the start"]
    ticking(system, busy=40)
    assert len(system.why_busy()) == 1


def test_a_load_that_is_over_is_not_busy(system: System) -> None:
    system.write("proc/loadavg", "3.90 0.40 0.30 1/200 4711")
    ticking(system, busy=10)
    assert system.why_busy() == []


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


# Where the cache is

HOME = Path("/home/me/.cache/pytest-trtgate")


@pytest.mark.parametrize("place", ["/tmp/engines", "/var/tmp/x", "/dev/shm/engines"])
def test_a_cache_in_a_temporary_folder_is_thrown_away(place: str) -> None:
    assert why_thrown_away(Path(place), {}, Machine().temporary).endswith(" is for temporary files")


def test_a_cache_at_home_or_in_the_project_lasts(tmp_path: Path) -> None:
    assert why_thrown_away(HOME, {}, Machine().temporary) == ""
    assert why_thrown_away(Path("/srv/project/cache"), {"CI": "true"}, Machine().temporary) == ""
    temporary = [str(tmp_path / "t")]
    assert why_thrown_away(tmp_path / "t" / "cache", {}, temporary) == f"{tmp_path / 't'} is for temporary files"
    assert why_thrown_away(tmp_path / "cache", {}, temporary) == ""


def test_a_notebook_keeps_only_what_is_on_its_drive() -> None:
    colab = {"COLAB_RELEASE_TAG": "release"}
    assert why_thrown_away(Path("/content/cache"), colab, ()) == "what is in /content goes with the notebook's session"
    assert why_thrown_away(Path("/content/drive/MyDrive/cache"), colab, ()) == ""
    assert why_thrown_away(Path("/content/cache"), {}, ()) == ""
    assert "/kaggle" in why_thrown_away(Path("/kaggle/working/c"), {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, ())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A workspace of a runner."""
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    return tmp_path


def test_a_workspace_of_github_lasts_only_with_a_cache_step(checkout: Path) -> None:
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(checkout),
        "GITHUB_WORKFLOW_REF": "me/it/.github/workflows/gate.yml@refs/heads/main",
    }
    workflow = checkout / ".github" / "workflows" / "gate.yml"
    workflow.write_text("steps:\n  - uses: actions/checkout@v4\n")
    why = "this job's workspace is discarded and the workflow has no step that caches it"
    assert why_thrown_away(checkout / "cache", environ, ()) == why
    assert why_thrown_away(HOME, {**environ, "RUNNER_ENVIRONMENT": "self-hosted"}, ()) == ""
    assert why_thrown_away(HOME, {**environ, "RUNNER_ENVIRONMENT": "github-hosted"}, ()) == why.replace(
        "this job's workspace", "the runner"
    )
    for action in ("actions/cache@v4", "./.github/actions/setup"):  # our own may have such a step
        workflow.write_text(f"steps:\n  - uses: {action}\n")
        assert why_thrown_away(checkout / "cache", environ, ()) == ""


def test_a_workflow_that_cannot_be_read_is_given_the_benefit_of_the_doubt(checkout: Path) -> None:
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(checkout),
        "GITHUB_WORKFLOW_REF": "me/it/.github/workflows/other.yml@refs/heads/main",
    }
    assert why_thrown_away(checkout / "cache", environ, ()) == ""


def test_a_checkout_of_gitlab_lasts_only_with_a_cache(checkout: Path) -> None:
    environ = {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(checkout)}
    (checkout / ".gitlab-ci.yml").write_text("test:\n  script: pytest\n")
    assert "no cache" in why_thrown_away(checkout / "cache", environ, ())
    for text in ("test:\n  cache:\n    paths: [cache]\n", "include:\n  - local: ci/gate.yml\n"):
        (checkout / ".gitlab-ci.yml").write_text(text)
        assert why_thrown_away(checkout / "cache", environ, ()) == ""
