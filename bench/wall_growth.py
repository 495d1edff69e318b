"""How the gate's costs grow with images, cells and cache entries: measured, fitted and drawn."""

from __future__ import annotations

import io
import json
import math
import shutil
import sys
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from watched import watch

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
RECORD = "run.json"
_number = count()


def grown(of: str, costs: dict[int, float]) -> dict[str, Any]:
    """Return costs by number, and how they grow.

    ``exponent`` is the slope of the logarithms, by least squares; ``last_exponent`` that between the two largest
    numbers, where what is constant counts least: 1 is linear. ``line``: the seconds at none, and for each.
    """
    x, y = [math.log(n) for n in costs], [math.log(cost) for cost in costs.values()]
    numbers, seconds = list(costs), list(costs.values())
    slope, start = _fit(numbers, seconds)
    return {
        "of": of,
        "costs_s": {str(n): round(cost, 3) for n, cost in costs.items()},
        "exponent": round(_fit(x, y)[0], 3),
        "last_exponent": round((y[-1] - y[-2]) / (x[-1] - x[-2]), 3),
        "line": {"at_none_s": round(start, 4), "for_each_s": round(slope, 8)},
    }


def _fit(x: list[Any], y: list[float]) -> tuple[float, float]:
    """Return slope and start of the line through some points, by least squares."""
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
    return slope, my - slope * mx


def fixture_s(project: Path, entries: int, rounds: int) -> dict[str, Any]:
    """Return how long the setup of ``trt_engine`` takes for a cached engine among others.

    Args:
        project: A gated demo project.
        entries: How many engines the cache holds.
        rounds: How many runs the median is of.
    """
    folder = project.parent / f"fixture-{next(_number)}"
    shutil.copytree(project, folder)
    engines = folder / "cache" / "engines"
    known = sorted(engines.iterdir())
    manifest = (known[0] / "manifest.json").read_text()
    for number in range(entries - len(known)):
        entry = engines / f"{number:064x}"
        entry.mkdir()
        (entry / "manifest.json").write_text(manifest)
        (entry / "engine.onnx").write_bytes(b"")
        (folder / "cache" / "locks" / f"{entry.name}.lock").touch()
    (folder / "conftest.py").write_text(FIXTURE)
    found = []
    for _ in range(rounds):
        run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "size and fp32"]
        watch(run, folder)
        found.append(float((folder / "setup.txt").read_text()))
    shutil.rmtree(folder)
    return {"setup_s": round(median(found), 4), "slowest_s": round(max(found), 4), "rounds": rounds}


def page(project: Path, cells: int) -> dict[str, Any]:
    """Return how long ``trtgate report`` takes for a record of so many cells, made of a demo's."""
    text = (project / "reports" / RECORD).read_text()
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
    folder = project.parent / f"page-{next(_number)}"
    folder.mkdir()
    (folder / RECORD).write_text(json.dumps(whole))
    found = watch([sys.executable, "-m", "pytest_trtgate.cli", "report", RECORD, "-o", "out.html"], folder)
    html_mb = (folder / "out.html").stat().st_size / 1e6
    return {**found.figures(), "cells": len(whole["cells"]), "html_mb": round(html_mb, 2)}


def images(folder: Path, project: Path, counts: tuple[int, ...]) -> dict[str, Any]:
    """Gate the accuracy of four arms on synthetic images, first all of it, then with everything known.

    Args:
        folder: A folder to be made.
        project: A demo project, for its checkpoint.
        counts: Numbers of images.
    """
    found = {}
    for total in counts:
        here = folder / str(total)
        _synthetic(here, project, total)
        gate = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "accuracy"]
        first, again = (watch(gate, here, accept=(0, 1)) for _ in range(2))
        found[total] = {"first": first.figures(), "again": again.figures()}
        shutil.rmtree(here)
    return {
        "images": {str(total): figures for total, figures in found.items()},
        "growth_first": grown("images, evaluated", {n: f["first"]["wall_s"] for n, f in found.items()}),
        "growth_again": grown("images, unchanged", {n: f["again"]["wall_s"] for n, f in found.items()}),
        "largest_peak_mb": max(f[run]["peak_mb"] for f in found.values() for run in f),
    }


def preflight_s(folder: Path, project: Path, total: int) -> dict[str, Any]:
    """Return how long the preflight of a run takes, at first and with nothing changed since then.

    Args:
        folder: A folder to be made.
        project: A demo project, for its checkpoint.
        total: Number of images.
    """
    _synthetic(folder, project, total)
    found = []
    for _ in range(3):
        watch([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "size and fp32"], folder)
        found.append(json.loads((folder / "reports" / RECORD).read_text())["preflight"]["seconds"])
    return {"images": total, "first_s": round(found[0], 3), "again_s": round(min(found[1:]), 3)}


def _synthetic(folder: Path, project: Path, total: int) -> None:
    """Make a project with a demo's checkpoint and tests, and synthetic images to test it on."""
    folder.mkdir(parents=True)
    watch([sys.executable, "-c", TINY, str(folder / "data"), str(total)], folder)
    names = "names: [circle, square, triangle, star, cross, ring]\n"
    (folder / "data" / "data.yaml").write_text("train: images/train\nval: images/train\ntest: images/test\n" + names)
    shutil.copy(project / "shapes.pt", folder)
    shutil.copy(project / "test_gate.py", folder)
    top = 'models = ["shapes.pt"]\ndata = "data/data.yaml"\nimgsz = 64\ncache_dir = "cache"\n'
    (folder / "trtgate.toml").write_text(f'{top}[findings]\nprecision-not-taken = "warn"\n')


def draw(figures: dict[str, Any], target: Path) -> None:
    """Draw every growth that was measured, on logarithmic axes, beside a linear one."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    memory = figures.get("memory", {})
    series = [memory.get("growth_first"), memory.get("growth_again"), figures.get("cells"), figures.get("entries")]
    shown = [one for one in series if one]
    if not shown:
        return
    # The same figures give the same file.
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "trtgate", "font.size": 9})
    figure, panels = pyplot.subplots(
        1, len(shown), figsize=(3.2 * len(shown), 2.8), squeeze=False, layout="constrained"
    )
    for axes, one in zip(panels[0], shown, strict=True):
        numbers = [int(n) for n in one["costs_s"]]
        costs = list(one["costs_s"].values())
        axes.loglog(numbers, costs, "o-", color="#0969da")
        axes.loglog(numbers, [costs[-1] * n / numbers[-1] for n in numbers], "--", color="#8c959f", linewidth=1)
        axes.set_title(f"{one['of']}: n to the {one['last_exponent']:.2f}", fontsize=9)
        axes.set_xlabel(one["of"].partition(",")[0])
        axes.set_ylabel("seconds (dashed: linear)")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    target.write_text(text.getvalue(), encoding="utf-8")
