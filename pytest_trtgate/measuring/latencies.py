"""Latencies: a model's checkpoint, engines and stored baseline engines, timed side by side in launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ..errors import BaselineError, DataError, JobError
from ..jobs import ArmRequest, LatencyRequest
from ..judge.latency.candidate import Candidate
from ..judge.latency.checks import still_needed
from ..records import DEPLOYED, REFERENCE, Baseline, Cell, EngineRecord, Failure, LatencyRecord, Launch, replay_of
from ..settings import DEPLOYMENT_CONF
from .context import RunContext
from .engines import Engines
from .launches import Extension, LaunchSeries
from .times import recorded_launches


class Latencies:
    """The latencies of a run, each obtained once; ``baseline_of`` returns what a cell is compared with, if any."""

    def __init__(self, engines: Engines, baseline_of: Callable[[Cell], Baseline | None]) -> None:
        self.engines = engines
        self.context = engines.context
        self.baseline_of = baseline_of

    def of(self, model: str) -> LatencyRecord:
        """Return the launches of a model: its ``.pt``, its planned engines and their stored baseline engines.

        Arms that cannot be timed are named in ``failures``. Raises ``JobError`` where no launch succeeded.
        """
        return self.context.workspace.once(f"latency-{model}", LatencyRecord, lambda: self._launches(model))

    def _launches(self, model: str) -> LatencyRecord:
        context, settings = self.context, self.context.settings.of(model)
        arms = [reference_arm(self.engines, model)]
        failures: dict[str, Failure] = {}
        engines: dict[str, EngineRecord] = {}
        for cell in context.plan.of_model(model):
            if context.plan.is_predicted(cell):
                continue
            try:
                engine = engines[cell.precision] = self.engines.of(cell)
            except JobError as error:
                failures[cell.precision] = Failure.of(error)
            else:
                arms.append(engine_arm(cell.precision, engine, self._budgets_ms(cell)))
        start = LatencyRecord(model=model, imgsz=settings.imgsz, batch=settings.batch, launches=(), failures=failures)
        if not engines:
            return self._with_recorded(start)  # there is nothing to compare the .pt with
        if deployed := context.settings.deployment.compared:
            try:
                arms.append(engine_arm(DEPLOYED, self.engines.deployed(model, deployed)))
            except JobError as error:
                start.failures[DEPLOYED] = Failure.of(error)
        context.expected.before_launches(model)
        arms += self._replays(engines)
        series = LaunchSeries(start, arms, partial(self._launch, model), context.milestone)
        return self._with_recorded(series.run(settings.latency.launches, self._more))

    def _with_recorded(self, record: LatencyRecord) -> LatencyRecord:
        """Return a record with the times that came with predictions; those that cannot be read are failures."""
        for cell in filter(self.context.plan.is_predicted, self.context.plan.of_model(record.model)):
            try:
                added = tuple(recorded_launches(self.context, cell, len(record.launches)))
                record = record.model_copy(update={"launches": (*record.launches, *added)})
            except DataError as error:
                failure = Failure(job="times", reason=str(error))
                record = record.model_copy(update={"failures": {**record.failures, cell.precision: failure}})
        return record

    def _budgets_ms(self, cell: Cell) -> dict[str, float]:
        limits = self.context.settings.latency.limits(cell.precision, cell.backend)
        return {name: limit.budget_ms for name, limit in limits.items() if limit.budget_ms is not None}

    def _replays(self, engines: Mapping[str, EngineRecord]) -> list[ArmRequest]:
        """Return the baseline engines that are in the cache, with the bytes that were accepted, and are not the new."""
        found = []
        for precision, engine in engines.items():
            try:
                baseline = self.baseline_of(engine.cell)
            except BaselineError:
                continue  # its own cell's verdict says so
            if baseline is None or baseline.engine_sha256 == engine.sha256:
                continue
            stored = self.context.cache.find(baseline.cache_key)
            if stored is not None and stored.sha256 == baseline.engine_sha256:
                self.context.inputs.expect(stored.path, stored.sha256)
                found.append(engine_arm(replay_of(precision), stored))
        return found

    def _more(self, record: LatencyRecord) -> Extension | None:
        """Return what the undecided cells of a model still need, at most up to ``latency.max_launches``."""
        rules = self.context.settings.latency
        have = len(record.launches)
        planned = (
            cell for cell in self.context.plan.of_model(record.model) if not self.context.plan.is_predicted(cell)
        )
        cells = [cell for cell in planned if cell.precision not in record.failures]
        judged = [candidate_of(self.context, record, cell) for cell in cells]
        needs = {candidate.arm: need for candidate in judged if (need := still_needed(candidate))}
        if not needs or have >= rules.max_launches:
            return None
        launches = min(rules.max_launches, have + min(need.more for need in needs.values()))
        why = "; ".join(f"{precision} {need.why}" for precision, need in needs.items())
        arms = frozenset().union(*(need.arms for need in needs.values()))
        return Extension(launches, arms, why, all(need.confirms for need in needs.values()))

    def _launch(self, model: str, name: str, index: int, arms: list[ArmRequest], samples: int | None = None) -> Launch:
        request = launch_request(self.context, model, name, index, arms)
        if samples is not None:
            request = request.model_copy(update={"rules": request.rules.model_copy(update={"samples": samples})})
        launch = self.context.job(name, request).launch
        place = Path(request.samples_file).relative_to(self.context.workspace.path)
        return launch.model_copy(update={"samples": str(place)})


def candidate_of(context: RunContext, record: LatencyRecord, cell: Cell) -> Candidate:
    """Return a cell's engine, with its launches and the limits of its run, as what is to be judged."""
    rules = context.settings.latency
    gated = (limit for c in context.plan.cells for limit in rules.limits(c.precision, c.backend).values())
    family = sum(limit.regression is not None for limit in gated)
    return Candidate(record, cell.precision, rules.context, rules.limits(cell.precision, cell.backend), family)


def reference_arm(engines: Engines, model: str) -> ArmRequest:
    """Return the arm of a model's ``.pt``, or of what stands for it."""
    sha256 = engines.context.weights_sha256[model]
    return ArmRequest(arm=REFERENCE, artifact=str(engines.reference(model)), sha256=sha256)


def engine_arm(name: str, engine: EngineRecord, budgets_ms: Mapping[str, float] | None = None) -> ArmRequest:
    """Return the arm of an engine, under a name that says which of its model's it is."""
    return ArmRequest(arm=name, artifact=str(engine.path), sha256=engine.sha256, budgets_ms=dict(budgets_ms or {}))


def launch_request(context: RunContext, model: str, name: str, index: int, arms: list[ArmRequest]) -> LatencyRequest:
    """Return the request for a launch of some arms of a model, as a job of that name."""
    rules, images = context.settings.latency, context.data[model].images
    step = max(1, len(images) // rules.images)
    chosen = images[::step][: rules.images]
    spare = [image for image in images[: 2 * rules.images] if image not in chosen]
    return LatencyRequest(
        index=index,
        arms=tuple(arms),
        device=context.environment.device,
        threads=context.threads,
        gated=rules.context,
        images=tuple(map(str, (*chosen, *spare))),
        how=context.evaluation(model).model_copy(update={"conf": DEPLOYMENT_CONF}),
        rules=rules,
        samples_file=str(context.workspace.job_folder(name) / "samples.npz"),
    )


def why_not_replayed(record: LatencyRecord, cell: Cell) -> str:
    """Return why a cell's baseline engine was not timed beside its new one, for a verdict that has to do without."""
    recorded = [launch.recorded for launch in record.of_arm(cell.precision) if launch.recorded]
    if recorded:
        return f"its times were recorded elsewhere ({recorded[0]}) and are judged against stored sessions only"
    failed = record.failures.get(replay_of(cell.precision))
    if failed is not None:
        return f"the baseline engine could not be timed ({failed.reason})"
    return "the baseline engine is not in the cache"
