"""A stand-in for the job modules: it measures nothing and answers what its weights say.

The weights begin like a legacy checkpoint and hold what is to be answered, see :class:`Behaviour`; an engine is a copy
of them. Everything around the jobs is the real thing: processes, locks, cache, judge, report. Needs the standard
library only, so that a process of it starts in no time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:  # a name of our own, since typing takes long to import
    from typing import Any

PICKLE = b"\x80"
PROGRESS = "@trtgate-progress "
CONTEXTS = {"engine": 1.0, "end-to-end": 1.5, "preprocess": 0.2, "inference": 1.05, "postprocess": 0.25}
VIDEO = b"a video, as these tests have them"
JPEG = b"\xff\xd8\xff\xe0"
REFUSAL = "the exporter refuses this model"
PERCENTS = range(1, 100)


class Behaviour:
    """What the fake jobs answer about a checkpoint and the engines built from it.

    Args:
        map50_95: Accuracy of the checkpoint.
        drop: How much less each arm has.
        p50_ms: Median latency of each arm. A stored baseline engine is as fast as it says itself for its precision, or
            for its own arm, such as ``baseline-fp16-placebo``.
        faults: One of the faults of :func:`misbehave` for each ``KIND-ARM``, such as ``build-int8``.
        seconds: How long every job takes.
        gpu: What each arm's part of a launch says of a GPU, such as its ``energy_mj``.
        layers: Milliseconds of each layer of each arm.
        inspections: What was found in the engine of each precision, as a record of the inspection.
        survey: What is seen of splits, checkpoints and the deployed engine, in the place of nothing remarkable.
        metadata: What an engine's metadata say beside the usual.
        task: What the checkpoint is for; the fake metrics of all its kinds are those of boxes.
        left_out: How many images an evaluation (``accuracy``) or a calibration (``build``) leaves out.
        seen: For each arm, ``score`` of its detections and how many images (the first ones) it has ``missed``; written
            as per-image records. Without, there are none to be read.
        harm: By the names of layers, how much mAP falls in INT8 by each; weights per channel save a fifth of it.
    """

    def __init__(
        self,
        map50_95: float = 0.75,
        drop: dict[str, float] | None = None,
        p50_ms: dict[str, float] | None = None,
        faults: dict[str, str] | None = None,
        seconds: float = 0.0,
        gpu: dict[str, dict[str, Any]] | None = None,
        layers: dict[str, dict[str, float]] | None = None,
        inspections: dict[str, dict[str, Any]] | None = None,
        seen: dict[str, dict[str, float]] | None = None,
        survey: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        task: str = "detect",
        left_out: dict[str, int] | None = None,
        harm: dict[str, float] | None = None,
    ) -> None:
        self.map50_95 = map50_95
        self.drop = {"int8": 0.005} if drop is None else drop
        self.p50_ms = p50_ms or {"pt": 8.0, "fp32": 4.0, "fp16": 4.2, "int8": 3.0}
        self.faults = faults or {}
        self.seconds = seconds
        self.gpu = gpu or {}
        self.layers = layers or {}
        self.inspections = inspections or {}
        self.seen = seen
        self.survey = survey or {}
        self.metadata = metadata or {}
        self.task = task
        self.left_out = left_out or {}
        self.harm = harm or {}

    def save(self, path: Path) -> Path:
        """Write a checkpoint that behaves like this; equal behaviour means equal bytes."""
        path.write_bytes(PICKLE + json.dumps(vars(self), sort_keys=True).encode())
        return path

    @staticmethod
    def load(path: Path) -> Behaviour:
        """Read the behaviour of a checkpoint or of an engine built from it."""
        return Behaviour(**json.loads(path.read_bytes().removeprefix(PICKLE)))


class RefusedError(Exception):
    """The job gives up in an orderly way."""


class BrokenJobError(RefusedError):
    """The whole job gives up, whatever it could still do."""


def misbehave(behaviour: Behaviour, kind: str, arm: str, folder: Path) -> None:
    """Do what a job can do wrong, if this one is to."""
    if behaviour.seconds and kind != "survey":  # which looks at all checkpoints at once
        time.sleep(behaviour.seconds)
    fault = behaviour.faults.get(f"{kind}-{arm}")
    if fault == "refuse":
        raise RefusedError(REFUSAL)
    if fault == "refuse-data":
        raise RefusedError(f"{json.loads((folder / 'request.json').read_text())['data']}: {REFUSAL}")
    if fault == "refuse-all":  # an evaluation that ends and does not say at which arm
        (folder / "arm.txt").unlink(missing_ok=True)
        raise BrokenJobError(REFUSAL)
    if fault == "greedy" and not json.loads((folder / "request.json").read_text())["sparing"]:
        raise BrokenJobError("out of memory")
    if fault == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "garbage":
        (folder / "response.json").write_text("}{ not JSON")
        sys.exit(0)
    elif fault == "silent":
        sys.exit(0)
    elif fault == "exit":
        sys.exit(7)
    elif fault == "flood":
        sys.stdout.write(("noise " * 20 + "\n") * 85_000)  # 10 MB
    elif fault == "hang":
        _hang()
    elif fault == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _hang()
    elif fault == "family":  # hangs, and so does a child of its own
        _start(folder, "import time; time.sleep(600)")
        _hang()
    elif fault == "daemon":  # leaves a child behind that holds its output open
        _start(folder, "import os, time; os.setsid(); time.sleep(30)")


def _start(folder: Path, code: str) -> None:
    """Start a child that outlives this process unless it is ended too."""
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-S", "-c", code])
    (folder / "child.txt").write_text(str(child))
    time.sleep(0.3)


def _hang() -> None:
    """Wait for ten minutes, or until the launcher is gone."""
    import select

    select.select([0], [], [], 600)
    sys.exit(1)


READ: dict[str, str] = {}
"""The SHA-256 of each file that the job read; empty of one that is missing."""


def read(path: Path) -> bytes:
    """Return the bytes of a file, of which the answer tells the SHA-256."""
    import hashlib

    content = path.read_bytes() if path.exists() else b""
    READ[str(path)] = hashlib.sha256(content).hexdigest() if path.exists() else ""
    return content


def build(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Copy the weights as the engine."""
    weights = Path(request["weights"])
    (Path(request["output"]) / "half-written.onnx").write_bytes(b"half")
    precision, size, batch = (request["cell"][name] for name in ("precision", "imgsz", "batch"))
    misbehave(Behaviour.load(weights), "build", precision, folder)
    (Path(request["output"]) / "half-written.onnx").rename(Path(request["output"]) / "engine.onnx")
    # No two precisions have the same bytes; white space behind it means nothing in JSON.
    mark = b" " * (1 + ["fp32", "fp16", "int8"].index(precision))
    content = read(weights)
    quantization = None
    if precision == "int8" and Behaviour.load(weights).harm:
        content, quantization = quantized(Behaviour.load(weights), request["quantization"])
    (Path(request["output"]) / "engine.onnx").write_bytes(content + mark)
    images = None
    if request["data"] is not None:
        files = images_of(resolved(request["data"]), request["calibration"]["split"])
        for file in files:
            read(file)
            read(label_of(file))
        images = list(map(str, files))
    behaviour = Behaviour.load(weights)
    left_out = behaviour.left_out.get("build", 0) if images else 0
    images = images and images[left_out:]
    nms = request["export_args"].get("nms")
    metadata = {
        "imgsz": [size, size],
        "batch": batch,
        "task": behaviour.task,
        "args": {"nms": nms},
        "end2end": nms is False,
        **behaviour.metadata,
    }
    inspection = behaviour.inspections.get(precision)
    return {
        "artifact": "engine.onnx",
        "metadata": metadata,
        "calibration_images": images,
        "left_out": {"count": left_out, "first": "0.png (damaged)" if left_out else ""},
        "inspection": inspection,
        "quantization": quantization,
    }


def given(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Copy a given file, and describe it; one that says nothing to us is predictions."""
    source, output, cell = Path(request["file"]), Path(request["output"]), request["cell"]
    content = read(source)
    if request["weights"]:
        read(Path(request["weights"]))
        misbehave(Behaviour.load(Path(request["weights"])), "given", cell["precision"], folder)
    predicted = source.suffix == ".json"
    artifact = "engine.json" if predicted else "engine.onnx"
    output.mkdir(parents=True, exist_ok=True)
    (output / artifact).write_bytes(content)
    size = [cell["imgsz"], cell["imgsz"]]
    metadata = {"imgsz": size, "batch": cell["batch"], "task": "detect", "args": {"nms": predicted}}
    layout = "predictions" if predicted else "raw"
    (output / "given.json").write_text(json.dumps({"metadata": metadata, "layout": layout}))
    return {"artifact": artifact, "metadata": metadata, "layout": layout, "inspection": None}


def quantized(behaviour: Behaviour, asked: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Return an engine that loses what its layers cost in INT8, and what was kept out of that."""
    from fnmatch import fnmatchcase

    names = {name: [name[:end] for end in range(1, len(name) + 1)] for name in behaviour.harm}
    kept = [n for n, starts in names.items() if any(fnmatchcase(s, p) for s in starts for p in asked["keep"])]
    drop = sum(harm for name, harm in behaviour.harm.items() if name not in kept)
    drop *= 0.8 if asked["per_channel"] else 1.0
    engine = Behaviour(**{**vars(behaviour), "drop": {**behaviour.drop, "int8": drop}})
    record = {"settings": asked, "layers": len(names), "kept": kept}
    return PICKLE + json.dumps(vars(engine), sort_keys=True).encode(), record


def layers(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Name the layers of a checkpoint: those that it says of itself what they cost."""
    weights = Path(request["build"]["weights"])
    read(weights)
    names = Behaviour.load(weights).harm
    found = [{"name": n, "node": f"/{n}/Conv", "words": n, "weights": 9, "multiplications": 90} for n in names]
    return {"layers": found}


def explain(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Answer that each layer adds noise by what it costs, the costliest most."""
    network = layers(request, folder)["layers"]
    behaviour = Behaviour.load(Path(request["build"]["weights"]))
    if request["engine"]:
        read(Path(request["engine"]))
    by_tensorrt = request["build"]["cell"]["backend"] == "tensorrt"
    misbehave(behaviour, "explain-tensorrt" if by_tensorrt else "explain", "int8", folder)
    ranked = sorted(network, key=lambda one: -behaviour.harm[one["name"]])
    told = [{"name": one["name"], "words": one["words"]} for one in ranked]
    noise = [{**one, "local_db": 20.0 + n, "arriving_db": 10.0} for n, one in enumerate(told)]
    limits = {"low": -1.0, "high": 1.0, "seen_low": -2.0, "seen_high": 1.0, "clipped": 0.25, "unused": 0.0}
    ranges = [{**one, **limits} for one in told[:1]]
    outlier = {"image": "/data/train/9.png", "layers": 3, "times": 7.5, "layer": "stem", "picture": "/9j/"}
    counts = {"images": len(request["images"]), "calibration_images": len(request["calibration"])}
    return {
        "network": network,
        "layers": noise,
        "ranges": ranges,
        "outliers": [outlier],
        "peak_bytes": 7,
        **counts,
        "marked": "debug tensors" if by_tensorrt else None,
    }


def resolved(data: str) -> dict[str, Any]:
    """Return what a data YAML says, or what one would say of the folder of a classification set."""
    path = Path(data)
    if path.is_file():
        content: dict[str, Any] = json.loads(path.read_text())
        return content
    names = dict(enumerate(sorted(place.name for place in (path / "train").iterdir())))
    return {"names": names, **{place.name: [str(place)] for place in path.iterdir()}}


def images_of(data: dict[str, Any], split: str) -> list[Path]:
    """Return the images of a split of a resolved data YAML, or of a folder."""
    found: list[Path] = []
    for place in map(Path, data[split]):
        if place.is_dir():
            found += [Path(top) / name for top, _, names in os.walk(place, followlinks=True) for name in names]
        else:
            found += map(Path, place.read_text(encoding="utf-8").splitlines())
    return sorted(p for p in found if p.suffix in (".jpg", ".png"))


def label_of(image: Path) -> Path:
    """Return the label file of an image: beside the last folder of images."""
    above, _, below = str(image).rpartition("/images/")
    return Path(f"{above}/labels/{below}").with_suffix(".txt")


def accuracy(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Answer each arm's accuracy, or why there is none."""
    answer: dict[str, dict[str, Any]] = {"arms": {}, "failures": {}}
    for asked in request["arms"]:
        (folder / "arm.txt").write_text(asked["arm"].ljust(80))
        try:
            answer["arms"][asked["arm"]] = arm_accuracy(asked, request, folder)
        except BrokenJobError:
            raise
        except RefusedError as refusal:
            answer["failures"][asked["arm"]] = str(refusal)
    return answer


def arm_accuracy(asked: dict[str, Any], request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Answer the checkpoint's mAP less the arm's drop."""
    arm = asked["arm"]
    read(Path(asked["artifact"]))
    behaviour = Behaviour.load(Path(asked["artifact"]))
    misbehave(behaviour, "accuracy", arm, folder)
    value = behaviour.map50_95 - behaviour.drop.get(arm, 0.0)
    extra = 0.1 if value else 0.0
    box = {"mAP50": value + extra, "mAP50-95": value, "precision": value + extra, "recall": value + extra / 2}
    kind = {"segment": "mask ", "pose": "pose "}.get(behaviour.task)
    metrics = box | ({kind + name: metric for name, metric in box.items()} if kind else {})
    if behaviour.task == "classify":
        metrics = {"top1": value, "top5": value + extra}
    data = resolved(request["data"])
    files = images_of(data, request["settings"]["split"])
    for file in files:
        read(file)
        read(label_of(file))
    left_out = behaviour.left_out.get("accuracy", 0)
    part, parts = request["part"]
    evaluated = files[left_out:]
    evaluated = evaluated[len(evaluated) * (part - 1) // parts : len(evaluated) * part // parts]
    images = len(evaluated)
    classes = [
        {"name": name, "images": images, "instances": 3 * images, "metrics": metrics} for name in data["names"].values()
    ]
    Path(asked["per_image"]).parent.mkdir(parents=True, exist_ok=True)
    seen = (behaviour.seen or {}).get(arm)
    found = {"images": images, "instances": 6 * images, "metrics": metrics, "classes": classes}
    if parts > 1:
        names = [str(file).removeprefix(f"{data['path']}/") for file in evaluated]
        Path(asked["per_image"]).write_text(json.dumps([names, data, seen, found]))
        found |= {"metrics": {}, "classes": []}
    else:
        write_per_image(Path(asked["per_image"]), files, data, seen)
    unreadable = [str(file) for file in files[:left_out]]
    why = {"count": left_out, "first": "0.png (damaged)" if left_out else ""}
    return {**found, "task": behaviour.task, "unreadable": unreadable, "left_out": why}


def merge(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Answer what the parts had in common, of all their images."""
    arms = {}
    for asked in request["arms"]:
        every = [json.loads(Path(part).read_text()) for part in asked["parts"]]
        names = [name for part in every for name in part[0]]
        Path(asked["per_image"]).parent.mkdir(parents=True, exist_ok=True)
        write_per_image(Path(asked["per_image"]), list(map(Path, names)), *every[0][1:3])
        found = every[0][3] | {"images": len(names), "instances": 6 * len(names), "task": asked["task"]}
        counts = {"images": len(names), "instances": 3 * len(names)}
        arms[asked["arm"]] = found | {"classes": [one | counts for one in found["classes"]]}
    return {"arms": arms}


def write_per_image(path: Path, files: list[Path], data: dict[str, Any], seen: dict[str, float] | None) -> None:
    """Write the records of an arm that finds both objects of each image, or in the first few none; or an empty file."""
    if seen is None:
        path.write_bytes(b"")
        return
    objects = [(image, cls) for image in range(len(files)) for cls in (0, 1)]
    found = [(image, cls) for image, cls in objects if image >= seen.get("missed", 0)]
    root = f"{data['path']}/"
    arrays: dict[str, list[Any]] = {"images": [str(file).removeprefix(root) for file in files]}
    arrays |= {"conf": [seen["score"]] * len(found), "names": list(data["names"].values())}
    for name, pairs in (("pred", found), ("target", objects)):
        arrays[f"{name}_image"], arrays[f"{name}_cls"] = [i for i, _ in pairs], [c for _, c in pairs]
        arrays[f"{name}_box"] = [0.0, 0.0, 9.0, 9.0] * len(pairs)
    arrays["tp"] = [1] * 10 * len(found)
    save_npz(path, arrays, {"tp": 10, "pred_box": 4, "target_box": 4})


def latency(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Draw durations around the p50 that the behaviour gives each arm."""
    import random
    from itertools import accumulate

    arms, arrays, rules = {}, {}, request["rules"]
    seed = rules["seed"] + request["index"]
    for asked in request["arms"]:
        arm = asked["arm"]
        read(Path(asked["artifact"]))
        behaviour = Behaviour.load(Path(asked["artifact"]))
        misbehave(behaviour, "latency", arm, folder)
        # Not seeded with the request's alone: two runs of one launch differ, as real ones do.
        noise = random.Random(f"{arm}-{seed}-{time.time_ns()}")
        precision = arm.removeprefix("baseline-").removesuffix("-placebo")
        p50_ms = behaviour.p50_ms.get(arm) or behaviour.p50_ms.get(precision) or behaviour.p50_ms["int8"]
        timings = {}
        for context, factor in CONTEXTS.items():
            if len(request["contexts"]) == 1 and (context == "engine") != ("engine" in request["contexts"]):
                continue
            centre_ns = p50_ms * factor * 1e6
            # Even rather than normal noise: it is drawn in no time.
            draws = noise.randbytes(rules["samples"])
            ns = [int(centre_ns * (1 + 4e-5 * (draw - 128))) for draw in draws]
            arrays[f"{arm}/{context}"] = ns
            arrays[f"{arm}/{context}/at"] = list(accumulate(ns, initial=0))[:-1]
            timings[context] = timing(ns)
        whole = timings.get("end-to-end") or timings["engine"]
        budgets_ns = {name: ms * 1e6 for name, ms in asked["budgets_ms"].items()}
        arms[arm] = {
            "arm": arm,
            "sha256": asked["sha256"],
            "warmup_iterations": rules["warmup_min"],
            "warmup_stable": True,
            "over_budget": {
                name: sum(ns > budget for ns in arrays[f"{arm}/{request['gated']}"])
                for name, budget in budgets_ns.items()
            },
            "images_per_second": request["how"]["batch"] * 1000 / whole["mean_ms"],
            "timings": timings,
            **behaviour.gpu.get(arm, {}),
        }
    save_npz(Path(request["samples_file"]), arrays)
    launch = {
        "index": request["index"],
        "seed": seed,
        "threads": request["threads"],
        "block": rules["block"],
        "started_at": "2026-01-01T00:00:00+00:00",
        "seconds": 1.0,
        "arms": arms,
        "before": {"load_average": 0.1},
        "after": {"load_average": 0.2},
    }
    return {"launch": launch}


def profile(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Answer the layers of an arm."""
    arm = request["arm"]
    behaviour = Behaviour.load(Path(request["artifact"]))
    misbehave(behaviour, "profile", arm, folder)
    return {"layers": [{"name": name, "ms": ms} for name, ms in behaviour.layers.get(arm, {}).items()]}


def clip(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Take for a video whatever begins like one of ours."""
    if not Path(request["clip"]).read_bytes().startswith(VIDEO):
        raise RefusedError(f"{request['clip']}: cannot be opened as a video")
    size = {"width": 64, "height": 48, "fps": 30.0, "frames": 60, "codec": "fake"}
    return {"clip": {"schema_version": 1, "path": request["clip"], **size}}


def video(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Answer with times around each arm's p50, and write something in the place of each file."""
    output, stages = Path(request["output"]), ("decode", "preprocess", "inference", "postprocess", "drawing")
    output.mkdir(parents=True)
    arms = []
    launch = request["launch"]
    for asked in launch["arms"]:
        arm, behaviour = asked["arm"], Behaviour.load(Path(asked["artifact"]))
        misbehave(behaviour, "video", arm, folder)
        (output / f"{arm}.mp4").write_bytes(VIDEO)
        ns = [int(behaviour.p50_ms[arm] * 1e6)] * 60
        timings = {"frame": timing(ns)} | {stage: timing([n // 5 for n in ns]) for stage in stages}
        course = [n / 1e6 for n in ns]
        arms.append({"arm": arm, "timings": timings, "course_ms": course, "file": f"{arm}.mp4", "codec": "mp4v"})
    names = {"side_by_side": "side-by-side.mp4", "for_browsers": "side-by-side.webm", "poster": "poster.jpg"}
    for name in names.values():
        (output / name).write_bytes(JPEG if name.endswith("jpg") else VIDEO)
    how = {key: launch["how"][key] for key in ("imgsz", "batch", "conf")}
    how |= {"threads": request["threads"], "seed": launch["rules"]["seed"]}
    size = {"width": 64, "height": 48, "clip_fps": 30.0, "frames": 60, "poster_width": 80, "poster_height": 74}
    told = {"model": "", "clip": Path(request["clip"]).name, "arms": arms, "side_by_side_codec": "mp4v"}
    return {"video": {"schema_version": 1, **told, **how, **size, **names}}


def pictures(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write what begins like a JPEG for each image, named after its content."""
    import hashlib

    output, found = Path(request["output"]), {}
    output.mkdir(parents=True)
    for path in request["images"]:
        content = Path(path).read_bytes()
        if not content.startswith(b"\x89PNG"):
            continue
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.jpg"
        (output / name).write_bytes(JPEG + content[:20])
        found[path] = {"file": name, "width": 32, "height": 32}
    return {"pictures": found}


def survey(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Answer what the checkpoint tells to have been seen: of each split, of itself, and of the deployed engine."""
    behaviour = Behaviour()
    for deployed in filter(None, [request["deployed"]]):
        read(Path(deployed))
    for weights in request["checkpoints"].values():
        read(Path(weights))
        behaviour = Behaviour.load(Path(weights))
        misbehave(behaviour, "survey", "all", folder)
    told = behaviour.survey
    splits = {
        x["name"]: {"images": (n := len(x["images"])), "classes": {0: n}, **told.get(x["name"], {})}
        for x in request["splits"]
    }
    checkpoints = {model: told.get("checkpoint", {}) for model in request["checkpoints"]}
    return {"splits": splits, "checkpoints": checkpoints, "deployed": told.get("deployed")}


def timing(ns: list[int]) -> dict[str, Any]:
    """Return the record of some durations."""
    ordered, n = sorted(ns), len(ns)
    quantiles = [ordered[n * p // 100] / 1e6 for p in PERCENTS]
    low, high, mean = ordered[0] / 1e6, ordered[-1] / 1e6, sum(ns) / len(ns) / 1e6
    return {"n": len(ns), "mean_ms": mean, "min_ms": low, "max_ms": high, "quantiles_ms": quantiles}


def save_npz(path: Path, arrays: dict[str, list[Any]], columns: dict[str, int] | None = None) -> None:
    """Write texts, numbers of 64 bits, and those named in ``columns`` as tables, as ``numpy.savez`` does."""
    import struct
    import zlib

    # Not with zipfile, which takes most of a fake launch's time.
    files, places = bytearray(), bytearray()
    for name, values in arrays.items():
        width = (columns or {}).get(name)
        shape = (len(values) // width, width) if width else (len(values),)
        kind, body = packed(values)
        head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + body
        entry = f"{name}.npy".encode()
        sizes = (zlib.crc32(content), len(content), len(content), len(entry), 0)
        about = struct.pack("<5H3L2H", 20, 0x800, 0, 0, 33, *sizes)
        places += b"PK\1\2" + struct.pack("<H", 20) + about + struct.pack("<3H2L", 0, 0, 0, 0, len(files)) + entry
        files += b"PK\3\4" + about + entry + content
    count = len(arrays)
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, count, count, len(places), len(files), 0)
    path.write_bytes(files + places + end)


def packed(values: list[Any]) -> tuple[str, bytes]:
    """Return NumPy's name of a type and the bytes of some values."""
    from array import array

    if values and isinstance(values[0], str):
        width = max(map(len, values))
        return f"<U{width}", "".join(text.ljust(width, "\0") for text in values).encode("utf-32-le")
    if values and isinstance(values[0], float):
        return "<f8", array("d", values).tobytes()
    return "<i8", array("q", values).tobytes()


def answer_to(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Do the job that a request asks for."""
    marks = {
        "worst": explain,
        "frames": video,
        "clip": clip,
        "side_px": pictures,
        "samples_file": latency,
        "settings": accuracy,
    }
    marks |= {"sidecar": given, "runs": profile, "sample": survey, "build": layers, "arms": merge}
    work = next((job for key, job in marks.items() if key in request), build)
    READ.clear()
    answer = work(request, folder)
    return {"schema_version": 1, "phases": {"start": 0.25, "work": 0.5}, "read": dict(READ), **answer}


def main() -> int:
    """Do the job in the folder that the command line names."""
    folder = Path(sys.argv[1])
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    (folder / "pid.txt").write_text(str(os.getpid()))
    print(f"{PROGRESS}{folder.name}: working", flush=True)
    print(f"log of {folder.name}", flush=True)
    # Proof for tests that no two jobs of one device ever overlap.
    with (folder / "span.txt").open("a") as span:
        span.write(f"{time.monotonic_ns()} ")
        span.flush()
        try:
            answer = answer_to(request, folder)
        except RefusedError as refusal:
            (folder / "error.json").write_text(json.dumps({"schema_version": 1, "sentence": str(refusal)}))
            return 1
        finally:
            span.write(f"{time.monotonic_ns()}\n")
    (folder / "response.json").write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
