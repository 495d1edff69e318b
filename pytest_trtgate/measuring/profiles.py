"""Layer profiles of the planned cells, each obtained once per run, apart from all timing."""

from __future__ import annotations

from ..errors import JobError
from ..jobs import ProfileRequest, ProfileResponse
from ..records import Cell, LayerProfile
from .context import Measurements

RUNS = 50
"""Inferences that a profile is the mean of."""


def profile_layers(measure: Measurements, cell: Cell) -> LayerProfile:
    """Return how long each layer of a cell's engine takes; a profile that failed says why, and fails nothing else."""
    return measure.workspace.once(f"profile-{cell.key}", LayerProfile, lambda: _profile(measure, cell))


def _profile(measure: Measurements, cell: Cell) -> LayerProfile:
    measure.milestone(f"{cell.label}: profiling its layers")
    try:
        request = ProfileRequest(
            arm=cell.precision,
            artifact=str(measure.engine(cell).path),
            device=measure.environment.device,
            threads=measure.threads,
            runs=RUNS,
        )
        limit_s = measure.settings.timeouts.launch_s
        answer = measure.job(f"profile-{cell.key}", "profile", request, limit_s, ProfileResponse)
    except JobError as error:
        return LayerProfile(cell=cell, runs=RUNS, failure=error.reason)
    return LayerProfile(cell=cell, runs=RUNS, layers=answer.layers)
