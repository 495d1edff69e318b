"""An engine against its budgets of size and memory."""

from __future__ import annotations

from ..records import EngineRecord
from ..run_record import Check, Outcome
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
