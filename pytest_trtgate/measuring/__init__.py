"""What a run measures: engines, accuracies, latencies and media, each obtained once."""

from __future__ import annotations

from .accuracies import Evaluations
from .context import Caller, RunContext, checkpoint_name
from .data import EvaluatedData
from .engines import Engines
from .forecast import announce, countdown, remember, spent
from .latencies import Latencies, candidate_of, engine_arm, launch_request, why_not_replayed
from .media import with_media
from .pictures import compared_images
from .plan import Plan, check_inputs, check_weights, make_plan
from .profiles import profile_layers
from .videos import open_clips
