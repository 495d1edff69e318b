"""``trtgate demo``: a consumer project that works as it is, to look at and to copy from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import TrtGateError

_CONFIGURATION = """\
# What the gate compares, and what is still fine. All keys: docs/reference/settings.md of pytest-trtgate.
models = ["shapes.pt"]
data = "data/data.yaml"
imgsz = 320

[accuracy]                      # largest allowed drop from the .pt
"mAP50-95" = 0.005
[accuracy.int8]
"mAP50" = 0.03
"mAP50-95" = 0.03

[latency]
samples = 100                   # timed inferences per launch, arm and context
max_seconds = 0.5
p50 = { regression = 0.10 }     # the smallest slow-down worth failing for
p95 = { regression = 0.30 }
[latency.int8]
speedup = { over = "fp16", at_least = 0 }  # so small a network gains nothing from INT8 on a GPU
"""


_TESTS = '''\
def test_accuracy(trtgate):
    """Runs once per model and precision."""
    trtgate.check_accuracy()


def test_latency(trtgate):
    trtgate.check_latency()


def test_size(trt_engine):
    assert trt_engine.size_bytes < 10e6
'''


_IGNORED = """\
# What `trtgate demo` makes anew is not kept in git: a clone of this folder needs it again, or data of your own.
/clip.mp4
/data/
/.trtgate-cache/
/reports/
__pycache__/
.pytest_cache/
.benchmarks/
"""


def source_folder() -> Path:
    """Return the folder of the demo's generator and weights: in the installed package, else in the checkout."""
    here = Path(__file__).parents[1]
    for folder in (here / "_demo", here.parent / "examples" / "shapes"):
        if (folder / "shapes.pt").is_file():
            return folder
    raise TrtGateError("the demo's model is missing from this installation of pytest-trtgate")


def write_demo(folder: Path) -> None:
    """Write the demo project, its dataset and a clip of 20 seconds included.

    Args:
        folder: An empty folder, or one that does not exist.

    Raises:
        TrtGateError: The folder holds something, or cannot be written.
    """
    source = source_folder()
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise TrtGateError(f"{folder}: exists and is not an empty folder; name another")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trtgate.toml").write_text(_CONFIGURATION, encoding="utf-8")
        (folder / "test_gate.py").write_text(_TESTS, encoding="utf-8")
        (folder / ".gitignore").write_text(_IGNORED, encoding="utf-8")
        for name in ("shapes.pt", "shapes.pt.license"):
            shutil.copyfile(source / name, folder / name)
    except OSError as error:
        raise TrtGateError(f"{folder}: cannot be written ({error.strerror})") from error
    for script, target in (("generate.py", folder / "data"), ("clip.py", folder / "clip.mp4")):
        # Without bytecode, which would go into the installed package.
        command = [sys.executable, "-B", str(source / script), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)  # or a second try would be refused
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise TrtGateError(f"{target}: it could not be generated ({reason})")
