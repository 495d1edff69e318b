"""What else is found: before anything is built, and after it was measured."""

from __future__ import annotations

from .after import (
    calibration_leak,
    confidence_collapse,
    detections_not_compared,
    engine_findings,
    few_images,
    inconclusive_checks,
    low_agreement,
    skewed_engine,
    unstable_warmup,
)
from .cache_place import why_thrown_away
from .found import Found
from .preflight import run_preflight
from .survey import survey

__all__ = [
    "Found",
    "calibration_leak",
    "confidence_collapse",
    "detections_not_compared",
    "engine_findings",
    "few_images",
    "inconclusive_checks",
    "low_agreement",
    "run_preflight",
    "skewed_engine",
    "survey",
    "unstable_warmup",
    "why_thrown_away",
]
