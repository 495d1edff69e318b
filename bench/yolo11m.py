"""The gate on a model of the usual size: YOLO11m at 640, trained on the shapes for some minutes, in all precisions.

python bench/yolo11m.py FOLDER [--minutes 4] [--batch 64] [--fraction 1] [--only train|gate] [pytest options]

Needs a GPU. FOLDER keeps the data sets, the checkpoint, the engine cache and the report, and is the project that is
gated: settings in its trtgate.toml, tests those of the plugin. What is there already is used again.

python bench/yolo11m.py --of RUN.json --as NAME

Keeps the same figures of another run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from machine import keep

ROOT = Path(__file__).resolve().parents[1]
MODEL = "yolo11m-shapes.pt"
TRAINING_IMAGES = 2400
"""More than the gate's set has; the images of val and test are the same."""
SETTINGS = """\
models = ["{model}"]
data = "data/data.yaml"
imgsz = 640
cache_dir = "cache"

[calibration]
fraction = {fraction}

[accuracy.int8]
"mAP50" = 0.03
"mAP50-95" = 0.03

[latency]
samples = 250

[export]
optimization_level = 0
"""


def train(folder: Path, minutes: float, batch: int) -> None:
    """Train from scratch for some minutes; the gate asks how engines differ from a checkpoint, not how good it is."""
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "True", "YOLO_AUTOINSTALL": "false"}
    from ultralytics import YOLO
    from ultralytics.engine import trainer

    # It would download a model to compare losses with.
    trainer.check_amp = lambda model: True
    YOLO("yolo11m.yaml", task="detect").train(
        data=str(folder / "training" / "data.yaml"),
        epochs=300,
        time=minutes / 60,
        imgsz=640,
        batch=batch,
        nbs=batch,
        workers=8,
        device=0,
        seed=0,
        cache="ram",
        pretrained=False,
        amp=True,
        plots=False,
        val=False,
        optimizer="AdamW",
        lr0=0.002,
        lrf=0.01,
        cos_lr=True,
        warmup_epochs=1,
        mosaic=0.0,
        scale=0.3,
        flipud=0.5,
        hsv_h=0.05,
        project=str(folder / "runs"),
        name="shapes",
        exist_ok=True,
    )
    shutil.copyfile(folder / "runs" / "shapes" / "weights" / "last.pt", folder / MODEL)


def gate(folder: Path, options: list[str]) -> dict[str, Any]:
    """Run the gate as a user would and return its figures."""
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options]
    subprocess.run([*command, "--pyargs", "pytest_trtgate.gate"], cwd=folder, check=False)
    return figures(json.loads((folder / "reports" / "run.json").read_text()))


def figures(run: dict[str, Any]) -> dict[str, Any]:
    """Return what README shows of a run record: accuracy, latency and size of each arm, and how it was built."""
    arms: dict[str, dict[str, Any]] = {}
    for accuracy in run["accuracies"]:
        arms[accuracy["arm"]] = {"mAP50-95": round(accuracy["metrics"]["mAP50-95"], 4)}
    (latency,) = run["latencies"].values()
    for arm, found in arms.items():
        launches = [launch["arms"][arm] for launch in latency["launches"] if arm in launch["arms"]]
        for name, place in (("p50_ms", 49), ("p95_ms", 94)):
            found[name] = round(median(one["timings"]["engine"]["quantiles_ms"][place] for one in launches), 3)
        ends = [one["timings"]["end-to-end"]["quantiles_ms"][49] for one in launches]
        found["end_to_end_p50_ms"] = round(median(ends), 2)
        for name in ("energy_mj", "memory_peak_bytes"):
            known = [one[name] for one in launches if one.get(name)]
            found[name] = round(median(known)) if known else None
    for engine in run["engines"].values():
        found = arms[engine["cell"]["precision"]]
        found |= {"size_mb": round(engine["size_bytes"] / 1e6, 1), "build_s": round(engine["build_seconds"], 1)}
        found["layers"] = (engine["inspection"] or {}).get("precisions")
    return {
        "calibration_images": [e["calibration"]["images"] for e in run["engines"].values() if e["calibration"]],
        "launches": len(latency["launches"]),
        "arms": arms,
        "verdicts": {f"{v['cell']['precision']} {v['subject']}": v["outcome"] for v in run["verdicts"]},
        "seconds": round(run["seconds"]),
    }


def environment(run: dict[str, Any]) -> str:
    """Return the device and the versions of a run record."""
    found = run["environment"]
    return f"{found['gpu']}, driver {found['driver']}, {found['backend']} {found['backend_version']}"


def main() -> None:
    """Train, gate, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("yolo11m"))
    parser.add_argument("--of", type=Path, help="a run record")
    parser.add_argument("--as", dest="name", default="yolo11m")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the images of train that INT8 is calibrated on")
    parser.add_argument("--only", choices=("train", "gate"))
    arguments, options = parser.parse_known_args()
    if arguments.of:
        record = json.loads(arguments.of.read_text())
        keep(arguments.name, {"of": environment(record), **figures(record)})
        return
    folder = arguments.folder.resolve()
    generate = [sys.executable, ROOT / "examples" / "shapes" / "generate.py"]
    subprocess.run([*generate, folder / "data"], check=True)
    if not (folder / MODEL).is_file():
        subprocess.run([*generate, folder / "training", "--train", str(TRAINING_IMAGES)], check=True)
        train(folder, arguments.minutes, arguments.batch)
    (folder / "trtgate.toml").write_text(SETTINGS.format(model=MODEL, fraction=arguments.fraction))
    if arguments.only != "train":
        keep("yolo11m", gate(folder, options))


if __name__ == "__main__":
    main()
