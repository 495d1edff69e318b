"""What an image takes that INT8 is calibrated on by ONNX Runtime, beside another version of the gate by turns.

python bench/calibration.py --against OTHER/bin/python [--imgsz 320] [--threads 2] [--rounds 3]

The demo's engine is built on a tenth of its images and on all of them, through the gate's own job: the difference is
what the further images take. Both versions start from the same traced graph, and have to make the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from machine import keep
from watched import watch

from pytest_trtgate.records.files import file_sha256

JOB = "pytest_trtgate.workers.building.build"
FRACTIONS = (0.1, 1.0)


class Builds:
    """Builds of one demo project; ``asked`` are the arguments of this script."""

    def __init__(self, folder: Path, asked: argparse.Namespace) -> None:
        self._folder = folder
        self._asked = asked
        self._number = count()
        watch([sys.executable, "-m", "pytest_trtgate.cli", "demo", str(folder / "demo")], folder)
        root = folder / "demo" / "data"
        (folder / "data.yaml").write_text(f"path: {root}\n" + (root / "data.yaml").read_text())

    def image(self, python: str) -> dict[str, Any]:
        """Return the milliseconds that an image takes by the clock and of processors, and the engine on all images."""
        few, many = (self._build(python, fraction) for fraction in FRACTIONS)
        images = many.pop("images") - few.pop("images")
        return {
            f"{name[:-2]}_ms": round(1000 * (many[name] - few[name]) / images, 2) for name in ("wall_s", "cpu_s")
        } | {
            "images": images,
            "peak_mb": round(many["peak_mb"]),
            "sha256": many["sha256"],
        }

    def _build(self, python: str, fraction: float) -> dict[str, Any]:
        folder = self._folder / f"build-{next(self._number)}"
        folder.mkdir()
        cell = {"model": "shapes", "precision": "int8", "imgsz": self._asked.imgsz, "batch": 1}
        request = {
            "schema_version": 1,
            "weights": str(self._folder / "demo" / "shapes.pt"),
            "cell": {**cell, "backend": "onnxruntime", "device": "cpu"},
            "data": str(self._folder / "data.yaml"),
            "calibration": {"split": "train", "fraction": fraction},
            "threads": self._asked.threads,
            "traced": str(self._folder / "traced"),
            "output": str(folder / "out"),
        }
        (folder / "request.json").write_text(json.dumps(request))
        found = watch([python, "-m", JOB, str(folder)], folder)
        answer = json.loads((folder / "response.json").read_text())
        engine = folder / "out" / answer["artifact"]
        return vars(found) | {"images": len(answer["calibration_images"]), "sha256": file_sha256(engine)}


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="PYTHON", required=True, help="Interpreter with another version")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    sides = {"here": sys.executable, "other": asked.against}
    with tempfile.TemporaryDirectory() as name:
        builds = Builds(Path(name), asked)
        pairs = []
        for number in range(asked.rounds):
            order = list(sides) if number % 2 else list(reversed(sides))
            pairs.append({side: builds.image(sides[side]) for side in order})
            print(pairs[-1], flush=True)
    engines = {found.pop("sha256") for pair in pairs for found in pair.values()}
    medians = {side: median(pair[side]["wall_ms"] for pair in pairs) for side in sides}
    how = {"imgsz": asked.imgsz, "threads": asked.threads}
    keep("calibration", {**how, "pairs": pairs, "median_wall_ms": medians, "same_bytes": len(engines) == 1})


if __name__ == "__main__":
    main()
