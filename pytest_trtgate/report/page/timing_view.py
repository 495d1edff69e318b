"""Where the time of a run went: its jobs by kind, and of each kind the phases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ... import text as fmt
from ...records import JobRecord, Phase, RunRecord

KINDS = {
    "build": "Builds",
    "accuracy": "Evaluations",
    "latency": "Launches",
    "profile": "Layer profiles",
    "clip": "Looks at clips",
    "video": "Videos",
    "survey": "Preflight",
    "pictures": "Pictures",
}
PHASES: dict[Phase, str] = {
    "start": "Start",
    "imports": "Imports",
    "load": "Loading",
    "warm-up": "Warm-up",
    "images": "Images",
    "work": "Work",
    "write": "Writing",
}
AHEAD = " What was imported ahead of a job is not in its seconds, but for what the job still had to wait."


@dataclass(frozen=True)
class TimingRow:
    """The jobs of one kind: how many, their seconds together, those of each phase and of the rest, and those ahead."""

    label: str
    jobs: str
    seconds: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class TimingView:
    """A table of the time of one run; ``note`` says what is not in it."""

    columns: tuple[str, ...]
    rows: tuple[TimingRow, ...]
    note: str


def timing_view(run: RunRecord) -> TimingView | None:
    """Return where a run's time went; None where no job said."""
    phases = [phase for phase in PHASES if any(phase in job.phases for job in run.jobs)]
    if not phases:
        return None
    kinds = dict.fromkeys(job.kind for job in run.jobs)
    ahead = any(job.ahead_s for job in run.jobs)
    rows = [_row(kind, [job for job in run.jobs if job.kind == kind], phases, ahead) for kind in kinds]
    busy = _busy_s(run.jobs)
    outside = "" if busy is None else f"; {fmt.duration(max(0.0, run.seconds - busy))} of it were outside of jobs"
    return TimingView(
        columns=(*(PHASES[phase] for phase in phases), "Waiting, end", *(["Imported ahead"] if ahead else [])),
        rows=tuple(rows),
        note=f"The run took {fmt.duration(run.seconds)}{outside}.{AHEAD if ahead else ''}",
    )


def _busy_s(jobs: Sequence[JobRecord]) -> float | None:
    """Return for how long at least one job was at work; None where it is not known when they began."""
    spans = sorted((job.began_s, job.began_s + job.seconds) for job in jobs if job.began_s is not None)
    if len(spans) < len(jobs):
        return None
    busy, until = 0.0, -math.inf
    for began, ended in spans:
        busy += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return busy


def _row(kind: str, jobs: Sequence[JobRecord], phases: Sequence[Phase], ahead: bool) -> TimingRow:
    total = sum(job.seconds for job in jobs)
    parts = [sum(job.phases.get(phase, 0.0) for job in jobs) for phase in phases]
    # Of a job that failed nothing is known but its end.
    parts.append(sum(max(0.0, job.seconds - sum(job.phases.values())) for job in jobs))
    if ahead:
        parts.append(sum(job.ahead_s for job in jobs))
    return TimingRow(
        label=KINDS.get(kind, fmt.clip(kind, 40)),
        jobs=str(len(jobs)),
        seconds=fmt.duration(total),
        parts=tuple(fmt.duration(part) if part else fmt.MISSING for part in parts),
    )
