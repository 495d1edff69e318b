"""Two run records judged against each other, offline: is what ran later no worse?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import text as fmt
from ..errors import SettingsError
from ..judge import worst
from ..judge.accuracy.parity import judge_since, of_other_instructions
from ..judge.latency.fitness import doubted, why_unfit
from ..judge.latency.regression import IDENTICAL, excused
from ..judge.latency.sessions import SessionChange, compare_sessions
from ..judge.latency.wording import MEDIAN
from ..machine import differences
from ..records import REFERENCE, Cell, Check, Context, EngineRecord, LatencyRecord, Outcome, RunRecord
from ..report import accuracy_of, distribution, latency_of
from ..settings import PERCENTILES, Settings


@dataclass(frozen=True)
class Compared:
    """One cell of both runs: the worst of its checks decides."""

    cell: Cell
    checks: tuple[Check, ...]

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

    Accuracy may fall by no more than its tolerance; latencies are compared as those of two sessions. An engine with the
    bytes of the earlier one has not become slower, whatever was measured; what is around it may have.

    Args:
        before: The earlier run.
        after: The later one.
        settings: The limits: those of the later run.

    Raises:
        SettingsError: The runs are of different machines, or have no cell in common.
    """
    differing = differences(after.environment, before.environment) + _threads(before, after)
    if differing:
        raise SettingsError(f"the runs are of different machines and cannot be compared: {'; '.join(differing)}")
    known = {cell.on_any_gpu for cell in before.cells}
    cells = [cell for cell in after.cells if cell.on_any_gpu in known]
    if not cells:
        there = [", ".join(cell.key for cell in run.cells) or "none" for run in (before, after)]
        raise SettingsError(f"the runs have no cell in common: {there[0]} before, {there[1]} now")
    return [Compared(cell, _checks(before, after, cell, settings)) for cell in cells]


def _checks(before: RunRecord, after: RunRecord, cell: Cell, settings: Settings) -> tuple[Check, ...]:
    engines = [_engine(run, cell) for run in (before, after)]
    heads = [engine.head if engine else None for engine in engines]
    if None not in heads and heads[0] != heads[1]:
        sentence = f"the engine is built for {heads[1]}, that of the earlier run for {heads[0]}"
        return (Check(name="engine", against="baseline", outcome=Outcome.INCOMPATIBLE, sentence=sentence),)
    same = None not in engines and len({engine.sha256 for engine in engines if engine}) == 1
    checks = (*_accuracy(before, after, cell, settings), *_latency(before, after, cell, settings, same))
    if checks:
        return checks
    sentence = "neither run measured what the settings judge"
    return (Check(name="measurement", against="baseline", outcome=Outcome.ERROR, sentence=sentence),)


def _engine(run: RunRecord, cell: Cell) -> EngineRecord | None:
    return next((engine for engine in run.engines.values() if engine.cell.on_any_gpu == cell.on_any_gpu), None)


def _threads(before: RunRecord, after: RunRecord) -> list[str]:
    then, now = ({x.threads for latency in run.latencies.values() for x in latency.launches} for run in (before, after))
    if not then or not now or then == now:
        return []
    return [f"threads {', '.join(map(str, sorted(now)))}, baseline {', '.join(map(str, sorted(then)))}"]


def _accuracy(before: RunRecord, after: RunRecord, cell: Cell, settings: Settings) -> Sequence[Check]:
    then, now = (accuracy_of(run, cell, cell.precision) for run in (before, after))
    if then is None or now is None:
        return _missing("accuracy", then is not None, now is not None)
    tolerances = settings.of(cell.model).accuracy.tolerances(cell.precision, now.task)
    checks = judge_since(then.metrics, then.settings, then.data_digest, now, tolerances, "the earlier run")
    return of_other_instructions(checks, cell, before.environment, after.environment)


def _latency(before: RunRecord, after: RunRecord, cell: Cell, settings: Settings, same: bool) -> Sequence[Check]:
    """Return the checks of a cell's latency; ``same``: whether both runs timed the same bytes."""
    rules = settings.latency
    identical = same and rules.context == "engine"
    records = [latency_of(run, cell) for run in (before, after)]
    then, now = (distribution(record, cell.precision, rules.context) for record in records)
    if then is None or now is None:
        return _missing("latency", then is not None, now is not None)
    checks, moved = [], []
    for name, percent in PERCENTILES.items():
        threshold = rules.limit(cell.precision, name, cell.backend).regression
        if threshold is None:
            continue
        try:
            found = compare_sessions(now.per_launch_ms(percent), [then.per_launch_ms(percent)], threshold)
            beside = _reference_change(records, rules.context, percent, threshold)
        except ValueError as error:
            sentence = f"{name} cannot be compared ({error})"
            checks.append(Check(name=name, against="baseline", outcome=Outcome.ERROR, sentence=sentence))
        else:
            moved.append(_moved(name, found))
            if not identical:
                checks.append(_slower(name, *excused(found, beside, after.preflight.busy), same))
    pairs = zip(records, ("earlier", "later"), strict=True)
    reasons = [f"{why} in the {which} run" for record, which in pairs if record and (why := why_unfit(record))]
    judged = [doubted(check, " and ".join(reasons)) for check in checks]
    return [_identical(moved), *judged] if identical else judged


def _reference_change(
    records: Sequence[LatencyRecord | None], context: Context, percent: int, threshold: float
) -> float | None:
    """Return by how much the same ``.pt`` is slower in the later launches, as a ratio; None where it is not in both."""
    timed = [record for record in records if record is not None and record.of_arm(REFERENCE)]
    if len(timed) < 2 or len({record.of_arm(REFERENCE)[0].arms[REFERENCE].sha256 for record in timed}) > 1:
        return None
    then, now = (record.per_launch_ms(REFERENCE, context, percent) for record in timed)
    return compare_sessions(now, [then], threshold).change


def _moved(name: str, change: SessionChange) -> str:
    """Return how far one percentile moved: ``p50 +2.1 % (median of launches 8.67 -> 8.85 ms)``."""
    levels = f"{MEDIAN} {fmt.number(change.reference_ms)} -> {fmt.ms(change.value_ms)}"
    return fmt.plain(f"{name} {fmt.percent(change.change)} ({levels})")


def _identical(moved: Sequence[str]) -> Check:
    """Return the check of an engine whose bytes are those of the earlier run."""
    times = f"; {', '.join(moved)}: a difference is the machine's, not the engine's" if moved else ""
    sentence = f"identical engine, byte by byte that of the earlier run{times}"
    return Check(name=IDENTICAL, against="baseline", outcome=Outcome.PASS, sentence=sentence)


def _slower(name: str, change: SessionChange, excuse: str, same: bool) -> Check:
    """Return the check of one percentile.

    Args:
        name: The percentile.
        change: How it moved.
        excuse: Why more than is allowed is no failure.
        same: Whether the engine is the same, and what is around it is judged.
    """
    moved, allowed = _moved(name, change), f"{100 * change.threshold:g} % allowed"
    sentence = f"{moved}, {allowed}" if change.outcome is Outcome.PASS else f"{moved}, more than {allowed}"
    if excuse:
        sentence += f", but {excuse}: it may be the machine"
    elif change.outcome is Outcome.INCONCLUSIVE:
        sentence += ", but two sessions may differ by up to twice that"
    if same:
        sentence += "; the engine is the same, byte by byte: what is around it is judged"
    return Check(
        name=name,
        against="baseline",
        value=change.value_ms,
        reference=change.reference_ms,
        statistics=(MEDIAN, MEDIAN),
        change=change.change,
        limit=change.threshold,
        unit="ratio",
        outcome=change.outcome,
        sentence=sentence,
    )


def _missing(subject: str, then: bool, now: bool) -> Sequence[Check]:
    """Return a check for what one run did not measure; what neither did was not asked for."""
    if not then and not now:
        return ()
    outcome, which = (Outcome.ERROR, "later") if then else (Outcome.NO_BASELINE, "earlier")
    sentence = f"the {which} run did not measure its {subject}"
    return [Check(name=subject, against="baseline", outcome=outcome, sentence=sentence)]
