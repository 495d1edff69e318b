"""Where the time of a run went: its jobs by kind, and of each kind the phases."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ... import text as fmt
from ...records import JobRecord, Phase, RunRecord
from .parts import Row, Table

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


def timing_view(run: RunRecord) -> tuple[Table, str] | None:
    """Return where a run's time went, and what is not in the table; None where no job said."""
    phases = [phase for phase in PHASES if any(phase in job.phases for job in run.jobs)]
    if not phases:
        return None
    kinds = dict.fromkeys(job.kind for job in run.jobs)
    ahead = any(job.ahead_s for job in run.jobs)
    rows = [_row(kind, [job for job in run.jobs if job.kind == kind], phases, ahead) for kind in kinds]
    busy = _busy_s(run.jobs)
    outside = "" if busy is None else f"; {fmt.duration(max(0.0, run.seconds - busy))} of it were outside of jobs"
    named = (*(PHASES[phase] for phase in phases), "Waiting, end", *(["Imported ahead"] if ahead else []))
    table = Table(
        label="Where the time went",
        columns=("Jobs", "Number", "Together", *named),
        rows=tuple(rows),
        caption="Seconds that the jobs took, by kind of job and by phase; of a job that failed, all is waiting",
    )
    return table, f"The run took {fmt.duration(run.seconds)}{outside}.{AHEAD if ahead else ''}"


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


def _row(kind: str, jobs: Sequence[JobRecord], phases: Sequence[Phase], ahead: bool) -> Row:
    parts = [sum(job.phases.get(phase, 0.0) for job in jobs) for phase in phases]
    # Of a job that failed nothing is known but its end.
    parts.append(sum(max(0.0, job.seconds - sum(job.phases.values())) for job in jobs))
    if ahead:
        parts.append(sum(job.ahead_s for job in jobs))
    together = fmt.duration(sum(job.seconds for job in jobs))
    said = (fmt.duration(part) if part else fmt.MISSING for part in parts)
    return Row((KINDS.get(kind, fmt.clip(kind, 40)), str(len(jobs)), together, *said))
