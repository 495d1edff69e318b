"""What a run measures: engines, accuracies, latencies and media, each obtained once."""

from __future__ import annotations

from .accuracies import Evaluations, checkpoint_name
from .context import Measurements
from .data import EvaluatedData
from .latencies import Replays, why_not_replayed
from .media import with_media
from .plan import Plan, check_inputs, make_plan
from .profiles import profile_layers
from .videos import check_clips

__all__ = [
    "EvaluatedData",
    "Evaluations",
    "Measurements",
    "Plan",
    "Replays",
    "check_clips",
    "check_inputs",
    "checkpoint_name",
    "make_plan",
    "profile_layers",
    "why_not_replayed",
    "with_media",
]
