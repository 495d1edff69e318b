"""What to do about an accuracy that fell so far that no tolerance should let it pass."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ..judge.accuracy.parity import ROUNDING
from ..records import REFERENCE, EngineRecord, Outcome, Precision, Verdict

FAR_POINTS = 0.05
"""A larger drop than this is harm, whatever was tolerated."""
FAR_TIMES = 3.0
"""So is one of more than so many times its tolerance."""
BROKEN = frozenset(("confidence-collapse", "low-agreement"))
"""Findings by which an engine of a failed accuracy is broken."""
_CAUSES: dict[Precision, str] = {
    "int8": "INT8 harms some layers of this network, or its calibration images are unlike those evaluated",
    "fp16": "values in this network do not fit FP16, or the engine is of other weights",
    "fp32": "the engine computes something else than the .pt: look into its build.log, and at export.nms and opset",
}
_GIVEN = "look into what the file is fed (its sidecar: scale, channels, letterbox), and into what built it"
_PREDICTED = "look into what made the predictions: its preprocessing, its confidence, and the order of its classes"
EVEN_SO = "--even-so"
"""The option that accepts such a cell."""


def why_broken(verdict: Verdict) -> str:
    """Return by what a failed accuracy is harm rather than rounding; empty where it is none."""
    if verdict.subject != "accuracy" or verdict.outcome is not Outcome.FAIL:
        return ""
    for check in verdict.checks:
        fell = check.change if check.against == REFERENCE and check.outcome is Outcome.FAIL else None
        if fell is None or check.unit != "points" or not check.reference:
            continue
        fell -= ROUNDING
        if fell > FAR_POINTS:
            return f"{check.name} fell by more than {FAR_POINTS:g}"
        if check.limit is not None and fell > FAR_TIMES * check.limit:
            return f"{check.name} fell by more than {FAR_TIMES:g} times its tolerance"
    found = next((finding.id for finding in verdict.findings if finding.id in BROKEN), "")
    return f"{found} says that the engine is broken" if found else ""


def advice(verdict: Verdict, engine: EngineRecord | None = None) -> str:
    """Return what is probably wrong with such an engine, in a sentence; empty where tolerating it may be sane."""
    why, cause = why_broken(verdict), _CAUSES[verdict.cell.precision]
    if engine is not None and engine.given is not None:
        cause = _GIVEN if engine.runs else _PREDICTED
    return f"no tolerance is offered, since {why}: {cause}" if why else ""


def ways_out(verdict: Verdict, record: Path, engine: EngineRecord | None) -> dict[str, str]:
    """Return the fields of a verdict that say what is wrong with a broken engine, and what finds out or mends a loss.

    ``engine`` is that of the cell, if there is one: predictions cannot be explained, nor a given file repaired.
    """
    return {
        "advice": advice(verdict, engine),
        "explain": explain_command(verdict, record) if engine is None or engine.runs else "",
        "repair": repair_command(verdict, record) if engine is None or engine.given is None else "",
    }


def explain_command(verdict: Verdict, record: Path) -> str:
    """Return what explains an engine that lost accuracy, by the record of a run; empty where none is known to have."""
    if not _has_lost(verdict):
        return ""
    return shlex.join(["trtgate", "explain", os.path.relpath(record), "--only", verdict.cell.key])


def repair_command(verdict: Verdict, record: Path) -> str:
    """Return what searches for an INT8 that passes, by a run's record; empty where none is known to have failed."""
    if verdict.cell.precision != "int8" or not _has_lost(verdict):
        return ""
    return shlex.join(["trtgate", "repair", os.path.relpath(record), "--only", verdict.cell.key])


def _has_lost(verdict: Verdict) -> bool:
    """Return whether an engine failed by what it lost of its checkpoint's accuracy, be that little."""
    fell = (c for c in verdict.checks if (c.against, c.unit, c.outcome) == (REFERENCE, "points", Outcome.FAIL))
    lost = verdict.outcome is Outcome.FAIL and any(check.reference and check.change is not None for check in fell)
    return bool(why_broken(verdict)) or (verdict.subject == "accuracy" and lost)
