"""Budgets of what an inference costs besides time: energy, and memory of the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from ..records import LatencyRecord
from ..run_record import Check, Outcome

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
        checks.append(_budget(arm, "energy", "mJ", [a.energy_mj for a in arms], energy_mj))
    if memory_mb is not None:
        taken = [None if a.memory_peak_bytes is None else a.memory_peak_bytes / _BYTES_PER_MB for a in arms]
        checks.append(_budget(arm, "memory", "MB", taken, memory_mb))
    return checks


def _budget(arm: str, name: str, unit: Literal["mJ", "MB"], found: Sequence[float | None], budget: float) -> Check:
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
