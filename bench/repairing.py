"""A network that INT8 harms, from the failed run through explanation and repair to the run that passes.

    python bench/repairing.py FOLDER [--network drawings] [--minutes 10] [OPTION OF PYTEST ...]

With a GPU and TensorRT it is gated there, else on the CPU. Prints accuracy, p50, size and energy of the engine before
and after, and keeps them in ``results/repairing_NETWORK.json``; ends with 1 where the repaired cell does not pass.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import keep

from pytest_trtgate import load_run

TESTS = Path(__file__).parents[1] / "tests"
SETTINGS = """
models = ["{network}.pt"]
data = "data/data.yaml"
imgsz = 160
precisions = ["int8"]
cache_dir = "cache"
missing_baseline = "record"

[export]
optimization_level = 0
"""
GATE = """
def test_accuracy(trtgate): trtgate.check_accuracy()
def test_latency(trtgate): trtgate.check_latency()
"""


def run(folder: Path, *command: str) -> str:
    """Run a module of Python in a folder; return what it said."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    return done.stdout


def gate(folder: Path, options: list[str]) -> dict[str, Any]:
    """Return what a run found of the INT8 engine."""
    run(folder, "pytest", "-q", *options)
    record = load_run(folder / "reports" / "run.json")
    (engine,), (latency,) = record.engines.values(), record.latencies.values()
    arms = [arm for launch in latency.launches for name, arm in launch.arms.items() if name == "int8"]
    energy = [arm.energy_mj for arm in arms if arm.energy_mj is not None]
    return {
        "verdicts": {verdict.subject: verdict.outcome for verdict in record.verdicts},
        "failed": [verdict.subject for verdict in record.verdicts if verdict.failed],
        "accuracy": {accuracy.arm: accuracy.metrics for accuracy in record.accuracies},
        "p50_ms": statistics.median(arm.timings["engine"].quantile_ms(50) for arm in arms),
        "size_bytes": engine.size_bytes,
        "energy_mj": statistics.median(energy) if energy else None,
        "explanation": [found.sentence for found in record.explanations.values()],
    }


def main() -> int:
    """Gate, explain, repair, and gate again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=("darts", "drawings"), default="darts")
    parser.add_argument("--minutes", default="10")
    given, options = parser.parse_known_args()
    folder, network = given.folder.resolve(), given.network
    sys.path.insert(0, str(TESTS / "support"))
    from harmed_by_int8 import write_pictures

    folder.mkdir(parents=True)
    shutil.copy(TESTS / "real" / f"{network}.pt", folder)
    write_pictures(network, folder / "data", train=80, test=80)
    (folder / "trtgate.toml").write_text(SETTINGS.format(network=network))
    (folder / "test_gate.py").write_text(GATE)
    before = gate(folder, ["--trt-explain", *options])
    said = run(folder, "pytest_trtgate.cli", "repair", "reports/run.json", "--minutes", given.minutes)
    answer, _, settings = said.partition("Set:\n")
    with (folder / "trtgate.toml").open("a") as file:
        file.write(settings)
    after = gate(folder, options)
    keep(
        f"repairing_{network}", {"before": before, "after": after, "answer": answer.splitlines(), "settings": settings}
    )
    return 0 if settings and before["failed"] and not after["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
