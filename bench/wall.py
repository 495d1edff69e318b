"""How long the gate takes, beside what a user would do without it.

python bench/wall.py                         # everything, about half an hour on two cores
python bench/wall.py --only cold --only page # parts of it
python bench/wall.py --quick                 # everything with small numbers, to see whether it works
python bench/wall.py --only cached --against OTHER/bin/python  # by turns with another version of the gate
python bench/wall.py --only cached --device 0                  # on a GPU, by TensorRT

Each part writes its figures to ``results/wall.json``, against another version to ``results/wall_against.json``, and
leaves those of the others. How costs grow is measured by ``growth.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import wall_growth
from cells import many
from machine import RESULTS, machine
from startup import collect_s
from wall_arms import arms
from watched import Watched, watch

PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"]
"""Without what only the tests of this project use."""
SETTINGS = """
cache_dir = "cache"
missing_baseline = "record"
models = ["shapes.pt"]
data = "data/data.yaml"
imgsz = 320

[accuracy.int8]
"mAP50" = 0.04
"mAP50-95" = 0.04
"""
"""Of a project that leaves the rest as it is by default, but that INT8 may lose what this small network does."""
QUICK = """
[latency]
samples = 20
max_seconds = 0.1
"""
DEFAULT_IMAGES = 150
REBUILT = """
[quantization.int8]
per_channel = true
"""
END_TO_END = """
[latency]
context = "end-to-end"
"""
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
BY_HAND = """
import shutil, subprocess, sys
from ultralytics import YOLO
engines = ["shapes.pt"]
for quantize in (None, 16, 8):
    exported = YOLO("shapes.pt").export(format="onnx", imgsz=320, data=sys.argv[1], quantize=quantize, device="cpu")
    engines.append(shutil.copy(exported, f"shapes-{quantize}.onnx"))
for engine in engines:
    YOLO(engine, task="detect").val(data=sys.argv[1], split="test", imgsz=320, rect=False, batch=1, plots=False)
for _ in range(3):
    subprocess.run([sys.executable, "-c", *sys.argv[2:4], *engines], check=True)
"""
LOOPS = """
import sys, time
import numpy, torch
from ultralytics.nn.autobackend import AutoBackend
from ultralytics import YOLO
image = numpy.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=numpy.uint8)
tensor = torch.rand(1, 3, 320, 320)
for engine in sys.argv[2:]:
    alone, whole = AutoBackend(engine, device=torch.device("cpu")), YOLO(engine, task="detect")
    for call in (lambda: alone(tensor), lambda: whole.predict(image, imgsz=320, verbose=False)):
        for samples, seconds in ((20, 1.0), (int(sys.argv[1]), 5.0)):
            began, done = time.perf_counter(), 0
            while done < samples and time.perf_counter() - began < seconds:
                call()
                done += 1
"""
"""As many samples as the gate takes by default, of each arm and context."""


@dataclass
class Bench:
    """What the parts work with.

    Attributes:
        folder: A temporary folder.
        quick: Whether to take small numbers.
        python: The interpreter that has the gate.
        device: A GPU's number; empty for the CPU.
        engines: An engine cache that each project begins with; None for an empty one.
    """

    folder: Path
    quick: bool
    python: str = sys.executable
    device: str = ""
    engines: Path | None = None

    def __post_init__(self) -> None:
        self._number = count()

    def demo(self, name: str) -> Path:
        """Return a new demo project with an engine cache of its own."""
        folder = self.folder / f"{name}-{next(self._number)}"
        watch([self.python, "-m", "pytest_trtgate.cli", "demo", str(folder)], self.folder)
        settings = folder / "trtgate.toml"
        text = 'cache_dir = "cache"\nmissing_baseline = "record"\n' + settings.read_text()
        if self.quick:
            for split, keep in (("train", 30), ("test", 20)):
                for image in sorted((folder / "data" / "images" / split).iterdir())[keep:]:
                    image.unlink()
            text = text.replace("samples = 100", "samples = 20").replace("max_seconds = 0.5", "max_seconds = 0.1")
        settings.write_text(text)
        if self.engines:
            shutil.copytree(self.engines, folder / "cache")
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

    @cached_property
    def accepted(self) -> Path:
        """A demo project, all of which has a baseline of its own cache's engines."""
        folder = self.demo("accepted")
        self.gate(folder, "--trt-baselines=add")
        return folder

    def default(self, name: str) -> Path:
        """Return a new project with the default settings and fewer images."""
        folder = self.demo(name)
        (folder / "trtgate.toml").write_text(SETTINGS + (QUICK if self.quick else ""))
        if self.quick:
            for image in sorted((folder / "data" / "images" / "train").iterdir())[30:]:
                image.unlink()
        for image in sorted((folder / "data" / "images" / "test").iterdir())[20 if self.quick else DEFAULT_IMAGES :]:
            image.unlink()
        return folder

    @cached_property
    def accepted_default(self) -> Path:
        """A project with the default settings, all of which has a baseline."""
        folder = self.default("default")
        self.gate(folder, "--trt-baselines=add")
        return folder

    def gate(self, folder: Path, *arguments: str) -> Watched:
        """Gate a project; a run that fails by a verdict has worked too."""
        where = [f"--trt-device={self.device}", "--trt-backend=tensorrt"] if self.device else []
        return watch([self.python, *PYTEST, *where, *arguments], folder, accept=(0, 1))

    def changed(self, project: Path, more: str) -> Path:
        """Return a copy of a project, with something more in its settings."""
        folder = self.folder / f"{project.name}-{next(self._number)}"
        shutil.copytree(project, folder)
        settings = folder / "trtgate.toml"
        text = settings.read_text()
        table = more.strip().partition("\n")[0]  # which may be there already
        settings.write_text(text.replace(table, more.strip(), 1) if table and table in text else text + more)
        return folder

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
    peer = _beside(bench, folder)
    offline = _offline(peer)
    found = watch([bench.python, "-c", PEER, "peer.yaml"], peer, **offline)
    rows = [line.removeprefix("BENCHMARK ") for line in found.output.splitlines() if line.startswith("BENCHMARK ")]
    gate, theirs = bench.cold.figures(), found.figures()
    ratio = round(bench.cold.wall_s / found.wall_s, 2)
    return {
        "gate": gate,
        "jobs": jobs,
        "yolo_benchmark": theirs,
        "yolo_benchmark_rows": rows,
        "ratio": ratio,
        "target": 1.1,
    }


def _offline(home: Path) -> dict[str, str]:
    return {"YOLO_OFFLINE": "True", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(home)}


def _beside(bench: Bench, folder: Path) -> Path:
    """Make a folder for what a user would do with the checkpoint and the data of a project."""
    peer = bench.folder / f"peer-{folder.name}"
    peer.mkdir(exist_ok=True)
    shutil.copy(folder / "shapes.pt", peer)
    # Its calibration reads train as the gate's does, and its evaluation, which reads val, the gate's test.
    names = [
        line
        for line in (folder / "data" / "data.yaml").read_text().splitlines()
        if not line.startswith(("path", "train", "val", "test"))
    ]
    places = ("train: images/train", "val: images/test", "test: images/test")
    (peer / "peer.yaml").write_text("\n".join([f"path: {folder / 'data'}", *places, *names]) + "\n")
    return peer


def default_cold(bench: Bench) -> dict[str, Any]:
    """The gate with default settings and an empty cache, and the same evidence by hand."""
    folder = bench.default("default-cold")
    gate = bench.gate(folder)
    peer = _beside(bench, folder)
    hand = watch(
        [bench.python, "-c", BY_HAND, "peer.yaml", LOOPS, "20" if bench.quick else "500"], peer, **_offline(peer)
    )
    ratio = round(gate.wall_s / hand.wall_s, 2)
    of_gate = {**gate.figures(), "jobs": bench.jobs(folder)}
    return {"wall_s": of_gate["wall_s"], "gate": of_gate, "by_hand": hand.figures(), "ratio": ratio, "target": 0.6}


def default(bench: Bench) -> dict[str, Any]:
    """The gate with default settings, when all is cached and every engine is the baseline's."""
    found = bench.gate(bench.accepted_default)
    return {**found.figures(), "jobs": bench.jobs(bench.accepted_default), "target_s": 15}


def rebuilt(bench: Bench) -> dict[str, Any]:
    """The same where one precision is another engine than the baseline's, which is replayed."""
    folder = bench.changed(bench.accepted_default, "")
    bench.gate(folder, "-k", "accuracy")  # of another place: it is looked at anew
    settings = folder / "trtgate.toml"
    settings.write_text(settings.read_text() + REBUILT)
    found = bench.gate(folder)
    return {**found.figures(), "jobs": bench.jobs(folder), "target_s": 40}


def accepted(bench: Bench) -> dict[str, Any]:
    """The demo gate when all is cached and every engine is the baseline's."""
    found = bench.gate(bench.accepted)
    return {**found.figures(), "jobs": bench.jobs(bench.accepted), "target_s": 10}


def end_to_end(bench: Bench) -> dict[str, Any]:
    """The same, judged from image to results."""
    folder = bench.changed(bench.accepted, END_TO_END)
    bench.gate(folder, "-k", "accuracy")  # of another place: it is looked at anew
    found = bench.gate(folder)
    return {**found.figures(), "jobs": bench.jobs(folder), "target_s": 16}


def cells(bench: Bench) -> dict[str, Any]:
    """The accuracy of 300 cells that is all reused: fake jobs, so that all of it is the gate and pytest."""
    folder = bench.folder / "cells"
    if not folder.exists():
        many(folder, 30 if bench.quick else 300)
        bench.gate(folder, "-k", "accuracy")
    return {**bench.gate(folder, "-k", "accuracy").figures(), "target_s": 5}


def suite(bench: Bench) -> dict[str, Any]:
    """The tests of the gate that need no torch, by two workers."""
    where = [bench.python, "-c", "import pytest_trtgate; print(pytest_trtgate.__file__)"]
    root = Path(subprocess.run(where, cwd=bench.folder, capture_output=True, text=True, check=True).stdout).parents[1]
    few = ["tests/records"] if bench.quick else ["--ignore=tests/gate"]
    command = [bench.python, "-m", "pytest", "-q", "-n2", "-m", "not real and not browser", *few]
    return {**watch(command, root, CI="true").figures(), "target_s": 45}


def cached(bench: Bench) -> dict[str, Any]:
    """The demo gate again with nothing changed: the middle one of three runs, as launches wait for a steady machine."""
    folder = bench.project
    runs = []
    for _ in range(3):
        found = bench.gate(folder)
        runs.append({**found.figures(), "jobs": bench.jobs(folder)})
    runs.sort(key=lambda run: run["wall_s"])
    return {**runs[1], "all_wall_s": [run["wall_s"] for run in runs], "target_s": 10}


def changed(bench: Bench) -> dict[str, Any]:
    """The demo gate again after a change of the checkpoint, beside the cold run."""
    folder = bench.project
    copy = bench.changed(folder, "")
    watch([bench.python, "-c", WORSE], copy)
    found = bench.gate(copy)
    jobs = bench.jobs(copy)
    builds_s = jobs["build"]["seconds"]
    share = (found.wall_s - builds_s) / bench.cold.wall_s
    return {
        **found.figures(),
        "builds_s": builds_s,
        "cold_s": round(bench.cold.wall_s, 2),
        "without_builds_to_cold": round(share, 2),
        "target": 0.4,
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
    "accepted": accepted,
    "end-to-end": end_to_end,
    "default": default,
    "default-cold": default_cold,
    "rebuilt": rebuilt,
    "cells": cells,
    "suite": suite,
    "changed": changed,
    "arms": four_arms,
    "idle": idle,
    "fixture": fixture,
    "preflight": preflight,
    "page": page,
}

BY_TURNS = ("accepted", "end-to-end", "default", "rebuilt", "cells", "suite")
"""Parts that are one command each, once they are prepared: these can be run against another version."""


def against(part: str, sides: dict[str, Bench], rounds: int) -> dict[str, Any]:
    """Measure a part by turns with two versions, so that what the machine does falls on both alike."""
    pairs: list[dict[str, dict[str, float]]] = []
    for number in range(rounds + 1):
        order = list(sides) if number % 2 else list(reversed(sides))
        found = {name: PARTS[part](sides[name]) for name in order}
        pairs.append({name: {what: one[what] for what in ("wall_s", "cpu_s")} for name, one in found.items()})
    pairs = pairs[1:]  # the first has prepared the projects
    ratios = {
        f"median_ratio_of_{what}": round(
            statistics.median(pair["here"][what] / pair["other"][what] for pair in pairs), 3
        )
        for what in ("wall_s", "cpu_s")
    }
    return {"pairs": pairs, **ratios, "load_of_5_min": round(os.getloadavg()[1], 1)}


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="Measure one part; repeatable")
    parser.add_argument("--quick", action="store_true", help="Take small numbers, and keep none of them")
    parser.add_argument("--device", default="", help="Number of a GPU, to gate TensorRT's engines there")
    parser.add_argument("--engines", type=Path, help="Engine cache to begin with, where builds are not measured")
    parser.add_argument("--against", metavar="PYTHON", help="Interpreter that has another version of the gate")
    parser.add_argument("--rounds", type=int, default=3, help="Pairs of runs against the other version")
    arguments = parser.parse_args()
    where = "_gpu" if arguments.device else ""
    kept = RESULTS / (f"wall_against{where}.json" if arguments.against else f"wall{where}.json")
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() and not arguments.quick else {}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), arguments.quick, device=arguments.device, engines=arguments.engines)
        sides = {"here": bench}
        if arguments.against:
            (bench.folder / "other").mkdir()
            other = Bench(bench.folder / "other", arguments.quick, arguments.against, arguments.device)
            sides["other"] = other
        for part in arguments.only or (BY_TURNS if arguments.against else PARTS):
            if arguments.against and part not in BY_TURNS:
                parser.error(f"{part} is not measured against another version; these are: {', '.join(BY_TURNS)}")
            found = against(part, sides, arguments.rounds) if arguments.against else PARTS[part](bench)
            figures[part] = {"machine": machine(), **found}
            print(json.dumps({part: figures[part]}, indent=1), flush=True)
            if not arguments.quick:
                kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
