"""What all tests share: the session's set-up, and the fixtures that give a consumer project."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

import compiled  # noqa: F401 - before whatever it is about
from forks import close_forks
from project import OUTSIDE, Project, import_what_runs_import, python_path

pytest_plugins = ["pytester"]
# A busy machine is no reason to fail.
hypothesis.settings.register_profile("gate", deadline=None, max_examples=25)
hypothesis.settings.load_profile("gate")
# A shell that started us in the background has us ignore interrupts, and so would the runs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Memory rather than a disk for the thousands of small files of the runs, where there is enough; no test is about disks.
MEMORY = Path("/dev/shm")
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
# Fixtures of a module start runs too: none may take the service that these tests run in for its own.
for name in ("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
    os.environ.pop(name, None)
# Hundreds of runs in one process leave much to traverse and little to collect.
gc.set_threshold(100_000, 50, 50)
gc.disable()  # until all tests are collected


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Have pytest-xdist keep the tests of a module together, so that what they share is made once."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


def pytest_collection_finish() -> None:
    """Leave what is there now out of every search for garbage, of which there is little before."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """End what tests fork their processes from."""
    close_forks()


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """No test sees the CI variables of the machine it runs on."""
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    if "pytester" in request.fixturenames:
        import_what_runs_import()
        monkeypatch.setenv("PYTHONPATH", python_path())


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    """A consumer project with a model, a dataset and two gate tests, whose jobs are fake."""
    return Project(pytester.path, pytester)


@pytest.fixture(scope="session")
def accepted_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a project after one run that wrote the baseline of its FP16 engine."""
    project = Project(tmp_path_factory.mktemp("accepted"))
    result = project.run_apart("--trt-precision=fp16", "--trt-baselines=add")
    assert result.ret == 0, result.output
    return project.path


@pytest.fixture
def accepted(project: Project, accepted_files: Path) -> Project:
    """A project whose FP16 engine is in the cache and has a baseline of one session."""
    return project.take_over(accepted_files)
