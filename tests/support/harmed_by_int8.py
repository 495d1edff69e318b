"""Pictures for two small networks that INT8 harms, and the training of these: ``tests/real/{darts,drawings}.pt``.

    python tests/support/harmed_by_int8.py darts FOLDER EPOCHS     # leaves FOLDER/darts.pt; 20 seconds an epoch

Darts have four key points each. Drawings are thin outlines on white. The networks are YOLO11s of an eighth of the usual
width, small enough to be kept here. That of darts was trained for 13 of 30 epochs, that of drawings for 20.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

SIDE_PX = 160
SPLITS = {"train": (800, 1), "val": (60, 2), "test": (80, 3)}
"""How many pictures each split has in training, and its seed."""
OUTLINE = ((1.0, 0.0), (-0.7, 0.6), (-0.35, 0.0), (-0.7, -0.6))
"""Tip, left tail, notch and right tail of a dart of radius 1."""
DARTS = {"names": {0: "dart"}, "kpt_shape": [4, 3], "flip_idx": [0, 3, 2, 1]}
DRAWINGS = {"names": {0: "triangle", 1: "square", 2: "pentagon"}}
ABOUT: dict[str, dict[str, Any]] = {"darts": DARTS, "drawings": DRAWINGS}
"""What the data YAML of each set says."""


def write_pictures(name: str, folder: Path, **counts: int) -> Path:
    """Draw some splits of a set, each of the number of pictures that is given; return the data YAML."""
    import cv2
    import numpy as np

    for split, count in counts.items():
        random = np.random.default_rng(SPLITS[split][1])
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture, rows = (_darts if name == "darts" else _drawings)(random)
            path = folder / "images" / split / f"{split}{index:04d}.png"
            cv2.imwrite(str(path), picture)
            (folder / "labels" / split / f"{path.stem}.txt").write_text("\n".join(rows) + "\n")
    data = folder / "data.yaml"
    data.write_text(json.dumps({"path": str(folder), **ABOUT[name], **{split: f"images/{split}" for split in counts}}))
    return data


def _darts(random: Any) -> tuple[Any, list[str]]:
    """Return a picture of up to three darts of any size, place, direction and colour, and its labels."""
    import cv2
    import numpy as np

    picture, rows = cv2.resize(random.integers(0, 256, (5, 5, 3), dtype=np.uint8), (SIDE_PX, SIDE_PX)), list[str]()
    for _ in range(random.integers(1, 4)):
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        radius = random.uniform(28, 90) / 2
        x, y, turn = *random.uniform(radius, SIDE_PX - radius, 2), random.uniform(0, 2 * math.pi)
        rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        points = np.array(OUTLINE) * radius @ rotation.T + (x, y)
        cv2.fillPoly(picture, [np.round(points * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
        rows.append(" ".join([_box(0, points), *(f"{px / SIDE_PX:.5f} {py / SIDE_PX:.5f} 2" for px, py in points)]))
    return picture, rows


def _drawings(random: Any) -> tuple[Any, list[str]]:
    """Return a white picture of up to five outlines of three to five corners, and its labels."""
    import cv2
    import numpy as np

    picture, rows = np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8), list[str]()
    for _ in range(random.integers(2, 6)):
        cls, radius = int(random.integers(0, 3)), random.uniform(8, 24)
        x, y, turn = *random.uniform(radius, SIDE_PX - radius, 2), random.uniform(0, 2 * math.pi)
        angles = turn + np.arange(3 + cls) * 2 * math.pi / (3 + cls)
        points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
        cv2.polylines(picture, [np.round(points * 16).astype(np.int32)], True, (0, 0, 0), 1, cv2.LINE_AA, 4)
        rows.append(_box(cls, points))
    return picture, rows


def _box(cls: int, points: Any) -> str:
    low, high = points.min(0), points.max(0)
    return " ".join([str(cls), *(f"{value / SIDE_PX:.5f}" for value in (*((low + high) / 2), *(high - low)))])


def train(name: str, folder: Path, epochs: int) -> Path:
    """Train the network on one core, and return its checkpoint without what only training needs."""
    data = write_pictures(name, folder / "data", **{split: count for split, (count, _) in SPLITS.items()})
    trained = train_small("11/yolo11{}-pose.yaml" if name == "darts" else "11/yolo11{}.yaml", data, folder, epochs)
    return stripped(trained, folder / f"{name}.pt")


def train_small(family: str, data: Path, folder: Path, epochs: int, lr0: float = 0.004) -> Path:
    """Train a network of an eighth of the usual width on one core; return the last checkpoint as training leaves it.

    ``family`` is the path of one of Ultralytics' models, with braces where its scale stands. ``data`` is a data YAML,
    or the folder of a classifier's pictures.
    """
    os.environ.update(YOLO_OFFLINE="True", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=str(folder))
    import torch
    import ultralytics
    import ultralytics.utils.torch_utils
    from ultralytics import YOLO
    from ultralytics.utils import YAML

    torch.set_num_threads(1)
    ultralytics.utils.torch_utils.NUM_THREADS = 1
    config = YAML.load(Path(ultralytics.__file__).parent / "cfg/models" / family.format(""))
    about = YAML.load(data) if data.is_file() else {"names": sorted(path.name for path in (data / "train").iterdir())}
    depth = config["scales"]["n"][0]
    config.update(scales={"n": [depth, 0.125, 1024]}, nc=len(about["names"]))
    config.update({key: about[key] for key in ("kpt_shape",) if key in about})
    plan = folder / Path(family.format("n")).name
    YAML.save(plan, config)
    model = YOLO(plan)
    where = {"project": str(folder), "name": "run", "exist_ok": True, "plots": False, "val": False}
    how = {"imgsz": SIDE_PX, "batch": 16, "nbs": 16, "workers": 0, "device": "cpu", "amp": False, "seed": 0}
    rate = {"optimizer": "AdamW", "lr0": lr0, "warmup_epochs": 1}
    changes = {"mosaic": 0.0, "fliplr": 0.0, "scale": 0.2, "translate": 0.05, "hsv_h": 0.5, "close_mosaic": 0}
    model.train(data=str(data), epochs=epochs, **where, **how, **rate, **changes)
    return folder / "run" / "weights" / "last.pt"


def stripped(trained: Path, target: Path) -> Path:
    """Write a checkpoint without optimizer, and without the paths and dates of the machine that trained it."""
    import torch
    from ultralytics.utils.torch_utils import strip_optimizer

    target.write_bytes(trained.read_bytes())
    strip_optimizer(target)
    checkpoint = torch.load(target, map_location="cpu", weights_only=False)
    places = {"model": target.with_suffix(".yaml").name, "data": "data.yaml", "project": None, "save_dir": None}
    checkpoint["train_args"] |= places
    checkpoint["model"].args |= places
    checkpoint["model"].yaml["yaml_file"] = places["model"]
    for name in ("git", "date", "train_results"):
        checkpoint.pop(name, None)
    torch.save(checkpoint, target)
    return target


if __name__ == "__main__":
    print(train(sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3])))
