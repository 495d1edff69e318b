"""Layer profiles of the planned cells, each obtained once per run, apart from all timing."""

from __future__ import annotations

from ..errors import JobError
from ..jobs import ProfileRequest
from ..records import Cell, LayerProfile
from .engines import Engines

RUNS = 50
"""Inferences that a profile is the mean of."""


def profile_layers(engines: Engines, cell: Cell) -> LayerProfile:
    """Return how long each layer of a cell's engine takes; a profile that failed says why, and fails nothing else."""
    return engines.context.workspace.once(f"profile-{cell.key}", LayerProfile, lambda: _profile(engines, cell))


def _profile(engines: Engines, cell: Cell) -> LayerProfile:
    context = engines.context
    context.milestone(f"{cell.label}: profiling its layers")
    try:
        request = ProfileRequest(
            arm=cell.precision,
            artifact=str(engines.of(cell).path),
            device=context.environment.device,
            threads=context.threads,
            runs=RUNS,
        )
        answer = context.job(f"profile-{cell.key}", request)
    except JobError as error:
        return LayerProfile(cell=cell, runs=RUNS, failure=error.reason)
    return LayerProfile(cell=cell, runs=RUNS, layers=answer.layers)
