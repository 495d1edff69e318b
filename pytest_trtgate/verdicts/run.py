"""The gate's part of a test run: cells judged one by one, then one record and the baselines that it accepts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from ..baselines import (
    Acceptance,
    BaselineLookup,
    BaselineStore,
    waiver_of,
    ways_out,
    with_way_to_accept,
)
from ..cache import pin
from ..errors import CacheError, JobError, RecordError, TrtGateError
from ..measuring import Engines, Evaluations, Latencies, RunContext
from ..records import (
    RECORD_NAME,
    REFERENCE,
    SUBJECTS,
    AccuracyRecord,
    Cell,
    Check,
    EngineRecord,
    Finding,
    LatencyRecord,
    Preflight,
    RunRecord,
    Subject,
    Verdict,
    failures,
    reworded,
    updating,
)
from ..text import of_reference
from .accuracy import AccuracyJudge
from .amend import Amend, Softening, context_of, no_amendment, parse_answers
from .decide import Excuses, Judgement, decide, error_check
from .latency import LatencyJudge

UPDATE = "pytest --trt-baselines=update"


class GateRun:
    """Judges cells and remembers the verdicts in the run's workspace, where every process of the run puts its own.

    Args:
        measure: What the verdicts are about.
        command: The command that gates these cells again, for ``--trt-baselines`` to be added.
        source: The file that holds the settings, if any.
        selected: The cells that the run's tests are about.
        preflight: Looks for what goes wrong, before anything is built.
        amend: Returns what the project's own code adds to a verdict.
    """

    def __init__(
        self,
        measure: RunContext,
        command: str,
        source: Path | None,
        selected: Collection[Cell],
        *,
        preflight: Callable[[], Preflight],
        amend: Amend = no_amendment,
    ) -> None:
        self.measure = measure
        self.engines = Engines(measure)
        self.evaluations = Evaluations(self.engines, selected)
        self.command = command
        self.source = source
        self.settings = measure.settings
        self.workspace = measure.workspace
        self.store = BaselineStore(self.settings.baseline_dir, measure.environment)
        self._preflight = preflight
        self._amend = amend
        self._lookup = lookup = BaselineLookup(
            self.store,
            self.settings.baselines,
            measure.threads,
            self.workspace,
            self.engines.of,
            lambda cell: self.store.former_name(cell, measure.weights_sha256),
        )
        self._accuracy = AccuracyJudge(self.evaluations, lookup, self.preflight)
        self.latencies = Latencies(self.engines, lookup.comparable, lambda cell: lookup.accepts(cell, "latency"))
        self._latency = LatencyJudge(self.latencies, lookup, self.preflight)

    def preflight(self) -> Preflight:
        """Return what was found before anything was built; looked for now where no process of this run has yet."""
        return self.workspace.once("preflight", Preflight, self._preflight)

    def preflight_failures(self, cell: Cell, subject: str = "") -> list[Check]:
        """Return a failed check for each early finding that fails a cell's verdicts, on one subject or any."""
        return failures(self.preflight().concerning(cell, subject))

    def latency(self, cell: Cell, *, whole: bool = False) -> LatencyRecord:
        """Return the launches that timed a cell; raises JobError where it could not be timed.

        ``whole``: one of them timed the ``.pt`` too, and both contexts.
        """
        launches = self._latency.launches(cell)
        return self.latencies.whole(cell.model) if whole else launches

    def since_baseline(self, cell: Cell) -> list[Check]:
        """Return how the latency of a cell was judged against its baseline; raises JobError as :meth:`latency`."""
        return [check for check in self._latency.times(cell) if check.against == "baseline"]

    def measured(self, cell: Cell, subject: Subject) -> tuple[AccuracyRecord, AccuracyRecord] | LatencyRecord | None:
        """Return what a subject of a cell was judged by: the accuracies of ``.pt`` and engine, or the launches.

        None where nothing was measured. To be called after the verdict, or it measures.
        """
        if self.preflight_failures(cell, subject):
            return None
        try:
            return self.evaluations.pair(cell) if subject == "accuracy" else self.latency(cell)
        except TrtGateError:
            return None

    def judge(self, cell: Cell, subject: Subject, rerun: str) -> Verdict:
        """Measure and judge one subject of a cell; never raises for what the cell did wrong."""
        log_tail = ""
        findings: tuple[Finding, ...] = ()
        softenings: list[Softening] = []
        try:
            checks = self.preflight_failures(cell, subject)
            measured = not checks
            if measured:
                checks, found = self._judged(cell, subject)
                findings = tuple(graded for one in found for graded in one.graded(self.settings.findings))
                checks += failures(findings)
                added, softenings = parse_answers(self._amend(context_of(self.workspace, cell, subject, checks)))
                checks += added
        except TrtGateError as error:
            checks, measured = [error_check(cell, error)], False
            log_tail = error.log_tail if isinstance(error, JobError) else ""
        waiver = waiver_of(self.settings.baseline_dir, cell.key, subject, datetime.now(timezone.utc).date())
        excuses = Excuses(*waiver, softenings, measured)
        ruling = decide(cell, checks, self.settings.fails, excuses, accepting=self._lookup.accepts(cell, subject))
        verdict = Verdict(
            cell=cell,
            subject=subject,
            outcome=ruling.outcome,
            failed=ruling.failed,
            summary=ruling.summary,
            checks=tuple(checks),
            findings=findings,
            rerun=rerun,
            log_tail=log_tail,
            waived=ruling.waived_because,
        )
        engine = self.workspace.get(f"engine-{cell.key}", EngineRecord)
        told = ways_out(verdict, self.workspace.path / RECORD_NAME, engine)
        verdict = with_way_to_accept(verdict, self.settings, self.source, self.command).model_copy(update=told)
        if self.measure.plan.weights[cell.model].suffix == ".onnx":
            verdict = reworded(verdict, of_reference)
        self.workspace.put(f"verdict-{cell.key}-{subject}", verdict)
        return verdict

    def _judged(self, cell: Cell, subject: Subject) -> Judgement:
        """Return what is judged of a cell, whose inputs are what they were when the run first read them."""
        try:
            judged = self._accuracy.judge(cell) if subject == "accuracy" else self._latency.judge(cell)
        except TrtGateError:
            self.engines.check(cell, evaluated=subject == "accuracy")  # what changed says more than what came of it
            raise
        self.engines.check(cell, evaluated=subject == "accuracy")
        return judged

    def acceptance(self, run: RunRecord) -> Acceptance:
        """Return what accepts cells of the finished run."""
        # Who asks for it in the run itself has waited for the launches; the sentence says that the machine was busy.
        return Acceptance(run, self.store, self.settings, self.source, allow_busy=True)

    def write_baselines(self, run: RunRecord) -> list[tuple[str, bool]]:
        """Write the baselines that the run was asked to add or update, and keep the engines of all in the cache.

        Returns:
            One sentence per cell, and whether its baseline is as asked for; one where the cache cannot be written.
        """
        written: list[tuple[str, bool]] = []
        if self.settings.baselines != "check":
            try:
                with updating(self.store.root):
                    written += map(partial(self._write_baseline, self.acceptance(run)), run.cells)
            except RecordError as error:
                written.append((f"no baseline written: {error}", False))
        if self.measure.cache.root.is_dir():
            try:
                pin(self.measure.cache.root, self.settings.baseline_dir)
            except CacheError as error:
                written.append((str(error), True))
        return written

    def _write_baseline(self, acceptance: Acceptance, cell: Cell) -> tuple[str, bool]:
        subjects = [subject for subject in SUBJECTS if self._lookup.accepts(cell, subject)]
        if subjects:
            return acceptance.write(cell, subjects)
        path = self.store.there(cell) or self.store.path(cell)
        kept = f"has a baseline already, left as it is ({path}); replace it with {UPDATE}"
        return f"{cell.label}: {kept}", True


def measured(run: RunRecord) -> bool:
    """Return whether a run came to anything: an engine, the accuracy of one, or a launch."""
    return bool(run.engines or run.latencies) or any(a.arm != REFERENCE for a in run.accuracies)
