"""What the judge is given in tests: small records in which a test sets the numbers that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pytest_trtgate.judge.accuracy.average_precision import ImageRecords, RankedArm
from pytest_trtgate.judge.accuracy.bootstrap import Bootstrap, paired_bootstrap
from pytest_trtgate.judge.latency.candidate import Candidate
from pytest_trtgate.records.accuracy import AccuracyRecord, AccuracySettings, ClassAccuracy
from pytest_trtgate.records.baseline import Baseline, BaselineLaunch, BaselineSession
from pytest_trtgate.records.cell import Cell, Environment
from pytest_trtgate.records.latency import ArmLaunch, LatencyRecord, Launch, Timing
from pytest_trtgate.settings.latency import Limit

IMAGES = 40
CELL = Cell(model="m", precision="int8", imgsz=320, batch=1, backend="onnxruntime", device="cpu")
HOW = AccuracySettings(split="test", imgsz=320, batch=1, conf=0.001, iou=0.7, max_det=300)
HERE = Environment(
    machine="x",
    os="x",
    arch="x",
    python="3",
    cpu="x",
    cpu_count=1,
    memory_bytes=1,
    backend="onnxruntime",
    backend_version="1.31",
    device="cpu",
    versions={},
)


def records(seed: int, *, images: int = IMAGES, classes: int = 4, objects: int = 90, false: int = 150) -> ImageRecords:
    """Objects on most images, found with a chance of 0.8 at a random IoU; false detections; many equal confidences."""
    truth = np.random.default_rng(seed // 100)
    target_cls = truth.integers(0, classes, objects)
    target_image = truth.integers(0, max(1, images - 5), objects)
    rng = np.random.default_rng(seed)
    found = np.flatnonzero(rng.random(objects) < 0.8)
    tp = rng.beta(6, 2, (len(found), 1)) >= np.arange(0.5, 1, 0.05)
    return ImageRecords(
        tp=np.concatenate([tp, np.zeros((false, 10), dtype=bool)]),
        conf=np.round(np.concatenate([rng.beta(4, 2, len(found)), rng.beta(1, 4, false)]), 2).astype(np.float32),
        # Class numbers beyond those of objects: detections of classes that no image has.
        pred_cls=np.concatenate([target_cls[found], rng.integers(0, classes + 2, false)]).astype(np.int32),
        pred_image=np.concatenate([target_image[found], rng.integers(0, images, false)]).astype(np.int32),
        target_cls=target_cls.astype(np.int32),
        target_image=target_image.astype(np.int32),
    )


def compare(reference: ImageRecords, engine: ImageRecords, **kwargs: int) -> Bootstrap:
    return paired_bootstrap(RankedArm.of(reference), RankedArm.of(engine), IMAGES, **{"replicates": 200, **kwargs})


def accuracy(arm: str, value: float, images: int = 4, how: AccuracySettings = HOW, **classes: float) -> AccuracyRecord:
    """Return an evaluation whose every metric is ``value``."""
    rows = tuple(ClassAccuracy(name=n, images=1, instances=1, metrics={"mAP50-95": v}) for n, v in classes.items())
    return AccuracyRecord(
        model="m",
        arm=arm,
        settings=how,
        images=images,
        instances=1,
        data_digest="d",
        metrics={"mAP50": value, "mAP50-95": value},
        classes=rows,
        per_image="",
        seconds=1,
    )


def timing(ms: float) -> Timing:
    """Return durations that are all the same."""
    return Timing(n=1, mean_ms=ms, min_ms=ms, max_ms=ms, quantiles_ms=(ms,) * 99)


def launches(**arms: Sequence[float]) -> LatencyRecord:
    """Return launches of arms, each with its milliseconds by launch; an arm may stop before the last launch."""
    found = []
    for index in range(max(map(len, arms.values()))):
        inside = {
            name: ArmLaunch(
                arm=name,
                sha256="",
                warmup_iterations=0,
                warmup_stable=True,
                images_per_second=1,
                timings={"engine": timing(values[index])},
            )
            for name, values in arms.items()
            if index < len(values)
        }
        found.append(Launch(index=index, seed=0, threads=1, block=1, started_at="", seconds=1, arms=inside))
    return LatencyRecord(model="m", imgsz=320, batch=1, launches=tuple(found))


def stored(*sessions: float) -> Baseline:
    """Return a baseline with one launch per session."""
    return Baseline(
        cell=CELL,
        environment=HERE,
        engine_sha256="",
        cache_key="none",
        accuracy={},
        reference_accuracy={},
        images=0,
        sessions=tuple(
            BaselineSession(recorded_at="", threads=1, launches=(BaselineLaunch(timings={"engine": timing(ms)}),))
            for ms in sessions
        ),
    )


FIVE_PERCENT = {"p50": Limit(regression=0.05)}


def int8(record: LatencyRecord, limits: Mapping[str, Limit] = FIVE_PERCENT) -> Candidate:
    """Return the INT8 engine of some launches as what is to be judged."""
    return Candidate(record, "int8", "engine", limits)
