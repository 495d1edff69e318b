"""The accuracy of a cell judged against its checkpoint: by what the settings allow for its task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..baselines import BaselineLookup
from ..cache import ComparisonStore
from ..data import shared_contents
from ..errors import RecordError, SettingsError
from ..findings import (
    Found,
    agreement_findings,
    calibration_leak,
    engine_findings,
    few_images,
    images_left_out,
    inconclusive_checks,
)
from ..judge.accuracy.parity import finds_nothing, judge_accepted, judge_parity, of_builds, of_other_runtime
from ..measuring import Evaluations, RunContext
from ..records import METRICS, AccuracyRecord, Cell, Check, Outcome, Preflight, Task, Trouble
from ..settings import DEPLOYMENT_CONF, FINDING_KINDS
from .decide import Judgement, no_baseline, to_be_accepted
from .evidence import Evidence, calibrated_on, gather
from .figures import accuracy_figures


@dataclass(frozen=True)
class AccuracyJudge:
    """Judges engines against their checkpoints and baselines; ``preflight`` returns what was found before the build."""

    evaluations: Evaluations
    lookup: BaselineLookup
    preflight: Callable[[], Preflight]

    @property
    def context(self) -> RunContext:
        """What the measuring of the run shares."""
        return self.evaluations.context

    def judge(self, cell: Cell) -> Judgement:
        """Return the checks of a cell's accuracy, and what was found beside them.

        Raises:
            TrtGateError: It could not be measured, or cannot be judged as the settings ask.
        """
        reference, engine = self.evaluations.pair(cell)
        checks, found = self._parity(cell, reference, engine)
        builds = self.evaluations.other_builds(cell)
        checks = of_builds(checks, builds)
        checks += inconclusive_checks(self.preflight().concerning(cell, "accuracy"))
        found += engine_findings(self.evaluations.engines, cell) + self._calibration_leak(cell)
        found += self._left_out(cell, engine)
        # Of a checkpoint that finds nothing, an engine that fell to nothing as well is no news.
        if not finds_nothing(reference):
            checks += of_builds(self._since(cell, reference, engine), builds)
        return checks, found

    def _since(self, cell: Cell, reference: AccuracyRecord, engine: AccuracyRecord) -> list[Check]:
        """Judge an engine against the accuracy that was accepted, on whichever machine that was measured."""
        use, accepting = self.lookup.accuracy_use(cell), self.lookup.accepts(cell, "accuracy")
        if use.baseline is None:
            return [] if accepting else [no_baseline(cell, "accuracy", use.outcome, use.note)]
        since = judge_accepted(use.baseline, reference, engine, self.tolerances(cell, engine.task))
        since = of_other_runtime(since, cell, use.baseline.environment, self.context.environment)
        return to_be_accepted(since) if accepting else since

    def _left_out(self, cell: Cell, accuracy: AccuracyRecord) -> list[Found]:
        share = self.context.settings.findings.left_out_share
        split, images = accuracy.settings.split, accuracy.images
        # Records of earlier releases only name them.
        missing = accuracy.left_out if accuracy.left_out.count else Trouble(count=len(accuracy.unreadable))
        found = images_left_out(split, "evaluation", images, missing, share)
        if used := self.evaluations.engines.of(cell).calibration:
            of_what = "calibration"
            found += images_left_out(used.split, of_what, used.images, used.left_out, share, cell.precision)
        return found

    def _calibration_leak(self, cell: Cell) -> list[Found]:
        if not self.context.plan.is_calibrated(cell):
            return []
        data = self.context.data[cell.model]
        calibration = calibrated_on(self.evaluations.engines.of(cell), data.calibration_images)
        leaked = shared_contents(data.images, calibration, data.digests.sha256)
        return calibration_leak(leaked, len(data.images), self.context.settings.split)

    def _parity(self, cell: Cell, reference: AccuracyRecord, engine: AccuracyRecord) -> tuple[list[Check], list[Found]]:
        """Judge an engine against its checkpoint."""
        tolerances = self.tolerances(cell, engine.task)
        rules = self.context.settings.of(cell.model).accuracy
        population = rules.mode == "population"
        evidence = self._evidence(reference, engine, population)
        comparison = None if isinstance(evidence, str) else evidence.comparison
        below = rules.confirm_below
        checks = judge_parity(reference, engine, tolerances, comparison, population=population, confirm_below=below)
        found = few_images(engine.images, engine.settings.split)
        if not isinstance(evidence, str):
            figures = accuracy_figures(cell, engine, evidence, DEPLOYMENT_CONF)
            self.context.workspace.put(f"figures-{cell.key}", figures)
        agreement = evidence if isinstance(evidence, str) else evidence.agreement
        # Where mAP has said it already, a failure still has to be known: the tolerance of mAP may be changed.
        fallen = any(check.outcome in (Outcome.FAIL, Outcome.ERROR) for check in checks)
        collapse = not fallen or self.context.settings.findings.of("confidence-collapse") == "fail"
        return checks, found + agreement_findings(cell.precision, agreement, engine.task, collapse=collapse)

    def tolerances(self, cell: Cell, task: Task) -> dict[str, float]:
        """Return the gated metrics of a cell with their largest allowed drop.

        Raises:
            SettingsError: The settings gate a metric that the model does not have.
        """
        settings = self.context.settings.of(cell.model)
        own = next((model.accuracy for model in settings.models if model.name == cell.model), None)
        # A general tolerance may be meant for another model of the run.
        chosen = settings.accuracy if len(settings.models) == 1 else own
        foreign = chosen.foreign(cell.precision, task) if chosen else []
        if foreign:
            has = ", ".join(METRICS[task])
            raise SettingsError(f'accuracy."{foreign[0]}" is set, but {cell.model} is a {task} model; it has {has}')
        return settings.accuracy.tolerances(cell.precision, task)

    def _evidence(self, reference: AccuracyRecord, engine: AccuracyRecord, population: bool) -> Evidence | str:
        """Return the evidence, or why there is none; raises where the settings have something fail that hangs on it."""
        from .kept import kept

        context = self.context
        folder, fresh = context.workspace.path, context.settings.fresh
        store = ComparisonStore(context.cache.root, fresh, context.milestone)
        how = {"conf": DEPLOYMENT_CONF, "decides": population}
        gathered = partial(gather, folder, reference, engine, DEPLOYMENT_CONF, decides=population)
        try:
            return kept(store, (folder / reference.per_image, folder / engine.per_image), engine, how, gathered)
        except RecordError as error:
            failing = [kind for kind in FINDING_KINDS if self.context.settings.findings.of(kind) == "fail"]
            needing = [f"findings.{kind} = 'fail'" for kind in failing if FINDING_KINDS[kind].of_detections]
            if population or needing:
                what = "accuracy.mode 'population'" if population else needing[0]
                raise RecordError(f"{what} cannot be judged: {error}") from error
            return str(error)
