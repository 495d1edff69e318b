"""What holds for the package as a whole, beside the import contracts in pyproject.toml."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from project import Project

import pytest_trtgate

PACKAGE = Path(pytest_trtgate.__file__).parent
HEAVY = {"torch", "torchvision", "ultralytics", "onnx", "onnxruntime", "onnxslim", "tensorrt", "pynvml", "cv2"}
LAZY = ("judge", "workers", "plugin")
"""Packages whose modules are imported one by one, since NumPy, torch and pytest cost time."""


def test_other_packages_import_from_a_package_and_not_from_its_modules() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        inside = path.relative_to(PACKAGE).parts
        dots = r"\." * len(inside)
        deep = re.compile(rf"^ *from {dots}(\w+)\.\w+ import", re.MULTILINE)
        for package in deep.findall(path.read_text(encoding="utf-8")):
            if package != inside[0] and package not in LAZY and inside[0] != "workers":
                wrong.append(f"{path.relative_to(PACKAGE)}: {package}")
    assert wrong == []


PUBLIC = """
AccuracyRecord Baseline BaselineError CacheError Cell CellLatency Check DataError EarlyLauncher Engine EngineRecord
Environment Gate Job JobError JobTimeoutError Judged LatencyRecord Launcher Machine Outcome RecordError RunRecord
SettingsError Softening TrtGateError Verdict __version__ load_run
"""


def test_these_names_are_public_and_each_is_there() -> None:
    assert pytest_trtgate.__all__ == dir(pytest_trtgate) == PUBLIC.split()
    for name in PUBLIC.split():
        assert getattr(pytest_trtgate, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Gpu'"):
        pytest_trtgate.Gpu  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_nothing_but_the_standard_library() -> None:
    code = "import sys; before = set(sys.modules); import pytest_trtgate; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded - sys.stdlib_module_names == {"pytest_trtgate"}
    assert {name for name in done.stdout.split() if "trtgate" in name} == {"pytest_trtgate", "pytest_trtgate.errors"}


# What a process of pytest loads

WATCH = """
import json, sys
from pathlib import Path

def pytest_unconfigure(config):
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    # Not getrusage: the process that started this one counts there.
    peak = int(status["VmHWM"].removesuffix("kB"))
    Path("seen.json").write_text(json.dumps({"modules": sorted(sys.modules), "peak": peak}))
"""


def seen(folder: Path) -> tuple[set[str], float]:
    """Return the top-level modules that a watched process had loaded at its end, and its peak memory in MB."""
    found = json.loads((folder / "seen.json").read_text())
    return {name.partition(".")[0] for name in found["modules"]}, found["peak"] * 1024 / 1e6


def run_alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a process of its own with no plugin but ours."""
    import os

    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_trtgate.plugin", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_project_that_does_not_use_the_gate_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(WATCH)
    (tmp_path / "test_unit.py").write_text("def test_unit(): pass")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["pytest-trtgate"]\n')
    done = run_alone(tmp_path, "--collect-only")
    assert done.returncode == 0, done.stdout + done.stderr
    unwanted = HEAVY | {"numpy", "pandas", "jinja2", "pydantic", "yaml", "filelock", "platformdirs", "pytest_benchmark"}
    assert seen(tmp_path)[0] & unwanted == set()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project after a watched run of its gate, with a report and everything."""
    project = Project(tmp_path_factory.mktemp("gate")).use_processes()
    conftest = project.path / "conftest.py"
    conftest.write_text(conftest.read_text() + WATCH)
    result = project.run_apart("--trt-precision=int8", "--trt-baselines=add", every_plugin=True)
    assert result.ret == 0, result.output
    assert project.outcomes("accuracy") == {"int8": "PASS"}
    return project.path


def test_a_gate_run_keeps_the_engines_world_out_of_the_test_process(gate: Path) -> None:
    assert seen(gate)[0] & HEAVY == set()


def test_a_gate_run_stays_small(gate: Path) -> None:
    assert seen(gate)[1] < 200
