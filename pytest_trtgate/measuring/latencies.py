"""Latencies: a model's checkpoint, engines and stored baseline engines, timed side by side in launches."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..errors import BaselineError, DataError, JobError, TrtGateError
from ..jobs import ArmRequest, LatencyRequest
from ..judge.latency.candidate import Against, Candidate
from ..judge.latency.checks import still_needed
from ..judge.latency.design import SHARP_SHOWN
from ..judge.latency.first_launch import Question, may_have_moved
from ..records import (
    DEPLOYED,
    PRECISIONS,
    REFERENCE,
    Baseline,
    Cell,
    EngineRecord,
    Failure,
    LatencyRecord,
    Launch,
    replay_of,
)
from ..settings import DEPLOYMENT_CONF
from .context import RunContext
from .engines import Engines
from .launches import Extension, LaunchKind, LaunchSeries
from .times import recorded_launches

PROBE_SAMPLES = 5


class Latencies:
    """The latencies of a run, each obtained once.

    ``baseline_of`` returns what a cell is compared with, if any; ``accepts`` whether its launches are to be stored.

    Attributes:
        shows_all: Whether the ``.pt`` and both contexts are timed even where stored sessions have them: a test asks.
    """

    shows_all = False

    def __init__(
        self,
        engines: Engines,
        baseline_of: Callable[[Cell], Baseline | None],
        accepts: Callable[[Cell], bool] = lambda cell: False,
    ) -> None:
        self.engines = engines
        self.context = engines.context
        self.baseline_of = baseline_of
        self.accepts = accepts

    def of(self, model: str) -> LatencyRecord:
        """Return the launches of a model: its ``.pt``, its planned engines and their stored baseline engines.

        Arms that cannot be timed are named in ``failures``. Raises ``JobError`` where no launch succeeded.
        """
        return self.context.workspace.once(f"latency-{model}", LatencyRecord, lambda: self._launches(model))

    def whole(self, model: str) -> LatencyRecord:
        """Return the launches of a model with one that timed the ``.pt`` and both contexts, if need be now.

        Raises ``JobError`` as :meth:`of` does.
        """
        record = self.of(model)
        if record.of_arm(REFERENCE) or not record.launches or any(launch.recorded for launch in record.launches):
            return record

        def more() -> LatencyRecord:
            cells = [cell for cell in self._timed(model) if cell.precision not in record.failures]
            engines = (engine_arm(cell.precision, self.engines.of(cell)) for cell in cells)
            arms = [reference_arm(self.engines, model), *engines]
            launch = self._launch(model, f"launch-{model}-whole", len(record.launches), arms, "first")
            return record.model_copy(update={"launches": (*record.launches, launch)})

        return self.context.workspace.once(f"whole-{model}", LatencyRecord, more)

    def expect(self, models: Iterable[str]) -> None:
        """Let the launches of models begin to import, where that takes long and they are not all that is built for."""
        quick = []
        for model in models:
            with suppress(TrtGateError):  # what needs it will say so
                if self._alone and self._is_shown(model) and self._engines_do(model, self._questions(model)):
                    quick.append(model)
        self.context.expected.without(quick)

    def _launches(self, model: str) -> LatencyRecord:
        context, settings = self.context, self.context.settings.of(model)
        arms = []
        failures: dict[str, Failure] = {}
        engines: dict[str, EngineRecord] = {}
        for cell in self._timed(model):
            try:
                engine = engines[cell.precision] = self.engines.of(cell)
            except JobError as error:
                failures[cell.precision] = Failure.of(error)
            else:
                arms.append(engine_arm(cell.precision, engine, self._budgets_ms(cell)))
        record = LatencyRecord(model=model, imgsz=settings.imgsz, batch=settings.batch, launches=(), failures=failures)
        if not engines:
            return self._with_recorded(record)  # there is nothing to compare the .pt with
        questions = [self._question(record, cell) for cell in self._timed(model) if cell.precision in engines]
        if deployed := context.settings.deployment.compared:
            try:
                arms.append(engine_arm(DEPLOYED, self.engines.deployed(model, deployed)))
            except JobError as error:
                failures[DEPLOYED] = Failure.of(error)
        arms = sharpened([reference_arm(self.engines, model), *arms, *self._replays(engines)], questions)
        further = any(q.needs_checkpoint or not (q.is_shown or self._alone) for q in questions)
        engines_do = self._engines_do(model, questions)
        importing = settings.latency.launches if further else 0 if engines_do and self._alone else 1
        context.expected.before_launches(model, importing)
        series = LaunchSeries(record, arms, partial(self._launch, model), context.milestone)
        try:
            launches = 1 if all(q.is_shown for q in questions) else settings.latency.launches
            first = frozenset(arm.arm for arm in arms if not (engines_do and arm.arm == REFERENCE))
            return self._with_recorded(series.run(Extension(launches, first), self._more))
        finally:
            shutil.rmtree(self._inputs(model), ignore_errors=True)

    def _timed(self, model: str) -> list[Cell]:
        """Return the cells of a model that are timed here."""
        plan = self.context.plan
        return [cell for cell in plan.of_model(model) if not plan.is_predicted(cell)]

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

    @property
    def _alone(self) -> bool:
        """Whether launches without the ``.pt`` import next to nothing, since the engines' runtime is enough."""
        return self.context.environment.device == "cpu" and self.context.settings.latency.context == "engine"

    def _inputs(self, model: str) -> Path:
        return self.context.workspace.path / f"inputs-{model}"

    def _budgets_ms(self, cell: Cell) -> dict[str, float]:
        limits = self.context.settings.latency.limits(cell.precision, cell.backend)
        return {name: limit.budget_ms for name, limit in limits.items() if limit.budget_ms is not None}

    def _replays(self, engines: Mapping[str, EngineRecord]) -> list[ArmRequest]:
        """Return the baseline engines that are in the cache, with the bytes that were accepted, and are not the new."""
        found = []
        for precision, engine in engines.items():
            baseline = self._baseline(engine.cell)
            if baseline is None or baseline.engine_sha256 == engine.sha256:
                continue
            stored = self.context.cache.find(baseline.cache_key)
            if stored is not None and stored.sha256 == baseline.engine_sha256 and stored.runs:
                self.context.inputs.expect(stored.path, stored.sha256)
                found.append(engine_arm(replay_of(precision), stored))
        return found

    def _baseline(self, cell: Cell) -> Baseline | None:
        with suppress(BaselineError):  # its own cell's verdict says so
            return self.baseline_of(cell)
        return None

    def planned(self, model: str) -> int:
        """Return how many launches a model begins with, by what is cached and stored; nothing is built for it."""
        return 1 if self._is_shown(model) else self.context.settings.of(model).latency.launches

    def _is_shown(self, model: str) -> bool:
        """Return whether all engines of a model are cached, and their baselines'; nothing is built for it."""
        cells = self._timed(model)
        return all(map(self.engines.cached, cells)) and all(q.is_shown for q in self._questions(model))

    def _engines_do(self, model: str, questions: Sequence[Question]) -> bool:
        """Return whether the engines need be timed alone, since all are their baselines' and the rest is stored."""
        if self.shows_all or self.context.settings.deployment.compared:
            return False
        weights = self.context.weights_sha256[model]
        return all(question.is_shown and question.has_rest(weights) for question in questions)

    def _questions(self, model: str) -> list[Question]:
        """Return what is to be known of the engines of a model before anything was timed."""
        settings = self.context.settings.of(model)
        start = LatencyRecord(model=model, imgsz=settings.imgsz, batch=settings.batch, launches=())
        return [self._question(start, cell) for cell in self._timed(model)]

    def _question(self, record: LatencyRecord, cell: Cell) -> Question:
        """Return what is to be known of a cell's engine, by the launches in a record."""
        settings, baseline = self.context.settings, self._baseline(cell)
        against = None
        if baseline is not None:
            against = Against(baseline, baseline.engine_sha256 == self.engines.of(cell).sha256)
        speedup = settings.latency.speedup_rule(cell.precision, cell.backend, settings.precisions)
        stored = baseline is None or self.accepts(cell)
        return Question(candidate_of(self.context, record, cell, baseline), stored, against, speedup)

    def _more(self, record: LatencyRecord) -> Extension | None:
        """Return what the undecided cells of a model still need, at most up to ``latency.max_launches``."""
        rules = self.context.settings.latency
        have = len(record.launches)
        cells = [cell for cell in self._timed(record.model) if cell.precision not in record.failures]
        questions = [self._question(record, cell) for cell in cells]
        needs = {q.candidate.arm: need for q in questions if (need := still_needed(q.candidate))}
        launches = have + min((need.more for need in needs.values()), default=0)
        why = [f"{arm} {need.why}" for arm, need in needs.items()]
        arms = frozenset().union(*(need.arms for need in needs.values()))
        if have < rules.launches:
            alone = not record.of_arm(REFERENCE)
            asking = questions if not alone or may_have_moved(questions) else []
            opened = {q.candidate.arm: found for q in asking if (found := q.beyond_one())[0]}
            why += [f"{arm} {said}" for arm, (_, said) in opened.items()]
            arms = arms.union(*(found for found, _ in opened.values()))
            launches = max(launches, rules.launches + alone)  # of the ``.pt``, which the first left out, as many
        launches = min(rules.max_launches, launches)
        if not arms or launches <= have:
            return None
        arms |= {DEPLOYED} & record.launches[0].arms.keys()  # whatever else is asked, it is compared with each engine
        if REFERENCE in arms or not self._alone:
            self.context.expected.further_launches(launches - have)
        confirms = bool(needs) and all(need.confirms for need in needs.values())
        return Extension(launches, arms, "; ".join(why), confirms)

    def _launch(self, model: str, name: str, index: int, arms: list[ArmRequest], kind: LaunchKind) -> Launch:
        request = launch_request(self.context, model, name, index, arms)
        request = request.model_copy(update={"inputs": str(self._inputs(model))})
        if kind == "probe":
            few = request.rules.model_copy(update={"samples": PROBE_SAMPLES})
            request = request.model_copy(update={"rules": few, "energy": False})
        elif kind == "further" or all(arm.arm != REFERENCE for arm in arms):
            gated = (self.context.settings.latency.context,)
            request = request.model_copy(update={"contexts": gated, "energy": kind == "first"})
        launch = self.context.job(name, request, beside=model).launch
        place = Path(request.samples_file).relative_to(self.context.workspace.path)
        return launch.model_copy(update={"samples": str(place)})


def sharpened(arms: Iterable[ArmRequest], questions: Sequence[Question]) -> list[ArmRequest]:
    """Return arms with how sharp their times have to be in each launch: as sharp as the sharpest question asks.

    Where any asks for all samples, all are taken.
    """
    sharp: dict[str, dict[str, float]] = {}
    for question in questions:
        if question.is_shown:
            continue
        asked, candidate = question.sharp, question.candidate
        concerned = {candidate.arm, candidate.replay, DEPLOYED}
        concerned |= {REFERENCE} if question.needs_checkpoint else set()
        if question.speedup is not None and question.speedup.over in PRECISIONS:
            concerned.add(question.speedup.over)
        for arm in concerned:
            before = sharp.get(arm, asked)
            together = {**before, **{name: min(ratio, before.get(name, ratio)) for name, ratio in asked.items()}}
            sharp[arm] = together if before and asked else {}
    shown = {"shown": True, "sharp": {"p50": SHARP_SHOWN}}
    return [arm.model_copy(update={"sharp": sharp[arm.arm]} if arm.arm in sharp else shown) for arm in arms]


def candidate_of(context: RunContext, record: LatencyRecord, cell: Cell, baseline: Baseline | None = None) -> Candidate:
    """Return a cell's engine, with its launches, the limits of its run and its baseline, as what is to be judged."""
    rules = context.settings.latency
    gated = (limit for c in context.plan.cells for limit in rules.limits(c.precision, c.backend).values())
    family = sum(limit.regression is not None for limit in gated)
    limits = rules.limits(cell.precision, cell.backend)
    return Candidate(record, cell.precision, rules.context, limits, family, baseline)


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
