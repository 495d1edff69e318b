"""Record sessions of the demo's engines beside copies of themselves, for ``judge_sessions.py``.

python bench/record_sessions.py --folder WORK --cache ENGINES -o bench/traces/h200_sessions.json [--sessions 6]

Each session is a process of its own, which makes the launches of one gate run: the ``.pt``, the engine of each
precision, and a copy of it in the part of the baseline engine; from the fourth launch on a second copy too. The gate
builds the engines first, unless the folder ENGINES has them. All else is written into WORK, and nothing is fetched.
OUTPUT grows by one line for each session, with the date, the machine, its versions and its clocks.

Kept are, per launch, arm and context, p50 and p95, and of the engines the medians of the parts of the launch, all in
microseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from machine import machine
from record_traces import launch_request

from pytest_trtgate.cli.demo import write_demo
from pytest_trtgate.jobs.contract import ArmRequest
from pytest_trtgate.jobs.launcher import Job, LocalLauncher
from pytest_trtgate.measuring.launches import Extension, LaunchSeries
from pytest_trtgate.records.cell import CONTEXTS, PRECISIONS, REFERENCE, placebo_of, replay_of
from pytest_trtgate.records.files import file_sha256
from pytest_trtgate.records.latency import ArmLaunch, LatencyRecord, Launch
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.run_folder import load_run
from pytest_trtgate.settings.latency import Latency

ROOT = Path(__file__).parents[1]
MODEL, IMGSZ = "shapes", 320
SCREEN = 3
"""Launches without the second copies."""
LAUNCH_S = 300


def parse() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="Folder to work in")
    parser.add_argument("--cache", type=Path, required=True, help="Folder of the engine cache")
    parser.add_argument("-o", "--output", type=Path, required=True, help="The JSON file that grows")
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--launches", type=int, default=5, help="Launches of a session")
    parser.add_argument("--samples", type=int, default=150, help="Timed inferences per launch and arm")
    parser.add_argument("--max-seconds", type=float, default=1.5, help="Time limit for these")
    parser.add_argument("--minutes", type=float, default=8.0, help="Start no session that would end after so long")
    parser.add_argument("--level", type=int, default=0, help="TensorRT's builder level, where an engine is built")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.folder, asked.cache, asked.output = (p.resolve() for p in (asked.folder, asked.cache, asked.output))
    return asked


def prepare(asked: argparse.Namespace) -> RunRecord:
    """Write the demo's project where there is none, have the gate build its engines, and return the run."""
    project = asked.folder / "project"
    if not project.exists():
        write_demo(project)
        settings = project / "trtgate.toml"
        settings.write_text(f"{settings.read_text()}\n[export]\noptimization_level = {asked.level}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-k", "test_size", f"--trt-cache-dir={asked.cache}"]
    try:
        distribution("pytest-trtgate")
    except PackageNotFoundError:
        command += ["-p", "pytest_trtgate.plugin"]
    subprocess.run(command, cwd=project, env=environment(), check=True)
    return load_run(project / "reports" / "run.json")


def environment() -> dict[str, str]:
    """Return the environment of the processes that are started, which find the package of this checkout."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


def record(asked: argparse.Namespace, run: RunRecord) -> LatencyRecord:
    """Make the launches of one session."""
    folder: Path = asked.one.with_suffix("")
    place = argparse.Namespace(
        images=asked.folder / "project" / "data" / "images" / "test", imgsz=IMGSZ, device=run.environment.device
    )
    rules = Latency(seed=time.time_ns() % 2**31, samples=asked.samples, max_seconds=asked.max_seconds)

    def launch(name: str, index: int, arms: list[ArmRequest], samples: int | None) -> Launch:
        del samples
        request = launch_request(index, tuple(arms), place, rules, folder / name)
        return LocalLauncher().run(Job(name, request, place.device, LAUNCH_S), folder / name, lambda line: None).launch

    def more(made: LatencyRecord) -> Extension | None:
        return Extension(asked.launches, every) if len(made.launches) < asked.launches else None

    arms = arms_of(asked, run)
    names = [arm.arm for arm in arms]
    every = frozenset([*names, *(placebo_of(replay_of(precision)) for precision in PRECISIONS)])
    start = LatencyRecord(model=MODEL, imgsz=IMGSZ, batch=1, launches=())
    return LaunchSeries(start, arms, launch, print).run(min(SCREEN, asked.launches), more)


def arms_of(asked: argparse.Namespace, run: RunRecord) -> list[ArmRequest]:
    """Return the checkpoint, the engines, and a copy of each in the part of its baseline engine."""
    weights = asked.folder / "project" / "shapes.pt"
    arms = [ArmRequest(arm=REFERENCE, artifact=str(weights), sha256=file_sha256(weights))]
    engines = {engine.cell.precision: engine for engine in run.engines.values()}
    for part in (str, replay_of):
        for precision in PRECISIONS:
            engine = engines[precision]
            arms.append(ArmRequest(arm=part(precision), artifact=str(engine.path), sha256=engine.sha256))
    return arms


def compact(made: LatencyRecord, run: RunRecord, seconds: float) -> dict[str, Any]:
    """Return what is kept of a session."""
    here, versions = run.environment, run.environment.versions
    return {
        "recorded_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "machine": here.machine,
        "described": machine(),
        "driver": here.driver,
        "backend": f"{here.backend} {here.backend_version}",
        "versions": {name: versions[name] for name in ("torch", "ultralytics") if name in versions},
        "engines": {engine.cell.precision: engine.sha256[:16] for engine in run.engines.values()},
        "discarded": list(made.discarded),
        "launches": [compact_launch(launch) for launch in made.launches],
    }


def compact_launch(launch: Launch) -> dict[str, Any]:
    clocks = [[state.sm_mhz, state.memory_mhz, state.gpu_temperature_c, state.power_w] for state in launch.states]
    return {
        "started_at": launch.started_at,
        "seconds": round(launch.seconds, 1),
        "threads": launch.threads,
        "clocks": clocks if any(map(any, clocks)) else [],
        "arms": {name: compact_arm(arm) for name, arm in launch.arms.items()},
    }


def compact_arm(arm: ArmLaunch) -> dict[str, Any]:
    """Return p50, p95 and the number of samples per context, and of an engine the medians of its parts."""
    timed = {c: arm.timings[c] for c in CONTEXTS}
    found: dict[str, Any] = {c: [*micro(t.quantile_ms(p) for p in (50, 95)), t.n] for c, t in timed.items()}
    return found if arm.arm == REFERENCE else {**found, "parts": micro(arm.course_ms["engine"])}


def micro(times_ms: Iterable[float]) -> list[float]:
    """Return milliseconds as microseconds, to a tenth."""
    return [round(1000 * ms, 1) for ms in times_ms]


def append(output: Path, session: dict[str, Any]) -> None:
    """Add a session to the file, as a line of its own."""
    sessions = json.loads(output.read_text())["sessions"] if output.exists() else []
    lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in [*sessions, session])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(f'{{"sessions": [\n{lines}\n]}}\n', encoding="utf-8")


def main() -> None:
    """Record the sessions, each in a process of its own."""
    asked, began = parse(), time.monotonic()
    if asked.one:
        run = load_run(asked.folder / "project" / "reports" / "run.json")
        made = record(asked, run)
        asked.one.write_text(json.dumps(compact(made, run, time.monotonic() - began)))
        return
    prepare(asked)
    print(f"engines after {time.monotonic() - began:.0f} s", flush=True)
    longest = 0.0
    for number in range(asked.sessions):
        if time.monotonic() - began + longest > 60 * asked.minutes:
            print(f"no time for session {number + 1} of {asked.sessions}")
            break
        started, place = time.monotonic(), asked.folder / f"session-{time.time_ns()}.json"
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--one", str(place)], env=environment(), check=True)
        append(asked.output, json.loads(place.read_text()))
        longest = max(longest, time.monotonic() - started)
        print(f"session {number + 1} of {asked.sessions}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
