"""Accepting a run: which of its cells may become baselines, why the others may not, and writing those that may."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BaselineError
from ..judge import worst
from ..judge.accuracy.parity import confirmed, judge_parity, of_builds
from ..judge.latency.fitness import why_unfit
from ..judge.latency.sessions import compare_sessions
from ..records import (
    ALLOW_BUSY,
    BUSY,
    INTERRUPTED,
    REFERENCE,
    SUBJECTS,
    AccuracyBaseline,
    AccuracyRecord,
    Baseline,
    BaselineSession,
    Cell,
    Check,
    Outcome,
    RunRecord,
    Subject,
    Verdict,
)
from ..settings import PERCENTILES, Settings
from .advice import EVEN_SO, advice
from .disturbance import disturbed
from .lookup import machine_differences, session_threads
from .offset import machine_offset
from .remedies import settings_for
from .store import ACCURACY, BaselineStore, Measured
from .waivers import FILE_NAME

OWN_NAMES = (ACCURACY, FILE_NAME)
INCOMPLETE = "this run did not judge it, or its record lacks what was judged"


@dataclass(frozen=True)
class Acceptable:
    """What a run measured of one cell, beside the baseline that there is.

    Attributes:
        refusal: Why it may not become the baseline; empty where it may.
        before: Its latency, None without one or where it is damaged.
        accuracy: Its accuracy, likewise.
        same: The same as ``before``, where it is of the same engine on the same machine.
        known: The subjects of which it has this run already.
        join: Whether the launches join those stored, as they do while nothing has changed; else they replace them.
        remark: What whoever accepts it should know, in a sentence without its full stop; mostly empty.
    """

    measured: Measured
    refusal: str
    before: Baseline | None
    accuracy: AccuracyBaseline | None
    same: Baseline | None
    known: frozenset[Subject]
    join: bool
    remark: str


@dataclass(frozen=True)
class Acceptance:
    """Accepts cells of a run.

    A cell may be accepted though it is slower or less accurate than its baseline: that is what accepting is for. What
    fails an absolute limit is not for a baseline to accept but for the settings, and a budget or speed-up that was not
    decided may be one that fails.

    Attributes:
        run: The run.
        store: The baselines of its machine.
        settings: Those of the run.
        source: The file that holds the project's settings, if any.
        allow_busy: Whether a latency may be taken that was measured on a machine with other work to do.
        broken: Why an engine is broken, by the key of its cell, whatever the tolerances of now.
    """

    run: RunRecord
    store: BaselineStore
    settings: Settings
    source: Path | None
    allow_busy: bool
    broken: Mapping[str, str] = field(default_factory=dict)

    def of(self, cell: Cell) -> Acceptable | str:
        """Return what of the run may become the baseline of a cell, or why there is nothing that could."""
        refusal = self.why_refused(cell)
        measured = Measured.of(self.run, cell)
        if measured is None:
            return refusal or INCOMPLETE
        accuracy, before = self._before(cell)
        session = measured.session
        known: set[Subject] = set()
        if accuracy is not None and measured.accuracy is not None and self._has(accuracy, measured.accuracy):
            known.add("accuracy")
        if session and before and any(map(session.is_same_run, before.sessions)):
            known.add("latency")
        same = before if session and before and self._same(before, measured, session) else None
        remark = machine_offset(before, self.run, cell, self.settings) if session and "latency" not in known else ""
        busy, unfelt = self.run.preflight.busy, not self.busy(cell)
        if session and busy and (unfelt or self.allow_busy):
            busy += ", which two copies of the baseline engine did not feel" if unfelt else ""
            remark = "; ".join(filter(None, (remark, f"the machine was busy: {busy}")))
        join = same is not None and self._unchanged(same, cell)
        return Acceptable(measured, refusal, before, accuracy, same, frozenset(known), join, remark)

    def _has(self, stored: AccuracyBaseline, measured: AccuracyRecord) -> bool:
        return (stored.recorded_at, stored.accuracy) == (self.run.started_at, measured.metrics)

    def _before(self, cell: Cell) -> tuple[AccuracyBaseline | None, Baseline | None]:
        accuracy = before = None
        with suppress(BaselineError):  # to be replaced
            accuracy = self.store.find_accuracy(cell).baseline
        with suppress(BaselineError):
            before = self.store.find(cell).baseline
        return accuracy, before

    def _same(self, before: Baseline, measured: Measured, session: BaselineSession) -> bool:
        machines = (self.store.environment, {session.threads}, before.environment, session_threads(before))
        return before.engine_sha256 == measured.engine.sha256 and not machine_differences(*machines)

    def _unchanged(self, baseline: Baseline, cell: Cell) -> bool:
        """Return whether no percentile of the run became slower by its threshold, or surely faster by as much."""
        rules, latency = self.settings.latency, self.run.latencies[cell.model]
        for name, percent in PERCENTILES.items():
            threshold = rules.limit(cell.precision, name, cell.backend).regression
            if threshold is None:
                continue
            now_ms = latency.per_launch_ms(cell.precision, rules.context, percent)
            try:
                change = compare_sessions(now_ms, baseline.per_session_ms(rules.context, percent), threshold)
            except ValueError:  # nothing stored, or what is no time
                return False
            if change.change >= threshold or change.improved:
                return False
        return True

    def why_refused(self, cell: Cell) -> str:
        """Return why nothing of the run may become the baseline of a cell; empty where it may."""
        busy = self.busy(cell)
        if (why := self.why_never(cell)) or not busy or self.allow_busy:
            return why
        return f"{busy} [{BUSY}]; measure again on a quiet machine, or take it as it is with {ALLOW_BUSY}"

    def busy(self, cell: Cell) -> str:
        """Return what disturbed the launches of a cell, of what kept the machine busy; empty where nothing did."""
        return disturbed(self.run, cell, self.settings)

    def why_never(self, cell: Cell) -> str:
        """Return the same, however busy the machine may have been."""
        if self.run.unfinished == INTERRUPTED:
            return INTERRUPTED
        if (machine := self.run.environment.machine) in OWN_NAMES:
            return f"its kind of machine has the name '{machine}', which the folder of the baselines has for its own"
        if why := self.broken.get(cell.key):
            return f"{why}; mend it, or take it as it is with {EVEN_SO}"
        verdicts = [verdict for verdict in self.run.verdicts if verdict.cell == cell]
        if why := next(filter(None, map(self._why_barred, verdicts)), ""):
            return why
        latency = self.run.latencies.get(cell.model)
        timed = latency is not None and latency.of_arm(cell.precision)
        if unfit := why_unfit(latency) if latency is not None and timed else "":
            return unfit
        return "" if Measured.of(self.run, cell) else INCOMPLETE

    def _why_barred(self, verdict: Verdict) -> str:
        """Return why a cell with such a verdict may not become a baseline; empty where it may."""
        cell = verdict.cell
        if verdict.outcome is Outcome.ERROR:
            return f"its {verdict.subject} is ERROR"
        bad = blocking_check(verdict.subject, verdict.checks)
        if bad is None:
            return ""
        if bad.outcome is Outcome.INCONCLUSIVE:
            return f"its latency is INCONCLUSIVE: {bad.sentence.removeprefix(f'{cell.precision}: ')}"
        why = f"its {verdict.subject} is FAIL"
        if told := advice(verdict, self.run.engines.get(cell.key)):
            return f"{why}; {told}"
        limits = [check for check in verdict.checks if check.outcome is Outcome.FAIL and check.against != "baseline"]
        change = settings_for(limits, cell, self.settings, self.source)
        if not change:
            return why
        if all(can_be_rejudged(check, self.settings.of(cell.model)) for check in limits):
            return f"{why}; {change}"
        return f"{why}; {change}, then measure again, since a run is judged by the limits that it had"

    def write(self, cell: Cell, subjects: Collection[Subject] = SUBJECTS) -> tuple[str, bool]:
        """Write the baselines of a cell's accuracy and latency from the run, unless that is refused.

        Args:
            cell: The cell.
            subjects: What of it may be written; what the run did not judge is left as it is.

        Returns:
            One sentence, and whether the run is in the baseline now.
        """
        found = self.of(cell)
        if isinstance(found, str) or found.refusal:
            why = found if isinstance(found, str) else found.refusal
            return f"{cell.label}: baseline not written, since {why}", False
        has = {"accuracy": found.measured.accuracy, "latency": found.measured.session}
        wanted = [subject for subject in subjects if has[subject] is not None]
        paths = {"accuracy": self.store.accuracy_path(cell), "latency": self.store.path(cell)}
        new = [subject for subject in wanted if subject not in found.known]
        listed = " and ".join(str(paths[subject]) for subject in new or wanted)
        if not new:
            return f"{cell.label}: the baseline has this run already ({listed})", True
        try:
            if "accuracy" in new:
                self.store.write_accuracy(found.measured, self._judged(cell, "accuracy"))
            if "latency" in new:
                judged = [*self._judged(cell, "latency"), *([found.remark] if found.remark else [])]
                self.store.write(found.measured, found.same, judged, join=found.join)
        except BaselineError as error:
            return str(error), False
        sentence = f"{cell.label}: baseline written to {listed}"
        if "latency" not in new:
            return sentence, True
        sentence += f"; {found.remark}" if found.remark else ""
        rule = self.settings.latency.unasked_speedup(cell.precision, cell.backend, self.settings.precisions)
        if rule is not None:
            sentence += f"; not judged was its speed-up over {rule.over}, which is not in this run"
        return sentence, True

    def _judged(self, cell: Cell, subject: Subject) -> list[str]:
        """Return how the run compared with the baseline that it replaces or joins, for whoever reviews that."""
        verdicts = [verdict for verdict in self.run.verdicts if (verdict.cell, verdict.subject) == (cell, subject)]
        nothing = (Outcome.ERROR, Outcome.NO_BASELINE)
        checks = [c for v in verdicts for c in v.checks if c.against == "baseline" and c.outcome not in nothing]
        return [check.sentence.removeprefix(f"{cell.precision}: ") for check in checks]


def blocking_check(subject: str, checks: Iterable[Check]) -> Check | None:
    """Return the check that keeps a cell from becoming a baseline, a failed one first; None where none does.

    An accuracy that its images cannot prove bars nothing.
    """
    bars = {Outcome.FAIL, Outcome.INCONCLUSIVE} if subject == "latency" else {Outcome.FAIL}
    found = [c for c in checks if c.against != "baseline" and c.outcome in bars]
    return max(found, key=lambda c: c.outcome.rank, default=None)


def can_be_rejudged(check: Check, settings: Settings) -> bool:
    """Return whether a record holds all that a check is judged by, whatever its limit: it does for a drop in accuracy.

    How many inferences took longer than a budget is known of that budget alone, and a population's limits of a drop
    need what was found on each image.
    """
    return check.against == REFERENCE and check.unit == "points" and settings.accuracy.mode == "contract"


def with_tolerances_of(settings: Settings, run: RunRecord, cells: Collection[Cell]) -> tuple[RunRecord, list[str]]:
    """Return a run with some cells judged by a project's tolerances, and in sentences what that changes.

    Models that the settings do not name stay as they were judged.
    """
    models = {model.name for model in settings.models}
    verdicts, said = [], []
    for verdict in run.verdicts:
        model = verdict.cell.model
        if verdict.subject == "accuracy" and verdict.cell in cells and model in models:
            verdict, change = _rejudged(verdict, run, settings.of(model))
            said += [change] if change else []
        verdicts.append(verdict)
    return run.model_copy(update={"verdicts": tuple(verdicts)}), said


def _rejudged(verdict: Verdict, run: RunRecord, settings: Settings) -> tuple[Verdict, str]:
    cell = verdict.cell
    reference, engine = (run.accuracy(cell.model, arm) for arm in (REFERENCE, cell.precision))
    before = [check for check in verdict.checks if can_be_rejudged(check, settings)]
    if verdict.outcome is Outcome.ERROR or not before or reference is None or engine is None:
        return verdict, ""
    now = judge_parity(reference, engine, settings.accuracy.tolerances(cell.precision, engine.task))
    if engine.images < settings.accuracy.confirm_below:
        # What its limits left undecided has the one-sided ones. Others have an interval, which would excuse too much.
        undecided = [c for c in before if c.outcome is Outcome.INCONCLUSIVE]
        limits = {c.name: (c.low, c.high) for c in undecided if c.low is not None and c.high is not None}
        now = [confirmed(c, *limits[c.name]) if c.outcome is Outcome.FAIL and c.name in limits else c for c in now]
    now = of_builds(now, run.other_builds(cell.model, cell.precision))
    others = (check for check in verdict.checks if check not in before)
    then, outcome = worst(before), worst(now)
    said = f"{cell.label}: its accuracy to the .pt was {then} in that run, and is {outcome} by the tolerances of now"
    return verdict.model_copy(update={"checks": (*now, *others)}), "" if then is outcome else said
