"""How the gate's costs grow with images, cells and cache entries: measured in processor seconds, fitted and drawn.

python bench/growth.py                                # everything, some 12 minutes of one core
python bench/growth.py --only cells --only entries    # parts of it
python bench/growth.py --quick                        # everything with small numbers, to see whether it works

Each part writes its figures to ``results/growth.json`` and leaves those of the others; all are drawn in
``results/growth.svg``. Processor seconds are those of a process and all that it starts: what else runs on the machine
moves them far less than it moves the clock on the wall.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import math
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, stdev
from typing import Any

import wall_growth
from machine import RESULTS, machine
from watched import Watched, watch

SAMPLE = Path(__file__).parent.parent / "reports" / "sample-h200.html"
"""A report of a run with three cells; its record is repeated."""
LINEAR = 1.1
"""Up to this exponent a cost counts as linear: caches of the processor alone may move one so far."""
RECORDS = """
import sys
import numpy as np
images, per_image, classes, objects = int(sys.argv[1]), 300, 6, 7 * int(sys.argv[1])
truth = np.random.default_rng(0)
image, cls = np.sort(truth.integers(0, images, objects, np.int32)), truth.integers(0, classes, objects, np.int32)
corner = truth.random((objects, 2)) * 500
box = np.concatenate([corner, corner + 20 + truth.random((objects, 2)) * 100], 1).astype(np.float32)
for seed, arm in enumerate(("pt", "engine")):
    random = np.random.default_rng(seed + 1)
    found = random.random(objects) < 0.8
    hits, false = int(found.sum()), images * per_image - int(found.sum())
    corner = random.random((false, 2)) * 500
    boxes = np.concatenate([corner, corner + 20 + random.random((false, 2)) * 100], 1)
    arrays = {
        "tp": [random.beta(6, 2, (hits, 1)) >= np.arange(0.5, 1, 0.05), np.zeros((false, 10), bool)],
        "conf": [random.beta(4, 2, hits), 0.001 + 0.5 * random.beta(1, 20, false)],
        "pred_cls": [cls[found], random.integers(0, classes, false)],
        "pred_image": [image[found], random.integers(0, images, false)],
        "pred_box": [box[found] + random.normal(0, 2, (hits, 4)), boxes],
    }
    types = {"tp": bool, "conf": np.float32, "pred_cls": np.int32, "pred_image": np.int32, "pred_box": np.float32}
    whole = {name: np.concatenate(parts).astype(types[name]) for name, parts in arrays.items()}
    order = np.argsort(whole["pred_image"], kind="stable")
    np.savez(f"{arm}.npz", **{name: rows[order] for name, rows in whole.items()}, target_cls=cls, target_image=image,
        images=np.arange(images).astype(str))
"""
COMPARE = """
from pathlib import Path
from types import SimpleNamespace
from pytest_trtgate.verdicts.evidence import gather
arms = [SimpleNamespace(per_image=f"{arm}.npz", task="detect") for arm in ("pt", "engine")]
print(gather(Path(), *arms, 0.25, decides=False).comparison.replicates)
"""
ENTRIES = """
import json, sys, time
from pathlib import Path
from pytest_trtgate.cache.engines import EngineCache
from pytest_trtgate.records.engine import EngineRecord
def timed(work):
    started = time.process_time()
    work()
    return time.process_time() - started
cache, key = EngineCache(Path("cache")), sys.argv[1]
def served():
    raise SystemExit("not in the cache")
took = {"find": timed(lambda: cache.obtain(key, served))}
took["list"] = timed(lambda: [entry.size_bytes for entry in cache.entries()])
took["prune"] = timed(lambda: cache.prune(10**9))
print(json.dumps(took))
"""


def grown(of: str, costs: Mapping[int, Sequence[float]], **more: Any) -> dict[str, Any]:
    """Return costs by number, and how they grow.

    ``exponent`` is the slope of the logarithms of all rounds by least squares, and ``last_exponent`` that between the
    two largest numbers, where what is constant counts least: 1 is linear. ``..._error`` are their standard errors, None
    where there are too few rounds to tell.

    Args:
        of: What it is that costs.
        costs: Processor seconds by number, one for each round.
        more: What else is kept.
    """
    points = [(math.log(n), math.log(cost)) for n, rounds in costs.items() for cost in rounds]
    x, y = [p[0] for p in points], [p[1] for p in points]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mx) ** 2 for a in x)
    slope = sum((a - mx) * (b - my) for a, b in points) / spread
    misses = sum((b - my - slope * (a - mx)) ** 2 for a, b in points)
    error = math.sqrt(misses / (len(points) - 2) / spread)
    (n, before), (m, after) = list(costs.items())[-2:]
    apart = math.log(m / n)
    last = math.log(median(after) / median(before)) / apart
    several = min(len(before), len(after)) > 1
    errors = [stdev(map(math.log, rounds)) ** 2 / len(rounds) for rounds in (before, after)] if several else []
    return {
        "of": of,
        **more,
        "cpu_s": {str(n): [round(cost, 4) for cost in rounds] for n, rounds in costs.items()},
        "exponent": round(slope, 3),
        "exponent_error": round(error, 3),
        "last_exponent": round(last, 3),
        "last_exponent_error": round(math.sqrt(sum(errors)) / apart, 3) if errors else None,
        "linear": last <= LINEAR,
    }


def images(folder: Path, quick: bool) -> dict[str, Any]:
    """Gate the accuracy of a checkpoint and its FP32 engine on more and more images, first all, then unchanged."""
    counts = (50, 100, 200) if quick else (1000, 5000, 20_000)
    found = wall_growth.images(folder, counts)
    peaks = {str(n): {run: round(took.peak_mb) for run, took in runs.items()} for n, runs in found.items()}
    return {
        "peak_mb": peaks,
        "first": grown("images, evaluated", {n: [runs["first"].cpu_s] for n, runs in found.items()}),
        "again": grown("images, unchanged", {n: [runs["again"].cpu_s] for n, runs in found.items()}),
    }


def evidence(folder: Path, quick: bool) -> dict[str, Any]:
    """Compare two arms with 300 detections in every image: intervals, curves and agreement."""
    found: dict[int, Watched] = {}
    for count in (50, 100, 200) if quick else (1000, 5000, 20_000):
        watch([sys.executable, "-c", RECORDS, str(count)], folder)
        found[count] = watch([sys.executable, "-c", COMPARE], folder)
    more = {
        "detections_per_image": 300,
        "peak_mb": {str(n): round(took.peak_mb) for n, took in found.items()},
        # Of more detections, fewer are drawn.
        "replicates": {str(n): int(took.output) for n, took in found.items()},
    }
    return {"compared": grown("images, compared", {n: [took.cpu_s] for n, took in found.items()}, **more)}


def cells(folder: Path, quick: bool) -> dict[str, Any]:
    """Make the report of records with more and more cells, the start of Python included."""
    (record,) = re.findall(r'download="run\.json" href="data:application/json;base64,([^"]+)"', SAMPLE.read_text())
    text = base64.b64decode(record).decode()
    counts = (3, 9, 30) if quick else (3, 30, 100, 300)
    found = {n: [wall_growth.page(text, folder, n) for _ in range(2)] for n in counts}
    more = {
        "peak_mb": {str(n): max(took["peak_mb"] for took in rounds) for n, rounds in found.items()},
        "html_mb": {str(n): rounds[0]["html_mb"] for n, rounds in found.items()},
    }
    return {"report": grown("cells", {n: [took["cpu_s"] for took in rounds] for n, rounds in found.items()}, **more)}


def entries(folder: Path, quick: bool) -> dict[str, Any]:
    """Find an engine in caches of more and more entries, list them, and prune those not used for decades: none."""
    key = wall_growth.one_engine(folder)
    counts = (10, 20, 40) if quick else (10, 100, 1000, 10_000)
    costs: dict[str, dict[int, list[float]]] = {"find": {}, "list": {}, "prune": {}}
    for count in counts:
        wall_growth.fill(folder / "cache", count)
        for _ in range(3):
            took = json.loads(watch([sys.executable, "-c", ENTRIES, key], folder).output.splitlines()[-1])
            for name, cost in took.items():
                costs[name].setdefault(count, []).append(cost)
    return {name: grown(f"cache entries, {name}", found) for name, found in costs.items()}


PARTS: dict[str, Callable[[Path, bool], dict[str, Any]]] = {
    "images": images,
    "evidence": evidence,
    "cells": cells,
    "entries": entries,
}


def draw(figures: dict[str, Any], target: Path) -> None:
    """Draw every growth that was measured, on logarithmic axes, beside a linear one."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    shown = [x for part in PARTS for x in figures.get(part, {}).values() if isinstance(x, dict) and "cpu_s" in x]
    # The same figures give the same file.
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "trtgate", "font.size": 8})
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    size = (2.6 * columns, 2.4 * rows)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes in panels.flat[len(shown) :]:
        axes.axis("off")
    for axes, one in zip(panels.flat, shown, strict=False):
        numbers = [int(n) for n in one["cpu_s"]]
        costs = [median(rounds) for rounds in one["cpu_s"].values()]
        axes.loglog(numbers, costs, "o-", color="#0969da", markersize=4)
        axes.loglog(numbers, [costs[-1] * n / numbers[-1] for n in numbers], "--", color="#8c959f", linewidth=1)
        axes.set_title(f"{one['of']}: in the end n^{one['last_exponent']:.2f}", fontsize=8)
        axes.set_xlabel(one["of"].partition(",")[0])
        axes.set_ylabel("processor s (dashed: linear)")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    target.write_text(text.getvalue(), encoding="utf-8")


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="Measure one part; repeatable")
    parser.add_argument("--quick", action="store_true", help="Take small numbers, and keep none of them")
    arguments = parser.parse_args()
    kept = RESULTS / "growth.json"
    for part in arguments.only or PARTS:
        with tempfile.TemporaryDirectory() as name:
            found = PARTS[part](Path(name), arguments.quick)
        measured = {part: {"machine": machine(), "clock": "processor seconds", **found}}
        print(json.dumps(measured, indent=1), flush=True)
        if not arguments.quick:
            figures = (json.loads(kept.read_text()) if kept.exists() else {}) | measured
            kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            draw(figures, RESULTS / "growth.svg")


if __name__ == "__main__":
    main()
