"""What a job costs more on a node of a Ray cluster than here, and what it costs to send a dataset there.

export PYTHONPATH=tests/support
python bench/fleet.py             # 10, 100 and 1000 jobs, and up to 20 000 images: some five minutes of two cores
python bench/fleet.py --quick     # small numbers, to see whether it works
python bench/fleet.py --jobs      # jobs alone, without images

The node is on this machine, with a cache and locks of its own, so no network is in the figures. Jobs are fake ones:
processes that read an engine and answer at once. One here and one there take turns, so that other work on the machine
disturbs both alike, and what one takes more is the median of the pairs; the machine's load before and after is kept.
Writes ``results/fleet.json`` and ``results/fleet.svg``. Needs Ray and Matplotlib.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from fake_jobs import Behaviour
from machine import RESULTS, keep
from project import png
from ray_nodes import FakeNodeWorker, Nodes

from pytest_trtgate.data import load_dataset
from pytest_trtgate.fleet import FleetLauncher, RayCluster
from pytest_trtgate.jobs import AccuracyArm, AccuracyRequest, Job, LocalLauncher, ProfileRequest
from pytest_trtgate.records import AccuracySettings


def seconds(work: Callable[..., Any], *arguments: Any) -> float:
    """Return how long some work takes."""
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def many(launchers: Sequence[Any], engine: Path, folder: Path, count: int) -> dict[str, float]:
    """Do short jobs on the device, one after the other, here and there by turns; return how long they took."""
    request = ProfileRequest(arm="int8", artifact=str(engine), device="cpu", runs=1)
    pairs = []
    for number in range(count):
        job = Job(f"job-{number}", request, "cpu", 60.0)
        places = (folder / f"{number}-{name}" for name in ("here", "there"))
        pairs.append(
            [seconds(one.run, job, place, lambda _: None) for one, place in zip(launchers, places, strict=True)]
        )
    here_s, there_s = map(sum, zip(*pairs, strict=True))
    return {"here_s": here_s, "there_s": there_s, "each_ms": 1000 * median(there - here for here, there in pairs)}


def evaluation(folder: Path, engine: Path, count: int) -> Job:
    """Return an evaluation on a dataset of some images, each with a label."""
    for kind in ("images", "labels"):
        (folder / kind / "test").mkdir(parents=True)
    png(folder / "one.png", 9)
    content = (folder / "one.png").read_bytes()
    for number in range(count):
        (folder / "images" / "test" / f"{number}.png").write_bytes(content + bytes(str(number), "ascii"))
        (folder / "labels" / "test" / f"{number}.txt").write_text(f"0 0.5 0.5 0.2 0.{number + 1}\n")
    (folder / "data.yaml").write_text("train: images/test\nval: images/test\ntest: images/test\nnames: [circle]\n")
    data = load_dataset(folder / "data.yaml").write_resolved(folder / "resolved" / "data.yaml")
    arm = AccuracyArm(arm="int8", artifact=str(engine), per_image=str(folder / "output" / "int8.npz"))
    how = AccuracySettings(split="test", imgsz=320, batch=1, conf=0.25, iou=0.7, max_det=300)
    return Job("accuracy", AccuracyRequest(arms=(arm,), data=str(data), device="cpu", settings=how), "cpu", 600.0)


def measure(folder: Path, counts: list[int], images: list[int]) -> dict[str, Any]:
    """Return the seconds of jobs here and there, and those of one job on a new dataset and on a known one."""
    engine = Behaviour().save(folder / "engine.onnx")
    nodes = Nodes(folder)
    nodes.add("a")
    local = LocalLauncher({"profile": "fake_jobs", "accuracy": "fake_jobs"}, locks=folder / "locks", ahead=False)
    there = FleetLauncher(RayCluster(nodes.address, worker=FakeNodeWorker).connect)
    found: dict[str, Any] = {"load": [os.getloadavg()[0]], "connect_s": seconds(lambda: there.connection)}
    found |= {"jobs": {}, "images": {}}
    for count in counts:
        found["jobs"][count] = many((local, there), engine, folder / f"jobs-{count}", count)
    for count in images:
        job = evaluation(folder / f"data-{count}", engine, count)
        times = [seconds(launcher.run, job, folder / "job", print) for launcher in (local, there, there)]
        found["images"][count] = dict(zip(("here_s", "first_s", "again_s"), times, strict=True))
    found["load"].append(os.getloadavg()[0])
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    there.close()
    nodes.close()
    return found


def draw(found: dict[str, Any], target: Path) -> None:
    """Draw the seconds by the number of jobs, and by that of images."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "trtgate", "font.size": 8})
    shown = [what for what in ("jobs", "images") if found[what]]
    figure, axes = pyplot.subplots(1, len(shown), figsize=(3.5 * len(shown), 2.8), layout="constrained", squeeze=False)
    words = {"here_s": "here", "there_s": "on a node", "first_s": "on a node, data sent", "again_s": "on a node, again"}
    for axis, what in zip(axes[0], shown, strict=True):
        for name in next(iter(found[what].values())):
            if name in words:
                axis.plot(
                    [int(n) for n in found[what]], [one[name] for one in found[what].values()], "o-", label=words[name]
                )
        axis.set(xscale="log", yscale="log", xlabel=what, ylabel="seconds")
        axis.legend(frameon=False)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    target.write_text(text.getvalue(), encoding="utf-8")


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Small numbers")
    parser.add_argument("--jobs", action="store_true", help="No images")
    asked = parser.parse_args()
    quick = asked.quick
    counts, images = ([3, 10], [10, 100]) if quick else ([10, 100, 1000], [1000, 20_000])
    images = [] if asked.jobs else images
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), counts, images)
        if quick:
            print(json.dumps(found, indent=1))
        else:  # before the many files are deleted, which takes minutes
            keep("fleet", found)
            draw(found, RESULTS / "fleet.svg")


if __name__ == "__main__":
    main()
