"""What a verdict was reached by, as properties of a test case in JUnit XML: a name for each number, with its unit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from ..records import FINDING, HOOK, AccuracyRecord, Check, Context, LatencyRecord, Verdict

PREFIX = "trtgate_"
Property = tuple[str, str | float]


def properties(
    verdict: Verdict, measured: tuple[AccuracyRecord, AccuracyRecord] | LatencyRecord | None, context: Context
) -> list[Property]:
    """Return the properties of a verdict: its outcome, what was measured, and how far that is from its limits.

    Args:
        verdict: The verdict.
        measured: The accuracies of the ``.pt`` and the engine, or the launches of the model; None where nothing was.
        context: What latency is judged in.
    """
    found: dict[str, str | float] = {verdict.subject: str(verdict.outcome)}
    if verdict.waived:
        found[f"{verdict.subject}_waived"] = verdict.waived
    if isinstance(measured, LatencyRecord):
        found |= _latency(measured, verdict.cell.precision, context)
    elif measured is not None:
        found |= _accuracy(*measured)
    for check in verdict.checks:
        found.update(_compared(check))
    return [(PREFIX + name, value) for name, value in found.items() if isinstance(value, str) or math.isfinite(value)]


def _accuracy(reference: AccuracyRecord, engine: AccuracyRecord) -> dict[str, str | float]:
    values: dict[str, str | float] = {"images": engine.images}
    for name, value in engine.metrics.items():
        values[f"{name}_points"] = value
        if name in reference.metrics:
            values[f"{name}_of_pt_points"] = reference.metrics[name]
    return values


def _latency(latency: LatencyRecord, arm: str, context: Context) -> dict[str, str | float]:
    launches = latency.of_arm(arm)
    values: dict[str, str | float] = {"context": context, "launches": len(launches)}
    for percent in (50, 95, 99):
        if per_launch_ms := latency.per_launch_ms(arm, context, percent):
            values[f"p{percent}_ms"] = median(per_launch_ms)
    if any(launch.recorded or "end-to-end" in launch.arms[arm].timings for launch in launches):
        values["images_per_second"] = latency.images_per_second(arm)
    return values


def _compared(check: Check) -> Iterator[Property]:
    """Yield what a check compared, and the difference that it judged."""
    name, unit = check.name.replace("speed-up", "speed_up"), check.unit
    if check.against in (HOOK, FINDING):
        numbers = {f"{name}_of_{check.against}": check.value}
    elif check.against == "budget":
        numbers = {f"{name}_{unit}": check.value, f"{name}_budget_{unit}": check.limit}
        numbers[f"{name}_over_budget_{unit}"] = check.change
    elif check.change is None:
        numbers = {}
        if (check.name, check.against) == ("engine", "baseline"):
            yield "engine_of_baseline", "identical"
    elif check.against in ("pt", "baseline"):
        changed, then = ("slow_down", "ms") if unit == "ratio" else ("drop", unit)
        numbers = {f"{name}_of_{check.against}_{then}": check.reference}
        numbers[f"{name}_{changed}_from_{check.against}_{unit}"] = check.change
        numbers[f"{name}_{changed}_from_{check.against}_allowed_{unit}"] = check.limit
    else:
        numbers = {f"{name}_over_{check.against}_{unit}": check.change}
        numbers[f"{name}_over_{check.against}_least_{unit}"] = check.limit
    yield from ((name, value) for name, value in numbers.items() if value is not None)
