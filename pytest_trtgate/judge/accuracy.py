"""Accuracy: an engine against the checkpoint of the same run, and against what was accepted before."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..records import AccuracyRecord
from ..run_record import Baseline, Check, Outcome

_ROUNDING = 1e-9
"""Room for the rounding of a subtraction: a drop of exactly the tolerance passes."""


def judge_parity(reference: AccuracyRecord, engine: AccuracyRecord, tolerances: Mapping[str, float]) -> list[Check]:
    """Judge the drop of each gated metric from the ``.pt`` to an engine, on the same images.

    Args:
        reference: The checkpoint's accuracy.
        engine: The engine's accuracy.
        tolerances: Largest allowed drop per metric, from 0 to 1.

    Returns:
        One check per metric of ``tolerances``.
    """
    if reference.settings != engine.settings or reference.images != engine.images:
        sentence = f"{engine.arm} and the .pt were evaluated differently: {engine.settings} and {reference.settings}"
        return [Check(name="settings", against="pt", outcome=Outcome.ERROR, sentence=sentence)]
    context = f"{engine.images} images"
    if engine.unreadable:
        context += f" ({len(engine.unreadable)} more are damaged and were left out)"
    worst_class = _worst_class(reference, engine)
    if worst_class:
        context += f"; worst class {worst_class}"
    return [
        _drop(metric, "pt", reference.metrics.get(metric), engine.metrics.get(metric), limit, engine.arm, context)
        for metric, limit in tolerances.items()
    ]


def judge_accepted(baseline: Baseline, engine: AccuracyRecord, tolerances: Mapping[str, float]) -> list[Check]:
    """Judge the drop of each gated metric since the baseline, where both saw the same images in the same way."""
    if (baseline.accuracy_settings, baseline.data_digest) != (engine.settings, engine.data_digest):
        changed = "images or labels" if baseline.data_digest != engine.data_digest else "evaluation settings"
        return [
            Check(
                name="baseline",
                against="baseline",
                outcome=Outcome.INCOMPATIBLE,
                sentence=f"{engine.arm}: accuracy is not comparable with the baseline, whose {changed} differ",
            )
        ]
    context = f"{engine.images} images"
    return [
        _drop(metric, "baseline", baseline.accuracy.get(metric), engine.metrics.get(metric), limit, engine.arm, context)
        for metric, limit in tolerances.items()
        if metric in baseline.accuracy
    ]


def _drop(
    metric: str, against: str, reference: float | None, value: float | None, limit: float, arm: str, context: str
) -> Check:
    where = "" if against == "pt" else " since the baseline"
    if reference is None or value is None or not (math.isfinite(reference) and math.isfinite(value)):
        sentence = f"{arm}: {metric} was not measured ({reference} -> {value})"
        return Check(name=metric, against=against, limit=limit, outcome=Outcome.ERROR, sentence=sentence)
    drop = reference - value
    # Four digits, and as many more as it takes to tell the drop from its limit.
    digits = next((n for n in range(4, 9) if f"{drop:.{n}f}" != f"{limit:.{n}f}"), 4)
    numbers = f"({reference:.4f} -> {value:.4f})"
    if against == "pt" and reference == 0:
        outcome = Outcome.FAIL
        sentence = f"{arm}: the .pt itself has {metric} 0, so there is nothing to compare; {context}"
    elif drop > limit + _ROUNDING:
        outcome = Outcome.FAIL
        sentence = (
            f"{arm}: {metric} fell {drop:.{digits}f}{where} {numbers}, more than {limit:.{digits}f} allowed; {context}"
        )
    else:
        outcome = Outcome.PASS
        moved = f"fell {drop:.4f}" if drop > 0 else f"rose {-drop:.4f}" if drop < 0 else "is unchanged"
        sentence = f"{arm}: {metric} {moved}{where} {numbers}, {limit:.4f} allowed; {context}"
    return Check(
        name=metric,
        against=against,
        value=value,
        reference=reference,
        change=drop,
        limit=limit,
        unit="points",
        outcome=outcome,
        sentence=sentence,
    )


def _worst_class(reference: AccuracyRecord, engine: AccuracyRecord) -> str:
    """Return the class whose mAP50-95 fell most, with how far; empty where none fell."""
    before = {c.name: c.metrics.get("mAP50-95") for c in reference.classes}
    drops = [
        (was - now, c.name)
        for c in engine.classes
        if (was := before.get(c.name)) is not None and (now := c.metrics.get("mAP50-95")) is not None
    ]
    drop, name = max(drops, default=(0.0, ""))
    return f"{name} -{drop:.3f}" if drop > 0 else ""
