"""The accuracy of a cell judged against its checkpoint: by what the settings allow for its task."""

from __future__ import annotations

from ..errors import RecordError, SettingsError
from ..findings import confidence_collapse, detections_not_compared, few_images, low_agreement
from ..judge.accuracy.parity import judge_parity
from ..measuring import RunContext
from ..records import METRICS, AccuracyRecord, Cell, Check, Outcome, Task
from ..settings import DEPLOYMENT_CONF, OF_DETECTIONS
from .evidence import Evidence, gather
from .figures import accuracy_figures


class AccuracyJudge:
    """Judges engines against their checkpoints.

    Args:
        measure: What the verdicts are about.
    """

    def __init__(self, measure: RunContext) -> None:
        self.measure = measure
        self.settings = measure.settings

    def judge(
        self, cell: Cell, reference: AccuracyRecord, engine: AccuracyRecord
    ) -> tuple[list[Check], list[tuple[str, str]]]:
        """Return the checks of a cell, and what was found beside them: ids and sentences.

        Args:
            cell: The cell.
            reference: The checkpoint's accuracy.
            engine: The engine's.

        Raises:
            TrtGateError: They cannot be judged as the settings ask.
        """
        tolerances = self.tolerances(cell, engine.task)
        population = self.settings.of(cell.model).accuracy.mode == "population"
        evidence = self._evidence(reference, engine, population)
        comparison = None if isinstance(evidence, str) else evidence.comparison
        checks = judge_parity(reference, engine, tolerances, comparison, population=population)
        found = few_images(engine.images, engine.settings.split)
        if isinstance(evidence, str):
            found += detections_not_compared(cell.precision, evidence)
        else:
            figures = accuracy_figures(cell, engine, evidence, DEPLOYMENT_CONF)
            self.measure.workspace.put(f"figures-{cell.key}", figures)
            agreement = evidence.agreement
            conf, what = (None, "classes") if engine.task == "classify" else (DEPLOYMENT_CONF, "boxes")
            found += low_agreement(cell.precision, agreement.shared, agreement.detections, conf)
            # Where mAP has said it already, a failure still has to be known: the tolerance of mAP may be changed.
            fallen = any(c.outcome in (Outcome.FAIL, Outcome.ERROR) for c in checks)
            if not fallen or self.settings.findings.of("confidence-collapse") == "fail":
                found += confidence_collapse(cell.precision, agreement.score_before, agreement.score_after, what)
        return checks, found

    def tolerances(self, cell: Cell, task: Task) -> dict[str, float]:
        """Return the gated metrics of a cell with their largest allowed drop.

        Raises:
            SettingsError: The settings gate a metric that the model does not have.
        """
        settings = self.settings.of(cell.model)
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
        try:
            return gather(self.measure.workspace.path, reference, engine, DEPLOYMENT_CONF, decides=population)
        except RecordError as error:
            needing = ["accuracy.mode 'population'"] if population else []
            severities = self.settings.findings
            needing += [f"findings.{name} = 'fail'" for name in OF_DETECTIONS if severities.of(name) == "fail"]
            if needing:
                raise RecordError(f"{needing[0]} cannot be judged: {error}") from error
            return str(error)
