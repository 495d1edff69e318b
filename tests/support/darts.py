"""Pictures of darts with four key points each, and the training of ``tests/real/darts.pt`` on them.

    python tests/support/darts.py FOLDER EPOCHS     # leaves FOLDER/darts.pt; 20 seconds an epoch on one core

The network is a YOLO11 for poses of an eighth of the usual width: small enough to be kept here, and INT8 harms it. The
one that is kept was trained for 13 of 30 epochs.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

SIDE_PX = 160
OUTLINE = ((1.0, 0.0), (-0.7, 0.6), (-0.35, 0.0), (-0.7, -0.6))
"""Tip, left tail, notch and right tail of a dart of radius 1."""
SPLITS = {"train": (800, 1), "val": (60, 2), "test": (80, 3)}
"""How many pictures each split has by default, and its seed."""


def write_darts(folder: Path, **counts: int) -> Path:
    """Draw some splits, each of the number of pictures that is given; return the data YAML."""
    import cv2
    import numpy as np

    for split, count in counts.items():
        random = np.random.default_rng(SPLITS[split][1])
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture = cv2.resize(random.integers(0, 256, (5, 5, 3), dtype=np.uint8), (SIDE_PX, SIDE_PX))
            rows = [_drawn(picture, random) for _ in range(random.integers(1, 4))]
            name = f"{split}{index:04d}"
            cv2.imwrite(str(folder / "images" / split / f"{name}.png"), picture)
            (folder / "labels" / split / f"{name}.txt").write_text("\n".join(rows) + "\n")
    data = {"path": str(folder), "names": {0: "dart"}, "kpt_shape": [4, 3], "flip_idx": [0, 3, 2, 1]}
    path = folder / "data.yaml"
    path.write_text(json.dumps(data | {split: f"images/{split}" for split in counts}))
    return path


def _drawn(picture: Any, random: Any) -> str:
    """Draw a dart of any size, place, direction and colour into a picture; return its label."""
    import cv2
    import numpy as np

    colour = tuple(int(value) for value in random.integers(0, 256, 3))
    radius = random.uniform(28, 90) / 2
    x, y, turn = *random.uniform(radius, SIDE_PX - radius, 2), random.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    points = np.array(OUTLINE) * radius @ rotation.T + (x, y)
    cv2.fillPoly(picture, [np.round(points * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    low, high = points.min(0), points.max(0)
    box = [*((low + high) / 2), *(high - low)]
    numbers = [f"{value / SIDE_PX:.5f}" for value in box]
    return " ".join(["0", *numbers, *(f"{px / SIDE_PX:.5f} {py / SIDE_PX:.5f} 2" for px, py in points)])


def train(folder: Path, epochs: int) -> Path:
    """Train the network on one core, and return its checkpoint without what only training needs."""
    os.environ.update(YOLO_OFFLINE="True", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=str(folder))
    import torch
    import ultralytics
    import ultralytics.utils.torch_utils
    from ultralytics import YOLO
    from ultralytics.utils import YAML

    torch.set_num_threads(1)
    ultralytics.utils.torch_utils.NUM_THREADS = 1
    config = YAML.load(Path(ultralytics.__file__).parent / "cfg/models/11/yolo11-pose.yaml")
    config.update(scales={"n": [0.5, 0.125, 1024]}, nc=1, kpt_shape=[4, 3])
    YAML.save(folder / "yolo11n-pose.yaml", config)
    model = YOLO(folder / "yolo11n-pose.yaml")
    data = write_darts(folder / "data", **{split: count for split, (count, _) in SPLITS.items()})
    where = {"project": str(folder), "name": "run", "exist_ok": True, "plots": False, "val": False}
    how = {"imgsz": SIDE_PX, "batch": 16, "nbs": 16, "workers": 0, "device": "cpu", "amp": False, "seed": 0}
    rate = {"optimizer": "AdamW", "lr0": 0.004, "warmup_epochs": 1}
    changes = {"mosaic": 0.0, "fliplr": 0.0, "scale": 0.2, "translate": 0.05, "hsv_h": 0.5, "close_mosaic": 0}
    model.train(data=str(data), epochs=epochs, **where, **how, **rate, **changes)
    return stripped(folder / "run" / "weights" / "last.pt", folder / "darts.pt")


def stripped(trained: Path, target: Path) -> Path:
    """Write a checkpoint without optimizer, and without the paths and dates of the machine that trained it."""
    import torch
    from ultralytics.utils.torch_utils import strip_optimizer

    target.write_bytes(trained.read_bytes())
    strip_optimizer(target)
    checkpoint = torch.load(target, map_location="cpu", weights_only=False)
    places = {"model": "yolo11n-pose.yaml", "data": "data.yaml", "project": None, "save_dir": None}
    checkpoint["train_args"] |= places
    checkpoint["model"].args |= places
    checkpoint["model"].yaml["yaml_file"] = places["model"]
    for name in ("git", "date", "train_results"):
        checkpoint.pop(name, None)
    torch.save(checkpoint, target)
    return target


if __name__ == "__main__":
    print(train(Path(sys.argv[1]).resolve(), int(sys.argv[2])))
