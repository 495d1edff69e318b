"""A consumer project whose jobs are fake, so that most of the suite needs no torch."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_jobs import Behaviour
from forks import Fork, fork
from pretended import VERSIONS
from sooner import UNUSED, begin_sooner

import pytest_trtgate
from pytest_trtgate import plugin
from pytest_trtgate.machine.gpus import Gpu
from pytest_trtgate.records.engine import EngineRecord
from pytest_trtgate.records.files import load
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.verdict import Verdict
from pytest_trtgate.report import measurements_table
from pytest_trtgate.report.media import Media
from pytest_trtgate.report.page import html

SUPPORT = Path(__file__).parent

H200 = Gpu("NVIDIA H200", "GPU-1111", "9.0", "575.57")
CONFTEST = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from pretended import PretendedMachine
from pytest_trtgate.machine.gpus import Gpu

MACHINE = {{"installed": {versions!r}}}

def pytest_trtgate_machine(config):
    return PretendedMachine(**MACHINE)

def pytest_trtgate_launcher(config):
    if {inline}:
        from inline_launcher import InlineLauncher
        return InlineLauncher()
    from pytest_trtgate.jobs.launcher import LocalLauncher
    kinds = ("build", "given", "accuracy", "latency", "profile", "pictures", "clip", "video", "survey")
    return LocalLauncher(dict.fromkeys(kinds, "fake_jobs"), locks=Path({locks!r}), ahead={ahead})
"""
OUTSIDE = (
    "CI",
    "GITHUB_ACTIONS",
    "GITHUB_STEP_SUMMARY",
    "PYTEST_ADDOPTS",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
    "PYTEST_XDIST_WORKER",
    "PYTEST_XDIST_WORKER_COUNT",
)
"""Variables of the machine, or of the run that these tests are in, that would change what an inner run does."""
PLAIN = (
    "--assert=plain",
    *(f"--ignore={name}" for name in ("cache", "data", "device-locks", "reports")),
)
"""Arguments of every run: it collects nothing that no test is about, and so begins sooner."""
PLUGINS = ("pytest_trtgate.plugin", "pytest_benchmark.plugin", "xdist.plugin")
TESTS = """
def test_accuracy(trtgate):
    trtgate.check_accuracy()

def test_latency(trtgate):
    trtgate.check_latency()
"""
ACCURACY_TEST = "def test_accuracy(trtgate): trtgate.check_accuracy()"
SETTINGS = """
models = ["shapes.pt"]
data = "data/data.yaml"
imgsz = 320
cache_dir = "cache"

[latency]
samples = 60
"""


def png(path: Path, shade: int) -> None:
    """Write a small grey PNG without any imaging library."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes([shade]) * 32 for _ in range(32))
    head = struct.pack(">IIBBBBB", 32, 32, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def write_dataset(folder: Path, count: int = 4) -> Path:
    """Write a dataset of tiny images with train, val and test splits; return its YAML."""
    for number, split in enumerate(("train", "val", "test")):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for index in range(count):
            png(folder / "images" / split / f"{index}.png", 40 * number + index)
            (folder / "labels" / split / f"{index}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    data = folder / "data.yaml"
    data.write_text("train: images/train\nval: images/val\ntest: images/test\nnames: [circle, square]\n")
    return data


@dataclass(frozen=True)
class Finished:
    """What a pytest in a process of its own printed, and its exit code."""

    output: str
    ret: int


class Project:
    """A consumer project in a temporary folder. Its jobs are fake, and done in pytest's own process.

    Attributes:
        path: Its folder, also the working folder of the test.
    """

    def __init__(self, path: Path, pytester: pytest.Pytester | None = None) -> None:
        self.path = path
        self._pytester = pytester
        self._record: tuple[tuple[int, int], RunRecord] | None = None
        self._shown: tuple[Sequence[RunRecord], Sequence[Media]] | None = None
        self.weights(Behaviour())
        write_dataset(self.path / "data")
        self.settings()
        self.tests(TESTS)
        self._conftest(inline=True)

    def use_processes(self, ahead: bool = False) -> Project:
        """Have every job done in a process of its own, as outside of tests; return this project.

        Args:
            ahead: Whether processes may begin before their jobs, though fake ones have nothing to import.
        """
        self._conftest(inline=False, ahead=ahead)
        return self

    def _conftest(self, inline: bool, ahead: bool = False) -> None:
        locks = str(self.path / "device-locks")
        text = CONFTEST.format(tests=str(SUPPORT), versions=VERSIONS, locks=locks, inline=inline, ahead=ahead)
        (self.path / "conftest.py").write_text(text, encoding="utf-8")

    def take_over(self, files: Path) -> Project:
        """Copy what another project has become, all but how its jobs are done; return this project."""
        shutil.copytree(files, self.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("conftest.py"))
        return self

    def use_gpu(self, version: str = "8.6.0", gpus: Sequence[Gpu] = (H200,)) -> Project:
        """Pretend that a TensorRT is installed and that there are GPUs; return this project."""
        return self.pretend(visible=tuple(gpus), installed={**VERSIONS, "tensorrt": version})

    def pretend(self, **machine: Any) -> Project:
        """Pretend a machine that differs from the usual one; return this project."""
        return self.hooks(f"MACHINE.update({machine!r})\n")

    def hooks(self, text: str) -> Project:
        """Add hooks to the project's conftest; return this project."""
        with (self.path / "conftest.py").open("a", encoding="utf-8") as file:
            file.write(f"\n{text}")
        return self

    def tests(self, text: str, name: str = "test_gate.py") -> None:
        """Write a module of tests, by default in the place of the two that the project has."""
        (self.path / name).write_text(textwrap.dedent(text), encoding="utf-8")

    def weights(self, behaviour: Behaviour, name: str = "shapes.pt") -> Path:
        """Write a checkpoint that behaves as told."""
        return behaviour.save(self.path / name)

    def settings(self, more: str = "", top: str = "", base: str = SETTINGS) -> None:
        """Write ``trtgate.toml``; ``top`` goes before all tables, ``more`` to the end, where ``[latency]`` is open."""
        (self.path / "trtgate.toml").write_text(f"{top}\n{base}{more}", encoding="utf-8")

    def run(self, *arguments: str, plugins: Sequence[ModuleType] = ()) -> pytest.RunResult:
        """Run pytest in this process, with our plugin and those given, and none that are merely installed.

        The page that it writes is an empty one; see :attr:`page`. Its table has no rows.
        """
        assert self._pytester is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            patch.setattr(sys, "dont_write_bytecode", True)
            begin_sooner(patch, self._pytester)
            # A quarter of the time of a run, and few tests look at them. Runs in processes of their own write them.
            patch.setattr(html, "render", self._keep_for_page)
            patch.setattr(measurements_table, "rows", lambda run: iter(()))
            return self._pytester.runpytest_inprocess(*PLAIN, *arguments, plugins=[plugin, *plugins])

    def run_apart(self, *arguments: str, every_plugin: bool = False) -> Finished:
        """Run pytest in a process of its own; see :meth:`start`."""
        process = self.start(*arguments, every_plugin=every_plugin)
        output = process.communicate(timeout=120)[0]
        assert process.returncode is not None
        return Finished(output, process.returncode)

    def start(self, *arguments: str, every_plugin: bool = False) -> Fork | subprocess.Popen[str]:
        """Start pytest in a process group of its own and do not wait for it.

        Args:
            arguments: Its arguments.
            every_plugin: Whether it is a fresh process that loads every plugin that is installed, or a fork with only
                those that the tests are about.
        """
        environ = {k: v for k, v in os.environ.items() if k not in OUTSIDE} | {"PYTHONPATH": python_path()}
        if not every_plugin:
            loaded = [f"-p{name}" for name in PLUGINS if importlib.util.find_spec(name)]
            loaded += [f"-pno:{name}" for name in UNUSED]
            environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            return fork(["pytest", *loaded, *PLAIN, *arguments], self.path, environ)
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *PLAIN, *arguments],
            cwd=self.path,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _keep_for_page(self, runs: Sequence[RunRecord], media: Sequence[Media] = ()) -> str:
        self._shown = runs, media
        return ""

    # What a run left behind

    @property
    def page(self) -> str:
        """The page of the last run that was in this process, made now."""
        assert self._shown is not None
        return html.render(*self._shown)

    @property
    def record(self) -> RunRecord:
        """The record of the last run."""
        path = self.path / "reports" / "run.json"
        found = path.stat()
        written = (found.st_mtime_ns, found.st_ino)
        if self._record is None or self._record[0] != written:
            self._record = written, load(path, RunRecord)
        return self._record[1]

    def verdict(self, precision: str, subject: str) -> Verdict:
        """Return what the last run decided of one cell."""
        found = [v for v in self.record.verdicts if (v.cell.precision, v.subject) == (precision, subject)]
        assert len(found) == 1, found
        return found[0]

    def outcomes(self, subject: str) -> dict[str, str]:
        """Return the outcomes of the last run by precision."""
        return {v.cell.precision: str(v.outcome) for v in self.record.verdicts if v.subject == subject}

    def job_names(self, kind: str) -> list[str]:
        """Return the names of the jobs of the last run that were of one kind, in order of their names."""
        return [job.name for job in self.record.jobs if job.kind == kind]

    def engine(self, precision: str) -> EngineRecord:
        """Return the engine of the last run in one precision."""
        return next(e for e in self.record.engines.values() if e.cell.precision == precision)

    def entry(self, precision: str) -> Path:
        """Return the folder in the cache of one precision's engine."""
        return Path(self.engine(precision).entry)

    def baseline(self, precision: str) -> Path:
        """Return the path at which the baseline of one precision belongs."""
        return self.path / "baselines" / self.record.environment.machine / "shapes" / f"{precision}-320-b1.json"

    def accepted_accuracy(self, precision: str, backend: str = "onnxruntime", model: str = "shapes") -> Path:
        """Return the path at which the accepted accuracy of one precision belongs."""
        return self.path / "baselines" / "accuracy" / model / f"{precision}-320-b1-{backend}.json"

    def run_folders(self) -> list[Path]:
        """Return the folders of the runs that are kept, oldest first."""
        runs = self.path / "reports" / "trtgate-runs"
        # Not by their names: of two that began in one second those do not tell.
        return sorted((run for run in runs.glob("*") if run.is_dir()), key=lambda run: run.stat().st_mtime_ns)


def jobs_of(run: Path) -> list[tuple[int, int, str]]:
    """Return when each job of a run began and ended, in monotonic nanoseconds, and its name; earliest first."""
    lines = [(p.parent.name, line) for p in run.glob("jobs/*/span.txt") for line in p.read_text().splitlines()]
    return sorted((*map(int, line.split()), name) for name, line in lines)


def is_running(pid: int) -> bool:
    """Return whether a process lives; one that has ended and was not waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder with its bytes, to compare later; not what pytester itself leaves there."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    ours = {name for name in files if name not in ("stdout", "stderr") and "__pycache__" not in name}
    return {name: files[name] for name in sorted(ours)}


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return what ``condition`` gives once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("timed out")


@cache
def import_what_runs_import() -> None:
    """Import now what pytester would have forgotten after each test and run that was the first to import it.

    To import it again is slow for most, and impossible for NumPy.
    """
    package = Path(pytest_trtgate.__file__).parent
    for file in package.rglob("[a-z]*.py"):
        module = file.relative_to(package).with_suffix("").parts
        if module[0] not in ("workers", "_demo"):
            importlib.import_module(".".join(("pytest_trtgate", *module)))
    names = (
        "email.parser",
        "numpy",
        "scipy.special",
        "yaml",
        "jinja2",
        "platformdirs",
        "pynvml",
        "pytest_trtgate.jobs.launcher",
    )
    for name in (*names, "inline_launcher", "pretended"):
        with suppress(ImportError):  # not all of them need be installed
            importlib.import_module(name)


def python_path() -> str:
    """Return a PYTHONPATH with which any process finds the fake jobs."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(dict.fromkeys([str(SUPPORT), *filter(None, before)]))
