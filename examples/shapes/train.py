"""Train the demo checkpoint, shapes.pt, on the shapes data set.

    python train.py [--epochs 60] [--images 2400] [--output shapes.pt]

A YOLO11 model of a quarter of yolo11n's size, from scratch, on CPU, seeded;
nothing is downloaded. Runs and data live in a temporary folder. What is left
is the stripped checkpoint, without paths, dates or git facts of this machine.
Threads add in no fixed order, so a second run scores alike, not identically.
"""

from __future__ import annotations

import argparse
import io
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


def _model_yaml(folder: Path) -> Path:
    """Write Ultralytics' own yolo11.yaml with our scale into `folder` and return its path."""
    import ultralytics
    import yaml

    source = Path(ultralytics.__file__).parent / "cfg" / "models" / "11" / "yolo11.yaml"
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    config["scales"] = {"p": list(SCALE)}
    config["nc"] = len(CLASSES)
    target = folder / "yolo11-shapes.yaml"
    target.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return target


def scrub(source: Path, target: Path) -> None:
    """Copy a stripped checkpoint without what tells of the machine it was trained on.

    Raises:
        ValueError: A path of this machine is still in the checkpoint.
    """
    import torch

    checkpoint: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=False)
    kept = {"task": "detect", "mode": "train", "data": "data.yaml", "imgsz": IMGSZ}
    model = checkpoint["model"]
    checkpoint["train_args"] = {
        key: value
        for key, value in checkpoint["train_args"].items()
        if not isinstance(value, str) and key not in kept
    } | kept
    model.args = dict(checkpoint["train_args"])
    model.yaml["yaml_file"] = "yolo11-shapes.yaml"
    model.yaml_file = "yolo11-shapes.yaml"
    for key in ("git", "date", "train_results"):
        checkpoint.pop(key, None)
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    for word in (str(source.parent), str(HERE), str(Path.home()) + "/"):
        if word.encode() in buffer.getvalue():
            raise ValueError(f"{word} is still in the checkpoint")
    target.write_bytes(buffer.getvalue())


def train(folder: Path, epochs: int, images: int, batch: int) -> Path:
    """Train in `folder` and return the best checkpoint, stripped by Ultralytics."""
    data = folder / "data"
    # More pictures than the gate's set has; those of val and test are the same ones.
    generate(data, Spec(train=images))

    from ultralytics import YOLO

    model = YOLO(str(_model_yaml(folder)), task="detect")
    model.train(
        data=str(data / "data.yaml"),
        epochs=epochs,
        imgsz=IMGSZ,
        batch=batch,
        nbs=batch,  # else gradients add up to a nominal batch of 64
        workers=2,
        device="cpu",
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


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the demo checkpoint on CPU.")
    parser.add_argument("--epochs", type=int, default=60, help="(default: %(default)s)")
    parser.add_argument("--images", type=int, default=2400, help="training images (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, default=HERE / "shapes.pt", help="(default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shapes-") as name:
        folder = Path(name).resolve()
        # Before the import of ultralytics, which reads them once.
        os.environ |= {
            "YOLO_CONFIG_DIR": str(folder / "config"),
            "YOLO_OFFLINE": "True",
            "YOLO_AUTOINSTALL": "false",
            # Ultralytics trains on one thread unless told otherwise.
            "OMP_NUM_THREADS": str(os.cpu_count() or 1),
        }
        best = train(folder, args.epochs, args.images, args.batch)
        scrub(best, args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
