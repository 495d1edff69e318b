"""How alike two builds of one precision are, with a shared timing cache of TensorRT's builder and without.

python bench/timing_cache.py --images FOLDER [--precision fp32] [--level 1] [--imgsz 320] [--launches 3] [--limit-s 300]

Three builds of the demo model through the gate's own job: one that begins with an empty cache, one with what the first
has left there, and one with none. Then all three are timed in the same launches. Needs a GPU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from machine import keep

from pytest_trtgate.jobs.contract import ArmRequest, BuildRequest, BuildResponse, LatencyRequest, LatencyResponse
from pytest_trtgate.jobs.launcher import Job, LocalLauncher
from pytest_trtgate.records.accuracy import AccuracySettings
from pytest_trtgate.records.cell import Cell
from pytest_trtgate.settings.latency import Latency

MODEL = Path(__file__).resolve().parents[1] / "examples" / "shapes" / "shapes.pt"
BUILDS = {"first": True, "shared": True, "none": False}
"""By name, whether a build has the timing cache."""


def main() -> None:
    """Build, time, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16"))
    parser.add_argument("--level", type=int, default=1, help="builder_optimization_level")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--launches", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=300)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        keep("timing_cache", figures(asked, Path(name)))


def figures(asked: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return seconds and p50 of each build, and the differences of p50 between the builds in percent."""
    launcher = LocalLauncher()
    engines: dict[str, Path] = {}
    seconds: dict[str, float] = {}
    for build, cached in BUILDS.items():
        output = folder / build
        output.mkdir()
        request = BuildRequest(
            weights=str(MODEL),
            cell=Cell(
                model=MODEL.stem, precision=asked.precision, imgsz=asked.imgsz, batch=1, backend="tensorrt", device="0"
            ),
            threads=8,
            optimization_level=asked.level,
            timing_cache=str(folder / "timing.cache") if cached else None,
            output=str(output),
        )
        started = time.perf_counter()
        answer = launcher.run(Job(f"build-{build}", request, "0", asked.limit_s), folder / f"job-{build}", print)
        assert isinstance(answer, BuildResponse)
        seconds[build] = round(time.perf_counter() - started, 1)
        engines[build] = output / answer.artifact
        print(build, seconds[build], "s", flush=True)
    p50_ms: dict[str, list[float]] = {build: [] for build in BUILDS}
    images = tuple(str(path.resolve()) for path in sorted(asked.images.iterdir())[:32])
    for index in range(asked.launches):
        timed = LatencyRequest(
            index=index,
            arms=tuple(ArmRequest(arm=build, artifact=str(engine), sha256="") for build, engine in engines.items()),
            device="0",
            threads=8,
            images=images,
            contexts=("engine",),
            how=AccuracySettings(split="test", imgsz=asked.imgsz, batch=1, conf=0.25, iou=0.7, max_det=300),
            rules=Latency(),
            samples_file=str(folder / f"samples-{index}.npz"),
        )
        done = launcher.run(Job(f"launch-{index}", timed, "0", 300), folder / f"job-launch-{index}", print)
        assert isinstance(done, LatencyResponse)
        for build, found in done.launch.arms.items():
            p50_ms[build].append(found.timings["engine"].quantiles_ms[49])
    by = {
        build: [100 * (ms / first - 1) for ms, first in zip(found, p50_ms["first"], strict=True)]
        for build, found in p50_ms.items()
    }
    return {
        "precision": asked.precision,
        "optimization_level": asked.level,
        "build_s": seconds,
        "p50_ms": {build: round(median(found), 4) for build, found in p50_ms.items()},
        "same_bytes": engines["first"].read_bytes()[4096:] == engines["shared"].read_bytes()[4096:],
        "difference_percent": {build: round(median(found), 2) for build, found in by.items() if build != "first"},
        "launches": asked.launches,
    }


if __name__ == "__main__":
    main()
