"""Small networks of all tasks, two of each, for the study of INT8's defaults: their pictures, and their training.

    python bench/int8_networks.py FOLDER [NAME ...]   # leaves FOLDER/NAME/NAME.pt and FOLDER/NAME/data; minutes each

Figures of four corners lie on soft colours, filled, or are thin outlines on white. The networks on the former are
YOLO11s, those on the latter YOLOv8s. The demo's detector and the two networks of ``tests/real`` take the places of
three.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
for _place in ("tests/support", "examples/shapes"):
    sys.path.insert(0, str(ROOT / _place))

SPLITS = {"train": (400, 1), "val": (40, 2), "test": (200, 3)}
"""How many pictures each split has, and its seed."""
CALIBRATION = 80
"""Pictures of the first split that INT8 is calibrated on, evenly spread."""
CLASSES = 3
CLASSIFIED = 8
FAMILIES = {"segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls", "detect": ""}


@dataclass(frozen=True)
class Network:
    """A network of the study: ``ready`` is its checkpoint where that need not be trained."""

    task: str
    filled: bool
    epochs: int = 16
    lr0: float = 0.004
    ready: str = ""

    @property
    def family(self) -> str:
        """The path of Ultralytics' model."""
        return ("11/yolo11" if self.filled else "v8/yolov8") + "{}" + f"{FAMILIES[self.task]}.yaml"


NETWORKS = {
    "shapes": Network("detect", True, ready="examples/shapes/shapes.pt"),
    "drawings": Network("detect", False, ready="tests/real/drawings.pt"),
    "segment": Network("segment", True),
    "segment-lines": Network("segment", False),
    "darts": Network("pose", True, ready="tests/real/darts.pt"),
    "pose-lines": Network("pose", False),
    "obb": Network("obb", True),
    "obb-lines": Network("obb", False),
    "classify": Network("classify", True, 60, 0.001),
    "classify-lines": Network("classify", False, 60, 0.001),
}


def make_data(name: str, folder: Path) -> Path:
    """Draw the pictures of a network, with seeds; return its data YAML, or the folder of a classifier's."""
    from generate import Spec, generate
    from harmed_by_int8 import write_pictures

    counts = {split: count for split, (count, _) in SPLITS.items()}
    if name == "shapes":
        generate(folder, Spec(train=CALIBRATION, val=4, test=counts["test"]))
        return folder / "data.yaml"
    if name in ("darts", "drawings"):
        return write_pictures(name, folder, train=CALIBRATION, test=counts["test"])
    return _figures(NETWORKS[name], folder)


def _figures(network: Network, folder: Path) -> Path:
    import cv2
    import numpy as np

    for split, (count, seed) in SPLITS.items():
        random = np.random.default_rng(seed)
        for index in range(count):
            most = 1 if network.task == "classify" else 4
            picture, figures = _picture(random, network.filled, most, CLASSIFIED if most == 1 else CLASSES)
            images = folder / split / f"figure{figures[0][0]}" if most == 1 else folder / "images" / split
            images.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(images / f"{split}{index:04d}.png"), picture)
            if most > 1:
                labels = folder / "labels" / split
                labels.mkdir(parents=True, exist_ok=True)
                rows = "".join(f"{cls} {_label(network.task, points)}\n" for cls, points in figures)
                (labels / f"{split}{index:04d}.txt").write_text(rows)
    if network.task == "classify":
        return folder
    about: dict[str, Any] = {"path": str(folder), "names": {n: f"figure{n}" for n in range(CLASSES)}}
    if network.task == "pose":
        about.update(kpt_shape=[4, 3], flip_idx=[0, 3, 2, 1])
    data = folder / "data.yaml"
    data.write_text(json.dumps(about | {split: f"images/{split}" for split in SPLITS}))
    return data


def _picture(random: Any, filled: bool, most: int, classes: int) -> tuple[Any, list[tuple[int, Any]]]:
    """Return a picture of up to so many figures, and of each its class and its corners in pixels."""
    import cv2
    import numpy as np
    from harmed_by_int8 import SIDE_PX

    colours = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    picture = cv2.resize(colours, (SIDE_PX, SIDE_PX)) if filled else np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8)
    figures = []
    for _ in range(random.integers(1, most + 1)):
        cls, radius = int(random.integers(0, classes)), random.uniform(*((16, 42) if most > 1 else (40, 70)))
        x, y, turn = *random.uniform(radius, SIDE_PX - radius, 2), random.uniform(0, 2 * math.pi)
        rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        points = np.array(_outline(cls)) * radius @ rotation.T + (x, y)
        corners = [np.round(points * 16).astype(np.int32)]
        if filled:
            cv2.fillPoly(picture, corners, tuple(map(int, random.integers(0, 256, 3))), cv2.LINE_AA, 4)
        else:
            cv2.polylines(picture, corners, True, (0, 0, 0), 1, cv2.LINE_AA, 4)
        figures.append((cls, points))
    return picture, figures


def _outline(cls: int) -> tuple[tuple[float, float], ...]:
    """Return tip, left tail, notch and right tail of one of eight figures of radius 1, of other widths and notches."""
    width, notch = (0.65, 0.3)[cls % 2], (-0.3, -0.95, -0.7, 0.2)[cls // 2]
    return ((1.0, 0.0), (-0.7, width), (notch, 0.0), (-0.7, -width))


def _label(task: str, points: Any) -> str:
    import cv2
    import numpy as np
    from harmed_by_int8 import SIDE_PX

    placed = points / SIDE_PX
    low, high = placed.min(0), placed.max(0)
    numbers = [*((low + high) / 2), *(high - low)]
    if task == "segment":
        numbers = [*placed.clip(0, 1).ravel()]
    if task == "pose":
        numbers += [value for x, y in placed for value in (x, y, 2)]
    if task == "obb":
        numbers = [*cv2.boxPoints(cv2.minAreaRect(placed.astype(np.float32))).clip(0, 1).ravel()]
    return " ".join(f"{value:.5f}" for value in numbers)


def train(name: str, folder: Path) -> Path:
    """Return the checkpoint of a network, trained where need be, in ``folder``."""
    from harmed_by_int8 import train_small

    network, checkpoint = NETWORKS[name], folder / f"{name}.pt"
    folder.mkdir(parents=True, exist_ok=True)
    data = make_data(name, folder / "data")
    trained = (
        ROOT / network.ready
        if network.ready
        else train_small(network.family, data, folder, network.epochs, network.lr0)
    )
    shutil.copyfile(trained, checkpoint)
    return checkpoint


if __name__ == "__main__":
    for chosen in sys.argv[2:] or NETWORKS:
        print(train(chosen, Path(sys.argv[1]).resolve() / chosen))
