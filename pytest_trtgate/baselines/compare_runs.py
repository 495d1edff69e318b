"""Two run records judged against each other, offline: is what ran later no worse?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .. import text as fmt
from ..errors import SettingsError
from ..judge import worst
from ..judge.accuracy.parity import judge_since, of_other_instructions
from ..judge.latency.candidate import Against, Candidate
from ..judge.latency.fitness import doubted, why_unfit
from ..judge.latency.regression import IDENTICAL_CHECK, judge_sessions
from ..judge.latency.wording import MEDIAN
from ..records import (
    PLATFORM,
    Baseline,
    Cell,
    Check,
    EngineRecord,
    Finding,
    LatencyRecord,
    Outcome,
    RunRecord,
    failures,
)
from ..report import accuracy_of, latency_of
from ..settings import FINDING_KINDS, Settings
from .lookup import machine_differences, other_heads
from .platform import Now, platform_changed
from .store import session_of

SAME_AS_EARLIER = "the engine is the same, byte by byte: what is around it is judged"


@dataclass(frozen=True)
class Compared:
    """One cell of both runs: the worst of its checks decides. ``warning``: what else is found; mostly empty."""

    cell: Cell
    checks: Sequence[Check]
    warning: str = ""

    @property
    def outcome(self) -> Outcome:
        """The worst outcome."""
        return worst(self.checks)

    @property
    def line(self) -> str:
        """The outcome and what decided it."""
        said = (c.sentence for c in self.checks if c.outcome is self.outcome)
        # The key says it already.
        deciding = "; ".join(sentence.removeprefix(f"{self.cell.precision}: ") for sentence in said)
        return f"{self.outcome:<12}  {self.cell.key}  {deciding}"


def compare(before: RunRecord, after: RunRecord, settings: Settings) -> list[Compared]:
    """Judge each cell that both runs have.

    Accuracy may fall by no more than its tolerance; the earlier launches are a baseline of one session. An engine with
    the bytes of the earlier one has not become slower, whatever was measured; what is around it may have. The settings
    are those of the later run.

    Raises:
        SettingsError: The runs are of different machines, or have no cell in common.
    """
    now, then = ((run.environment, _threads(run)) for run in (after, before))
    differing = machine_differences(*now, *then)
    if differing:
        raise SettingsError(f"the runs are of different machines and cannot be compared: {'; '.join(differing)}")
    known = {cell.on_any_gpu for cell in before.cells}
    cells = [cell for cell in after.cells if cell.on_any_gpu in known]
    if not cells:
        there = [", ".join(cell.key for cell in run.cells) or "none" for run in (before, after)]
        raise SettingsError(f"the runs have no cell in common: {there[0]} before, {there[1]} now")
    compared = [Compared(cell, _checks(before, after, cell, settings)) for cell in cells]
    return [_with_platform(one, before, after, settings) for one in compared]


def _with_platform(one: Compared, before: RunRecord, after: RunRecord, settings: Settings) -> Compared:
    """Return a compared cell with what the machine did to both runs, as its finding's severity has it."""
    severity, timed = settings.findings.of(PLATFORM), _timed(after, one.cell)
    if severity == "off" or timed is None:
        return one
    cells = [cell for cell in after.cells if cell.model == one.cell.model]
    earlier = {cell: baseline for cell in cells if (baseline := _earlier(before, cell))}
    now = Now(timed, after.environment, settings.latency.context, after.preflight.busy)
    said = platform_changed(one.cell, earlier, now, earlier_run=True)
    if not said or severity == "warn":
        return replace(one, warning=f"{said} [{PLATFORM}]" if said else "")
    failed = Finding(id=PLATFORM, severity=severity, sentence=said, remedy=FINDING_KINDS[PLATFORM].remedy)
    return replace(one, checks=[*one.checks, *failures([failed])])


def _earlier(before: RunRecord, cell: Cell) -> Baseline | None:
    """Return the earlier run as a baseline of one session; None where it did not time the cell."""
    timed, engine = _timed(before, cell), _engine(before, cell)
    session = session_of(timed, cell, before) if timed else None
    if session is None:
        return None
    return Baseline(
        cell=cell,
        environment=before.environment,
        engine_sha256=engine.sha256 if engine else "",
        cache_key="none",
        sessions=(session,),
    )


def _checks(before: RunRecord, after: RunRecord, cell: Cell, settings: Settings) -> Sequence[Check]:
    then, now = (_engine(run, cell) for run in (before, after))
    if then and now and other_heads(now.head, then.head):
        sentence = f"the engine is built for {now.head}, that of the earlier run for {then.head}"
        return [Check(name="engine", against="baseline", outcome=Outcome.INCOMPATIBLE, sentence=sentence)]
    same = then is not None and now is not None and then.sha256 == now.sha256
    checks = [*_accuracy(before, after, cell, settings), *_latency(before, after, cell, settings, same)]
    if checks:
        return checks
    sentence = "neither run measured what the settings judge"
    return [Check(name="measurement", against="baseline", outcome=Outcome.ERROR, sentence=sentence)]


def _engine(run: RunRecord, cell: Cell) -> EngineRecord | None:
    return next((engine for engine in run.engines.values() if engine.cell.on_any_gpu == cell.on_any_gpu), None)


def _threads(run: RunRecord) -> set[int]:
    return {launch.threads for latency in run.latencies.values() for launch in latency.launches}


def _accuracy(before: RunRecord, after: RunRecord, cell: Cell, settings: Settings) -> Sequence[Check]:
    then, now = (accuracy_of(run, cell, cell.precision) for run in (before, after))
    if then is None or now is None:
        return _missing("accuracy", then is not None, now is not None)
    tolerances = settings.of(cell.model).accuracy.tolerances(cell.precision, now.task)
    checks = judge_since(then.metrics, then.settings, then.data_digest, now, tolerances, "the earlier run")
    return of_other_instructions(checks, cell, before.environment, after.environment)


def _latency(before: RunRecord, after: RunRecord, cell: Cell, settings: Settings, same: bool) -> Sequence[Check]:
    """Return the checks of a cell's latency; ``same``: whether both runs timed the same bytes."""
    rules, arm = settings.latency, cell.precision
    then, now = (_timed(run, cell) for run in (before, after))
    earlier = _earlier(before, cell)
    if then is None or now is None or earlier is None:
        return _missing("latency", then is not None, now is not None)
    candidate = Candidate(now, arm, rules.context, rules.limits(arm, cell.backend))
    against = Against(earlier, note=SAME_AS_EARLIER if same else "", busy=after.preflight.busy, earlier_run=True)
    checks = judge_sessions(candidate, against)
    moved = [check for check in checks if check.outcome is not Outcome.ERROR]
    identical = same and rules.context == "engine"
    reasons = [f"{why} in the {which} run" for x, which in ((then, "earlier"), (now, "later")) if (why := why_unfit(x))]
    judged = [doubted(c, " and ".join(reasons)) for c in checks if not (identical and c in moved)]
    return [_identical(moved), *judged] if identical else judged


def _timed(run: RunRecord, cell: Cell) -> LatencyRecord | None:
    latency = latency_of(run, cell)
    return latency if latency and latency.of_arm(cell.precision) else None


def _identical(checks: Sequence[Check]) -> Check:
    """Return the check of an engine whose bytes are those of the earlier run, from those of how far its times moved."""
    moved = ", ".join(
        f"{c.name} {fmt.percent(c.change)} ({MEDIAN} {fmt.number(c.reference)} -> {fmt.ms(c.value)})" for c in checks
    )
    times = f"; {fmt.plain(moved)}: a difference is the machine's, not the engine's" if moved else ""
    sentence = f"identical engine, byte by byte that of the earlier run{times}"
    return Check(name=IDENTICAL_CHECK, against="baseline", outcome=Outcome.PASS, sentence=sentence)


def _missing(subject: str, then: bool, now: bool) -> Sequence[Check]:
    """Return a check for what one run did not measure; what neither did was not asked for."""
    if not then and not now:
        return ()
    outcome, which = (Outcome.ERROR, "later") if then else (Outcome.NO_BASELINE, "earlier")
    sentence = f"the {which} run did not measure its {subject}"
    return [Check(name=subject, against="baseline", outcome=outcome, sentence=sentence)]
