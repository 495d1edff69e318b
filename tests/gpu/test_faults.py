"""What goes wrong on a real GPU costs the cell that it happens to, in a sentence; the others are judged.

Engines are built first, which takes minutes, or taken from the engine cache that ``TRTGATE_TEST_CACHE`` names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_trtgate.cache.engines import MANIFEST, digest_of
from pytest_trtgate.machine import Machine

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytestmark = [
    pytest.mark.real,
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("tensorrt") is None or not Machine().gpus(), reason="needs TensorRT and a GPU"),
]
SETTINGS = """
models = ["{models}/shapes.pt"]
data = "data/data.yaml"
imgsz = {imgsz}
batch = {batch}
backend = "tensorrt"
cache_dir = "{cache}"
pictures = 0
[latency]
samples = 20
max_seconds = 0.1
warmup_max_seconds = 0.5
[export]
optimization_level = 0
[findings]
imgsz-mismatch = "warn"
"""
TESTS = """
def test_accuracy(trtgate):
    trtgate.check_accuracy()

def test_latency(trtgate):
    trtgate.check_latency()
"""


@dataclass(frozen=True)
class Gated:
    """A run of the gate: what it printed, and its record."""

    output: str
    record: dict[str, Any]

    def verdict(self, precision: str, subject: str) -> dict[str, Any]:
        """Return the verdict on one precision's accuracy or latency."""
        (found,) = (
            v for v in self.record["verdicts"] if v["subject"] == subject and v["cell"]["precision"] == precision
        )
        return dict(found)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    subprocess.run([sys.executable, ROOT / "examples" / "shapes" / "generate.py", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def gate(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Gated]:
    """Return what runs the gate in a project of its own; ``faults`` says what happens to which precision."""

    def run(
        cache: Path, *arguments: str, imgsz: int = 320, batch: int = 1, faults: dict[str, str] | None = None
    ) -> Gated:
        folder = tmp_path_factory.mktemp("project")
        (folder / "data").symlink_to(data)
        settings = SETTINGS.format(models=ROOT / "examples" / "shapes", cache=cache, imgsz=imgsz, batch=batch)
        (folder / "trtgate.toml").write_text(settings)
        (folder / "test_gate.py").write_text(TESTS)
        paths = os.pathsep.join(filter(None, (str(ROOT), str(HERE), os.environ.get("PYTHONPATH"))))
        own = {"TRTGATE_TEST_FAULTS": json.dumps(faults or {}), "TRTGATE_TEST_LOCKS": str(folder / "locks")}
        plugins = ("-p", "pytest_trtgate.plugin", "-p", "faulty_gpu", "-p", "no:cacheprovider")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, "--trt-fresh", "-v", *arguments],
            cwd=folder,
            env={**os.environ, **own, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        print(output)
        record = folder / "reports" / "run.json"
        assert record.is_file(), output
        return Gated(output, json.loads(record.read_text()))

    return run


@pytest.fixture(scope="session")
def built(gate: Callable[..., Gated], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an engine cache that holds the demo's engines."""
    given = os.environ.get("TRTGATE_TEST_CACHE")
    cache = tmp_path_factory.mktemp("cache")
    if given:
        shutil.copytree(given, cache, dirs_exist_ok=True)
    gate(cache, "-k", "accuracy")
    return cache


@pytest.fixture
def cache(built: Path, tmp_path: Path) -> Path:
    """Return a copy of that cache, to be spoilt."""
    return shutil.copytree(built, tmp_path / "cache")


def entry_of(cache: Path, precision: str) -> Path:
    """Return the newest entry of a precision."""
    found = [
        p for p in cache.glob("engines/*") if json.loads((p / MANIFEST).read_text())["cell"]["precision"] == precision
    ]
    return max(found, key=lambda p: p.stat().st_mtime)


def is_untouched(gated: Gated, precision: str) -> bool:
    """Return whether a precision was measured and judged as if nothing had happened."""
    accuracy, latency = (gated.verdict(precision, subject)["outcome"] for subject in ("accuracy", "latency"))
    return {accuracy, latency} <= {"PASS", "NO_BASELINE"}


def test_a_killed_job_and_a_lost_gpu_context_cost_one_cell_each(gate: Callable[..., Gated], built: Path) -> None:
    gated = gate(built, faults={"fp16": "illegal-address", "int8": "kill"})
    for subject in ("accuracy", "latency"):
        lost, killed = (gated.verdict(precision, subject) for precision in ("fp16", "int8"))
        assert lost["outcome"] == killed["outcome"] == "ERROR"
        assert "the GPU reported an error after which its process cannot go on" in lost["summary"]
        assert "SIGKILL" in killed["summary"]
        assert "\n" not in lost["summary"] + killed["summary"]
    assert is_untouched(gated, "fp32")


def test_an_engine_that_is_cut_off_and_one_of_another_version_cost_one_cell_each(
    gate: Callable[..., Gated], cache: Path
) -> None:
    cut = entry_of(cache, "int8")
    engine = cut / "engine.engine"
    engine.write_bytes(engine.read_bytes()[: engine.stat().st_size // 2])
    manifest = json.loads((cut / MANIFEST).read_text())
    # As if it had been published so: that the cache finds damage is tested without a GPU.
    digest = digest_of(engine)
    manifest["files"] = [digest.model_dump() if f["name"] == engine.name else f for f in manifest["files"]]
    manifest |= {"sha256": digest.sha256, "size_bytes": digest.size_bytes}
    (cut / MANIFEST).write_text(json.dumps(manifest))
    foreign = entry_of(cache, "fp32") / MANIFEST
    manifest = json.loads(foreign.read_text())
    manifest["key_parts"]["versions"]["tensorrt"] = "8.5.3"
    foreign.write_text(json.dumps(manifest))
    gated = gate(cache)
    for subject in ("accuracy", "latency"):
        short, other = (gated.verdict(precision, subject) for precision in ("int8", "fp32"))
        assert short["outcome"] == other["outcome"] == "ERROR"
        assert "TensorRT cannot load engine.engine" in short["summary"]
        assert "built with TensorRT 8.5.3" in other["summary"]
    assert is_untouched(gated, "fp16")


def test_a_batch_that_the_memory_does_not_hold_is_a_sentence(gate: Callable[..., Gated], built: Path) -> None:
    gated = gate(
        built, "-k", "accuracy", "--trt-precision=fp32", imgsz=640, batch=256, faults={"fp32": "little-memory"}
    )
    failed = gated.verdict("fp32", "accuracy")
    assert failed["outcome"] == "ERROR"
    assert "out of memory" in failed["summary"]
