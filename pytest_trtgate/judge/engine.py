"""An engine apart from its speed: size, memory and energy against budgets, and whether it has its precision."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from ..records import Check, EngineInspection, EngineRecord, LatencyRecord, Outcome, Precision
from ..settings import EngineLimits

SIZE, MEMORY = "engine size", "device memory"
ENGINE_BUDGETS = {SIZE: "max_size_mb", MEMORY: "max_device_memory_mb"}
"""The setting that each check is about."""
NEARLY_NONE = 0.05
"""Below this share of FP16 layers, an "fp16" engine is an FP32 engine by another name."""
_BYTES_PER_MB = 1e6
_Unit = Literal["mJ", "MB"]


def judge_engine(engine: EngineRecord, limits: EngineLimits) -> list[Check]:
    """Return one check per budget; device memory is no quantity of an engine that runs on the CPU."""
    found: list[tuple[str, int | None, float | None]] = [(SIZE, engine.size_bytes, limits.max_size_mb)]
    if engine.cell.device != "cpu":
        memory_bytes = engine.inspection.device_memory_bytes if engine.inspection else None
        found.append((MEMORY, memory_bytes, limits.max_device_memory_mb))
    checks = []
    for name, size_bytes, budget_mb in found:
        if budget_mb is not None:
            value_mb = None if size_bytes is None else size_bytes / _BYTES_PER_MB
            said = f"{engine.cell.precision}: {name} "
            said += "was not judged, since TensorRT did not tell it" if value_mb is None else f"{value_mb:.1f} MB"
            checks.append(_against_budget(name, value_mb, budget_mb, "MB", said))
    return checks


def judge_resources(latency: LatencyRecord, arm: str, energy_mj: float | None, memory_mb: float | None) -> list[Check]:
    """Judge the median over the launches of what one arm uses.

    Args:
        latency: All launches of the model.
        arm: The engine to judge.
        energy_mj: Largest allowed energy per inference in millijoules, or None.
        memory_mb: Largest allowed memory in units of 1e6 bytes, or None.

    Returns:
        One check per budget; INCONCLUSIVE where a launch did not measure its memory, or none its energy.
    """
    arms = [launch.arms[arm] for launch in latency.of_arm(arm)]
    taken_mb = [None if a.memory_peak_bytes is None else a.memory_peak_bytes / _BYTES_PER_MB for a in arms]
    budgets: list[tuple[str, Sequence[float | None], float | None, _Unit, str]] = [
        ("energy", [a.energy_mj for a in arms], energy_mj, "mJ", " per inference"),
        ("memory", taken_mb, memory_mb, "MB", ""),
    ]
    checks = []
    for name, found, budget, unit, each in budgets:
        if budget is None:
            continue
        values = [value for value in found if value is not None]
        # Of the energy, one launch is enough.
        value = median(values) if values and (name == "energy" or len(values) == len(found)) else None
        said = f"{arm}: {name} "
        if value is None:
            said += f"was not measured in {len(found) - len(values)} of {len(found)} launches here, so its "
            said += f"budget of {budget:g} {unit} was not judged; it needs a GPU that tells it, and pynvml"
        else:
            said += f"{value:.3g} {unit}{each}"
        checks.append(_against_budget(name, value, budget, unit, said))
    return checks


def _against_budget(name: str, value: float | None, budget: float, unit: _Unit, said: str) -> Check:
    """Return the check of a budget; ``said`` begins its sentence, and is all of it where there is no value."""
    if value is None:
        outcome = Outcome.INCONCLUSIVE
        return Check(name=name, against="budget", limit=budget, unit=unit, outcome=outcome, sentence=said)
    over = value > budget
    return Check(
        name=name,
        against="budget",
        value=value,
        reference=budget,
        change=value - budget,
        limit=budget,
        unit=unit,
        outcome=Outcome.FAIL if over else Outcome.PASS,
        sentence=f"{said} is {'over' if over else 'within'} its budget of {budget:g} {unit}",
    )


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
    own_mb, fp32_mb = (f"{size / _BYTES_PER_MB:.1f} MB" for size in (size_bytes, fp32_size_bytes))
    return f"{inspection.sentence(requested)}, and it has {own_mb}, no less than fp32 ({fp32_mb})"
