"""Real material for tests that need torch and Ultralytics: a tiny checkpoint, a small dataset, and jobs run on them."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pytest_trtgate.jobs.contract import AccuracyResponse, ArmAccuracy, JobKind
from pytest_trtgate.jobs.kinds import JOBS
from pytest_trtgate.records.accuracy import AccuracySettings
from pytest_trtgate.records.cell import Cell
from pytest_trtgate.settings.settings import Calibration

IMGSZ = 64
CLASSES = ("dark", "bright")
THREADS = 1
ROOT = Path(__file__).parents[2]

# An untrained network finds nothing. So its activations are normalized, its scores spread out, its boxes made small,
# and the labels are what it sees itself, some moved or given another class: accuracy is then neither 0 nor 1.
_MAKE = """
import json, sys
from pathlib import Path
import cv2, numpy as np, torch, ultralytics
from ultralytics import YOLO
from ultralytics.utils import YAML

folder, images, classes = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
torch.manual_seed(0)
torch.set_num_threads(2)
config = YAML.load(Path(ultralytics.__file__).parent / "cfg/models/11/yolo11.yaml")
config.update(nc=len(classes), scales={"n": [0.5, 0.125, 1024]}, scale="n")
YAML.save(folder / "yolo11n.yaml", config)
model = YOLO(folder / "yolo11n.yaml", task="detect")
for module in model.model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.momentum = 1.0
pictures = torch.rand(16, 3, 6, 6).repeat_interleave(10, 2).repeat_interleave(8, 3)
with torch.no_grad():
    model.model.train()(torch.nn.functional.pad(pictures, (8, 8, 2, 2), value=114 / 255))
head = model.model.model[-1]
for scores, boxes in zip(head.cv3, head.cv2):
    torch.nn.init.normal_(scores[-1].weight, std=0.05)
    torch.nn.init.constant_(scores[-1].bias, -4.0)
    boxes[-1].bias.data[:] = (-1.2 * torch.arange(16)).repeat(4)
model.model.names = dict(enumerate(classes))
model.save(folder / "tiny.pt")

model = YOLO(folder / "tiny.pt")
random = np.random.default_rng(7)
for split in ("train", "test"):
    for kind in ("images", "labels"):
        (folder / "data" / kind / split).mkdir(parents=True, exist_ok=True)
    for index in range(images):
        height, width = (60, 80) if index % 2 else (96, 72)
        picture = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(folder / "data/images" / split / f"{split}-{index:02d}.png"), picture)
        found = model.predict(picture, imgsz=64, conf=0.01, rect=False, verbose=False, max_det=6, iou=0.3)[0].boxes
        rows = []
        for place, ((x, y, w, h), cls) in enumerate(zip(found.xywhn.tolist(), found.cls.tolist())):
            x, w = (x + 0.1 * w, 0.9 * w) if place % 2 else (x, w)
            cls = (cls + (place == 3)) % len(classes)
            x1, y1, x2, y2 = max(x - w / 2, 0), max(y - h / 2, 0), min(x + w / 2, 1), min(y + h / 2, 1)
            rows.append(f"{int(cls)} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}")
        (folder / "data/labels" / split / f"{split}-{index:02d}.txt").write_text("\\n".join(rows) + "\\n")
"""


def job_environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment as the launcher gives it, but with a home of its own, so that stray files show."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "OMP_", "XDG_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "HOME": str(home), **more}


def run_python(code: str, *arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=job_environment(home_of(folder), **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


@dataclass(frozen=True)
class Material:
    """A tiny checkpoint and the dataset that it half understands."""

    weights: Path
    data: Path

    def images(self, split: str = "test") -> list[Path]:
        """Return the images of one split."""
        return sorted((self.data.parent / "images" / split).iterdir())


def make_material(folder: Path, images: int = 12) -> Material:
    """Make ``tiny.pt``, a YOLO11 of an eighth of the usual width, and ``data`` with splits train and test."""
    settings = {"YOLO_OFFLINE": "True", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(folder)}
    done = run_python(_MAKE, str(folder), str(images), ",".join(CLASSES), folder=folder, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return Material(folder / "tiny.pt", write_data(folder / "data" / "data.yaml"))


def write_data(path: Path, root: Path | None = None, names: tuple[str, ...] = CLASSES, **splits: list[str]) -> Path:
    """Write a resolved data YAML, as the gate hands it to jobs."""
    root = root or path.parent
    places = {split: [str(root / "images" / split)] for split in ("train", "test")}
    # JSON is YAML.
    content = {"path": str(root), "val": places["train"], **places, "names": dict(enumerate(names)), **splits}
    path.write_text(json.dumps(content))
    return path


@dataclass(frozen=True)
class Done:
    """A job that has run."""

    status: int
    log: str
    folder: Path

    @property
    def response(self) -> dict[str, Any]:
        """What the job answered."""
        assert self.status == 0, self.log + self.answer("error.json").get("sentence", "")
        return self.answer("response.json")

    @property
    def sentence(self) -> str:
        """Why the job gave up."""
        assert self.status == 1, self.log
        return str(self.answer("error.json")["sentence"])

    def accuracy(self, arm: str) -> ArmAccuracy:
        """What an accuracy job found of an arm."""
        response = AccuracyResponse.model_validate(self.response)
        assert arm in response.arms, response.failures
        return response.arms[arm]

    def failure(self, arm: str) -> str:
        """Why an accuracy job could not evaluate an arm."""
        return str(self.response["failures"][arm])

    @property
    def progress(self) -> list[str]:
        """What the job told the user."""
        mark = "@trtgate-progress "
        return [line.removeprefix(mark) for line in self.log.splitlines() if line.startswith(mark)]

    def answer(self, name: str) -> dict[str, Any]:
        """Return one of the job's JSON files, empty where it is missing."""
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else {}


def run_job(kind: JobKind, request: dict[str, Any], folder: Path, before: str = "", module: str = "") -> Done:
    """Run a job module as the launcher does, or another in its place, after the code ``before``."""
    module = module or JOBS[kind].module
    _ask(request, folder)
    start = f"import runpy\n{before}\nrunpy.run_module({module!r}, run_name='__main__')"
    command = ["-c", start] if before else ["-m", module]
    return _run(command, [folder], folder)


def run_jobs(kind: JobKind, requests: dict[str, dict[str, Any]], folder: Path) -> dict[str, Done]:
    """Run several requests one after another in one process, which starts torch only once."""
    for name, request in requests.items():
        _ask(request, folder / name)
    code = f"""
import sys
from pytest_trtgate.jobs.contract import {kind.title()}Request as Request
from {JOBS[kind].module} import work
from pytest_trtgate.workers.worker import main
for folder in sys.argv[1:]:
    sys.argv[1] = folder
    main(Request, work)
"""
    done = _run(["-c", code], [folder / name for name in requests], folder)
    return {name: Done(int((folder / name / "error.json").exists()), done.log, folder / name) for name in requests}


def _ask(request: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("response.json", "error.json"):
        (folder / old).unlink(missing_ok=True)
    (folder / "request.json").write_text(json.dumps({"schema_version": 1, **request}))


def _run(command: list[str], folders: list[Path], cwd: Path) -> Done:
    process = subprocess.run(
        [sys.executable, *command, *map(str, folders)],
        cwd=cwd,
        env=job_environment(home_of(cwd)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return Done(process.returncode, process.stdout, cwd)


def home_of(folder: Path) -> Path:
    """Return the home folder that a job in ``folder`` runs with; a well-behaved one leaves it empty."""
    return folder.with_name(f"{folder.name}-home")


def build_request(weights: Path, output: Path, precision: str = "fp32", **changes: Any) -> dict[str, Any]:
    """Return a request to build an engine."""
    return {
        "weights": str(weights),
        "cell": {"model": weights.stem, "precision": precision, "imgsz": IMGSZ, **taken(changes, Cell, CELL)},
        "calibration": taken(changes, Calibration),
        "threads": THREADS,
        "output": str(output),
        **changes,
    }


CELL = {"batch": 1, "backend": "onnxruntime", "device": "cpu"}


def taken(changes: dict[str, Any], model: type[BaseModel], defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the changes that are fields of a record, over some defaults; they are taken out of the others."""
    return (defaults or {}) | {name: changes.pop(name) for name in model.model_fields if name in changes}


def accuracy_request(arms: dict[str, Path], data: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    """Return a request to evaluate arms; each one's per-image records go to ``ARM.npz`` in ``folder``."""
    defaults = {"split": "test", "imgsz": IMGSZ, "batch": 1, "conf": 0.001, "iou": 0.3, "max_det": 300}
    return {
        "arms": [{"arm": arm, "artifact": str(p), "per_image": str(folder / f"{arm}.npz")} for arm, p in arms.items()],
        "data": str(data),
        "device": "cpu",
        "threads": THREADS,
        "settings": {**defaults, **settings},
    }


def latency_request(arms: dict[str, Path], images: list[Path], samples_file: Path, **changes: Any) -> dict[str, Any]:
    """Return a request for one launch."""
    return {
        "index": 0,
        "arms": [{"arm": arm, "artifact": str(path), "sha256": "0" * 64} for arm, path in arms.items()],
        "device": "cpu",
        "threads": THREADS,
        "images": [str(image) for image in images],
        "how": taken(changes, AccuracySettings, HOW),
        "rules": {"seed": 5, "samples": 40, "block": 10, "warmup_min": 10, "warmup_max_seconds": 2.0}
        | {name: changes.pop(name) for name in RULES if name in changes},
        "samples_file": str(samples_file),
        **changes,
    }


HOW = {"split": "test", "imgsz": IMGSZ, "batch": 1, "conf": 0.25, "iou": 0.7, "max_det": 300}
RULES = ("seed", "samples", "max_seconds", "block", "warmup_min", "warmup_max_seconds")


PRECISIONS = ("fp32", "fp16", "int8")
METRICS = {"mAP50", "mAP50-95", "precision", "recall"}
# Records what the process tries: connections, and which image files it decodes (label scans only look at headers).
WATCH = """
import socket, sys
import numpy
def _refuse(kind):
    def refuse(*args, **kwargs):
        with open(sys.argv[-1] + "/network.txt", "a") as file:
            print(kind, args[-1], file=file)
        raise OSError("no network in this test")
    return refuse
socket.socket.connect = _refuse("connect")
socket.create_connection = _refuse("create_connection")
socket.getaddrinfo = _refuse("getaddrinfo")
_fromfile = numpy.fromfile
def _watched(file, *args, **kwargs):
    with open(sys.argv[-1] + "/decoded.txt", "a") as log:
        print(file, file=log)
    return _fromfile(file, *args, **kwargs)
numpy.fromfile = _watched
"""


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
