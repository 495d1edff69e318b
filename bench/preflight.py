"""How long the preflight takes on 5000 images: the first time, with one image changed, and with none.

    python bench/preflight.py [--images 5000]

Makes a dataset of JPEGs of 640x480 pixels in a temporary folder, one fifth of them the test split, and runs on it what
``trtgate doctor --config`` runs, with the demo's checkpoint, each time in a process of its own. Device locks are a
folder's own, so that nobody is waited for.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import keep

HERE = Path(__file__).resolve().parent
DRAWN = 100
SETTINGS = f'models = ["{HERE.parent / "examples" / "shapes" / "shapes.pt"}"]\ndata = "data.yaml"\nimgsz = 320\n'
RUN = """
import sys
from pathlib import Path
from pytest_trtgate.cli.doctor import check_up
from pytest_trtgate.settings.load import project_settings
from pytest_trtgate.jobs.launcher import LocalLauncher
from pytest_trtgate.machine import Machine

folder = Path(sys.argv[1])
check_up(project_settings(folder)[0], "onnxruntime", "cpu", print, Machine(), LocalLauncher(locks=folder / "locks"))
"""
CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")


def make(folder: Path, images: int) -> None:
    """Write the dataset and a project's settings."""
    from PIL import Image

    dice = random.Random(0)
    drawn = []
    for _ in range(DRAWN):
        grid = Image.frombytes("RGB", (24, 18), dice.randbytes(24 * 18 * 3)).resize(
            (640, 480), Image.Resampling.BICUBIC
        )
        buffer = io.BytesIO()
        grid.save(buffer, "JPEG", quality=90)
        drawn.append(buffer.getvalue())
    for index in range(images):
        split = "train" if index % 5 else "test"
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        # No two are alike by content, nor all of a size of their own.
        (folder / "images" / split / f"{index:05d}.jpg").write_bytes(dice.choice(drawn) + f"{index:08d}".encode())
        rows = [f"{dice.randrange(6)} 0.5 0.5 {dice.random():.4f} {dice.random():.4f}\n" for _ in range(8)]
        (folder / "labels" / split / f"{index:05d}.txt").write_text("".join(rows))
    names = "\n".join(f"  {number}: {name}" for number, name in enumerate(CLASSES))
    (folder / "data.yaml").write_text(f"train: images/train\ntest: images/test\nnames:\n{names}\n")
    (folder / "trtgate.toml").write_text(f'{SETTINGS}cache_dir = "cache"\n')


def preflight_s(folder: Path) -> float:
    """Run the preflight and return how long it says that it took, in seconds."""
    command = [sys.executable, "-c", RUN, str(folder)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    print(*(line for line in done.stdout.splitlines() if line.startswith(("warning", "FAIL"))), sep="\n")
    found = re.search(r"^preflight: .*; ([\d.]+) s$", done.stdout, re.MULTILINE)
    if found is None:
        raise SystemExit(done.stdout + done.stderr)
    return float(found[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How long the preflight takes.")
    parser.add_argument("--images", type=int, default=5000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory(prefix="preflight-") as name:
        folder = Path(name)
        make(folder, images)
        first = preflight_s(folder)
        changed = sorted((folder / "images" / "test").iterdir())[0]
        changed.write_bytes(changed.read_bytes() + b"1")
        second = preflight_s(folder)
        third = preflight_s(folder)
    figures = {"images": images, "first_s": first, "one_changed_s": second, "unchanged_s": third}
    keep("preflight", figures)


if __name__ == "__main__":
    main()
