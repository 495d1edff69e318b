"""Whether a session keeps several machines busy, what its coordinator takes, and where the next limit is.

export PYTHONPATH=tests/support
python bench/lanes.py run                 # 200 cells on 8 machines, a build and an evaluation each: seven minutes
python bench/lanes.py run --launches      # with three launches each: 15 minutes more
python bench/lanes.py run --quick         # 12 cells on 3 machines
python bench/lanes.py simulate            # 1000 cells on 50 machines, by what ``run`` and ``fleet.py`` measured

The machines are workers in the coordinator's own process, each with a cache and locks of its own, since eight nodes of
a Ray cluster and their jobs are too much for two cores: no network and nothing of Ray is in the figures of ``run``, and
the memory is that of the coordinator and the workers together. Jobs are processes that sleep, an evaluation for each of
its two arms. Writes ``results/lanes.json`` and, of the simulation, ``results/lanes_simulated.json``.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fake_jobs import Behaviour
from machine import RESULTS, keep
from project import write_dataset

SUPPORT = Path(__file__).parents[1] / "tests" / "support"
CONFTEST = """
import json, resource, time
from pathlib import Path
from typing import get_args
from fake_fleet import FakeFleet
from other_machine import OtherMachine
from pretended import PretendedMachine
from pytest_trtgate.fleet import WorkersMachine
from pytest_trtgate.jobs import JobKind

FOLDER, BUSY = Path({folder!r}), []

class Machine(OtherMachine):
    def _call(self, method, arguments):
        began = time.time()
        found = super()._call(method, arguments)
        if method == "work":
            BUSY.append((self.name, began, time.time()))
        return found

def made(folder):
    modules = dict.fromkeys(get_args(JobKind), "fake_jobs")
    return Machine(folder, machine=PretendedMachine(locks=folder), modules=modules)

FLEET = FakeFleet(FOLDER, {machines}, made)

def pytest_trtgate_launcher(config):
    return FLEET.lanes

def pytest_trtgate_machine(config):
    return WorkersMachine(temporary=(), ask=lambda *what: FLEET.lanes.ask(*what))

def pytest_unconfigure():
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {{"busy": BUSY, "own_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1000}}
    (FOLDER / "busy.json").write_text(json.dumps(found))
"""
ACCURACY = "def test_accuracy(trtgate): trtgate.check_accuracy()\n"
LATENCY = "def test_latency(trtgate): trtgate.check_latency()\n"
JOBS = ("build", "accuracy", "latency", "latency", "latency")
"""The jobs of a model with one new engine."""


def gate(folder: Path, cells: int, machines: int, seconds: float, tests: str) -> dict[str, Any]:
    """Gate so many models, an engine of each, and return how busy the machines were and what the coordinator took."""
    write_dataset(folder / "data")
    names = [f"m{number}.pt" for number in range(cells)]
    for number, name in enumerate(names):
        Behaviour(map50_95=0.5 + number / 1000, seconds=seconds).save(folder / name)
    settings = f'models = {json.dumps(names)}\ndata = "data/data.yaml"\nimgsz = 320\ncache_dir = "cache"\n'
    settings += 'precisions = ["fp16"]\nbackend = "onnxruntime"\n[latency]\nsamples = 60\n'
    (folder / "trtgate.toml").write_text(settings)
    (folder / "conftest.py").write_text(CONFTEST.format(folder=str(folder), machines=machines))
    (folder / "test_gate.py").write_text(tests)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout[-4000:] + done.stderr[-2000:])
    run_s = time.monotonic() - began
    told = json.loads((folder / "busy.json").read_text())
    busy = [one for one in told["busy"] if one[2] - one[1] >= seconds]  # neither preflight nor pictures
    first_s, last_s = min(one[1] for one in busy), max(one[2] for one in busy)
    busy_s = sum(end - begin for _, begin, end in busy)
    return {
        "cells": cells,
        "machines": len({name for name, *_ in busy}),
        "jobs": len(busy),
        "job_s": seconds,
        "busy_s": busy_s,
        "wall_s": last_s - first_s,
        "utilisation": busy_s / (machines * (last_s - first_s)),
        "run_s": run_s,
        "peak_mb": told["peak_mb"],
        "own_s": told["own_s"] / len(busy),
        "other_load": os.getloadavg()[0],
    }


def simulated(cells: int, machines: int, job_s: float, own_s: float, wait_s: float) -> dict[str, float]:
    """Return how a session of one-engine models goes, by its events.

    Args:
        cells: How many models there are.
        machines: How many lanes.
        job_s: Seconds of a job on its machine.
        own_s: Processor seconds of the coordinator per job, of which it does one at a time.
        wait_s: Seconds per job in which neither the coordinator nor the machine works: messages, and asking.
    """
    coordinator_s, busy_s, ended_s = 0.0, 0.0, 0.0
    lanes = [(0.0, lane, 0) for lane in range(min(machines, cells))]
    heapq.heapify(lanes)
    begun = len(lanes)
    while lanes:
        ready_s, lane, done = heapq.heappop(lanes)
        coordinator_s = max(coordinator_s, ready_s) + own_s
        end_s = coordinator_s + wait_s + job_s
        busy_s, ended_s, done = busy_s + job_s, max(ended_s, end_s), done + 1
        if done < len(JOBS) or begun < cells:
            begun += done == len(JOBS)
            heapq.heappush(lanes, (end_s, lane, done % len(JOBS)))
    return {"wall_s": ended_s, "utilisation": busy_s / (machines * ended_s), "coordinator_s": cells * len(JOBS) * own_s}


def simulate(cells: int, machines: int) -> dict[str, Any]:
    """Return sessions with jobs of some lengths, and how short jobs may be for the machines to be busy."""
    measured = json.loads((RESULTS / "lanes.json").read_text())
    there = json.loads((RESULTS / "fleet.json").read_text()) if (RESULTS / "fleet.json").exists() else None
    own_s = measured["own_s"]
    wait_s = max(0.0, fleet_overhead_s(there) - own_s) if there else 0.25
    sessions = {job_s: simulated(cells, machines, job_s, own_s, wait_s) for job_s in (1, 5, 10, 20, 30, 60, 300)}
    shortest = next(
        job for job in range(1, 1000) if simulated(cells, machines, job, own_s, wait_s)["utilisation"] >= 0.85
    )
    return {
        "cells": cells,
        "machines": machines,
        "own_s": own_s,
        "wait_s": wait_s,
        "sessions": sessions,
        "shortest_job_s": shortest,
        "machines_at_10_s": 10 / own_s,
    }


def fleet_overhead_s(there: dict[str, Any]) -> float:
    """Return how many seconds a job on a node takes more than one here."""
    jobs = there["jobs"]
    most = max(jobs, key=int)
    return float(jobs[most]["each_ms"]) / 1000


def main() -> None:
    """Measure or simulate, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "simulate"])
    parser.add_argument("--quick", action="store_true", help="Small numbers")
    parser.add_argument("--cells", type=int, default=200, help="How many cells; only of 200 is the result kept")
    parser.add_argument("--job-seconds", type=float, default=5.0, help="How long each job sleeps for an arm")
    parser.add_argument("--launches", action="store_true", help="Test latency too")
    asked = parser.parse_args()
    if asked.what == "simulate":
        print(json.dumps(found := simulate(1000, 50), indent=1))
        keep("lanes_simulated", found)
        return
    with tempfile.TemporaryDirectory() as folder:
        size = (12, 3, 0.3) if asked.quick else (asked.cells, 8, asked.job_seconds)
        found = gate(Path(folder), *size, ACCURACY + LATENCY * (asked.quick or asked.launches))
    print(json.dumps(found, indent=1))
    if not asked.quick and asked.cells == 200:
        keep("lanes", found)


if __name__ == "__main__":
    main()
