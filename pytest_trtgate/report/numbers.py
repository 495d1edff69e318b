"""What the renderings take from a run record: one place that finds the numbers of a cell and puts launches together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from .. import text as fmt
from ..records import (
    PRIMARY,
    REFERENCE,
    AccuracyRecord,
    BaselineSession,
    Cell,
    Check,
    Context,
    LatencyRecord,
    Outcome,
    RunRecord,
    Timing,
    Verdict,
    is_replayed,
    replay_of,
)

Subject = Literal["accuracy", "latency"]
SUBJECTS: tuple[Subject, ...] = ("accuracy", "latency")
STAGES: tuple[Context, ...] = ("preprocess", "inference", "postprocess")
BUDGET_UNITS = ("ms", "mJ", "MB")
"""Units of checks against an absolute limit."""
ABSURD_MS = 1e9
"""Times of more than eleven days come from a damaged record; no chart draws them."""


def _drawable(values: Iterable[float]) -> list[float]:
    return [value for value in values if abs(value) < ABSURD_MS]


def middle(values: Sequence[float]) -> float | None:
    """Return the median, by which launches are compared; None of none, NaN where any value is not finite."""
    if not values:
        return None
    return median(values) if all(math.isfinite(value) for value in values) else math.nan


def ratio(now: float | None, then: float | None) -> float | None:
    """Return ``now / then``, or None where either is missing, not finite or ``then`` is 0."""
    if now is None or then is None or then == 0 or not (math.isfinite(now) and math.isfinite(then)):
        return None
    return now / then


def change(now: float | None, then: float | None) -> float | None:
    """Return the relative change from ``then`` to ``now``: 0.03 for 3 % more."""
    factor = ratio(now, then)
    return None if factor is None else factor - 1


@dataclass(frozen=True)
class Distribution:
    """One arm in one context, over the launches that timed it.

    ``pooled_ms`` holds p1 to p99 of all launches together, weighted by their samples, without what is not a time.
    """

    timings: tuple[Timing, ...]

    @property
    def samples(self) -> int:
        """Timed inferences in all launches."""
        return sum(timing.n for timing in self.timings)

    @property
    def mean_ms(self) -> float | None:
        """Mean over all inferences."""
        weight = self.samples
        return sum(timing.mean_ms * timing.n for timing in self.timings) / weight if weight else None

    def level_ms(self, percent: int) -> float | None:
        """Return the p-th percentile: the median over launches of each launch's own."""
        return middle(self.per_launch_ms(percent))

    def per_launch_ms(self, percent: int) -> tuple[float, ...]:
        """Return the p-th percentile of each launch."""
        return tuple(timing.quantile_ms(percent) for timing in self.timings)

    @property
    def pooled_ms(self) -> tuple[float, ...]:
        """p1 to p99 of the mixture of all launches, empty where no launch has finite times."""
        points = sorted(
            (value, max(timing.n, 1)) for timing in self.timings for value in _drawable(timing.quantiles_ms)
        )
        total = sum(weight for _, weight in points)
        pooled: list[float] = []
        seen = 0.0
        for value, weight in points:
            centre = seen + weight / 2
            seen += weight
            while len(pooled) < 99 and centre >= total * (len(pooled) + 0.5) / 99:
                pooled.append(value)
        pooled.extend([points[-1][0]] * (99 - len(pooled)) if points else [])
        return tuple(pooled)


def latency_of(run: RunRecord, cell: Cell) -> LatencyRecord | None:
    """Return the launches of a cell's model at its image size and batch, or None where there are none."""
    wanted = (cell.model, cell.imgsz, cell.batch)
    return next((r for r in run.latencies.values() if (r.model, r.imgsz, r.batch) == wanted and r.launches), None)


def accuracy_of(run: RunRecord, cell: Cell, arm: str) -> AccuracyRecord | None:
    """Return the accuracy of one arm at the cell's image size, at its batch if there are several; else None."""
    found = [a for a in run.accuracies if a.model == cell.model and a.arm == arm and a.settings.imgsz == cell.imgsz]
    return min(found, key=lambda a: a.settings.batch != cell.batch, default=None)


def primary_of(accuracy: AccuracyRecord | None) -> str:
    """Return the metric that stands for an accuracy where there is room for one; that of boxes where there is none."""
    return PRIMARY[accuracy.task if accuracy else "detect"]


def primary(accuracy: AccuracyRecord | None) -> float | None:
    """Return the value of that metric, or None where it was not measured."""
    return accuracy.metrics.get(primary_of(accuracy)) if accuracy else None


def primary_name(run: RunRecord) -> str:
    """Return the metric that stands for the accuracy of all models of a run: ``metric`` where they differ."""
    names = {primary_of(accuracy) for accuracy in run.accuracies} or {primary_of(None)}
    return names.pop() if len(names) == 1 else "metric"


def primary_text(run: RunRecord, accuracy: AccuracyRecord | None) -> str:
    """Return the value as text, with the name of its metric where the models of the run have different ones."""
    name, text = primary_of(accuracy), fmt.metric(primary(accuracy))
    return text if accuracy is None or primary_name(run) == name else f"{text} {name}"


def distribution(latency: LatencyRecord | None, arm: str | None, context: Context) -> Distribution | None:
    """Return one arm's times in one context, or None where no launch has them."""
    if latency is None or arm is None:
        return None
    arms = (launch.arms.get(arm) for launch in latency.launches)
    timings = tuple(a.timings[context] for a in arms if a is not None and context in a.timings)
    return Distribution(timings) if timings else None


def replay_arm(latency: LatencyRecord | None, cell: Cell) -> str | None:
    """Return the arm that is the cell's stored baseline engine, timed again in this run; None without one."""
    return replay_of(cell.precision) if latency and is_replayed(latency, cell.precision) else None


def arms_of(latency: LatencyRecord | None) -> list[str]:
    """Return the arms of all launches, in the order in which they first occur."""
    return list(dict.fromkeys(arm for launch in latency.launches for arm in launch.arms)) if latency else []


def sessions_of(run: RunRecord, cell: Cell) -> tuple[BaselineSession, ...]:
    """Return the stored sessions of a cell's baseline, oldest first; none where its latency is not comparable."""
    use = run.baselines.get(cell.key)
    return use.baseline.sessions if use and use.baseline and use.outcome is Outcome.PASS else ()


def session_times(session: BaselineSession, context: Context) -> Distribution | None:
    """Return one stored session in one context, or None."""
    timings = tuple(x.timings[context] for x in session.launches if context in x.timings)
    return Distribution(timings) if timings else None


def before(run: RunRecord, cell: Cell, context: Context) -> Distribution | None:
    """Return what a cell is drawn against: its baseline engine timed in this run, else the newest stored session."""
    latency, sessions = latency_of(run, cell), sessions_of(run, cell)
    replayed = distribution(latency, replay_arm(latency, cell), context)
    return replayed or (session_times(sessions[-1], context) if sessions else None)


def before_ms(run: RunRecord, cell: Cell, context: Context, percent: int | None) -> float | None:
    """Return one level of a cell's baseline: replayed in this run, else the median over its stored sessions.

    ``percent`` is 1 to 99, or None for the mean.
    """
    latency = latency_of(run, cell)
    replayed = distribution(latency, replay_arm(latency, cell), context)
    found = [replayed] if replayed else [session_times(s, context) for s in sessions_of(run, cell)]
    levels = [x.mean_ms if percent is None else x.level_ms(percent) for x in found if x]
    return middle([level for level in levels if level is not None])


def gated_context(run: RunRecord) -> Context:
    """Return the context whose latencies the run judged, as its settings say."""
    latency = run.settings.get("latency")
    chosen = latency.get("context") if isinstance(latency, dict) else None
    return "end-to-end" if chosen == "end-to-end" else "engine"


def verdict_of(run: RunRecord, cell: Cell, subject: Subject) -> Verdict | None:
    """Return the verdict on one subject of a cell, or None where it was not judged."""
    return _INDEX.of(run.verdicts).get((subject, cell))


class _VerdictIndex:
    """The verdicts of the run that was asked for last: a large one is asked tens of thousands of times."""

    def __init__(self) -> None:
        self._verdicts: tuple[Verdict, ...] = ()
        self._found: dict[tuple[Subject, Cell], Verdict] = {}

    def of(self, verdicts: tuple[Verdict, ...]) -> dict[tuple[Subject, Cell], Verdict]:
        if verdicts is not self._verdicts:
            # The first of several counts.
            self._found = {(v.subject, v.cell): v for v in reversed(verdicts)}
            self._verdicts = verdicts
        return self._found


_INDEX = _VerdictIndex()


def find_check(verdict: Verdict | None, word: str, *, against: str, unit: str) -> Check | None:
    """Return the first check of that name, or with ``word`` among the words of its name, or None."""
    checks = [c for c in verdict.checks if (c.against, c.unit) == (against, unit)] if verdict else []
    exact = (check for check in checks if check.name == word)
    # Metrics of masks and keypoints have those of boxes in their names.
    return next(exact, None if unit == "points" else next((c for c in checks if word in c.name.split()), None))


def change_of(run: RunRecord, cell: Cell, percent: int | None, context: Context) -> float | None:
    """Return how much slower a cell is than its baseline, as a ratio: as judged, else from the levels of both.

    ``percent`` is 1 to 99, or None for the mean.
    """
    if context == gated_context(run):
        check = find_check(verdict_of(run, cell, "latency"), f"p{percent}", against="baseline", unit="ratio")
        if check is not None and check.change is not None:
            return check.change
    now = distribution(latency_of(run, cell), cell.precision, context)
    level = None if now is None else now.mean_ms if percent is None else now.level_ms(percent)
    return change(level, before_ms(run, cell, context, percent))


def same_engine(run: RunRecord, cell: Cell) -> bool:
    """Tell whether a cell's engine has the same bytes as its baseline's, and was not called slower or faster than it.

    What is around an engine may be slower all the same, and is judged where end-to-end latency is gated.
    """
    engine, use = run.engines.get(cell.key), run.baselines.get(cell.key)
    same = bool(engine and use and use.baseline and use.baseline.engine_sha256 == engine.sha256)
    return same and allowed_change(run, cell) is None


def allowed_drop(run: RunRecord, cell: Cell) -> float | None:
    """Return how far the primary metric of a cell may be under that of the ``.pt``; None where it is not gated."""
    check = find_check(
        verdict_of(run, cell, "accuracy"),
        primary_of(accuracy_of(run, cell, REFERENCE)),
        against=REFERENCE,
        unit="points",
    )
    return check.limit if check else None


def fallen_since(run: RunRecord, cell: Cell, name: str = "") -> Check | None:
    """Return the check that a metric, by default the primary one, failed against the baseline, or None."""
    name = name or primary_of(accuracy_of(run, cell, cell.precision))
    check = find_check(verdict_of(run, cell, "accuracy"), name, against="baseline", unit="points")
    return check if check and check.outcome is Outcome.FAIL else None


def least_metric(run: RunRecord, cell: Cell) -> float | None:
    """Return the least of the primary metric that passes, against the ``.pt`` and the baseline; None if not gated."""
    accuracy = verdict_of(run, cell, "accuracy")
    name = primary_of(accuracy_of(run, cell, REFERENCE))
    checks = (find_check(accuracy, name, against=against, unit="points") for against in (REFERENCE, "baseline"))
    floors = [c.reference - c.limit for c in checks if c and c.reference is not None and c.limit is not None]
    return max(floors, default=None)


def allowed_change(run: RunRecord, cell: Cell) -> float | None:
    """Return how much slower at p50 a cell may be than its baseline, as a ratio; None where that was not judged."""
    check = find_check(verdict_of(run, cell, "latency"), "p50", against="baseline", unit="ratio")
    return check.limit if check else None


def speedup_of(run: RunRecord, cell: Cell, context: Context) -> float | None:
    """Return how many times faster than the ``.pt`` a cell is at p50, or None."""
    latency = latency_of(run, cell)
    now, reference = distribution(latency, cell.precision, context), distribution(latency, REFERENCE, context)
    return ratio(reference.level_ms(50), now.level_ms(50)) if now and reference else None


def drop_of(run: RunRecord, cell: Cell, name: str = "") -> float | None:
    """Return ``.pt`` minus engine of one metric, by default the primary one, or None where either is missing."""
    reference, engine = accuracy_of(run, cell, REFERENCE), accuracy_of(run, cell, cell.precision)
    name = name or primary_of(reference)
    then, now = (arm.metrics.get(name) if arm else None for arm in (reference, engine))
    return None if then is None or now is None else then - now


def excess(check: Check) -> float | None:
    """Return how much of its limit a check used: above 1 is over; None where that has no meaning."""
    used, limit = check.value if check.unit in BUDGET_UNITS else check.change, check.limit
    if check.unit == "ratio" and is_speedup(check):
        used, limit = check.limit, check.change
    return ratio(used, limit) if limit and limit > 0 else None


def is_speedup(check: Check) -> bool:
    """Tell whether a check asks for at least a factor, rather than for at most a slow-down."""
    return "speedup" in check.name or "speed-up" in check.name


def severity(verdict: Verdict) -> tuple[bool, int, float]:
    """Return a key that sorts the worst verdict last: what failed the run, then the outcome, then how far over."""
    over = [used for used in (excess(c) for c in verdict.checks if c.outcome is verdict.outcome) if used is not None]
    return verdict.failed, verdict.outcome.rank, max(over, default=0.0)


def worst_of(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the worst of some verdicts, one that failed the run before one that is waived; None for none."""
    return max(verdicts, key=severity, default=None)


def worst_first(run: RunRecord) -> list[Verdict]:
    """Return all verdicts, the worst first; equals stay in the order of the plan."""
    return sorted(run.verdicts, key=severity, reverse=True)


def verdicts_of(run: RunRecord, cell: Cell) -> Iterator[Verdict]:
    """Yield the verdicts of a cell, accuracy first."""
    for subject in SUBJECTS:
        verdict = verdict_of(run, cell, subject)
        if verdict is not None:
            yield verdict


def cells_of(run: RunRecord) -> list[Cell]:
    """Return every cell that was planned or judged, the one with the worst verdict first."""
    cells = list(dict.fromkeys([*run.cells, *(v.cell for v in run.verdicts)]))
    worst = {cell: max((severity(v) for v in verdicts_of(run, cell)), default=(False, -1, 0.0)) for cell in cells}
    return sorted(cells, key=lambda cell: worst[cell][:2], reverse=True)


def worst_outcome(verdicts: Iterable[Verdict]) -> Outcome | None:
    """Return the worst outcome of some verdicts, or None for none."""
    return max((v.outcome for v in verdicts), key=lambda outcome: outcome.rank, default=None)
