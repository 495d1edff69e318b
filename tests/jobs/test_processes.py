"""What the processes of jobs are given of the session's environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_trtgate.jobs import processes
from pytest_trtgate.jobs.processes import child_environment
from pytest_trtgate.locks import Lock
from pytest_trtgate.plugin.options import python_path


@pytest.mark.parametrize(
    ("name", "value"), [("PYTHONWARNINGS", "error"), ("PYTHONDEVMODE", "1"), ("PYTHONOPTIMIZE", "2")]
)
def test_what_a_project_asks_of_its_own_code_is_not_asked_of_jobs(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_CACHE_PATH", "mine")
    assert name not in child_environment()
    assert child_environment()["CUDA_CACHE_PATH"] == "mine"


def test_a_job_can_print_every_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code = r"print('Gr\u00f6\udcff')"
    done = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, check=True)
    assert done.stdout == "Gr\u00f6\\udcff\n".encode()


@pytest.mark.parametrize("name", ["TRTGATE_CACHE_KEY", "TRTGATE_SIGN_PASSWORD"])
def test_jobs_which_run_weights_get_no_secret(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "secret")
    assert name not in child_environment()


def test_jobs_find_modules_where_the_session_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["src", "", "/opt/lib"]))
    found = child_environment(["/project/own"])["PYTHONPATH"].split(os.pathsep)
    assert found[-3:] == ["/project/own", str(tmp_path / "src"), "/opt/lib"]
    assert "" not in found


def test_the_folders_of_pytests_setting_are_among_them(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\npythonpath = src lib\n")
    assert python_path(pytester.parseconfig()) == (str(pytester.path / "src"), str(pytester.path / "lib"))


def test_a_limit_holds_where_a_test_has_stopped_the_clocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("monotonic", "perf_counter", "time"):
        monkeypatch.setattr(time, name, lambda: 0.0)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"])
    with pytest.raises(subprocess.TimeoutExpired):
        processes.wait(process, 0.2)
    process.kill()
    process.wait()
    held, mine = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert held.take()
    assert not mine.acquire(limit_s=0.2)
