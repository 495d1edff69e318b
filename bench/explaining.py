"""How long an explanation takes, and how much memory: the demo's detector at 320 pixels, in INT8, on the CPU.

    python bench/explaining.py [FOLDER]

The gate runs first, so that engine and accuracies are in the cache, as they are when anybody asks why.
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


def run(folder: Path, *command: str) -> float:
    """Run a module of Python in a folder; return how many seconds it took."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", *command], cwd=folder, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main(folder: Path) -> int:
    project = folder / "project"
    run(folder, "pytest_trtgate.cli", "demo", str(project))
    place = ["--trt-device=cpu", "--trt-precision=int8", f"--trt-cache-dir={folder / 'cache'}"]
    print(f"{os.cpu_count()} cores; gate: {run(project, 'pytest', '-k', 'accuracy', *place):.0f} s")
    seconds = run(project, "pytest_trtgate.cli", "explain", "reports/run.json", "--only", KEY)
    found = load_run(project / "reports" / "run.json").explanations[KEY]
    print("\n".join(lines(found)))
    print(f"explained in {seconds:.0f} s of {LIMIT_S:.0f}; {found.peak_bytes / 1e6:.0f} MB at most to compare layers")
    return 0 if seconds < LIMIT_S else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1]).resolve()))
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(main(Path(scratch)))
