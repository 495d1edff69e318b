"""Real material of every task and family: tiny checkpoints of the smallest scales, and datasets they half know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from material import run_python

CLASSES = {"classify": 7}
"""Classes of a model of each task, where not two: with up to five, top5 would always be 1."""

# As in `material`: an untrained network is made to find something, and the labels are what it finds, some changed.
_MAKE = """
import json, sys
from pathlib import Path
import cv2, numpy as np, torch, ultralytics
from ultralytics import YOLO
from ultralytics.utils import YAML

CHANGES = {
    "Pose": dict(kpt_shape=[5, 3]), "Pose26": dict(kpt_shape=[5, 3]),
}

def make(name, task, config, imgsz, images, classes):
    torch.manual_seed(0)
    folder = Path(name)
    data = folder / "data"
    data.mkdir(parents=True)
    settings = YAML.load(Path(ultralytics.__file__).parent / "cfg/models" / config)
    depth = settings["scales"]["n"][0]
    settings.update(nc=classes, scales={"n": [depth, 0.125, 1024]}, scale="n")
    settings.update(CHANGES.get(settings["head"][-1][2], {}))
    if settings["head"][-1][2] == "RTDETRDecoder":
        settings["head"][-1][3] = ["nc", 32, 12, 2, 2, 1, 32]
    plan = folder / (config.split("/")[-1].replace("yolov8", "yolov8n").replace("yolo11", "yolo11n"))
    YAML.save(plan, settings)
    model = YOLO(plan, task=task)
    net = model.model.eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            module.train()
    random = np.random.default_rng(7)

    def picture(index):
        height, width = (60, 80) if index % 2 else (96, 72)
        cells = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)

    some = [cv2.resize(picture(i), (imgsz, imgsz)) for i in range(8)]
    with torch.no_grad():
        net(torch.tensor(np.stack(some)).permute(0, 3, 1, 2).float() / 255)
    net.eval()
    head = net.model[-1]
    for boxes, scores in (("cv2", "cv3"), ("one2one_cv2", "one2one_cv3")):
        for box, score in zip(getattr(head, boxes, None) or (), getattr(head, scores, None) or ()):
            torch.nn.init.normal_(score[-1].weight, std=0.05)
            torch.nn.init.constant_(score[-1].bias, -4.0)
            bins = box[-1].bias.numel() // 4
            box[-1].bias.data[:] = (-1.2 * torch.arange(bins)).repeat(4) if bins > 1 else 1.0
            box[-1].weight.data *= 1.0 if bins > 1 else 0.05
    for last in getattr(head, "cv4", ()) if task in ("segment", "pose") else ():
        last[-1].weight.data *= 0.2
        last[-1].bias.data += 0.3 if task == "segment" else 0.0
    if task == "classify":
        torch.nn.init.normal_(head.linear.weight, std=0.5)
    net.names = {i: f"class{i}" for i in range(classes)}
    model.save(folder / "tiny.pt")
    model = YOLO(folder / "tiny.pt")
    for split in ("train", "test"):
        for index in range(images):
            image = picture(index)
            found = model.predict(image, imgsz=imgsz, conf=0.01, rect=False, verbose=False, max_det=40, iou=0.3)[0]
            label(task, found, image, data, split, index, classes)
    if task != "classify":
        names = list(net.names.values())
        places = {s: [str((data / "images" / s).absolute())] for s in ("train", "test")}
        content = {"path": str(data.absolute()), "val": places["train"], **places, "names": names}
        if task == "pose":
            content["kpt_shape"] = [5, 3]
        (data / "data.yaml").write_text(json.dumps(content))

def corners(boxes, i):
    return boxes.xyxyxyxyn[i].reshape(-1)

def label(task, found, image, data, split, index, classes):
    if task == "classify":
        order = found.probs.top5
        chosen = order[0] if index % 3 else order[(1, -1)[index // 3 % 2]]
        for c in range(classes):
            (data / split / f"class{c}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(data / split / f"class{chosen}" / f"{split}-{index:02d}.png"), image)
        return
    for kind in ("images", "labels"):
        (data / kind / split).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(data / "images" / split / f"{split}-{index:02d}.png"), image)
    rows = []
    boxes = found.obb if task == "obb" else found.boxes
    inside = [i for i in range(len(boxes)) if task != "obb" or bool(((corners(boxes, i) - 0.5).abs() <= 0.5).all())]
    for place, i in enumerate(inside[:5]):
        cls = (int(boxes.cls[i]) + (place == 3)) % classes
        if task == "obb":
            numbers = corners(boxes, i)
        elif task == "segment":
            outline = found.masks.xyn[i] if found.masks is not None else []
            x1, y1, x2, y2 = boxes.xyxyn[i].tolist()
            frame = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
            numbers = torch.tensor(outline if len(outline) > 4 else frame).reshape(-1)
        else:
            x1, y1, x2, y2 = boxes.xyxyn[i].clamp(0, 1).tolist()
            numbers = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
        if task == "pose":
            points = torch.cat([found.keypoints.xyn[i].clamp(0, 1), torch.full((5, 1), 2.0)], 1)
            numbers = torch.cat([numbers, points.reshape(-1)])
        small = numbers if task == "pose" else numbers.clamp(0, 1)
        rows.append(" ".join([str(cls), *(f"{v:.6f}" for v in small.tolist())]))
    (data / "labels" / split / f"{split}-{index:02d}.txt").write_text("\\n".join(rows) + "\\n")

torch.set_num_threads(2)
for each in json.loads(sys.argv[1]):
    make(**each)
"""


@dataclass(frozen=True)
class Kind:
    """A model to be made: its task, the configuration of its family, and the image size that it is gated at."""

    task: str
    config: str
    imgsz: int = 64
    images: int = 8


KINDS = {
    "segment": Kind("segment", "11/yolo11-seg.yaml"),
    "pose": Kind("pose", "v8/yolov8-pose.yaml"),
    "obb": Kind("obb", "26/yolo26-obb.yaml"),
    "classify": Kind("classify", "26/yolo26-cls.yaml", images=16),
    "rtdetr": Kind("detect", "v8/yolov8-rtdetr.yaml"),
}


@dataclass(frozen=True)
class TaskMaterial:
    """A checkpoint and what it is evaluated on: a data YAML, or the folder of a classification dataset."""

    kind: Kind
    weights: Path
    data: Path


def make_tasks(
    folder: Path, names: tuple[str, ...] = tuple(KINDS), images: int | None = None
) -> dict[str, TaskMaterial]:
    """Make the checkpoints and datasets of some kinds, in one process; ``images`` in each split if they say so."""
    asked = [
        {
            "name": name,
            "task": KINDS[name].task,
            "config": KINDS[name].config,
            "imgsz": KINDS[name].imgsz,
            "images": images or KINDS[name].images,
            "classes": CLASSES.get(KINDS[name].task, 2),
        }
        for name in names
    ]
    settings = {"YOLO_OFFLINE": "True", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(folder)}
    done = run_python(_MAKE, json.dumps(asked), folder=folder, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {}
    for name in names:
        data = folder / name / "data"
        data = data if KINDS[name].task == "classify" else data / "data.yaml"
        made[name] = TaskMaterial(KINDS[name], folder / name / "tiny.pt", data)
    return made
