"""The whole gate with real engines, as the user of ``trtgate demo`` meets it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.real

WORSE = """
import sys, torch
checkpoint = torch.load("shapes.pt", map_location="cpu", weights_only=False)
torch.manual_seed(0)
for weights in checkpoint["model"].parameters():
    weights.data += 0.06 * weights.data.float().std(unbiased=False).half() * torch.randn(weights.shape).half()
torch.save(checkpoint, "shapes.pt")
"""
SLOWER = """
import sys, numpy, onnx
model = onnx.load(sys.argv[1])
graph, name = model.graph, model.graph.input[0].name
kernel = numpy.eye(3, dtype=numpy.float32).reshape(3, 3, 1, 1)
graph.initializer.append(onnx.numpy_helper.from_array(kernel, "nothing"))
for node in graph.node:
    node.input[:] = ["delayed" if i == name else i for i in node.input]
# Convolutions that change nothing but the time: clipped in between, so that none is fused into its neighbour.
last, delay = name, []
for i in range(160):
    out = "delayed" if i == 159 else f"delay{i}"
    delay.append(onnx.helper.make_node("Conv", [last, "nothing"], [f"conv{i}"]))
    delay.append(onnx.helper.make_node("Relu", [f"conv{i}"], [out]))
    last = out
for node in reversed(delay):
    graph.node.insert(0, node)
onnx.save(model, sys.argv[1])
"""


class Demo:
    """A project that ``trtgate demo`` wrote, gated in one precision with few samples."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def python(self, code: str, *arguments: str) -> None:
        """Run some code in the project's folder."""
        subprocess.run([sys.executable, "-c", code, *arguments], cwd=self.folder, check=True)

    def gate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the project's tests."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--trt-precision=fp32", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def record(self) -> dict[str, Any]:
        """Return the last run's record."""
        record: dict[str, Any] = json.loads((self.folder / "reports" / "run.json").read_text(encoding="utf-8"))
        return record

    def outcomes(self) -> dict[str, str]:
        """Return the last run's verdicts."""
        return {verdict["subject"]: verdict["outcome"] for verdict in self.record()["verdicts"]}


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo project with accepted baselines and a filled engine cache."""
    folder = tmp_path_factory.mktemp("demo") / "my project"
    subprocess.run([sys.executable, "-m", "pytest_trtgate.cli", "demo", str(folder)], check=True)
    assert (folder / "clip.mp4").stat().st_size > 1e6
    for image in sorted((folder / "data" / "images" / "test").iterdir())[60:]:
        image.unlink()
    settings = folder / "trtgate.toml"
    few = (
        settings.read_text()
        .replace("samples = 100", "samples = 60")
        .replace("max_seconds = 0.5", "max_seconds = 0.5\nlaunches = 2")
    )
    # Other tests keep the machine busy, on which no slow-down since a stored session is a failure.
    settings.write_text(f'cache_dir = "cache"\n{few}\n[findings]\nmachine-busy = "off"\n')
    done = Demo(folder).gate("--trt-baselines=add")
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def demo(accepted: Path, tmp_path: Path) -> Iterator[Demo]:
    """A copy of the accepted project, at its path, put back afterwards."""
    aside = tmp_path / "aside"
    shutil.copytree(accepted, aside)
    yield Demo(accepted)
    shutil.rmtree(accepted)
    shutil.move(aside, accepted)


def test_a_second_run_takes_its_engine_from_the_cache_and_judges_against_the_baseline(demo: Demo) -> None:
    done = demo.gate("-v")
    assert "engine from the cache" in done.stdout
    against = {check["against"] for verdict in demo.record()["verdicts"] for check in verdict["checks"]}
    assert {"pt", "baseline"} <= against
    assert demo.outcomes()["accuracy"] == "PASS"


def test_worse_weights_of_the_same_name_fail_until_they_are_accepted(demo: Demo) -> None:
    demo.python(WORSE)
    done = demo.gate("-k", "accuracy")
    assert done.returncode == 1
    assert "since the baseline" in done.stdout
    (verdict,) = demo.record()["verdicts"]
    parity = [check["outcome"] for check in verdict["checks"] if check["against"] == "pt"]
    assert set(parity) == {"PASS"}

    assert demo.gate("--trt-baselines=update").returncode == 0
    assert demo.gate("-k", "accuracy").returncode == 0


def test_a_slowed_engine_fails_until_it_is_accepted(demo: Demo) -> None:
    (manifest,) = (demo.folder / "cache" / "engines").glob("*/manifest.json")
    demo.python(SLOWER, str(manifest.parent / "engine.onnx"))
    _adopt(manifest)
    # One stored session proves no slow-down that the .pt does not confirm.
    stored = next((demo.folder / "baselines").rglob("fp32-320-b1.json"))
    known = json.loads(stored.read_text())
    stored.write_text(json.dumps({**known, "sessions": known["sessions"] * 5}))
    for _ in range(4):
        done = demo.gate("-k", "latency")
        assert "slower" in done.stdout
        if demo.outcomes() != {"latency": "INCONCLUSIVE"}:  # launches differ too much on a busy machine
            break
    assert done.returncode == 1, done.stdout
    assert demo.outcomes() == {"latency": "FAIL"}

    assert demo.gate("--trt-baselines=update").returncode == 0
    baseline = next((demo.folder / "baselines").rglob("fp32-320-b1.json"))
    assert json.loads(baseline.read_text())["engine_sha256"] == json.loads(manifest.read_text())["sha256"]

    assert demo.gate("-k", "latency").returncode == 0
    assert demo.outcomes() == {"latency": "PASS"}


def _adopt(manifest: Path) -> None:
    """Make a manifest agree with the files beside it."""
    from pytest_trtgate.cache.engines import digest_of

    record = json.loads(manifest.read_text())
    files = [digest_of(manifest.parent / file["name"]) for file in record["files"]]
    record["files"] = [file.model_dump() for file in files]
    record["sha256"] = next(file.sha256 for file in files if file.name == record["artifact"])
    manifest.write_text(json.dumps(record))
