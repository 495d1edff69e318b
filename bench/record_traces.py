"""Record launches of an engine beside copies of itself, and beside slower ones, for ``gate_quality.py`` to judge.

python bench/record_traces.py -o bench/traces/NAME.npz --images FOLDER --imgsz 320 fp16=ENGINE int8=ENGINE

Each launch is the gate's own: a process that loads three copies of each engine, warms them up and times them
interleaved. One run of this script is one session; with ``-o`` an existing file, its launches join those in it.
``--single fp16+WHAT=ENGINE`` puts one copy of another engine beside them, to be compared with ``fp16``. Durations are
kept in tenths of a microsecond.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine
from numpy.typing import NDArray

from pytest_trtgate.jobs.contract import ArmRequest, LatencyRequest
from pytest_trtgate.jobs.launcher import Job, LocalLauncher
from pytest_trtgate.machine import Machine, threads_of
from pytest_trtgate.records.accuracy import AccuracySettings
from pytest_trtgate.records.files import file_sha256
from pytest_trtgate.settings.latency import Latency
from pytest_trtgate.settings.settings import Settings

COPIES = "abc"


def parse() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="+", metavar="NAME=ENGINE", help="Engines to time in three copies each")
    parser.add_argument("--single", nargs="*", default=[], metavar="NAME=ENGINE", help="Engines to time beside them")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--launches", type=int, default=12)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--max-seconds", type=float, default=1.0)
    return parser.parse_args()


def arms_of(arguments: argparse.Namespace) -> dict[str, Path]:
    """Return what is timed, by the name of the arm."""
    tripled = dict(pair.split("=", 1) for pair in arguments.engines)
    single = dict(pair.split("=", 1) for pair in arguments.single)
    arms = {f"{name}-{copy}": Path(path) for name, path in tripled.items() for copy in COPIES}
    return arms | {name: Path(path) for name, path in single.items()}


def launch_request(
    index: int, arms: tuple[ArmRequest, ...], asked: argparse.Namespace, rules: Latency, folder: Path
) -> LatencyRequest:
    """Return the request for a launch; ``asked`` has the folder ``images``, ``imgsz`` and ``device``."""
    images = sorted(p for p in asked.images.iterdir() if p.suffix in (".png", ".jpg"))
    return LatencyRequest(
        index=index,
        arms=arms,
        device=asked.device,
        threads=threads_of(Settings(), Machine()),
        gated="engine",
        images=tuple(str(p.resolve()) for p in images[: rules.images]),
        how=AccuracySettings(split="test", imgsz=asked.imgsz, batch=1, conf=0.25, iou=0.7, max_det=300),
        rules=rules,
        samples_file=str(folder / "samples.npz"),
    )


def launch(
    arguments: argparse.Namespace, arms: dict[str, Path], index: int, folder: Path
) -> dict[str, NDArray[np.int32]]:
    """Run one launch and return the durations of each arm's engine, in tenths of a microsecond."""
    wanted = tuple(ArmRequest(arm=n, artifact=str(p.resolve()), sha256=file_sha256(p)) for n, p in arms.items())
    rules = Latency(seed=time.time_ns() % 2**31, samples=arguments.samples, max_seconds=arguments.max_seconds)
    request = launch_request(index, wanted, arguments, rules, folder).model_copy(update={"contexts": ("engine",)})
    LocalLauncher().run(Job(f"launch-{index}", request, arguments.device, 600), folder, print)
    with np.load(folder / "samples.npz") as arrays:
        return {arm: np.round(arrays[f"{arm}/engine"] / 100).astype(np.int32) for arm in arms}


def main() -> None:
    """Record one session."""
    arguments = parse()
    os.environ["ORT_LOAD_CONFIG_FROM_MODEL"] = "1"  # an engine may ask for fewer threads: see slow_engine.py
    arms = arms_of(arguments)
    found = []
    with tempfile.TemporaryDirectory() as name:
        for index in range(arguments.launches):
            started = time.monotonic()
            found.append(launch(arguments, arms, index, Path(name) / str(index)))
            print(f"launch {index + 1} of {arguments.launches}: {time.monotonic() - started:.1f} s", flush=True)
    # Slow engines get fewer samples, not in every launch the same number.
    least = {arm: min(len(durations[arm]) for durations in found) for arm in arms}
    session = {arm: np.stack([durations[arm][: least[arm]] for durations in found]) for arm in arms}
    old: dict[str, NDArray[np.int32]] = {}
    if arguments.output.exists():
        with np.load(arguments.output) as arrays:
            old = dict(arrays)
    number = 1 + max((int(key.split("/")[0]) for key in old if "/" in key), default=-1)
    new = {f"{number}/{arm}": durations for arm, durations in session.items()}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.output, **{**old, **new, f"machine{number}": np.array(machine())})
    print(f"{arguments.output}: session {number}, {arguments.launches} launches of {', '.join(arms)}")


if __name__ == "__main__":
    main()
