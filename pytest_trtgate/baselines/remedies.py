"""Accepting a run: which of its cells may become baselines, why the others may not, and writing those that may."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from ..judge.accuracy.parity import ROUNDING
from ..judge.engine import ENGINE_BUDGETS
from ..records import (
    FINDING,
    HOOK,
    REFERENCE,
    Cell,
    Check,
    Outcome,
)
from ..settings import Settings, table_name

BUDGET_KEYS = {"energy": "energy_mj", "memory": "memory_mb"}
"""Settings of the budgets that are not milliseconds."""


def settings_for(checks: Iterable[Check], cell: Cell, settings: Settings, source: Path | None) -> str:
    """Return the settings that would let failed checks pass; empty where none would, or only a baseline."""
    tables: dict[str, list[str]] = {}
    for check in checks:
        found = _setting(check, cell, settings)
        if found is not None:
            tables.setdefault(found[0], []).append(found[1])
    places = {section: f"under {table_name(source, section)}" for section in tables} | {"models": "in models"}
    changes = [(list(dict.fromkeys(keys)), places[section]) for section, keys in tables.items()]
    return "; ".join(f"set {' and '.join(keys)} {place}" for keys, place in changes)


def _setting(check: Check, cell: Cell, settings: Settings) -> tuple[str, str] | None:
    """Return the table and the key, with its value where that is known, that would let a failed check pass."""
    if check.against in ("baseline", HOOK):
        return None
    if check.against == REFERENCE and check.unit == "points":
        if not check.reference or check.change is None:
            return None  # no tolerance helps a checkpoint that finds nothing
        own = next((model.accuracy for model in settings.models if model.name == cell.model), None)
        population = settings.of(cell.model).accuracy.mode == "population" and check.high is not None
        # A limit must be under the tolerance, while a drop may equal it.
        enough = math.ceil((check.change - ROUNDING) * 1e4)
        steps = math.floor(check.high * 1e4) + 1 if population and check.high else enough
        if own is not None:
            return "models", f'accuracy.{cell.precision}."{check.name}" = {steps / 1e4:.4f} of {cell.model}'
        return f"accuracy.{cell.precision}", f'"{check.name}" = {steps / 1e4:.4f}'
    if check.name in ENGINE_BUDGETS:
        return f"engine.{cell.precision}", ENGINE_BUDGETS[check.name]
    if check.against == "budget":
        key = BUDGET_KEYS.get(check.name, f"{check.name}.budget_ms")
        if check.value is not None and check.unit == "ms" and check.name not in BUDGET_KEYS:
            # What was measured, and a tenth: a budget at just that would be met in every other run.
            key += f" = {math.ceil(check.value * 110) / 100:.2f}"
        return f"latency.{cell.precision}", key
    if check.against == FINDING:
        # What is not decided for a finding has been only warned of.
        return "findings", f'{check.name} = "{"off" if check.outcome is Outcome.INCONCLUSIVE else "warn"}"'
    if check.change is None:
        return f"latency.{cell.precision}", "speedup"
    least = math.floor(check.change * 90) / 100
    return f"latency.{cell.precision}", f'speedup = {{ over = "{check.against}", at_least = {least:.2f} }}'
