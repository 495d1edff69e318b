"""What costs the more the more of it there is, in any number: images, cells and cache entries."""

from __future__ import annotations

import json
import math
import shutil
import sys
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from watched import Watched, watch

FIXTURE = """
import json, time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    started = time.perf_counter()
    try:
        return (yield)
    finally:
        if fixturedef.argname == "trt_engine":
            with open("setup.txt", "w") as file:
                file.write(str(time.perf_counter() - started))
"""
TINY = """
import sys
from pathlib import Path
import cv2, numpy
folder, total = Path(sys.argv[1]), int(sys.argv[2])
random = numpy.random.default_rng(0)
for split, number in (("train", 8), ("test", total)):
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for index in range(number):
        picture = cv2.resize(random.integers(0, 256, (4, 4, 3), dtype=numpy.uint8), (64, 64))
        cv2.imwrite(str(folder / "images" / split / f"{index:06d}.png"), picture)
        (folder / "labels" / split / f"{index:06d}.txt").write_text(f"{index % 6} 0.5 0.5 0.4 0.4\\n")
"""
TESTS = """
def test_size(trt_engine):
    assert trt_engine.size_bytes


def test_accuracy(trtgate):
    trtgate.check_accuracy()
"""
RECORD = "run.json"
EXAMPLE = Path(__file__).parent.parent / "examples" / "shapes"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
_number = count()


def fixture_s(project: Path, entries: int, rounds: int) -> dict[str, Any]:
    """Return how long the setup of ``trt_engine`` takes for a cached engine among others.

    Args:
        project: A gated demo project.
        entries: How many engines the cache holds.
        rounds: How many runs the median is of.
    """
    folder = project.parent / f"fixture-{next(_number)}"
    shutil.copytree(project, folder)
    fill(folder / "cache", entries)
    (folder / "conftest.py").write_text(FIXTURE)
    found = []
    for _ in range(rounds):
        watch([*PYTEST, "-k", "size and fp32"], folder)
        found.append(float((folder / "setup.txt").read_text()))
    shutil.rmtree(folder)
    return {"setup_s": round(median(found), 4), "slowest_s": round(max(found), 4), "rounds": rounds}


def fill(cache: Path, entries: int) -> None:
    """Fill a cache, which holds an engine, up to so many entries with others that have its manifest."""
    engines = cache / "engines"
    known = sorted(engines.iterdir())
    manifest = (known[-1] / "manifest.json").read_text()
    for number in range(len(known), entries):
        entry = engines / f"{number:064x}"
        entry.mkdir()
        (entry / "manifest.json").write_text(manifest)
        (entry / "engine.onnx").write_bytes(b"")
        (cache / "locks" / f"{entry.name}.lock").touch()


def one_engine(folder: Path) -> str:
    """Make a project with one engine in its cache, and return the engine's key."""
    _synthetic(folder, total=8)
    watch([*PYTEST, "-k", "size"], folder)
    (entry,) = (folder / "cache" / "engines").iterdir()
    return entry.name


def page(text: str, parent: Path, cells: int) -> dict[str, Any]:
    """Return what ``trtgate report`` takes for a record of so many cells, made of one with fewer.

    Args:
        text: The record.
        parent: Where to make a folder.
        cells: How many.
    """
    name, whole = json.loads(text)["cells"][0]["model"], json.loads(text)
    per_model = len(whole["cells"])
    for number in range(1, math.ceil(cells / per_model)):
        more = json.loads(text.replace(f'"{name}', f'"{name}{number}').replace(f"-{name}-", f"-{name}{number}-"))
        for key, value in more.items():
            if isinstance(value, dict) and key not in ("environment", "settings"):
                whole[key].update(value)
            elif isinstance(value, list) and key != "notes":
                whole[key] += value
    whole["cells"] = whole["cells"][:cells]
    folder = parent / f"page-{next(_number)}"
    folder.mkdir()
    (folder / RECORD).write_text(json.dumps(whole))
    found = watch([sys.executable, "-m", "pytest_trtgate.cli", "report", RECORD, "-o", "out.html"], folder)
    html_mb = (folder / "out.html").stat().st_size / 1e6
    return {**found.figures(), "cells": len(whole["cells"]), "html_mb": round(html_mb, 2)}


def images(folder: Path, counts: tuple[int, ...]) -> dict[int, dict[str, Watched]]:
    """Gate the accuracy of a checkpoint and its FP32 engine on synthetic images, first all of it, then unchanged.

    Args:
        folder: A folder to be made.
        counts: Numbers of images.
    """
    one_engine(folder / "engine")
    found = {}
    for total in counts:
        here = folder / str(total)
        _synthetic(here, total, cache=folder / "engine" / "cache")
        first, again = (watch([*PYTEST, "-k", "accuracy"], here, accept=(0, 1)) for _ in range(2))
        found[total] = {"first": first, "again": again}
        shutil.rmtree(here)
    return found


def preflight_s(folder: Path, total: int) -> dict[str, Any]:
    """Return how long the preflight of a run takes, at first and with nothing changed since then.

    Args:
        folder: A folder to be made.
        total: Number of images.
    """
    _synthetic(folder, total)
    found = []
    for _ in range(3):
        watch([*PYTEST, "-k", "size"], folder)
        found.append(json.loads((folder / "reports" / RECORD).read_text())["preflight"]["seconds"])
    return {"images": total, "first_s": round(found[0], 3), "again_s": round(min(found[1:]), 3)}


def _synthetic(folder: Path, total: int, cache: Path | None = None) -> None:
    """Make a project with the demo's checkpoint, an engine of it and synthetic images to test that on."""
    folder.mkdir(parents=True, exist_ok=True)
    watch([sys.executable, "-c", TINY, str(folder / "data"), str(total)], folder)
    names = "names: [circle, square, triangle, star, cross, ring]\n"
    (folder / "data" / "data.yaml").write_text("train: images/train\nval: images/train\ntest: images/test\n" + names)
    shutil.copy(EXAMPLE / "shapes.pt", folder)
    (folder / "test_gate.py").write_text(TESTS)
    settings = f'models = ["shapes.pt"]\ndata = "data/data.yaml"\ncache_dir = "{cache or "cache"}"\n'
    (folder / "trtgate.toml").write_text(
        f'{settings}imgsz = 64\nbatch = 16\nprecisions = ["fp32"]\n[findings]\nimgsz-mismatch = "warn"\n'
    )
