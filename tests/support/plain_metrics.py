"""What Ultralytics itself says of artifacts: those named in ``asked.json``, in the folder of the command line."""

import json
import sys
from pathlib import Path

from ultralytics import YOLO

folder = Path(sys.argv[1])
found = {}
for name, task, artifact, data, imgsz in json.loads((folder / "asked.json").read_text()):
    # On a CPU the gate evaluates so many images of a checkpoint at a time.
    batch = 8 if artifact.endswith(".pt") else 1
    how = {"split": "test", "imgsz": imgsz, "batch": batch, "conf": 0.001, "iou": 0.7, "max_det": 300, "rect": False}
    metrics = YOLO(artifact, task=task).val(
        data=data, device="cpu", plots=False, workers=0, project=str(folder / "runs"), **how
    )
    found[name] = metrics.results_dict
(folder / "found.json").write_text(json.dumps(found))
