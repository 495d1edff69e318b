"""A run record whose every free text tries to break out of the page."""

from __future__ import annotations

from typing import Any

from runs_example import failing_run

from pytest_trtgate.records.base import Record
from pytest_trtgate.records.explanation import Explanation
from pytest_trtgate.records.run import RunRecord

PAYLOAD = (
    "</script></style></title><script>alert(1)</script><img src=x onerror=alert(2)>"
    "\"'`{{ 7 * 7 }}&amp;\u2028\x1b[31m\x00"
)


def spoiled(value: Any, text: str) -> Any:
    """Return a record with ``text`` behind everything in it that is free text; arms and outcomes stay what they are."""
    if isinstance(value, Record):
        changes = {}
        for name, field in type(value).model_fields.items():
            old = getattr(value, name)
            free = isinstance(old, str) and field.annotation in (str, str | None) and name != "arm"
            changes[name] = old + text if free else spoiled(old, text)
        return value.model_copy(update=changes)
    if isinstance(value, tuple):
        return tuple(spoiled(item, text) for item in value)
    if isinstance(value, dict):
        return {key: spoiled(item, text) for key, item in value.items()}
    return value


def hostile_run(text: str = PAYLOAD) -> RunRecord:
    run: RunRecord = spoiled(failing_run(), text)
    uses = {cell.key: run.baselines.get(old.key) for cell, old in zip(run.cells, failing_run().cells, strict=True)}
    return run.model_copy(
        update={
            "engines": {engine.cell.key: engine for engine in run.engines.values()},
            "baselines": {key: use for key, use in uses.items() if use},
            "explanations": {found.cell.key: _readable(found) for found in run.explanations.values()},
            "settings": {text: [text, {text: text}]},
            "environment": run.environment.model_copy(update={"versions": {text: text}}),
        }
    )


def _readable(found: Explanation) -> Explanation:
    """Return an explanation with the pictures of its outliers: no record is read that has other text there."""
    outliers = tuple(one.model_copy(update={"picture": "/9j/"}) for one in found.outliers)
    return found.model_copy(update={"outliers": outliers})
