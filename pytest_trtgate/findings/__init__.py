"""What else is found: before anything is built, and after it was measured."""

from __future__ import annotations

from .after import (
    agreement_findings,
    calibration_leak,
    engine_findings,
    few_images,
    images_left_out,
    inconclusive_checks,
    skewed_engine,
    unstable_warmup,
)
from .cache_place import why_thrown_away
from .found import Found
from .preflight import run_preflight
from .survey import survey
