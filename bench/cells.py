"""What pytest and the gate take for many cells of which everything is reused.

python bench/cells.py [--cells 300] [--latency]

Jobs are fake and take no time: what is measured is all around them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from machine import keep
from watched import Watched, watch

SUPPORT = Path(__file__).parent.parent / "tests" / "support"
IMAGES = 150
SIZES = (320, 640)
PRECISIONS = 3
SETTINGS = """
data = "data/data.yaml"
cache_dir = "cache"
missing_baseline = "record"
[latency]
samples = 60
"""


def many(folder: Path, cells: int) -> None:
    """Make a project of so many cells: checkpoints, each in two image sizes and three precisions, with fake jobs."""
    sys.path.insert(0, str(SUPPORT))
    from fake_jobs import Behaviour
    from project import TESTS, Project, write_dataset

    folder.mkdir()
    project = Project(folder)
    for path in sorted((folder / "data").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    write_dataset(folder / "data", IMAGES)
    seen = {arm: {"score": 0.9, "missed": missed} for arm, missed in (("pt", 0), ("fp32", 0), ("fp16", 1), ("int8", 2))}
    models = []
    for number in range(cells // PRECISIONS // len(SIZES)):
        name = f"model{number}"
        project.weights(Behaviour(map50_95=0.75 + number / 10000, seen=seen), f"{name}.pt")
        models += [f'{{ path = "{name}.pt", name = "{name}-{size}", imgsz = {size} }}' for size in SIZES]
    (folder / "trtgate.toml").write_text(f"models = [{', '.join(models)}]{SETTINGS}")
    project.tests(TESTS)


def reused(folder: Path, cells: int, *arguments: str) -> dict[str, Watched]:
    """Gate a project of so many cells, first all of it, then with all but launches reused."""
    many(folder, cells)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return {name: watch(command, folder, accept=(0, 1)) for name in ("first", "again")}


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=300)
    cells: int = parser.parse_args().cells
    with tempfile.TemporaryDirectory() as name:
        found = {
            what: {run: watched.figures() for run, watched in reused(Path(name) / what, cells, *arguments).items()}
            for what, arguments in (("accuracy", ("-k", "accuracy")), ("accuracy and latency", ()))
        }
    keep("cells", {"cells": cells, "images": IMAGES, **found})


if __name__ == "__main__":
    main()
