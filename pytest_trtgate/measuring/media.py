"""Videos and pictures of a finished run, for people to look at: no verdict and no baseline waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import TrtGateError, reason_of
from ..records import JobRecord, RunRecord
from .engines import Engines
from .pictures import choose, with_pictures
from .videos import film, with_videos


def with_media(
    engines: Engines, run: RunRecord, save: Callable[[RunRecord, bool], None]
) -> tuple[RunRecord, str, bool]:
    """Return a run's record with its videos and pictures.

    Before any job ``save`` writes the run, with its reports where videos follow, which take minutes: whatever ends this
    process meanwhile, it is on disk.

    Returns:
        The record; why media are missing, empty if none are; and whether an interrupt is why.
    """
    context, started = engines.context, time.monotonic()
    clips = context.settings.videos and any(latency.launches for latency in run.latencies.values())
    what = f"not all {'videos and pictures' if clips else 'pictures'} of this run were made"
    missing, interrupted = "", False
    try:
        choice = choose(context, run)
        if clips or any(choice.drafts.values()):
            save(noted(run, f"{what}: it ended before"), bool(clips))
        for latency in run.latencies.values():
            film(engines, latency)
        run = with_pictures(context, run, choice)
    except KeyboardInterrupt:
        missing, interrupted = f"{what}: it was interrupted; its verdicts are whole", True
    except TrtGateError as error:
        missing = f"{what}: {reason_of(error)}"
    except Exception as error:  # a defect of what is only to be looked at costs nothing else
        missing = f"{what}: {type(error).__name__}: {error}"
    run = with_videos(context, run)
    jobs = tuple(context.workspace.all("job-", JobRecord))
    run = run.model_copy(update={"jobs": jobs, "seconds": run.seconds + time.monotonic() - started})
    return (noted(run, missing) if missing else run), missing, interrupted


def noted(run: RunRecord, note: str) -> RunRecord:
    """Return a run's record with one more note."""
    return run.model_copy(update={"notes": (*run.notes, note)})
