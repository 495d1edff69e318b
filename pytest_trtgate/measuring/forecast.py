"""What a run is to do and about how long that takes: as long as the same jobs took when they last ran here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import fmean

from .. import text as fmt
from ..cache import SurveyStore
from ..errors import TrtGateError
from ..jobs import LocalLauncher
from ..records import DEPLOYED, REFERENCE, Cell, FileRecord, JobRecord, Record, RunRecord, Workspace, key_sha256
from .accuracies import Evaluations, accuracy_name, pass_name
from .context import RunContext
from .latencies import Latencies

FORECAST = "forecast"
"""Under this name a run's workspace has its forecast."""
MOST_JOBS = 5000
"""Durations that are kept of one project; the oldest go first."""
WORDS = {
    "survey": "preflight",
    "build": "builds",
    "given": "given files",
    "accuracy": "accuracy",
    "merge": "accuracy",
    "latency": "launches",
    "profile": "profiles",
    "pictures": "pictures",
    "clip": "clips",
    "video": "videos",
    "layers": "layers",
    "explain": "explanations",
}
"""What a kind of job is called where the time of all its jobs is told."""
FORESEEN = ("build", "accuracy", "latency")
"""The kinds of jobs that a forecast has one by one; the others are part of ``rest_s``."""


class Durations(FileRecord):
    """How long the jobs of a project took on one machine, by name; ``rest_s``: all but preflight and foreseen jobs."""

    seconds: dict[str, float]
    rest_s: float


class Work(Record):
    """A job that is to come, and how long it took last, None where it is new.

    It is ``done`` once the workspace has a record of that name, whether or not the job was needed.
    """

    job: str
    done: str
    seconds: float | None = None


class Forecast(FileRecord):
    """What a run is to do once its preflight is over; ``rest_s``: seconds of all that is no foreseen job."""

    works: tuple[Work, ...] = ()
    rest_s: float | None = None

    def left_s(self, space: Workspace, machines: int = 1) -> float | None:
        """Return about how many seconds of a run are left; None where nothing tells, or it takes longer than before."""
        waiting = [work for work in self.works if not (space.has(work.done) or space.has(f"job-{work.job}"))]
        if self.rest_s is None or any(work.seconds is None for work in waiting):
            return None
        left = sum(max(0.0, (work.seconds or 0.0) - space.job_age_s(work.job)) for work in waiting) / machines
        return left + self.rest_s if left else None


def forecast(evaluations: Evaluations, selected: Collection[Cell], latencies: Latencies | None) -> Forecast:
    """Return what a run is to do, before it does it; an empty forecast where that cannot be told.

    Args:
        evaluations: The run's accuracies, nothing of which is measured by this.
        selected: The cells that its tests are about.
        latencies: Those of the run; None where no launches are asked for.
    """
    context = evaluations.context
    known = _store(context).get(_key(context), Durations) or Durations(seconds={}, rest_s=-1.0)
    try:
        works = tuple(_works(evaluations, selected, known.seconds, latencies))
    except TrtGateError:  # what needs it will say so
        return Forecast()
    return Forecast(works=works, rest_s=None if known.rest_s < 0 else known.rest_s)


def _works(
    evaluations: Evaluations, selected: Collection[Cell], known: dict[str, float], latencies: Latencies | None
) -> Iterator[Work]:
    context, engines = evaluations.context, evaluations.engines
    selected = set(selected)
    models = dict.fromkeys(cell.model for cell in context.plan.cells if cell in selected)
    missing: dict[str, list[str]] = {}
    for cell in (cell for cell in context.plan.cells if cell in selected or (latencies and cell.model in models)):
        engine = engines.cached(cell)
        if engine is None and cell not in context.plan.given:
            job = f"build-{cell.key}"
            yield Work(job=job, done=f"engine-{cell.key}", seconds=known.get(job))
        if cell in selected and (
            engine is None or not evaluations.is_known(cell.model, cell.precision, engine.path, engine.sha256)
        ):
            missing.setdefault(cell.model, []).append(cell.precision)
    for model in models:
        if arms := list(_arms(evaluations, model, missing.get(model, []))):
            job = pass_name(model, arms)
            done = accuracy_name(model, arms[-1])
            yield Work(job=job, done=done, seconds=known.get(job, _of_others(model, len(arms), known)))
        if latencies and not all(map(context.plan.is_predicted, context.plan.of_model(model))):
            before = [known[name] for name in known if re.fullmatch(rf"launch-{re.escape(model)}-\d+", name)]
            for number in range(latencies.planned(model)):
                job = f"launch-{model}-{number + 1}"
                yield Work(job=job, done=f"latency-{model}", seconds=known.get(job, fmean(before) if before else None))


def _arms(evaluations: Evaluations, model: str, missing: Iterable[str]) -> Iterator[str]:
    """Yield the arms of a model that are to be evaluated, of which those of its cells are known, in their order."""
    context, engines = evaluations.context, evaluations.engines
    weights, deployed = context.plan.weights[model], context.settings.deployment.compared

    def is_known(arm: str, file: Path) -> bool:
        found = engines.cached_beside(model, file)
        return found is not None and evaluations.is_known(model, arm, found.path, found.sha256)

    if weights.suffix == ".onnx":
        known = is_known(REFERENCE, weights)
    else:
        known = evaluations.is_known(model, REFERENCE, weights, context.weights_sha256[model])
    yield from () if known else (REFERENCE,)
    yield from missing
    if deployed is not None and not is_known(DEPLOYED, deployed):
        yield DEPLOYED


def _of_others(model: str, arms: int, known: dict[str, float]) -> float | None:
    """Return how long a pass over the images takes, by the last one of as many arms or others of the model."""
    for job, seconds in reversed(known.items()):
        if job.startswith(start := pass_name(model, [])):
            return seconds / (1 + job[len(start) :].count("+")) * arms
    return None


def told(found: Forecast, in_use: str = "") -> str:
    """Return in one sentence what a run is to do, and about how long that takes.

    ``in_use``: the device for which it will wait, since another run uses it: for how long, that does not say.
    """
    waits = f", after a wait for device {in_use}, which another run uses now" if in_use else ""
    return f"{_told(found)}{waits}"


def _told(found: Forecast) -> str:
    counts = {kind: sum(work.job.startswith(f"{kind}-") for work in found.works) for kind in ("build", "launch")}
    arms = sum(1 + work.job.count("+") for work in found.works if work.job.startswith("accuracy-"))
    parts = [fmt.plural(counts["build"], "build")] if counts["build"] else []
    parts += ["1 accuracy" if arms == 1 else f"{arms} accuracies"] if arms else []
    parts += [fmt.plural(counts["launch"], "launch")] if counts["launch"] else []
    if not parts:
        return "to do: nothing is to be built or measured, all is in the cache"
    what = f"to do: {', '.join(parts)}"
    known = [work.seconds for work in found.works if work.seconds is not None]
    if found.rest_s is None or not known:
        return f"{what}; how long that takes is known once it was done here"
    sum_s = fmt.plain(fmt.duration(sum(known) + found.rest_s))
    if new := len(found.works) - len(known):
        return f"{what}; about {sum_s}, and {fmt.plural(new, 'job')} that never ran here"
    return f"{what}; about {sum_s}, as long as it took here last"


def remember(context: RunContext, run: RunRecord, total_s: float) -> None:
    """Keep how long the jobs of a run took, for the forecasts of later runs of the project on this machine."""
    store, key = _store(context), _key(context)
    foreseen = [job for job in run.jobs if job.ok and job.kind in FORESEEN]
    new = {job.name: round(_own_s(job), 2) for job in foreseen}
    if not new:
        return
    launched = {name.rpartition("-")[0] for name in new if name.startswith("launch-")}
    before = store.get(key, Durations)
    old = {} if before is None else before.seconds
    kept = {name: s for name, s in old.items() if name not in new and name.rpartition("-")[0] not in launched}
    seconds = dict(list((kept | new).items())[-MOST_JOBS:])
    rest_s = max(0.0, total_s - run.preflight.seconds - sum(job.seconds for job in foreseen))
    store.put(key, Durations(seconds=seconds, rest_s=round(rest_s, 2)))


def spent(jobs: Collection[JobRecord], total_s: float) -> str:
    """Return in one line where the time of a run went: on each kind of job, and beside all of them on the gate.

    Jobs wait for the device, which another run may use, and for what is imported ahead of them. On several machines
    they may take longer together than the run.
    """
    by_kind: dict[str, float] = {}
    waited_s = 0.0
    begun: list[tuple[float, float]] = []
    for job in jobs:
        by_kind[job.kind] = by_kind.get(job.kind, 0.0) + _own_s(job)
        waited_s += job.seconds - _own_s(job)
        begun.append((job.began_s or 0.0, job.seconds))
    covered_s, end_s = 0.0, 0.0
    for began_s, seconds in sorted(begun):  # those of several processes overlap
        covered_s += max(0.0, began_s + seconds - max(began_s, end_s))
        end_s = max(end_s, began_s + seconds)
    parts = [(word, by_kind[kind]) for kind, word in WORDS.items() if kind in by_kind]
    parts += [("waiting", waited_s)] if waited_s >= 1 else []
    parts.append(("gate", max(0.0, total_s - covered_s)))
    listed = ", ".join(f"{word} {fmt.plain(fmt.duration(seconds))}" for word, seconds in parts)
    several = len({job.node for job in jobs if job.node})
    of = f" of {several} machines together" if several > 1 else ""
    return f"time{of}: {listed}; {fmt.plain(fmt.duration(total_s))} in all"


def _own_s(job: JobRecord) -> float:
    """Return how long a job took, without its wait for the device, which a job that failed does not tell."""
    return min(job.seconds, sum(job.phases.values())) if job.phases else job.seconds


def countdown(space: Workspace, machines: int = 1) -> str:
    """Return about how much time is left to a run on so many machines, in words; empty where nothing tells."""
    with suppress(TrtGateError, OSError):
        found = space.get(FORECAST, Forecast)
        left_s = None if found is None else found.left_s(space, machines)
        if left_s is not None:
            return f"about {fmt.plain(fmt.duration(max(1, round(left_s))))} left"
    return ""


def announce(evaluations: Evaluations, selected: Collection[Cell], latencies: Latencies | None) -> None:
    """Say what a run is to do, and let each of its processes count down."""
    found = forecast(evaluations, selected, latencies)
    context = evaluations.context
    context.workspace.put(FORECAST, found)
    launcher, device = context.caller.launcher, context.environment.device
    waits = bool(found.works) and isinstance(launcher, LocalLauncher) and launcher.others_hold(device)
    context.milestone(told(found, device if waits else ""))


def _store(context: RunContext) -> SurveyStore:
    return SurveyStore(context.cache.root, fresh=False)


def _key(context: RunContext) -> str:
    """Return the key of what is known of a project on a machine, whatever its models are by now."""
    here = context.environment
    where = {"machine": here.machine, "device": here.device, "runs": str(context.workspace.root.absolute())}
    return key_sha256({"durations": 1, **where})
