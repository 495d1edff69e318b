"""Example run records: realistic, complete, and the same on every machine. Shared by the tests of several parts."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import NormalDist, median
from typing import Literal

from pytest_trtgate.records.accuracy import AccuracyRecord, AccuracySettings, ClassAccuracy
from pytest_trtgate.records.base import FileDigest
from pytest_trtgate.records.baseline import Baseline, BaselineLaunch, BaselineSession, BaselineUse
from pytest_trtgate.records.cell import PRECISIONS, REFERENCE, Cell, Context, Environment, Precision
from pytest_trtgate.records.engine import Calibration, EngineRecord
from pytest_trtgate.records.explanation import (
    BlockSensitivity,
    Explanation,
    LayerNoise,
    MetricPart,
    OutlierImage,
    RangeUse,
    Symptom,
)
from pytest_trtgate.records.figures import AccuracyFigures, Course, DropInterval, PrecisionRecall, Scores
from pytest_trtgate.records.latency import ArmLaunch, LatencyRecord, Launch, MachineState, Timing
from pytest_trtgate.records.run import JobRecord, RunRecord
from pytest_trtgate.records.verdict import Check, Outcome, Verdict

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")
SPEED_MS = {"pt": 21.4, "fp32": 12.6, "fp16": 14.9, "int8": 8.71}
SIZE_BYTES = {"fp32": 2_913_408, "fp16": 1_480_192, "int8": 1_094_656}
SETTINGS = AccuracySettings(split="test", imgsz=320, batch=1, conf=0.001, iou=0.7, max_det=300)
PT_MAP = {"shapes": 0.8020, "shapes-wide": 0.8311}
WIDE = 2.9
"""How many times slower ``shapes-wide`` is than ``shapes``."""
BUILD_LOG = """\
2026-11-22 13:15:41 export: shapes-wide.pt -> shapes-wide.onnx, opset 19
2026-11-22 13:15:44 quantize: collecting ranges over 600 images
Traceback (most recent call last):
  File "pytest_trtgate/jobs/build.py", line 88, in main
    quantize_static(model, output, reader)
  File "onnxruntime/quantization/quantize.py", line 707, in quantize_static
    calibrator.collect_data(calibration_data_reader)
MemoryError: Unable to allocate 3.91 GiB for an array with shape (600, 8400, 208)"""

Subject = Literal["accuracy", "latency"]


def cell(precision: Precision, model: str = "shapes") -> Cell:
    """Return a cell of the example matrix."""
    return Cell(model=model, precision=precision, imgsz=320, batch=1, backend="onnxruntime", device="cpu")


def environment(backend_version: str = "1.32.0") -> Environment:
    """Return the machine of the example run."""
    return Environment(
        machine=f"cpu-x86_64_onnxruntime-{backend_version.rpartition('.')[0]}",
        os="Linux-6.8.0",
        arch="x86_64",
        python="3.11.9",
        cpu="AMD EPYC 7763 64-Core Processor",
        cpu_count=4,
        memory_bytes=16_777_216_000,
        backend="onnxruntime",
        backend_version=backend_version,
        device="cpu",
        versions={"onnx": "1.23.2", "onnxruntime": backend_version, "torch": "2.11.0", "ultralytics": "8.4.190"},
        commit="7675ab6f0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f",
    )


SCORES = [NormalDist().inv_cdf(percent / 100) for percent in range(1, 100)]


@cache
def timing(p50_ms: float, seed: int) -> Timing:
    """Return a plausible distribution: log-normal with a heavier upper tail, ``p50_ms`` in milliseconds."""
    shift = random.Random(seed).gauss(0, 0.006)
    quantiles = tuple(round(p50_ms * math.exp(shift + 0.03 * z + 0.012 * max(z, 0.0) ** 2), 4) for z in SCORES)
    low, high = round(quantiles[0] * 0.985, 4), round(quantiles[-1] * 1.35, 4)
    return Timing(n=500, mean_ms=round(sum(quantiles) / 99, 4), min_ms=low, max_ms=high, quantiles_ms=quantiles)


def timings(p50_ms: float, seed: int) -> dict[Context, Timing]:
    """Return the times of one arm in one launch, in every context."""
    return {
        "engine": timing(p50_ms, seed),
        "end-to-end": timing(p50_ms + 1.6, seed + 1),
        "preprocess": timing(0.81, seed + 2),
        "inference": timing(p50_ms + 0.11, seed + 3),
        "postprocess": timing(0.62, seed + 4),
    }


@cache
def latency(model: str = "shapes", arms: Sequence[str] = (REFERENCE, *PRECISIONS)) -> LatencyRecord:
    """Return three launches of some arms side by side."""
    state = MachineState(load_average=0.42, cpu_mhz=2445.0, temperature_c=51.0)
    launches = []
    for index in range(3):
        timed = {}
        for position, arm in enumerate(arms):
            p50 = SPEED_MS[arm] * (WIDE if model == "shapes-wide" else 1.0)
            timed[arm] = ArmLaunch(
                arm=arm,
                sha256=f"{position:x}" * 64,
                warmup_iterations=60 + index,
                warmup_stable=True,
                images_per_second=round(1000 / (p50 + 1.6), 2),
                timings=timings(p50, 100 * index + 10 * position),
            )
        launches.append(
            Launch(
                index=index,
                seed=index,
                threads=4,
                block=25,
                started_at=f"2026-11-22T13:{17 + index}:00+00:00",
                seconds=41.3,
                arms=timed,
                before=state,
                after=state,
                samples=f"jobs/latency-{model}-{index}/samples.npz",
            )
        )
    return LatencyRecord(model=model, imgsz=320, batch=1, launches=tuple(launches))


def accuracy(arm: str, primary: float, worst: float = 0.0, model: str = "shapes") -> AccuracyRecord:
    """Return the accuracy of one arm; ``worst`` is what class triangle loses besides."""
    classes = []
    for index, name in enumerate(CLASSES):
        value = round(primary + 0.04 - 0.016 * index - (worst if name == "triangle" else 0.0), 4)
        metrics = {"mAP50-95": value, "mAP50": round(value + 0.13, 4)}
        classes.append(ClassAccuracy(name=name, images=112 - 5 * index, instances=214 - 9 * index, metrics=metrics))
    overall = {"mAP50": round(primary + 0.1312, 4), "mAP50-95": primary, "precision": 0.9127, "recall": 0.8704}
    return AccuracyRecord(
        model=model,
        arm=arm,
        settings=SETTINGS,
        images=200,
        instances=1149,
        metrics=overall,
        classes=tuple(classes),
        per_image=f"jobs/accuracy-{model}-{arm}/per_image.npz",
        seconds=24.8,
        data_digest="da7a" * 16,
    )


def engine(where: Cell) -> EngineRecord:
    """Return one engine; FP32 comes from the cache."""
    digest = {"fp32": "9f2c", "fp16": "41be", "int8": "c07a"}[where.precision] * 16
    key = {"fp32": "1a5d", "fp16": "77e0", "int8": "b3f9"}[where.precision] * 16
    size, calibrated = SIZE_BYTES[where.precision], where.precision == "int8"
    return EngineRecord(
        cell=where,
        cache_key=key,
        key_parts={
            "weights": "5be1" * 16,
            "precision": where.precision,
            "export": {"dynamic": False, "simplify": True, "opset": None},
            "versions": {"onnx": "1.23.2", "onnxruntime": "1.32.0", "torch": "2.11.0", "ultralytics": "8.4.190"},
        },
        artifact=f"{where.model}.onnx",
        files=(FileDigest(name=f"{where.model}.onnx", sha256=digest, size_bytes=size),),
        sha256=digest,
        size_bytes=size,
        built_at="2026-11-22T13:15:30+00:00",
        build_seconds=26.4 if calibrated else 4.8,
        calibration=Calibration(split="train", fraction=1.0, images=600, digest="e8d4" * 16) if calibrated else None,
        metadata={"batch": 1, "imgsz": [320, 320], "task": "detect", "names": list(CLASSES)},
        from_cache=where.precision == "fp32",
        entry=f"/cache/engines/{key[:16]}",
    )


def built(folder: Path, key: str, model: str = "shapes") -> EngineRecord:
    """Put an engine of FP16 into a folder, as a build for the cache does, and return its record so far."""
    (folder / "engine.onnx").write_bytes(key.encode() * 1000)
    return EngineRecord(
        cell=cell("fp16", model),
        cache_key=key,
        key_parts={},
        artifact="engine.onnx",
        files=(),
        sha256="",
        size_bytes=0,
        built_at="",
        build_seconds=1.0,
    )


def baseline(where: Cell, p50_ms: float, backend_version: str = "1.32.0") -> Baseline:
    """Return a stored baseline with three sessions of three launches."""
    sessions = tuple(
        BaselineSession(
            recorded_at=f"2026-11-{day:02d}T09:30:00+00:00",
            commit="aa11bb22cc33",
            threads=4,
            launches=tuple(BaselineLaunch(timings=timings(p50_ms, 500 + 10 * day + i)) for i in range(3)),
        )
        for day in (1, 7, 14)
    )
    return Baseline(
        cell=where,
        environment=environment(backend_version),
        engine_sha256="d1ce" * 16,
        cache_key="0ff1" * 16,
        accuracy={"mAP50": 0.9331, "mAP50-95": 0.8018},
        reference_accuracy={"mAP50": 0.9332, "mAP50-95": 0.802},
        accuracy_settings=SETTINGS,
        images=200,
        data_digest="da7a" * 16,
        sessions=sessions,
    )


def use(where: Cell, outcome: Outcome, stored: Baseline | None, note: str = "") -> BaselineUse:
    """Return what was found when a cell's baseline was looked up."""
    folder = f"baselines/{(stored.environment if stored else environment()).machine}"
    path = f"{folder}/{where.model}/{where.precision}-320-b1.json"
    return BaselineUse(path=path, outcome=outcome, note=note, baseline=stored)


def drop_check(where: Cell, value: float, limit: float, name: str = "mAP50-95", worst: str = "") -> Check:
    """Return a check of a drop from the example's ``.pt``."""
    reference = round(PT_MAP[where.model] + (0.1312 if name == "mAP50" else 0.0), 4)
    drop = round(reference - value, 4)
    moved = f"fell {drop:.4f}" if drop > 0 else f"rose {-drop:.4f}" if drop < 0 else "is unchanged"
    allowed = f"{'more than ' if drop > limit else ''}{limit:.4f} allowed; 200 images{worst}"
    return Check(
        name=name,
        against=REFERENCE,
        value=value,
        reference=reference,
        change=drop,
        limit=limit,
        unit="points",
        outcome=Outcome.FAIL if drop > limit else Outcome.PASS,
        sentence=f"{where.precision}: {name} {moved} ({reference:.4f} -> {value:.4f}), {allowed}",
    )


def slow_check(where: Cell, stored: Baseline, name: str, limit: float, doubt: str = "") -> Check:
    """Return a check of a slow-down against a baseline; with a ``doubt``, what would be a failure is inconclusive."""
    percent = int(name[1:])
    value = median(latency(where.model).per_launch_ms(where.precision, "engine", percent))
    sessions = [[x.timings["engine"].quantile_ms(percent) for x in s.launches] for s in stored.sessions]
    reference = median(median(session) for session in sessions)
    change = value / reference - 1
    over = change > limit
    said = f"is {abs(change) * 100:.1f} % {'slower' if change > 0 else 'faster'} ({reference:.3g} -> {value:.3g} ms)"
    allowed = f"{'more than ' if over else ''}{limit * 100:.3g} % allowed"
    return Check(
        name=name,
        against="baseline",
        value=value,
        reference=reference,
        statistics=("median of launches", "mean of sessions"),
        change=change,
        limit=limit,
        unit="ratio",
        outcome=Outcome.PASS if not over else Outcome.INCONCLUSIVE if doubt else Outcome.FAIL,
        sentence=f"{where.precision}: {name} {said}, {allowed}{doubt if over else '; 3 stored sessions'}",
    )


def budget_check(where: Cell, budget_ms: float) -> Check:
    """Return a check of p95 against an absolute limit."""
    value = median(latency(where.model).per_launch_ms(where.precision, "engine", 95))
    within = value <= budget_ms
    relation = "within" if within else "over"
    return Check(
        name="p95",
        against="budget",
        value=value,
        reference=budget_ms,
        statistics=("median of launches", ""),
        change=value - budget_ms,
        limit=budget_ms,
        unit="ms",
        outcome=Outcome.PASS if within else Outcome.FAIL,
        sentence=f"{where.precision}: p95 {value:.3g} ms is {relation} its budget of {budget_ms:g} ms",
    )


def plain_check(where: Cell, outcome: Outcome, sentence: str, name: str = "baseline") -> Check:
    """Return a check without numbers."""
    against = "" if outcome is Outcome.ERROR else "baseline"
    return Check(name=name, against=against, outcome=outcome, sentence=f"{where.precision}: {sentence}")


def figures(where: Cell, lost: float, worst: float) -> AccuracyFigures:
    """Return what is drawn of an engine that lost ``lost`` in all, and ``worst`` more in class triangle."""
    intervals = {}
    for index, name in enumerate(CLASSES):
        drop = lost + (worst if name == "triangle" else 0.0)
        spread = 0.004 + 0.001 * index
        significant = drop - spread > 0.02
        intervals[name] = DropInterval(
            low=round(drop - spread, 5), high=round(drop + spread, 5), significant=significant
        )

    def curve(bend: float) -> tuple[float, ...]:
        return tuple(round(max(0.0, 1 - (i / 50) ** bend), 4) for i in range(51))

    def counts(shift: float) -> tuple[int, ...]:
        peak, bins = 0.86 - shift, [(i + 0.5) / 20 for i in range(20)]
        return tuple(round(190 * math.exp(-(((x - peak) / 0.13) ** 2))) if x > 0.25 else 0 for x in bins)

    return AccuracyFigures(
        cell=where,
        images=200,
        replicates=1000,
        classes=intervals,
        curves=(
            PrecisionRecall(iou=0.5, reference=curve(14), engine=curve(14 - 40 * lost)),
            PrecisionRecall(iou=0.75, reference=curve(8), engine=curve(8 - 60 * lost)),
        ),
        scores=Scores(conf=0.25, reference=counts(0.0), engine=counts(2.5 * lost)),
    )


def course(p50_ms: float, index: int) -> Course:
    """Return a launch of an arm that is slow at first and has one slow part later."""
    noise = random.Random(index)
    p50 = [p50_ms * (1 + 0.05 * math.exp(-i / 3) + noise.gauss(0, 0.008)) for i in range(24)]
    return Course(
        launch=index,
        at_s=tuple(round(1.7 * i, 3) for i in range(24)),
        p50_ms=tuple(round(x, 4) for x in p50),
        low_ms=tuple(round(x * 0.94, 4) for x in p50),
        high_ms=tuple(round(x * (1.5 if i == 14 else 1.12), 4) for i, x in enumerate(p50)),
    )


def verdict(
    where: Cell, subject: Subject, *checks: Check, accept: str = "", accept_toml: str = "", log_tail: str = ""
) -> Verdict:
    """Return the verdict that follows from some checks, with the commands that a real one carries."""
    outcome = max((check.outcome for check in checks), key=lambda o: o.rank)
    deciding = [check.sentence for check in checks if check.outcome is outcome]
    return Verdict(
        cell=where,
        subject=subject,
        outcome=outcome,
        failed=outcome in (Outcome.FAIL, Outcome.ERROR),
        summary="; ".join(deciding),
        checks=checks,
        accept=accept,
        accept_toml=accept_toml,
        rerun=f"pytest 'tests/gate/test_gate.py::test_{subject}[{where.model}-{where.precision}]'",
        log_tail=log_tail,
    )


def explanation(where: Cell) -> Explanation:
    """Return why an INT8 engine lost accuracy in one class, by its box branch."""
    return Explanation(
        cell=where,
        sentence="it falls on the triangle (0.7630 -> 0.7320, 161 of them); INT8 harms head.boxes most",
        metric="mAP50-95",
        reference=0.802,
        engine=0.7806,
        parts=(
            MetricPart(kind="threshold", name="IoU 0.50", reference=0.95, engine=0.949),
            MetricPart(kind="class", name="triangle", reference=0.763, engine=0.732, objects=161),
        ),
        symptoms=(
            Symptom(kind="class gone", found=True, sentence="of triangle, 80 in place of 161 found (50 %)"),
            Symptom(kind="boxes shifted", found=False, sentence="the engine's boxes are +0.1 % to the right"),
        ),
        layers=(
            LayerNoise(name="head.boxes.8.last", words="box branch", local_db=12.5, arriving_db=9.1, worst_db=7.0),
            LayerNoise(name="stem.0", words="stem, module 0", local_db=31.0, arriving_db=31.0),
        ),
        layers_note="the engine's own graph beside that of FP32, on 16 images of worst disagreement and 16 others",
        images=32,
        blocks=(
            BlockSensitivity(name="stem", layers=5, without=0.0213, drop=0.0251, images=16),
            BlockSensitivity(name="head.boxes", layers=10, alone=0.02, without=0.0031, drop=0.0214, images=64),
            BlockSensitivity(name="neck", layers=20),
        ),
        blocks_drop=0.0214,
        blocks_note="drops of mAP50-95, all blocks on 16 images, and the half that saves most on 32 and then 64",
        ranges=(
            RangeUse(
                name="stem.0", words="stem", low=-1.0, high=3.0, seen_low=-0.5, seen_high=4.0, clipped=0.02, unused=0.1
            ),
        ),
        outliers=(OutlierImage(image="train/9.jpg", layers=13, times=11.3, layer="the neck", picture="/9j/"),),
        ranges_note="values of 32 evaluated images; 86 of 600 calibration images were searched for outliers",
        seconds=158.0,
        peak_bytes=974_000_000,
    )


def record(
    verdicts: Sequence[Verdict],
    accuracies: Sequence[AccuracyRecord],
    latencies: Sequence[LatencyRecord],
    baselines: dict[str, BaselineUse],
    engines: Sequence[Cell],
    notes: Sequence[str] = (),
    worst: float = 0.0,
) -> RunRecord:
    """Put a run record together; its cells are those of the verdicts, ``worst`` is what INT8 loses in one class."""
    cells = tuple(dict.fromkeys(v.cell for v in verdicts))
    names = [("build", f"build-{c.key}", 26.4 if c.precision == "int8" else 4.8, c in engines) for c in cells]
    names += [("accuracy", f"accuracy-{a.model}-{a.arm}", a.seconds, True) for a in accuracies]
    names += [("latency", f"latency-{x.model}-{y.index}", y.seconds, True) for x in latencies for y in x.launches]
    values = {(a.model, a.arm): a.metrics["mAP50-95"] for a in accuracies}
    arms = ((c, (c.model, c.precision)) for c in cells)
    evaluated = [(c, round(values[c.model, REFERENCE] - values[arm], 4)) for c, arm in arms if arm in values]
    timed = {
        (x.model, arm): y.timings["engine"].quantile_ms(50) for x in latencies for arm, y in x.launches[0].arms.items()
    }
    return RunRecord(
        run_id="20261122-131400-7675ab6",
        plugin_version="0.1.0",
        command="pytest --trt-model shapes.pt --trt-data shapes.yaml --trt-imgsz 320",
        started_at="2026-11-22T13:14:00+00:00",
        seconds=412.6,
        environment=environment(),
        settings={
            "models": ["shapes.pt"],
            "data": "shapes.yaml",
            "precisions": list(PRECISIONS),
            "accuracy": {"int8": {"mAP50-95": 0.01}},
            "latency": {"context": "engine", "p50": {"regression": 0.05}, "p95": {"budget_ms": 20.0}},
        },
        cells=cells,
        engines={c.key: engine(c) for c in engines},
        accuracies=tuple(accuracies),
        latencies={x.model: x for x in latencies},
        baselines=baselines,
        figures={c.key: figures(c, lost, worst if c.precision == "int8" else 0.0) for c, lost in evaluated},
        explanations={c.key: explanation(c) for c, _ in evaluated if worst and c.precision == "int8"},
        courses={
            c.key: tuple(course(timed[c.model, c.precision], i) for i in range(3))
            for c in cells
            if (c.model, c.precision) in timed
        },
        verdicts=tuple(verdicts),
        jobs=tuple(
            JobRecord(name=name, kind=kind, seconds=seconds, ok=ok, log=f"runs/jobs/{name}/log.txt")
            for kind, name, seconds, ok in names
        ),
        notes=tuple(notes),
    )
