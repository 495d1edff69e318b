"""Which settings would let failed checks pass."""

from __future__ import annotations

import json
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
_BARE = re.compile(r"[\w-]+", re.ASCII)
"""A key that TOML takes without quotes."""
_MOST = 1e9
_MODELS = "models"
BUDGET_KEYS = {"energy": "energy_mj", "memory": "memory_mb"}
"""Settings of the budgets that are not milliseconds."""


def settings_for(checks: Iterable[Check], cell: Cell, settings: Settings, source: Path | None) -> str:
    """Return the settings that would let failed checks pass; empty where none would, or only a baseline."""
    tables = _tables(checks, cell, settings)
    places = {section: f"under {table_name(source, section)}" for section in tables} | {_MODELS: f"in {_MODELS}"}
    return "; ".join(f"set {' and '.join(keys)} {places[section]}" for section, keys in tables.items())


def toml_for(checks: Iterable[Check], cell: Cell, settings: Settings, source: Path | None) -> str:
    """Return the same as TOML to paste; empty too where it is no table of its own, or a value is not known."""
    tables = _tables(checks, cell, settings)
    if _MODELS in tables or not all(" = " in key for keys in tables.values() for key in keys):
        return ""
    blocks: list[str] = []
    for section, keys in tables.items():
        header, _, file = table_name(source, section).rpartition(" in ")
        blocks.append("\n".join([*([] if blocks else [f"# {file}"]), header, *keys]))
    return "\n\n".join(blocks)


def _tables(checks: Iterable[Check], cell: Cell, settings: Settings) -> dict[str, list[str]]:
    """Return what to set in each table, each once."""
    tables: dict[str, list[str]] = {}
    for check in checks:
        found = _setting(check, cell, settings)
        if found is not None and found[1] not in (known := tables.setdefault(found[0], [])):
            known.append(found[1])
    return tables


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
        return f"engine.{cell.precision}", _budget(check, ENGINE_BUDGETS[check.name])
    if check.against == "budget":
        key = BUDGET_KEYS.get(check.name, f"{check.name}.budget_ms")
        return _latency_table(cell, settings), _budget(check, key)
    return _latency_table(cell, settings), _speedup(check)


def _latency_table(cell: Cell, settings: Settings) -> str:
    """Return the table of a cell's own limits: of its kind of machine where there are several, or it has its own."""
    machine = cell.machine or next((name for name in settings.machines if name in settings.latency.machine), "")
    if not machine:
        return f"latency.{cell.precision}"
    return f"latency.machine.{machine if _BARE.fullmatch(machine) else json.dumps(machine)}.{cell.precision}"


def _tolerance(check: Check, cell: Cell, settings: Settings) -> tuple[str, str] | None:
    if not check.reference or check.change is None or not abs(check.change) <= 1:
        return None  # no tolerance helps a checkpoint that finds nothing
    steps = math.ceil((check.change - ROUNDING) * 1e4)
    if settings.of(cell.model).accuracy.mode == "population" and check.high and abs(check.high) <= 1:
        steps = math.floor(check.high * 1e4) + 1  # a limit must be under the tolerance, while a drop may equal it
    if any(model.name == cell.model and model.accuracy is not None for model in settings.models):
        return _MODELS, f'accuracy.{cell.precision}."{check.name}" = {steps / 1e4:.4f} of {cell.model}'
    return f"accuracy.{cell.precision}", f'"{check.name}" = {steps / 1e4:.4f}'


def _budget(check: Check, key: str) -> str:
    if check.value is None or check.unit not in ("ms", "mJ", "MB") or not abs(check.value) < _MOST:
        return key
    # What was measured, and a tenth: a budget at just that would be met in every other run.
    return f"{key} = {math.ceil(check.value * 110) / 100:.2f}"


def _speedup(check: Check) -> str:
    if check.change is None or not abs(check.change) < _MOST:
        return "speedup"
    return f'speedup = {{ over = "{check.against}", at_least = {math.floor(check.change * 90) / 100:.2f} }}'
