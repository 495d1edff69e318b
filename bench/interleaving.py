"""What it costs to time the arms of a model in turns, beside each arm alone in a plain loop.

python bench/interleaving.py PROJECT [--launches 3] [--samples 200]

PROJECT is a demo project whose engines are built. Each launch of all arms, as the gate makes them, is followed by a
process per arm that warms up for as many inferences and then times as many, one after the other, without the gate's
blocks. Tells by how much p50 is more in turns, and which share of a launch's timing is not in the timed inferences.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from machine import keep

from pytest_trtgate.jobs.contract import ArmRequest, LatencyRequest, LatencyResponse
from pytest_trtgate.jobs.launcher import Job, LocalLauncher
from pytest_trtgate.machine.environment import threads_of
from pytest_trtgate.records.accuracy import AccuracySettings
from pytest_trtgate.settings.latency import Latency
from pytest_trtgate.settings.settings import Settings

IMGSZ = 320
PLAIN = """
import sys, time
from pathlib import Path
from pytest_trtgate.jobs.contract import LatencyRequest
from pytest_trtgate.workers.worker import prepare
folder, warm_up = Path(sys.argv[1]), int(sys.argv[2])
request = LatencyRequest.model_validate_json((folder / "request.json").read_text())
prepare(folder, request.threads)
import torch
from pytest_trtgate.workers import yolo
from pytest_trtgate.workers.timing import cuda_timing
from pytest_trtgate.workers.timing.arms import decode, load_arms
yolo.isolate(request.threads)
batches = decode(request)
device = cuda_timing.open_device(request.device)
(arm,) = load_arms(request, request.arms, folder, lambda _, load: load())
taken_ns = []
with torch.inference_mode():
    arm.aim(batches[0])
    arm.rehearse(batches[0], request.how.imgsz)
    inputs = {arm.half: [arm.preprocess(batch) for batch in batches]}
    bench = None if device is None else cuda_timing.make_benches([arm], inputs, device)[arm.name]
    for number in range(warm_up + request.rules.samples):
        index = number % len(batches)
        if bench is not None:
            taken_ns.append(bench.time("engine", index))
            continue
        start = time.perf_counter_ns()
        arm.run(inputs[arm.half][index])
        taken_ns.append(time.perf_counter_ns() - start)
timed = sorted(taken_ns[warm_up:])
print("P50_MS", timed[len(timed) // 2] / 1e6)
"""


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--launches", type=int, default=3)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--as", dest="name", default="interleaving")
    asked = parser.parse_args()
    project = asked.project.resolve()
    run = json.loads((project / "reports" / "run.json").read_text())
    engines = {e["cell"]["precision"]: str(Path(e["entry"]) / e["artifact"]) for e in run["engines"].values()}
    with tempfile.TemporaryDirectory() as name:
        found = figures(asked, project, {"pt": str(project / "shapes.pt"), **engines}, run, Path(name))
    keep(asked.name, found)


def figures(
    asked: argparse.Namespace, project: Path, artifacts: dict[str, str], run: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Return p50 of each arm both ways, and the share of a launch that is not timed."""
    launcher = LocalLauncher()
    device = next(iter(run["engines"].values()))["cell"]["device"]
    turns: dict[str, list[float]] = {arm: [] for arm in artifacts}
    alone: dict[str, list[float]] = {arm: [] for arm in artifacts}
    untimed = []
    for index in range(asked.launches):
        print(f"launch {index + 1} of {asked.launches}", file=sys.stderr, flush=True)
        request = LatencyRequest(
            index=index,
            arms=tuple(ArmRequest(arm=arm, artifact=artifact, sha256="") for arm, artifact in artifacts.items()),
            device=device,
            threads=threads_of(Settings()),
            images=tuple(str(p) for p in sorted((project / "data" / "images" / "test").iterdir())[:32]),
            contexts=("engine",),
            how=AccuracySettings(split="test", imgsz=IMGSZ, batch=1, conf=0.25, iou=0.7, max_det=300),
            rules=Latency(samples=asked.samples, max_seconds=60),
            samples_file=str(folder / "samples.npz"),
        )
        job = Job(f"launch-{index}", request, device, 600)
        answer = launcher.run(job, folder / f"launch-{index}", lambda text: None)
        assert isinstance(answer, LatencyResponse)
        timed_s = 0.0
        for arm, measured in answer.launch.arms.items():
            timing = measured.timings["engine"]
            turns[arm].append(timing.quantiles_ms[49])
            timed_s += timing.mean_ms * timing.n / 1000
            alone[arm].append(_alone(request, arm, measured.warmup_iterations, folder / f"{arm}-{index}"))
        untimed.append(100 * (1 - timed_s / answer.phases["work"]))
    more = {arm: [100 * (t / a - 1) for t, a in zip(turns[arm], alone[arm], strict=True)] for arm in artifacts}
    return {
        "launches": asked.launches,
        "samples": asked.samples,
        "in_turns_p50_ms": {arm: round(median(found), 3) for arm, found in turns.items()},
        "alone_p50_ms": {arm: round(median(found), 3) for arm, found in alone.items()},
        "more_percent": {arm: round(median(found), 1) for arm, found in more.items()},
        "untimed_percent": round(median(untimed), 1),
    }


def _alone(request: LatencyRequest, arm: str, warm_up: int, folder: Path) -> float:
    folder.mkdir()
    one = tuple(asked for asked in request.arms if asked.arm == arm)
    (folder / "request.json").write_text(request.model_copy(update={"arms": one}).model_dump_json())
    command = [sys.executable, "-c", PLAIN, str(folder), str(warm_up)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(next(line for line in output.splitlines() if line.startswith("P50_MS")).split()[1])


if __name__ == "__main__":
    main()
