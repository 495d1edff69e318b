"""Job: check the images and labels of some splits, and read checkpoints, before anything is built.

It changes no file, and runs nothing that a checkpoint holds.
"""

from __future__ import annotations

from pathlib import Path

from ...jobs import CheckpointFacts, EngineFacts, SurveyRequest, SurveyResponse
from .. import engine_file
from ..reading import noting
from ..worker import PHASES, leave, main, plain
from .checkpoint_file import NoCheckpointError, facts_of


def work(request: SurveyRequest, folder: Path) -> SurveyResponse:
    """Survey everything that the request names."""
    splits = {}
    if request.splits:
        from .splits import survey_splits

        splits = survey_splits(request)
    PHASES.begin("work")
    return SurveyResponse(
        splits=splits,
        checkpoints={name: _facts(Path(path)) for name, path in request.checkpoints.items()},
        deployed=None if request.deployed is None else _metadata(Path(request.deployed)),
    )


def _facts(path: Path) -> CheckpointFacts:
    try:
        with noting(path):
            return facts_of(path)
    except (ValueError, OSError) as error:
        return CheckpointFacts(problem=plain(error), unusable=isinstance(error, NoCheckpointError))


def _metadata(path: Path) -> EngineFacts:
    try:
        with noting(path):
            return EngineFacts(metadata=engine_file.read_metadata(path))
    except Exception as error:
        return EngineFacts(metadata={"problem": plain(error)})


if __name__ == "__main__":
    leave(main(SurveyRequest, work))
