"""What engines were compared with that is no checkpoint, such as the engine that is deployed now."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from ..measuring import RunContext
from ..records import DEPLOYED, PRIMARY, AccuracyRecord, Cell, EngineRecord, LatencyRecord
from ..text import plural


def compared_with(context: RunContext) -> Iterator[str]:
    """Yield what stands for a checkpoint, and how each cell differs from the deployed engine that was measured too."""
    for model, path in context.plan.weights.items():
        if path.suffix == ".onnx":
            yield f"{model}: {path} is the reference; what it lost itself shows nowhere"
    engine, space = context.settings.deployment.compared, context.workspace
    if engine is None:
        return
    for model in context.plan.weights:
        latency = space.get(f"latency-{model}", LatencyRecord)
        if failure := latency.failures.get(DEPLOYED) if latency else None:
            yield f"{engine.name}, which is deployed, was not compared with: {failure.reason}"
        old = space.get(f"{DEPLOYED}-{model}", EngineRecord)
        for cell in context.plan.of_model(model):
            new = space.get(f"engine-{cell.key}", EngineRecord)
            if old and new and old.sha256 == new.sha256:
                yield f"{cell.label} is what is deployed ({engine.name}), byte by byte"
            elif said := ", ".join([*_speeds(context, cell, latency), *_accuracies(context, cell)]):
                yield f"{cell.label} against what is deployed ({engine.name}): {said}"


def _speeds(context: RunContext, cell: Cell, latency: LatencyRecord | None) -> Iterator[str]:
    which = context.settings.latency.context
    launches = latency.of_arm(DEPLOYED) if latency else ()
    both = [launch.arms for launch in launches if cell.precision in launch.arms]
    if both:
        old_ms, new_ms = (
            [arms[arm].timings[which].quantile_ms(50) for arms in both] for arm in (DEPLOYED, cell.precision)
        )
        change = math.expm1(median(math.log(new / old) for old, new in zip(old_ms, new_ms, strict=True)))
        seen = f"{median(old_ms):.3g} -> {median(new_ms):.3g} ms in {plural(len(both), 'launch')}"
        yield f"{100 * change:+.1f} % p50 ({seen})"


def _accuracies(context: RunContext, cell: Cell) -> Iterator[str]:
    names = (f"accuracy-{cell.model}-{arm}" for arm in (DEPLOYED, cell.precision))
    old, new = (context.workspace.get(name, AccuracyRecord) for name in names)
    if old is not None and new is not None:
        metric = PRIMARY[new.task]
        yield f"{metric} {new.metrics[metric] - old.metrics[metric]:+.4f}"
