"""The gate's session: measurements judged cell by cell, and at the end one run record and the baselines it accepts."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Collection
from datetime import datetime, timezone
from pathlib import Path

from .. import __version__
from ..baselines import BaselineStore, accept, waived, way_to_accept
from ..cache import pin
from ..data import shared_contents
from ..errors import BaselineError, CacheError, JobError, TrtGateError
from ..findings import calibration_leak, inconclusive_checks, skewed_engine, unstable_warmup
from ..judge.accuracy.parity import finds_nothing, judge_accepted
from ..judge.engine import judge_engine, judge_resources, precision_finding
from ..judge.latency.checks import judge_latency
from ..measuring import Engines, Evaluations, Latencies, RunContext, profile_layers, why_not_replayed
from ..records import (
    REFERENCE,
    AccuracyRecord,
    Baseline,
    BaselineUse,
    Cell,
    Check,
    EngineRecord,
    Finding,
    JobRecord,
    LatencyRecord,
    LayerProfile,
    Outcome,
    Preflight,
    RunRecord,
    Verdict,
    failures,
    slowest_change,
)
from ..settings import graded
from .accuracy import AccuracyJudge
from .amend import Amend, Softening, context_of, no_amendment, parse_answers
from .decide import decide, error_check, explained
from .evidence import calibrated_on
from .figures import illustrated
from .recording import notes

Judgement = tuple[list[Check], list[tuple[str, str]]]
"""What was judged, and what was found beside it: ids and sentences."""
UPDATE = "pytest --trt-baselines=update"


class GateRun:
    """Judges cells and remembers the verdicts in the run's workspace, where every process of the run puts its own.

    Args:
        measure: What the verdicts are about.
        started: When the run began, in seconds since the epoch.
        command: The command that gates these cells again, for ``--trt-baselines`` to be added.
        source: The file that holds the settings, if any.
        selected: The cells that the run's tests are about; by default all that are planned.
        preflight: Looks for what goes wrong, before anything is built.
        amend: Returns what the project's own code adds to a verdict.
    """

    def __init__(
        self,
        measure: RunContext,
        started: float,
        command: str = "pytest",
        source: Path | None = None,
        selected: Collection[Cell] | None = None,
        preflight: Callable[[], Preflight] = Preflight,
        amend: Amend = no_amendment,
    ) -> None:
        self.measure = measure
        self.engines = Engines(measure)
        self.evaluations = Evaluations(self.engines, measure.plan.cells if selected is None else selected)
        self.command = command
        self.source = source
        self.started = started
        self.settings = measure.settings
        self.workspace = measure.workspace
        self.store = BaselineStore(self.settings.baseline_dir, measure.environment)
        self.latencies = Latencies(self.engines, self._comparable)
        self._preflight = preflight
        self._amend = amend
        self._uses: dict[Cell, BaselineUse] = {}

    # Before anything is built

    def preflight_failures(self, cell: Cell, subject: str = "") -> list[Check]:
        """Return a failed check for each finding of the preflight that fails a cell's verdicts, on one subject or any.

        Looks for them now where no process of this run has yet.
        """
        return failures(self._found_early(cell, subject))

    def _found_early(self, cell: Cell, subject: str) -> list[Finding]:
        return [early.finding for early in self._preflighted().findings if early.concerns(cell, subject)]

    def _preflighted(self) -> Preflight:
        return self.workspace.once("preflight", Preflight, self._preflight)

    # Verdicts

    def judge_accuracy(self, cell: Cell, rerun: str = "") -> Verdict:
        """Measure and judge the accuracy of a cell's engine; never raises for what the cell did wrong."""
        return self._verdict(cell, "accuracy", rerun, self._accuracy_checks)

    def judge_latency(self, cell: Cell, rerun: str = "") -> Verdict:
        """Measure and judge the latency of a cell's engine; never raises for what the cell did wrong."""
        return self._verdict(cell, "latency", rerun, self._latency_checks)

    def _accuracy_checks(self, cell: Cell) -> Judgement:
        reference, engine = self.evaluations.pair(cell)
        judge = AccuracyJudge(self.measure)
        checks, found = judge.judge(cell, reference, engine)
        checks += inconclusive_checks(self._found_early(cell, "accuracy"))
        found += self._engine_findings(cell) + self._calibration_leak(cell)
        use = self._baseline_use(cell)
        # Another CPU or number of threads makes latencies incomparable, not accuracies.
        # Of a checkpoint that finds nothing, an engine that fell to nothing as well is no news.
        if not self._accepts(cell) and use.baseline is not None and not finds_nothing(reference):
            checks += judge_accepted(use.baseline, reference, engine, judge.tolerances(cell, engine.task))
        return checks, found

    def _calibration_leak(self, cell: Cell) -> list[tuple[str, str]]:
        if cell.precision != "int8":
            return []
        data = self.measure.data[cell.model]
        calibration = calibrated_on(self.engines.of(cell), data.calibration_images)
        leaked = shared_contents(data.images, calibration, data.digests.sha256)
        first = leaked[0].name if leaked else ""
        return calibration_leak(len(leaked), len(data.images), first, self.settings.split)

    def latency(self, model: str) -> LatencyRecord:
        """Return the launches of a model, with stored baseline engines to compare with.

        Raises:
            JobError: No launch succeeded.
        """
        return self.latencies.of(model)

    def _latency_checks(self, cell: Cell) -> Judgement:
        rules = self.settings.latency
        latency = self.latency(cell.model)
        if cell.precision in latency.failures:
            failure = latency.failures[cell.precision]
            raise JobError(failure.job, failure.reason, failure.log_tail)
        use = self._baseline_use(cell)
        baseline = self._comparable(cell)
        checks = judge_latency(
            latency,
            cell.precision,
            rules.context,
            rules.limits(cell.precision, cell.backend),
            rules.speedup_rule(cell.precision, cell.backend, self.settings.precisions),
            baseline,
            same_engine=baseline is not None and baseline.engine_sha256 == self.engines.of(cell).sha256,
            note=why_not_replayed(latency, cell),
            busy=self._preflighted().busy,
        )
        if baseline is None and not self._accepts(cell):
            sentence = f"{cell.precision}: latency was not compared with a baseline: {use.note}"
            checks.append(Check(name="baseline", against="baseline", outcome=use.outcome, sentence=sentence))
        checks += judge_resources(latency, cell.precision, *rules.resources(cell.precision))
        if self.settings.profile:
            layers = profile_layers(self.engines, cell).layers
            checks = explained(checks, slowest_change(layers, use.baseline.layers if use.baseline else ()))
        checks += judge_engine(self.engines.of(cell), self.settings.engine.limits(cell.precision))
        launches = latency.of_arm(cell.precision)
        unstable = sum(not launch.arms[cell.precision].warmup_stable for launch in launches)
        return checks, [
            *self._engine_findings(cell),
            *unstable_warmup(cell.label, unstable, len(launches)),
        ]

    def _engine_findings(self, cell: Cell) -> list[tuple[str, str]]:
        engine = self.engines.of(cell)
        versions = self.measure.environment.versions
        skewed = skewed_engine(cell.label, engine.metadata.get("version"), versions.get("ultralytics"))
        asks_size = engine.inspection is not None and not engine.inspection.known
        fp32_bytes = self._fp32_bytes(cell) if asks_size else None
        sentence = precision_finding(cell.precision, engine.inspection, engine.size_bytes, fp32_bytes)
        return skewed + ([("precision-not-taken", f"{cell.model}: {sentence}")] if sentence else [])

    def _fp32_bytes(self, cell: Cell) -> int | None:
        """Return the size of the FP32 engine of a cell's model; None where this run has none."""
        try:
            found = [c for c in self.measure.plan.of_model(cell.model) if c.precision == "fp32"]
            return self.engines.of(found[0]).size_bytes if found else None
        except JobError:
            return None

    def _verdict(self, cell: Cell, subject: str, rerun: str, judge: Callable[[Cell], Judgement]) -> Verdict:
        log_tail = ""
        findings: tuple[Finding, ...] = ()
        softenings: list[Softening] = []
        try:
            checks = self.preflight_failures(cell, subject)
            measured = not checks
            if measured:
                checks, found = judge(cell)
                findings = graded(self.settings.findings, found)
                checks += failures(findings)
                added, softenings = parse_answers(self._amend(context_of(self.workspace, cell, subject, checks)))
                checks += added
        except TrtGateError as error:
            checks, measured = [error_check(cell, error)], False
            log_tail = error.log_tail if isinstance(error, JobError) else ""
        waiver = self._waiver(cell, subject)
        accepting = self._accepts(cell)
        decided = decide(cell, checks, self.settings.fails, waiver, softenings, measured=measured, accepting=accepting)
        verdict = Verdict(
            cell=cell,
            subject="accuracy" if subject == "accuracy" else "latency",
            outcome=decided.outcome,
            failed=decided.failed,
            summary=decided.summary,
            checks=tuple(checks),
            findings=findings,
            accept=way_to_accept(self.command, cell, subject, checks, decided.by, self.settings, self.source),
            rerun=rerun,
            log_tail=log_tail,
            waived=decided.waived,
        )
        self.workspace.put(f"verdict-{cell.key}-{subject}", verdict)
        return verdict

    def _waiver(self, cell: Cell, subject: str) -> tuple[bool, str]:
        return waived(self.settings.baseline_dir, cell.key, subject, datetime.now(timezone.utc).date())

    # Baselines

    def _accepts(self, cell: Cell) -> bool:
        """Return whether this run is to write the cell's baseline instead of judging against it."""
        mode = self.settings.baselines
        return mode == "update" or (mode == "add" and not self.store.path(cell).exists())

    def _comparable(self, cell: Cell) -> Baseline | None:
        """Return the baseline that a cell's latency is to be compared with, or None; raises for a damaged one."""
        use = self._baseline_use(cell)
        return use.baseline if use.outcome is Outcome.PASS and not self._accepts(cell) else None

    def _baseline_use(self, cell: Cell) -> BaselineUse:
        if cell not in self._uses:
            use = self._uses[cell] = self._find_baseline(cell)
            self.workspace.put(f"baseline-{cell.key}", use)
        return self._uses[cell]

    def _find_baseline(self, cell: Cell) -> BaselineUse:
        try:
            use = self.store.find(cell)
        except BaselineError:
            if self.settings.baselines == "update":
                return BaselineUse(path=str(self.store.path(cell)), outcome=Outcome.NO_BASELINE, note="damaged")
            raise
        sessions = use.baseline.sessions if use.baseline else ()
        if use.outcome is Outcome.PASS and sessions and sessions[-1].threads != self.measure.threads:
            note = f"latency is not comparable: threads {self.measure.threads}, baseline {sessions[-1].threads}"
            use = use.model_copy(update={"outcome": Outcome.INCOMPATIBLE, "note": note})
        return self._of_this_head(cell, use)

    def _of_this_head(self, cell: Cell, use: BaselineUse) -> BaselineUse:
        """Return a baseline's use, without any comparison where its engine was built for another head."""
        before = use.baseline.head if use.baseline else None
        try:
            now = self.engines.of(cell).head if before else None
        except JobError:
            return use
        if before is None or now is None or before == now:
            return use
        note = f"latency is not comparable: the engine is built for {now}, the baseline's for {before} (export.nms)"
        return use.model_copy(update={"outcome": Outcome.INCOMPATIBLE, "note": note})

    def write_baselines(self, run: RunRecord) -> list[tuple[str, bool]]:
        """Write the baselines that the run was asked to add or update, and keep the engines of all in the cache.

        Returns:
            One sentence per cell, and whether its baseline is as asked for; one where the cache cannot be written.
        """
        written = [] if self.settings.baselines == "check" else [self._write_baseline(cell, run) for cell in run.cells]
        if self.measure.cache.root.is_dir():
            try:
                pin(self.measure.cache.root, self.settings.baseline_dir)
            except CacheError as error:
                written.append((str(error), True))
        return written

    def _write_baseline(self, cell: Cell, run: RunRecord) -> tuple[str, bool]:
        path = self.store.path(cell)
        if self.settings.baselines == "add" and path.exists():
            return f"{cell.label}: has a baseline already, left as it is ({path}); replace it with {UPDATE}", True
        # Who asks for it in the run itself has waited for the launches; the sentence says that the machine was busy.
        return accept(self.store, run, cell, self.settings, self.source, allow_busy=True)

    # The end

    def finish(self, argv: list[str]) -> RunRecord:
        """Return the run record: all that any process of this run measured and decided."""
        space = self.workspace
        shutil.rmtree(space.traced, ignore_errors=True)
        engines = {e.cell.key: e for e in space.all("engine-", EngineRecord)}
        uses = {c.key: u for c in self.measure.plan.cells for u in space.all(f"baseline-{c.key}", BaselineUse)}
        order = {cell.key: i for i, cell in enumerate(self.measure.plan.cells)}
        verdicts = sorted(space.all("verdict-", Verdict), key=lambda v: (order.get(v.cell.key, 0), v.subject))
        accuracies = tuple(space.all("accuracy-", AccuracyRecord))
        latencies = list(space.all("latency-", LatencyRecord))
        profiles = list(space.all("profile-", LayerProfile))
        run = RunRecord(
            run_id=space.run_id,
            plugin_version=__version__,
            command=shlex.join(["pytest", *argv]),
            started_at=datetime.fromtimestamp(self.started, timezone.utc).isoformat(timespec="seconds"),
            seconds=time.time() - self.started,
            environment=self.measure.environment,
            settings=self.settings.model_dump(mode="json", by_alias=True),
            cells=self.measure.plan.cells,
            engines=engines,
            accuracies=accuracies,
            latencies={x.model: x for x in latencies},
            baselines=uses,
            profiles={p.cell.key: p for p in profiles},
            preflight=space.get("preflight", Preflight) or Preflight(),
            verdicts=tuple(verdicts),
            jobs=tuple(space.all("job-", JobRecord)),
            notes=tuple(notes(accuracies, latencies, profiles, datetime.now(timezone.utc))),
        )
        return illustrated(run, space, self.settings.latency.context)


def measured(run: RunRecord) -> bool:
    """Return whether a run came to anything: an engine, the accuracy of one, or a launch."""
    return bool(run.engines or run.latencies) or any(a.arm != REFERENCE for a in run.accuracies)
