"""Train the demo checkpoint, shapes.pt, on the shapes data set.

    python train.py [--device cpu] [--images 2400] [--epochs 85] [--output shapes.pt]

A YOLO11 model of a third of yolo11n's size, from scratch, seeded; nothing is
downloaded. The committed checkpoint took 9 minutes with ``--device 0`` on an
H100; two CPU cores take hours. Runs and data live in a temporary folder. What
is left is the stripped checkpoint, without paths, dates or git facts of the
machine it was made on. Sums have no fixed order on many threads or a GPU: a
second run scores alike, not identically.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from generate import CLASSES, Spec, generate

HERE = Path(__file__).resolve().parent
IMGSZ = 320
# Depth, width and channel cap; yolo11n is 0.50, 0.25, 1024.
SCALE = (0.50, 0.125, 1024)
MODEL_NAME = "yolo11-shapes.yaml"


def _model_yaml(folder: Path) -> Path:
    """Write Ultralytics' own yolo11.yaml with our scale into `folder` and return its path."""
    import ultralytics
    import yaml

    source = Path(ultralytics.__file__).parent / "cfg" / "models" / "11" / "yolo11.yaml"
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    config["scales"] = {"p": list(SCALE)}
    config["nc"] = len(CLASSES)
    target = folder / MODEL_NAME
    target.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return target


def train(folder: Path, device: str, epochs: int, images: int) -> Path:
    """Train in `folder` and return the best checkpoint, stripped by Ultralytics."""
    # More pictures than the gate's set has; those of val and test are the same ones.
    generate(folder / "data", Spec(train=images))

    from ultralytics import YOLO

    model = YOLO(str(_model_yaml(folder)), task="detect")
    model.train(
        data=str(folder / "data" / "data.yaml"),
        epochs=epochs,
        imgsz=IMGSZ,
        batch=32,
        nbs=32,  # else gradients add up to a nominal batch of 64
        workers=min(8, os.cpu_count() or 1),
        device=device,
        seed=0,
        deterministic=True,
        cache="ram",
        pretrained=False,
        amp=False,
        plots=False,
        optimizer="AdamW",
        lr0=0.004,
        lrf=0.01,
        cos_lr=True,
        warmup_epochs=1,
        close_mosaic=max(epochs // 5, 1),
        # The pictures hold every hue, turn and size already.
        hsv_h=0.05,
        flipud=0.5,
        scale=0.3,
        mosaic=0.5,
        project=str(folder / "runs"),
        name="shapes",
    )
    return folder / "runs" / "shapes" / "weights" / "best.pt"


def scrub(source: Path, target: Path) -> None:
    """Copy a stripped checkpoint without what tells of the machine it was made on."""
    import torch

    checkpoint: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=False)
    names = {"model": MODEL_NAME, "data": "data.yaml", "project": None, "save_dir": None}
    model = checkpoint["model"]
    checkpoint["train_args"] |= names
    model.args = {key: value for key, value in model.args.items() if key not in names} | names
    model.yaml["yaml_file"] = MODEL_NAME
    for key in ("git", "date", "train_results"):
        checkpoint.pop(key, None)
    torch.save(checkpoint, target)
    left = [word for word in (str(source.parent), str(HERE)) if word.encode() in target.read_bytes()]
    if left:
        raise ValueError(f"{target}: still names {left[0]}")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the demo checkpoint.")
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU (default: %(default)s)")
    parser.add_argument("--images", type=int, default=2400, help="training images (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=85, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, default=HERE / "shapes.pt", help="(default: shapes.pt beside this file)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shapes-") as name:
        folder = Path(name).resolve()
        # Before the import of ultralytics and torch, which read them once.
        os.environ |= {
            "YOLO_CONFIG_DIR": str(folder / "config"),
            "YOLO_OFFLINE": "True",
            "YOLO_AUTOINSTALL": "false",
        }
        scrub(train(folder, args.device, args.epochs, args.images), args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
