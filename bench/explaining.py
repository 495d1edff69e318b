"""How long an explanation takes, and how much memory: the demo's detector at 320 pixels, in INT8, on the CPU.

    python bench/explaining.py [FOLDER]
    PYTHONPATH=../before python bench/explaining.py    # the same by the version in that folder

The gate runs first, so that engine and accuracies are in the cache, as they are when anybody asks why. Locks are in the
folder, so that no time is spent on waiting for another project.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_trtgate.explaining import lines
from pytest_trtgate.records import load_run

LIMIT_S = 180.0
KEY = "shapes-int8-320-b1-onnxruntime-cpu"
CONFTEST = """
from pathlib import Path
from pytest_trtgate import Machine

def pytest_trtgate_machine(config):
    return Machine(locks=Path("locks").resolve())
"""
COMMAND = """
import sys
from conftest import pytest_trtgate_machine
from pytest_trtgate.cli import main
sys.exit(main(sys.argv[1:], pytest_trtgate_machine(None)))
"""


def run(folder: Path, *command: str) -> float:
    """Run Python in a folder; return how many seconds it took."""
    started = time.monotonic()
    subprocess.run([sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main(folder: Path) -> int:
    project = folder / "project"
    run(folder, "-m", "pytest_trtgate.cli", "demo", str(project))
    (project / "conftest.py").write_text(CONFTEST)
    place = ["--trt-device=cpu", "--trt-precision=int8", f"--trt-cache-dir={folder / 'cache'}"]
    print(f"{os.cpu_count()} cores; gate: {run(project, '-m', 'pytest', '-k', 'accuracy', *place):.0f} s")
    seconds = run(project, "-c", COMMAND, "explain", "reports/run.json", "--only", KEY)
    found = load_run(project / "reports" / "run.json").explanations[KEY]
    print("\n".join(lines(found)))
    print(f"explained in {seconds:.0f} s of {LIMIT_S:.0f}; {found.peak_bytes / 1e6:.0f} MB at most to compare layers")
    return 0 if seconds < LIMIT_S else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1]).resolve()))
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(main(Path(scratch)))
