"""A run's record, put together at its end: all that any process of the run measured and decided."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from .. import __version__
from ..measuring import RunContext
from ..records import (
    INTERRUPTED,
    AccuracyFigures,
    AccuracyRecord,
    AccuracyUse,
    BaselineUse,
    EngineRecord,
    JobRecord,
    LatencyRecord,
    LayerProfile,
    Preflight,
    RunRecord,
    Verdict,
)
from ..text import age
from .figures import courses


def record_run(measure: RunContext, started: float, argv: list[str], *, interrupted: bool, red: bool) -> RunRecord:
    """Return the record of a run, all but its media, its baselines and the commands that accept its cells.

    ``started`` is in seconds since the epoch, ``argv`` are pytest's arguments; ``red``: some test failed.
    """
    space, cells = measure.workspace, measure.plan.cells
    shutil.rmtree(space.traced, ignore_errors=True)
    order = {cell.key: i for i, cell in enumerate(cells)}
    verdicts = sorted(space.all("verdict-", Verdict), key=lambda v: (order.get(v.cell.key, 0), v.subject))
    accuracies = tuple(space.all("accuracy-", AccuracyRecord))
    latencies = {latency.model: latency for latency in space.all("latency-", LatencyRecord)}
    profiles = {profile.cell.key: profile for profile in space.all("profile-", LayerProfile)}
    drawn = (
        courses(space.path, latency, measure.plan.of_model(model), measure.settings.latency.context)
        for model, latency in latencies.items()
    )
    unfinished = INTERRUPTED if interrupted else "a test outside of the gate failed"
    if not interrupted and (not red or any(verdict.failed for verdict in verdicts)):
        unfinished = ""
    return RunRecord(
        run_id=space.run_id,
        plugin_version=__version__,
        command=shlex.join(["pytest", *argv]),
        started_at=datetime.fromtimestamp(started, timezone.utc).isoformat(timespec="seconds"),
        seconds=time.time() - started,
        environment=measure.environment,
        settings=measure.settings.model_dump(mode="json", by_alias=True),
        cells=cells,
        engines={engine.cell.key: engine for engine in space.all("engine-", EngineRecord)},
        accuracies=accuracies,
        latencies=latencies,
        baselines={key: use for key in order if (use := space.get(f"baseline-{key}", BaselineUse))},
        accuracy_baselines={key: used for key in order if (used := space.get(f"accepted-{key}", AccuracyUse))},
        profiles=profiles,
        preflight=space.get("preflight", Preflight) or Preflight(),
        figures={figures.cell.key: figures for figures in space.all("figures-", AccuracyFigures)},
        courses={key: course for of_model in drawn for key, course in of_model.items()},
        verdicts=tuple(verdicts),
        jobs=tuple(space.all("job-", JobRecord)),
        notes=tuple(_notes(accuracies, latencies.values(), profiles.values())),
        unfinished=unfinished,
    )


def _notes(
    accuracies: Iterable[AccuracyRecord], latencies: Iterable[LatencyRecord], profiles: Iterable[LayerProfile]
) -> Iterator[str]:
    """Yield what was reused, repeated or left out, one sentence each."""
    now = datetime.now(timezone.utc)
    reused: dict[str, list[AccuracyRecord]] = {}
    for a in accuracies:
        if a.reused:
            reused.setdefault(a.model, []).append(a)
    for model, found in reused.items():
        arms = ", ".join(a.arm for a in found)
        ages = list(dict.fromkeys(age(a.measured_at, now) for a in sorted(found, key=lambda a: a.measured_at)))
        when = ages[0] if len(ages) == 1 else f"{ages[0]} or later"
        yield f"{model}: accuracy of {arms} was measured {when} on the same bytes; again with --trt-fresh"
    for latency in latencies:
        for why in latency.discarded:
            yield f"{latency.model}: a launch was repeated, since {why}"
    for profile in profiles:
        if profile.failure:
            yield f"{profile.cell.label}: its layers were not profiled: {profile.failure}"
