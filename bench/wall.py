"""How long the gate takes, beside what a user would do without it.

python bench/wall.py                         # everything, about half an hour on two cores
python bench/wall.py --only cold --only page # parts of it
python bench/wall.py --quick                 # everything with small numbers, to see whether it works

Each part writes its figures to ``results/wall.json`` and leaves those of the others. How costs grow is measured by
``growth.py``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import wall_growth
from machine import RESULTS, machine
from startup import collect_s
from wall_arms import arms
from watched import Watched, watch

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"]
"""Without what only the tests of this project use."""
WORSE = """
import torch
checkpoint = torch.load("shapes.pt", map_location="cpu", weights_only=False)
for weights in checkpoint["model"].parameters():
    weights.data *= 1.001
torch.save(checkpoint, "shapes.pt")
"""
PEER = """
import sys
from ultralytics import YOLO
from ultralytics.utils.benchmarks import benchmark
for quantize in (None, 16, 8):
    model = YOLO("shapes.pt")
    table = benchmark(model, data=sys.argv[1], imgsz=320, device="cpu", format="onnx", quantize=quantize, split="train")
    print("BENCHMARK", table.rows())
"""


@dataclass
class Bench:
    """What the parts work with.

    Attributes:
        folder: A temporary folder.
        quick: Whether to take small numbers.
    """

    folder: Path
    quick: bool

    def demo(self, name: str) -> Path:
        """Return a new demo project with an engine cache of its own."""
        folder = self.folder / name
        watch([sys.executable, "-m", "pytest_trtgate.cli", "demo", str(folder)], self.folder)
        settings = folder / "trtgate.toml"
        text = 'cache_dir = "cache"\nmissing_baseline = "record"\n' + settings.read_text()
        if self.quick:
            for split, keep in (("train", 30), ("test", 20)):
                for image in sorted((folder / "data" / "images" / split).iterdir())[keep:]:
                    image.unlink()
            text = text.replace("samples = 100", "samples = 20").replace("max_seconds = 0.5", "max_seconds = 0.1")
        settings.write_text(text)
        return folder

    @cached_property
    def project(self) -> Path:
        """A demo project, gated once with an empty cache: what that took is in :attr:`cold`."""
        folder = self.demo("demo")
        self.cold = self.gate(folder)
        return folder

    @cached_property
    def built(self) -> Path:
        """A demo project of which only the engines were built."""
        folder = self.demo("built")
        self.gate(folder, "-k", "size")
        return folder

    def gate(self, folder: Path, *arguments: str) -> Watched:
        """Gate a project; a run that fails by a verdict has worked too."""
        return watch([*PYTEST, *arguments], folder, accept=(0, 1))

    @staticmethod
    def jobs(folder: Path) -> dict[str, Any]:
        """Return the seconds of the last run's jobs by kind, and of each kind those of its phases."""
        found: dict[str, Any] = {}
        for job in json.loads((folder / "reports" / "run.json").read_text())["jobs"]:
            kind = found.setdefault(job["kind"], {"jobs": 0, "seconds": 0.0, "phases": {}})
            kind["jobs"] += 1
            kind["seconds"] = round(kind["seconds"] + job["seconds"], 2)
            for phase, seconds in job["phases"].items():
                kind["phases"][phase] = round(kind["phases"].get(phase, 0.0) + seconds, 2)
        return found


def cold(bench: Bench) -> dict[str, Any]:
    """The demo gate with an empty cache, and Ultralytics' benchmark of the same precisions on the same images."""
    folder = bench.project
    jobs = bench.jobs(folder)
    peer = bench.folder / "peer"
    peer.mkdir(exist_ok=True)
    shutil.copy(folder / "shapes.pt", peer)
    # Its calibration reads train as the gate's does, and its evaluation, which reads val, the gate's test.
    names = [
        line
        for line in (folder / "data" / "data.yaml").read_text().splitlines()
        if not line.startswith(("path", "train", "val", "test"))
    ]
    splits = [f"path: {folder / 'data'}", "train: images/train", "val: images/test"]
    (peer / "peer.yaml").write_text("\n".join([*splits, *names]) + "\n")
    offline = {"YOLO_OFFLINE": "True", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(peer)}
    found = watch([sys.executable, "-c", PEER, "peer.yaml"], peer, **offline)
    rows = [line.removeprefix("BENCHMARK ") for line in found.output.splitlines() if line.startswith("BENCHMARK ")]
    gate, theirs = bench.cold.figures(), found.figures()
    ratio = round(bench.cold.wall_s / found.wall_s, 2)
    return {
        "gate": gate,
        "jobs": jobs,
        "yolo_benchmark": theirs,
        "yolo_benchmark_rows": rows,
        "ratio": ratio,
        "target": 1.0,
    }


def cached(bench: Bench) -> dict[str, Any]:
    """The demo gate again with nothing changed: the middle one of three runs, as launches wait for a steady machine."""
    folder = bench.project
    runs = []
    for _ in range(3):
        found = bench.gate(folder)
        runs.append({**found.figures(), "jobs": bench.jobs(folder)})
    runs.sort(key=lambda run: run["wall_s"])
    return {**runs[1], "all_wall_s": [run["wall_s"] for run in runs], "target_s": 25}


def changed(bench: Bench) -> dict[str, Any]:
    """The demo gate again after a change of the checkpoint, beside the cold run."""
    folder = bench.project
    copy = bench.folder / "changed"
    shutil.copytree(folder, copy)
    watch([sys.executable, "-c", WORSE], copy)
    found = bench.gate(copy)
    jobs = bench.jobs(copy)
    builds_s = jobs["build"]["seconds"]
    share = (found.wall_s - builds_s) / bench.cold.wall_s
    return {
        **found.figures(),
        "builds_s": builds_s,
        "cold_s": round(bench.cold.wall_s, 2),
        "without_builds_to_cold": round(share, 2),
        "target": 0.6,
        "jobs": jobs,
    }


def idle(bench: Bench) -> dict[str, Any]:
    """``pytest --collect-only`` of a project that does not use the gate, with the plugin and without."""
    folder = bench.folder / "idle"
    folder.mkdir()
    (folder / "test_one.py").write_text("def test_one():\n    pass\n")
    off = ("-p", "no:trtgate")
    collect_s(folder), collect_s(folder, *off)
    differences = []
    for number in range(3 if bench.quick else 25):
        took = {on: collect_s(folder, *(() if on else off)) for on in ((True, False) if number % 2 else (False, True))}
        differences.append(1000 * (took[True] - took[False]))
    return {
        "rounds": len(differences),
        "median_difference_ms": round(statistics.median(differences), 1),
        "target_ms": 20,
    }


def fixture(bench: Bench) -> dict[str, Any]:
    """A cached engine, among 100 in the cache, to the fixture that names it."""
    found = wall_growth.fixture_s(bench.project, entries=100, rounds=3 if bench.quick else 9)
    return {**found, "entries": 100, "target_s": 0.3}


def preflight(bench: Bench) -> dict[str, Any]:
    """The preflight of images that have not changed."""
    total = 100 if bench.quick else 5000
    return {**wall_growth.preflight_s(bench.folder / "preflight", total), "target_s": 1}


def page(bench: Bench) -> dict[str, Any]:
    """A run record with 100 cells to HTML, the start of Python included."""
    record = (bench.project / "reports" / wall_growth.RECORD).read_text()
    return {**wall_growth.page(record, bench.folder, cells=100), "target_s": 5}


def four_arms(bench: Bench) -> dict[str, Any]:
    """Four arms in one pass over large photographs, and four ``YOLO.val``."""
    found = arms(bench.folder / "arms", bench.built, photos=4 if bench.quick else 48)
    return {**found, "target": 0.5}


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "cold": cold,
    "cached": cached,
    "changed": changed,
    "arms": four_arms,
    "idle": idle,
    "fixture": fixture,
    "preflight": preflight,
    "page": page,
}


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="Measure one part; repeatable")
    parser.add_argument("--quick", action="store_true", help="Take small numbers, and keep none of them")
    arguments = parser.parse_args()
    kept = RESULTS / "wall.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() and not arguments.quick else {}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), arguments.quick)
        for part in arguments.only or PARTS:
            figures[part] = {"machine": machine(), **PARTS[part](bench)}
            print(json.dumps({part: figures[part]}, indent=1), flush=True)
            if not arguments.quick:
                kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
