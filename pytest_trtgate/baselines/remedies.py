"""Which settings would let failed checks pass."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from ..judge.accuracy.parity import ROUNDING
from ..judge.engine import ENGINE_BUDGETS
from ..records import FINDING, HOOK, REFERENCE, Cell, Check, Outcome
from ..settings import LEFT_OUT, Settings, table_name

_KEY = re.compile(r"[\w.-]+(?: [\w.-]+)*")
"""What a setting can be about: a record from elsewhere may hold checks of any name."""
_MOST_MS = 1e9
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
    if check.against in ("baseline", HOOK) or not all(map(_KEY.fullmatch, (check.name, check.against))):
        return None
    if check.against == REFERENCE and check.unit == "points":
        return _tolerance(check, cell, settings)
    if check.name == LEFT_OUT and settings.findings.of(LEFT_OUT) == "warn":
        return "findings", "left-out-share"  # it fails for being too many
    if check.against == FINDING:
        # What is not decided for a finding has been only warned of.
        return "findings", f'{check.name} = "{"off" if check.outcome is Outcome.INCONCLUSIVE else "warn"}"'
    if check.name in ENGINE_BUDGETS:
        return f"engine.{cell.precision}", ENGINE_BUDGETS[check.name]
    return f"latency.{cell.precision}", _budget(check) if check.against == "budget" else _speedup(check)


def _tolerance(check: Check, cell: Cell, settings: Settings) -> tuple[str, str] | None:
    if not check.reference or check.change is None or not abs(check.change) <= 1:
        return None  # no tolerance helps a checkpoint that finds nothing
    steps = math.ceil((check.change - ROUNDING) * 1e4)
    if settings.of(cell.model).accuracy.mode == "population" and check.high and abs(check.high) <= 1:
        steps = math.floor(check.high * 1e4) + 1  # a limit must be under the tolerance, while a drop may equal it
    if any(model.name == cell.model and model.accuracy is not None for model in settings.models):
        return "models", f'accuracy.{cell.precision}."{check.name}" = {steps / 1e4:.4f} of {cell.model}'
    return f"accuracy.{cell.precision}", f'"{check.name}" = {steps / 1e4:.4f}'


def _budget(check: Check) -> str:
    if check.name in BUDGET_KEYS:
        return BUDGET_KEYS[check.name]
    if check.value is None or check.unit != "ms" or not abs(check.value) < _MOST_MS:
        return f"{check.name}.budget_ms"
    # What was measured, and a tenth: a budget at just that would be met in every other run.
    return f"{check.name}.budget_ms = {math.ceil(check.value * 110) / 100:.2f}"


def _speedup(check: Check) -> str:
    if check.change is None or not abs(check.change) < _MOST_MS:
        return "speedup"
    return f'speedup = {{ over = "{check.against}", at_least = {math.floor(check.change * 90) / 100:.2f} }}'
