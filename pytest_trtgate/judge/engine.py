"""An engine against its budgets of size and memory."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from ..records import Check, EngineInspection, EngineRecord, LatencyRecord, Outcome, Precision
from ..settings import EngineLimits

SIZE, MEMORY = "engine size", "device memory"
ENGINE_BUDGETS = {SIZE: "max_size_mb", MEMORY: "max_device_memory_mb"}
"""The setting that each check is about."""


def judge_engine(engine: EngineRecord, limits: EngineLimits) -> list[Check]:
    """Return one check per budget; device memory is no quantity of an engine that runs on the CPU.

    Args:
        engine: The engine.
        limits: Its budgets in megabytes, a million bytes each.
    """
    arm = engine.cell.precision
    checks = []
    if limits.max_size_mb is not None:
        checks.append(_budget(arm, SIZE, engine.size_bytes, limits.max_size_mb))
    if limits.max_device_memory_mb is not None and engine.cell.device != "cpu":
        memory = engine.inspection.device_memory_bytes if engine.inspection else None
        checks.append(_budget(arm, MEMORY, memory, limits.max_device_memory_mb))
    return checks


def _budget(arm: str, name: str, value_bytes: int | None, budget_mb: float) -> Check:
    if value_bytes is None:
        sentence = f"{arm}: {name} was not judged, since TensorRT did not tell it"
        return Check(
            name=name, against="budget", limit=budget_mb, unit="MB", outcome=Outcome.INCONCLUSIVE, sentence=sentence
        )
    value_mb = value_bytes / 1e6
    over = value_mb > budget_mb
    return Check(
        name=name,
        against="budget",
        value=value_mb,
        reference=budget_mb,
        change=value_mb - budget_mb,
        limit=budget_mb,
        unit="MB",
        outcome=Outcome.FAIL if over else Outcome.PASS,
        sentence=f"{arm}: {name} {value_mb:.1f} MB is {'over' if over else 'within'} its budget of {budget_mb:g} MB",
    )


NEARLY_NONE = 0.05
"""Below this share of FP16 layers, an "fp16" engine is an FP32 engine by another name."""


def precision_finding(
    requested: Precision, inspection: EngineInspection | None, size_bytes: int, fp32_size_bytes: int | None
) -> str | None:
    """Return a sentence where an engine is not in the precision that was asked for, else None.

    Where TensorRT tells the precision of the layers, they decide: fewer than 5 % in FP16, or none in INT8. Where it
    does not but is bound to the types in the network, those do: the size says nothing, since such a plan may hold more
    than the weights. Else the size does: an engine in a narrower precision must be smaller than the FP32 engine.

    Args:
        requested: What was asked for; there is nothing to find in ``fp32``.
        inspection: What was built; None for a backend without such a thing.
        size_bytes: Size of the artifact.
        fp32_size_bytes: Size of the model's FP32 artifact; None where there is none.
    """
    if requested == "fp32" or inspection is None:
        return None
    if inspection.known:
        wanted = requested.upper()
        share = inspection.share(wanted)
        missed = share == 0 if requested == "int8" else share < NEARLY_NONE
        few = "no layer is" if share == 0 else f"fewer than {100 * NEARLY_NONE:.0f} % are"
        return f"{inspection.sentence(requested)}; {few} {wanted}" if missed else None
    if fp32_size_bytes is None or size_bytes < fp32_size_bytes:
        return None
    return f"{inspection.sentence(requested)}, and it has {_mb(size_bytes)}, no less than fp32 ({_mb(fp32_size_bytes)})"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


_BYTES_PER_MB = 1e6


def judge_resources(latency: LatencyRecord, arm: str, energy_mj: float | None, memory_mb: float | None) -> list[Check]:
    """Judge the median over the launches of what one arm uses.

    Args:
        latency: All launches of the model.
        arm: The engine to judge.
        energy_mj: Largest allowed energy per inference in millijoules, or None.
        memory_mb: Largest allowed memory in units of 1e6 bytes, or None.

    Returns:
        One check per budget; INCONCLUSIVE where a launch did not measure it.
    """
    arms = [launch.arms[arm] for launch in latency.of_arm(arm)]
    checks = []
    if energy_mj is not None:
        checks.append(_median_budget(arm, "energy", "mJ", [a.energy_mj for a in arms], energy_mj))
    if memory_mb is not None:
        taken = [None if a.memory_peak_bytes is None else a.memory_peak_bytes / _BYTES_PER_MB for a in arms]
        checks.append(_median_budget(arm, "memory", "MB", taken, memory_mb))
    return checks


def _median_budget(
    arm: str, name: str, unit: Literal["mJ", "MB"], found: Sequence[float | None], budget: float
) -> Check:
    values = [value for value in found if value is not None]
    if not values or len(values) < len(found):
        sentence = (
            f"{arm}: {name} was not measured in {len(found) - len(values)} of {len(found)} launches here, so its "
        )
        sentence += f"budget of {budget:g} {unit} was not judged; it needs a GPU that tells it, and pynvml"
        return Check(
            name=name, against="budget", limit=budget, unit=unit, outcome=Outcome.INCONCLUSIVE, sentence=sentence
        )
    value = median(values)
    over = value > budget
    each = " per inference" if name == "energy" else ""
    return Check(
        name=name,
        against="budget",
        value=value,
        reference=budget,
        change=value - budget,
        limit=budget,
        unit=unit,
        outcome=Outcome.FAIL if over else Outcome.PASS,
        sentence=f"{arm}: {name} {value:.3g} {unit}{each} is {'over' if over else 'within'} its budget of "
        f"{budget:g} {unit}",
    )
