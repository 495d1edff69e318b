"""Two networks that INT8 harms, from the failed run through the repair to the run that passes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harmed_by_int8 import SIDE_PX, write_pictures

pytestmark = pytest.mark.real

SETTINGS = f"""
models = ["{{name}}.pt"]
data = "data/data.yaml"
imgsz = {SIDE_PX}
precisions = ["int8"]
cache_dir = "cache"
[latency]
samples = 100
max_seconds = 0.3
# One launch of so small a network tells no engine from another: the fewest layers decide.
p50.regression = 0.5
"""


# The search has a limit of time: it waits for no other test's jobs.
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


class Project:
    """A project that gates the INT8 of the network on darts, or of that on drawings."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        shutil.copyfile(Path(__file__).parent / f"{name}.pt", folder / f"{name}.pt")
        write_pictures(name, folder / "data", train=80, test=80)
        (folder / "trtgate.toml").write_text(SETTINGS.format(name=name))
        (folder / "test_gate.py").write_text("def test_accuracy(trtgate): trtgate.check_accuracy()\n")
        (folder / "conftest.py").write_text(CONFTEST)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the project's folder."""
        return subprocess.run([sys.executable, *command], cwd=self.folder, capture_output=True, text=True)

    def trtgate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ``trtgate``."""
        return self.run("-c", COMMAND, *arguments)

    def gate(self) -> dict[str, Any]:
        """Run the gate; return its record."""
        done = self.run("-m", "pytest", "-q", "-p", "no:cacheprovider")
        path = self.folder / "reports" / "run.json"
        assert path.is_file(), done.stdout + done.stderr
        record: dict[str, Any] = json.loads(path.read_text())
        return record


@pytest.mark.parametrize("name", ["darts", "drawings"])
def test_int8_that_lost_accuracy_is_repaired_by_keeping_a_few_layers(tmp_path: Path, name: str) -> None:
    project = Project(tmp_path, name)
    (failed,) = project.gate()["verdicts"]
    assert failed["outcome"] == "FAIL"
    done = project.trtgate("repair", "reports/run.json", "--minutes", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    settings = done.stdout.partition("Set:\n")[2]
    with (tmp_path / "trtgate.toml").open("a") as file:
        file.write(settings)
    record = project.gate()
    (passed,), (engine,) = record["verdicts"], record["engines"].values()
    assert not passed["failed"]
    assert {check["outcome"] for check in passed["checks"] if check["against"] == "pt"} == {"PASS"}
    assert engine["from_cache"]
    assert len(engine["quantization"]["kept"]) < 0.1 * engine["quantization"]["layers"]


def test_an_explanation_names_the_block_that_is_to_blame(tmp_path: Path) -> None:
    project = Project(tmp_path, "drawings")
    project.gate()
    done = project.trtgate("explain", "reports/run.json", "--minutes", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    (found,) = json.loads((tmp_path / "reports" / "run.json").read_text())["explanations"].values()
    assert "INT8 harms head.boxes most" in found["sentence"]
    left = {block["name"]: block["without"] for block in found["blocks"] if block["images"] == 64}
    assert min(left, key=lambda name: left[name]) == "head.boxes"
    assert 1 < len(left) < len(found["blocks"]) / 2
    assert left["head.boxes"] < 0.5 * found["blocks_drop"]
    page = (tmp_path / "reports" / "trtgate.html").read_text()
    assert page.count("INT8 harms head.boxes most") >= 2  # on the card, and in the cell


def test_layers_of_a_checkpoint_are_named(tmp_path: Path) -> None:
    project = Project(tmp_path, "darts")
    done = project.trtgate("layers", "darts.pt", "--nodes")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert len(lines) == 99
    assert "keypoint branch, last convolution, scale 8" in lines["head.keypoints.8.last"]
    assert lines["head.keypoints.8.last"].endswith("/model.23/cv4.0/cv4.0.2/Conv")
    assert lines["stem.0"].endswith("/model.0/conv/Conv")
