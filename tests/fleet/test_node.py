"""How ``trtgate worker`` ends what it has started, with a command line in place of Ray's that starts a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from project import is_running, python_path, wait_for

RAY = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
Path({pids!r}).write_text(f"{{child.pid}}")
time.sleep({seconds})
sys.exit("timed out")
"""
WORKER = """
import sys
from pathlib import Path
from pretended import PretendedMachine
from pytest_trtgate.cli import main
arguments = ["worker", "--address", "10.0.0.1:6379", "--machine", "a"]
sys.exit(main(arguments, PretendedMachine(locks=Path(sys.argv[1]))))
"""


def start(folder: Path, seconds: float) -> tuple[subprocess.Popen[str], int]:
    """Start a worker whose Ray runs for some seconds; return it, and the process that its Ray has started."""
    scripts = folder / "modules" / "ray" / "scripts"
    scripts.mkdir(parents=True)
    for place in (scripts.parent, scripts):
        (place / "__init__.py").touch()
    pids = folder / "pid.txt"
    (scripts / "scripts.py").write_text(RAY.format(pids=str(pids), seconds=seconds))
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)],
        env=os.environ | {"PYTHONPATH": f"{scripts.parents[1]}{os.pathsep}{python_path()}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    child = int(wait_for(lambda: pids.exists() and pids.read_text()))
    assert is_running(child)
    return process, child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_a_worker_ends_its_ray(tmp_path: Path, number: int) -> None:
    process, child = start(tmp_path, 300)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == (-number if number == signal.SIGKILL else 0)
    wait_for(lambda: not is_running(child))


def test_a_ray_that_does_not_come_up_leaves_nothing(tmp_path: Path) -> None:
    process, child = start(tmp_path, 0.2)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 1
    assert output.endswith("Ray ended with exit code 1; what it printed says why\n")
    assert not is_running(child)
