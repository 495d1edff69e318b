"""Four arms in one pass over large photographs, beside four evaluations by Ultralytics.

python bench/wall_arms.py PROJECT [--device 0] [--photos 200] [--width 4000]

PROJECT is a demo project whose engines are built. On two cores without a GPU, ``wall.py --only arms`` makes one itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import keep
from watched import watch

from pytest_trtgate.machine import Machine, threads_of
from pytest_trtgate.settings.settings import Settings

WIDTH = 4000
"""Pixels of a photograph of 12 megapixels, as phones take them: to decode one takes longer than to evaluate it."""
HOW = {"split": "test", "imgsz": 320, "batch": 1, "conf": 0.001, "iou": 0.7, "max_det": 300}
ENLARGE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import cv2
source, target, count, width, height = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:6])
for kind in ("images", "labels"):
    (target / kind / "test").mkdir(parents=True)
def enlarge(image):
    picture = cv2.resize(cv2.imread(str(image)), (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(target / "images" / "test" / f"{image.stem}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    label = source / "labels" / "test" / f"{image.stem}.txt"
    (target / "labels" / "test" / label.name).write_text(label.read_text())
with ThreadPoolExecutor() as pool:
    list(pool.map(enlarge, sorted((source / "images" / "test").iterdir())[:count]))
"""
SEPARATE = """
import json, sys
from ultralytics import YOLO
found = {}
for arm, artifact in json.loads(sys.argv[1]).items():
    box = YOLO(artifact, task="detect").val(data=sys.argv[2], rect=False, plots=False, verbose=False,
        project="runs", **json.loads(sys.argv[3])).box
    figures = {"mAP50": box.map50, "mAP50-95": box.map, "precision": box.mp, "recall": box.mr}
    found[arm] = {name: float(value) for name, value in figures.items()}
json.dump(found, open("found.json", "w"))
"""


def arms(folder: Path, project: Path, photos: int, device: str = "cpu", width: int = WIDTH) -> dict[str, Any]:
    """Evaluate the demo's arms both ways and return what each took, and the largest difference of a metric.

    Args:
        folder: A folder to be made.
        project: A demo project with its engines built.
        photos: How many images to take.
        device: Where the engines were built for.
        width: Of a photograph, in pixels; the height is three quarters of it.
    """
    folder.mkdir()
    pixels = (width, width * 3 // 4)
    sizes = [str(photos), *map(str, pixels)]
    watch([sys.executable, "-c", ENLARGE, str(project / "data"), str(folder / "data"), *sizes], folder)
    names = ["circle", "square", "triangle", "star", "cross", "ring"]
    splits = dict.fromkeys(("train", "val", "test"), str(folder / "data" / "images" / "test"))
    (folder / "data.yaml").write_text(json.dumps({"path": str(folder / "data"), **splits, "names": names}))
    run = json.loads((project / "reports" / "run.json").read_text())
    engines = {e["cell"]["precision"]: str(Path(e["entry"]) / e["artifact"]) for e in run["engines"].values()}
    artifacts = {"pt": str(project / "shapes.pt"), **engines}
    job = folder / "job"
    job.mkdir()
    request = {
        "schema_version": 1,
        "arms": [{"arm": a, "artifact": p, "per_image": str(job / f"{a}.npz")} for a, p in artifacts.items()],
        "data": str(folder / "data.yaml"),
        "device": device,
        "threads": threads_of(Settings(), Machine()),
        "settings": HOW,
    }
    (job / "request.json").write_text(json.dumps(request))
    # Neither is to be the first that reads the libraries from the disk.
    watch([sys.executable, "-c", "import torch, torchvision, ultralytics"], folder)
    ours = watch([sys.executable, "-m", "pytest_trtgate.workers.evaluating.accuracy", str(job)], folder)
    answer = json.loads((job / "response.json").read_text())
    offline = {"YOLO_OFFLINE": "True", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(folder)}
    how = [json.dumps(artifacts), str(folder / "data.yaml"), json.dumps({**HOW, "device": device})]
    theirs = watch([sys.executable, "-c", SEPARATE, *how], folder, **offline)
    metrics = json.loads((folder / "found.json").read_text())
    largest = max(abs(answer["arms"][arm]["metrics"][name] - x) for arm, m in metrics.items() for name, x in m.items())
    return {
        "photos": photos,
        "pixels": pixels,
        "one_pass": ours.figures(),
        "phases": answer["phases"],
        "arms_s": {arm: round(found["seconds"], 2) for arm, found in answer["arms"].items()},
        "four_evaluations": theirs.figures(),
        "ratio": round(ours.wall_s / theirs.wall_s, 2),
        "cpu_ratio": round(ours.cpu_s / theirs.cpu_s, 2),
        "largest_difference": largest,
    }


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--device", default="0")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--as", dest="name", default="arms_gpu")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = arms(Path(name) / "arms", asked.project.resolve(), asked.photos, asked.device, asked.width)
    keep(asked.name, {**found, "target": 0.35})


if __name__ == "__main__":
    main()
