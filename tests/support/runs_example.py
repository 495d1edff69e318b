"""Whole example runs: one that passes, one with every outcome, one that did nothing."""

from __future__ import annotations

from functools import cache

from records_example import (
    BUILD_LOG,
    SPEED_MS,
    WIDE,
    accuracy,
    baseline,
    budget_check,
    cell,
    drop_check,
    environment,
    latency,
    plain_check,
    record,
    slow_check,
    use,
    verdict,
)

from pytest_trtgate.records.cell import PRECISIONS, REFERENCE
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.verdict import EarlyFinding, Finding, Outcome, Preflight

VALUES = {"pt": 0.802, "fp32": 0.802, "fp16": 0.8025, "int8": 0.7968}
TOLERANCES = {"fp32": 0.001, "fp16": 0.003, "int8": 0.01}


@cache
def passing_run() -> RunRecord:
    """Return a run in which every engine matches its checkpoint and its baseline."""
    cells = [cell(precision) for precision in PRECISIONS]
    stored = {c.key: baseline(c, SPEED_MS[c.precision] * 0.993) for c in cells}
    verdicts = []
    for c in cells:
        value, limit = VALUES[c.precision], TOLERANCES[c.precision]
        drops = (drop_check(c, value, limit), drop_check(c, round(value + 0.1312, 4), limit, "mAP50"))
        verdicts.append(verdict(c, "accuracy", *drops))
        slower = (slow_check(c, stored[c.key], "p50", 0.05), slow_check(c, stored[c.key], "p95", 0.1))
        verdicts.append(verdict(c, "latency", *slower, budget_check(c, 20.0)))
    return record(
        verdicts,
        [accuracy(arm, value, 0.004 if arm == "int8" else 0.0) for arm, value in VALUES.items()],
        [latency()],
        {c.key: use(c, Outcome.PASS, stored[c.key]) for c in cells},
        cells,
        worst=0.004,
    )


@cache
def failing_run() -> RunRecord:
    """Return a run with every outcome: a lossy INT8, a slow FP16, a crash, and three cells that cannot be decided."""
    fp32, fp16, int8 = (cell(precision) for precision in PRECISIONS)
    wide, crashed = cell("fp32", "shapes-wide"), cell("int8", "shapes-wide")
    old, slow = baseline(fp32, 12.2, "1.30.0"), baseline(fp16, 13.64)
    shaky = baseline(wide, SPEED_MS["fp32"] * WIDE * 0.935)
    other = "baselines exist for cpu-x86_64_onnxruntime-1.30, this machine is cpu-x86_64_onnxruntime-1.32"
    none = "no baseline for this machine and cell"
    doubt = ", but with 2 stored sessions under twice that may be the machine"
    crash = "the job ended with exit status 1 [build-shapes-wide-int8-320-b1-onnxruntime-cpu]"
    worst = "; worst class triangle -0.063"
    verdicts = [
        verdict(fp32, "accuracy", drop_check(fp32, 0.802, 0.001), drop_check(fp32, 0.9332, 0.001, "mAP50")),
        verdict(
            fp32,
            "latency",
            budget_check(fp32, 20.0),
            plain_check(fp32, Outcome.INCOMPATIBLE, f"latency was not compared with a baseline: {other}"),
            accept="pytest --trt-baselines=update --trt-precision=fp32",
        ),
        verdict(fp16, "accuracy", drop_check(fp16, 0.8025, 0.003), drop_check(fp16, 0.9337, 0.003, "mAP50")),
        verdict(
            fp16,
            "latency",
            slow_check(fp16, slow, "p50", 0.05),
            slow_check(fp16, slow, "p95", 0.1),
            budget_check(fp16, 16.0),
            accept="pytest --trt-baselines=update --trt-precision=fp16",
        ),
        verdict(
            int8,
            "accuracy",
            drop_check(int8, 0.7806, 0.01, worst=worst),
            drop_check(int8, 0.9262, 0.01, "mAP50"),
            accept='set "mAP50-95" = 0.0215 under [tool.trtgate.accuracy.int8] in pyproject.toml',
            accept_toml='# pyproject.toml\n[tool.trtgate.accuracy.int8]\n"mAP50-95" = 0.0215',
        ),
        verdict(
            int8,
            "latency",
            budget_check(int8, 20.0),
            plain_check(int8, Outcome.NO_BASELINE, f"latency was not compared with a baseline: {none}"),
            accept="pytest --trt-baselines=add --trt-precision=int8",
        ),
        verdict(wide, "accuracy", drop_check(wide, 0.831, 0.001)),
        verdict(
            wide,
            "latency",
            slow_check(wide, shaky, "p50", 0.05, doubt),
            accept="pytest --trt-baselines=update --trt-precision=fp32",
        ),
        verdict(crashed, "accuracy", plain_check(crashed, Outcome.ERROR, crash, "measurement"), log_tail=BUILD_LOG),
        verdict(crashed, "latency", plain_check(crashed, Outcome.ERROR, crash, "measurement"), log_tail=BUILD_LOG),
    ]
    values = VALUES | {"int8": 0.7806}
    return record(
        verdicts,
        [
            *(accuracy(arm, value, 0.042 if arm == "int8" else 0.0) for arm, value in values.items()),
            accuracy(REFERENCE, 0.8311, model="shapes-wide"),
            accuracy("fp32", 0.831, model="shapes-wide"),
        ],
        [latency(), latency("shapes-wide", (REFERENCE, "fp32"))],
        {
            fp32.key: use(fp32, Outcome.INCOMPATIBLE, old, other),
            fp16.key: use(fp16, Outcome.PASS, slow),
            int8.key: use(int8, Outcome.NO_BASELINE, None, none),
            wide.key: use(wide, Outcome.PASS, shaky),
        },
        [fp32, fp16, int8, wide],
        ["Another process used 38 % of the CPU during launch 1; the launch was repeated."],
        0.042,
    )


@cache
def gpu_run() -> RunRecord:
    """Return the passing run as another machine would report it."""
    run = passing_run()
    cells = {c: c.model_copy(update={"backend": "tensorrt", "device": "0"}) for c in run.cells}
    here = environment().model_copy(
        update={
            "machine": "nvidia-h200_tensorrt-10.3",
            "gpu": "NVIDIA H200",
            "compute_capability": "9.0",
            "driver": "570.86",
            "backend": "tensorrt",
            "backend_version": "10.3.0",
            "device": "0",
        }
    )
    return run.model_copy(
        update={
            "environment": here,
            "cells": tuple(cells.values()),
            "engines": {cells[e.cell].key: e.model_copy(update={"cell": cells[e.cell]}) for e in run.engines.values()},
            "baselines": {cells[c].key: run.baselines[c.key] for c in run.cells},
            "figures": {cells[f.cell].key: f.model_copy(update={"cell": cells[f.cell]}) for f in run.figures.values()},
            "courses": {cells[c].key: run.courses[c.key] for c in run.cells},
            "verdicts": tuple(v.model_copy(update={"cell": cells[v.cell]}) for v in run.verdicts),
        }
    )


def empty_run() -> RunRecord:
    """Return a run that planned, measured and decided nothing."""
    return RunRecord(
        run_id="empty",
        plugin_version="0.1.0",
        command="",
        started_at="",
        seconds=0.0,
        environment=environment(),
        settings={},
        cells=(),
    )


BUSY_WITH = "the load average is 9.0 on 2 cores before the start"


def busy(run: RunRecord) -> RunRecord:
    """Return a run as it would be of a machine that had other work to do."""
    finding = Finding(id="machine-busy", severity="warn", sentence=BUSY_WITH)
    return run.model_copy(update={"preflight": Preflight(findings=(EarlyFinding(finding=finding),))})
