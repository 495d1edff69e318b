"""What holds for the package as a whole: who imports whom, what start-up costs, how long a file may be."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import Project

import pytest_trtgate

PACKAGE = Path(pytest_trtgate.__file__).parent
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__init__", "errors", "digest", "labels", "counting", "logs", "jobs.__init__", "report.__init__"),
    ("record_base", "gpus", "tasks"),
    ("inspection",),
    ("records",),
    ("figures", "media_records"),
    ("recordfile", "run_record", "setting_types"),
    ("finding_settings", "model_settings", "filedigests"),
    ("settings",),
    ("config", "dataset", "environment", "pins", "workspace", "cache_place"),
    ("findings", "machine_load", "amending", "notes", "plan", "unsearched", "cache", "results", "baselines", "waivers"),
    ("judge.*",),
    ("jobs.contract",),
    ("jobs.ahead", "jobs.processes"),
    ("jobs.launcher",),
    ("jobs.*",),
    ("report.*",),
    ("launches", "evaluated_data", "strangers"),
    ("early_jobs",),
    ("handles", "building", "measure", "replay", "per_image", "evidence", "illustrate", "picture_shapes"),
    ("machine_offset", "rejudging", "accept"),
    ("profiling", "evaluating", "pictures", "videos", "early_findings", "surveys", "concluding", "accuracy_verdict"),
    ("preflight", "media_making"),
    ("session", "upkeep", "compare", "checkup"),
    ("demo", "cli_baseline"),
    ("cli",),
    ("options", "hookspecs", "hooks", "progress", "benchmark"),
    ("run",),
    ("fixtures",),
    ("gate",),
    ("plugin",),
)
"""Modules from the ground up: each imports only from its own layer and those before it."""
HEAVY = {"torch", "torchvision", "ultralytics", "onnx", "onnxruntime", "onnxslim", "tensorrt", "pynvml", "cv2"}
PYTEST_FREE = "cli"
"""Up to this module's layer nothing imports pytest."""


@cache
def modules() -> dict[str, Path]:
    """Return the modules of the package, by their names inside it; the demo's generator is data to it."""
    found = (p for p in sorted(PACKAGE.rglob("*.py")) if p.parent.name != "_demo")
    return {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in found}


def layer(name: str) -> int:
    """Return the layer of a module; the exact name counts before the pattern of its package."""
    for pattern in (name, f"{name.partition('.')[0]}.*"):
        for number, names in enumerate(LAYERS):
            if pattern in names:
                return number
    raise AssertionError(f"{name} has no layer: add it to LAYERS")


@cache
def imports(name: str) -> frozenset[str]:
    """Return the absolute names of all modules that a module imports, at its top or inside a function.

    What is imported for annotations only does not count.
    """
    package = ["pytest_trtgate", *name.split(".")[:-1]]
    found: set[str] = set()
    nodes = list(ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))))
    typing_only = {
        id(inner)
        for node in nodes
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    known = {f"pytest_trtgate.{module}" for module in modules()}
    for node in nodes:
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in known or f"{full}.__init__" in known else base)
    return frozenset(found)


def ours(names: frozenset[str]) -> set[str]:
    """Return which of the imported names are modules of the package, by their names inside it."""
    found = set()
    for name in names:
        top, _, inside = name.partition(".")
        if top == "pytest_trtgate":
            inside = inside or "__init__"
            found.add(inside if inside in modules() else f"{inside}.__init__")
    return found


@pytest.mark.parametrize("name", modules())
def test_imports_point_one_way(name: str) -> None:
    wrong = [m for m in ours(imports(name)) if layer(m) > layer(name)]
    assert wrong == [], f"{name} imports {wrong} from layers above its own"


def test_no_two_modules_import_each_other() -> None:
    graph = {name: ours(imports(name)) - {name} for name in modules()}
    while graph:
        free = [name for name, needs in graph.items() if not needs & set(graph)]
        assert free, f"a circle among {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize("name", modules())
def test_only_jobs_import_what_is_heavy(name: str) -> None:
    heavy = {m.partition(".")[0] for m in imports(name)} & HEAVY
    if name == "gpus":
        heavy -= {"pynvml"}  # ctypes and no CUDA: the driver is asked which GPUs there are
    allowed = name.startswith("jobs.") and name not in ("jobs.contract", "jobs.launcher", "jobs.__init__")
    assert allowed or not heavy


def test_nothing_below_the_plugin_needs_pytest() -> None:
    ground = [name for name in modules() if layer(name) <= layer(PYTEST_FREE)]
    assert [n for n in ground if {m.partition(".")[0] for m in imports(n)} & {"pytest", "_pytest"}] == []


def test_judging_is_pure() -> None:
    impure = {"pathlib", "time", "datetime", "random", "subprocess", "io", "shutil"}
    for name in modules():
        if name.startswith("judge."):
            assert not {m.partition(".")[0] for m in imports(name)} & impure, name


def test_no_file_is_long() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: count for name, count in lines.items() if count > 350} == {}


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
