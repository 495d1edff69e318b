"""What the renderings ask of a run record: the numbers of a cell, and launches put together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import geometric_mean, median

from .. import text as fmt
from ..records import (
    CONTEXTS,
    PRIMARY,
    REFERENCE,
    SUBJECTS,
    Accepted,
    AccuracyRecord,
    BaselineSession,
    Cell,
    Check,
    Context,
    LatencyRecord,
    Outcome,
    RunRecord,
    Subject,
    Timing,
    Verdict,
    is_replayed,
    replay_of,
)

STAGES: tuple[Context, ...] = ("preprocess", "inference", "postprocess")
BUDGET_UNITS = ("ms", "mJ", "MB")
"""Units of checks against an absolute limit."""
ABSURD_MS = 1e9
"""Times of more than eleven days come from a damaged record; no chart draws them."""


def drawable(values: Iterable[float | None]) -> list[float]:
    """Return the values that a chart can draw."""
    return [value for value in values if value is not None and abs(value) < ABSURD_MS]


def middle(values: Sequence[float]) -> float | None:
    """Return the median; None without values, NaN where any value is not finite."""
    if not values:
        return None
    return median(values) if all(math.isfinite(value) for value in values) else math.nan


def ratio(now: float | None, then: float | None) -> float | None:
    """Return ``now / then``, or None where either is missing, not finite or ``then`` is 0."""
    if now is None or then is None or then == 0 or not (math.isfinite(now) and math.isfinite(then)):
        return None
    return now / then


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

    def images_per_second(self, batch: int) -> float | None:
        """Return the throughput: the median over launches of each launch's own, as in JUnit XML and the fixtures."""
        return middle([rate for timing in self.timings if (rate := ratio(1000.0 * batch, timing.mean_ms))])

    def level_ms(self, percent: int) -> float | None:
        """Return the p-th percentile: the median over launches of each launch's own."""
        return middle(self.per_launch_ms(percent))

    def per_launch_ms(self, percent: int) -> tuple[float, ...]:
        """Return the p-th percentile of each launch."""
        return tuple(timing.quantile_ms(percent) for timing in self.timings)

    @property
    def pooled_ms(self) -> tuple[float, ...]:
        """p1 to p99 of the mixture of all launches, empty where no launch has finite times."""
        points = sorted((value, max(timing.n, 1)) for timing in self.timings for value in drawable(timing.quantiles_ms))
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
    """Return the name of the metric that sums up an accuracy; that of detection where there is no accuracy."""
    return PRIMARY[accuracy.task if accuracy else "detect"]


def primary(accuracy: AccuracyRecord | None) -> float | None:
    """Return the value of the primary metric, or None where it was not measured."""
    return accuracy.metrics.get(primary_of(accuracy)) if accuracy else None


def primary_name(run: RunRecord) -> str:
    """Return the primary metric of all models of a run: ``metric`` where they differ."""
    names = {primary_of(accuracy) for accuracy in run.accuracies} or {primary_of(None)}
    return names.pop() if len(names) == 1 else "metric"


def distribution(latency: LatencyRecord | None, arm: str | None, context: Context) -> Distribution | None:
    """Return one arm's times in one context, or None where no launch has them."""
    if latency is None or arm is None:
        return None
    arms = (launch.arms.get(arm) for launch in latency.launches)
    timings = tuple(a.timings[context] for a in arms if a is not None and context in a.timings)
    return Distribution(timings) if timings else None


def arms_of(latency: LatencyRecord | None) -> list[str]:
    """Return the arms of all launches, in the order in which they first occur."""
    return list(dict.fromkeys(arm for launch in latency.launches for arm in launch.arms)) if latency else []


def session_times(session: BaselineSession, context: Context, *, reference: bool = False) -> Distribution | None:
    """Return one stored session of an engine, or of its ``.pt``, in one context, or None."""
    launches = session.reference if reference else session.launches
    timings = tuple(x.timings[context] for x in launches if context in x.timings)
    return Distribution(timings) if timings else None


def gated_context(run: RunRecord) -> Context:
    """Return the context whose latencies the run judged, as its settings say."""
    latency = run.settings.get("latency")
    chosen = latency.get("context") if isinstance(latency, dict) else None
    return "end-to-end" if chosen == "end-to-end" else "engine"


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


def worst_first(run: RunRecord) -> list[Verdict]:
    """Return all verdicts, the worst first; equals stay in the order of the plan."""
    return sorted(run.verdicts, key=severity, reverse=True)


class CellNumbers:
    """The numbers of one cell of a run, for every rendering; None where there is no such number.

    Args:
        run: The run.
        cell: One of its cells.
        verdicts: The verdicts on it by subject; by default they are looked for in the run.
    """

    def __init__(self, run: RunRecord, cell: Cell, verdicts: Mapping[Subject, Verdict] | None = None) -> None:
        self.run, self.cell, self.label = run, cell, fmt.clip(cell.label)
        # The first of several counts.
        found = verdicts or {v.subject: v for v in reversed(run.verdicts) if v.cell == cell}
        self.accuracy_verdict, self.latency_verdict = (found.get(subject) for subject in SUBJECTS)
        self.verdicts = [verdict for verdict in (self.accuracy_verdict, self.latency_verdict) if verdict]
        """Accuracy first."""
        self.worst = max(self.verdicts, key=severity, default=None)
        """The worst verdict, one that failed the run before one that is waived."""
        self.context = gated_context(run)
        self.engine = run.engines.get(cell.key)
        self.baseline_use = run.baselines.get(cell.key)
        self.baseline = self.baseline_use.baseline if self.baseline_use else None
        self.figures = run.figures.get(cell.key)

    @property
    def accepted(self) -> Accepted | None:
        """What was accepted of the accuracy; in records of older versions it is beside the latency."""
        use = self.run.accuracy_baselines.get(self.cell.key)
        return use.baseline if use and use.baseline else self.baseline

    @property
    def accepted_metrics(self) -> dict[str, float]:
        """The metrics that were accepted."""
        return self.accepted.accuracy if self.accepted else {}

    @cached_property
    def latency(self) -> LatencyRecord | None:
        """The launches of the cell's model."""
        return latency_of(self.run, self.cell)

    @cached_property
    def accuracy(self) -> AccuracyRecord | None:
        """The accuracy of the engine."""
        return accuracy_of(self.run, self.cell, self.cell.precision)

    @cached_property
    def reference(self) -> AccuracyRecord | None:
        """The accuracy of the ``.pt``."""
        return accuracy_of(self.run, self.cell, REFERENCE)

    @property
    def metric(self) -> str:
        """The name of the cell's primary metric."""
        return primary_of(self.reference or self.accuracy)

    def metric_text(self, accuracy: AccuracyRecord | None) -> str:
        """Return an accuracy as text, with the name of its metric where the models of the run have different ones."""
        name, text = primary_of(accuracy), fmt.metric(primary(accuracy))
        return text if accuracy is None or primary_name(self.run) == name else f"{text} {name}"

    def metrics(self, name: str) -> tuple[float | None, float | None]:
        """Return one metric of the ``.pt`` and of the engine."""
        reference, engine = (arm.metrics.get(name) if arm else None for arm in (self.reference, self.accuracy))
        return reference, engine

    def drop(self, name: str = "") -> float | None:
        """Return ``.pt`` minus engine of one metric, by default the primary one."""
        then, now = self.metrics(name or primary_of(self.reference))
        return None if then is None or now is None else then - now

    def check(self, subject: Subject, word: str, *, against: str, unit: str) -> Check | None:
        """Return the first check of that name, or with ``word`` among the words of its name."""
        verdict = self.accuracy_verdict if subject == "accuracy" else self.latency_verdict
        checks = [c for c in verdict.checks if (c.against, c.unit) == (against, unit)] if verdict else []
        exact = (check for check in checks if check.name == word)
        # Metrics of masks and keypoints have those of boxes in their names.
        return next(exact, None if unit == "points" else next((c for c in checks if word in c.name.split()), None))

    @cached_property
    def allowed_drop(self) -> float | None:
        """How far the primary metric may be under that of the ``.pt``."""
        check = self.check("accuracy", primary_of(self.reference), against=REFERENCE, unit="points")
        return check.limit if check else None

    def fallen_since(self, name: str = "") -> Check | None:
        """Return the check that a metric, by default the primary one, failed against the baseline."""
        check = self.check("accuracy", name or primary_of(self.accuracy), against="baseline", unit="points")
        return check if check and check.outcome is Outcome.FAIL else None

    @property
    def least_metric(self) -> float | None:
        """The least of the primary metric that passes, against the ``.pt`` and the baseline."""
        name = primary_of(self.reference)
        checks = (self.check("accuracy", name, against=against, unit="points") for against in (REFERENCE, "baseline"))
        floors = [c.reference - c.limit for c in checks if c and c.reference is not None and c.limit is not None]
        return max(floors, default=None)

    @cached_property
    def rest(self) -> BaselineSession | None:
        """The stored session that has the ``.pt`` and the context that is not gated, where this run timed neither.

        A run of engines that are all their baselines' leaves them out.
        """
        latency, engine = self.latency, self.engine
        if latency is None or engine is None or not self.same_bytes or latency.of_arm(REFERENCE):
            return None
        weights = str(engine.key_parts.get("weights", ""))
        return next((session for session in reversed(self.sessions) if session.is_whole(weights)), None)

    @property
    def stored(self) -> str:
        """A remark on a ratio to the ``.pt`` whose both sides are of that stored session; empty otherwise."""
        return ", stored" if self.rest else ""

    @property
    def rest_of(self) -> str:
        """Where the times come from that this run left out, for a remark; empty where it left out none."""
        return f" of the stored session of {fmt.date(self.rest.recorded_at)}" if self.rest else ""

    def times(self, context: Context | None = None, arm: str | None = None) -> Distribution | None:
        """Return the times of the engine in the gated context, or those of another arm or context.

        Of what this run left out they are those of :attr:`rest`.
        """
        arm, context = arm or self.cell.precision, context or self.context
        here = distribution(self.latency, arm, context)
        if here is None and self.rest and context in CONTEXTS and arm in (REFERENCE, self.cell.precision):
            return session_times(self.rest, context, reference=arm == REFERENCE)
        return here

    def is_timed(self, context: Context) -> bool:
        """Return whether this run timed the engine so."""
        return distribution(self.latency, self.cell.precision, context) is not None

    def level_ms(self, percent: int, arm: str | None = None) -> float | None:
        """Return one percentile of the engine, or of another arm, in the gated context."""
        times = self.times(arm=arm)
        return times.level_ms(percent) if times else None

    @property
    def replay_arm(self) -> str | None:
        """The arm that is the stored baseline engine, timed again in this run."""
        replayed = self.latency is not None and is_replayed(self.latency, self.cell.precision)
        return replay_of(self.cell.precision) if replayed else None

    def replayed(self, context: Context) -> Distribution | None:
        """Return the times of the stored baseline engine in this run."""
        return distribution(self.latency, self.replay_arm, context)

    @property
    def sessions(self) -> tuple[BaselineSession, ...]:
        """The stored sessions of the baseline, oldest first; none where its latency is incompatible."""
        use = self.baseline_use
        return use.baseline.sessions if use and use.baseline and use.outcome is Outcome.PASS else ()

    @property
    def before(self) -> Distribution | None:
        """What the cell is drawn against: its baseline engine timed in this run, else the newest stored session."""
        newest = session_times(self.sessions[-1], self.context) if self.sessions else None
        return self.replayed(self.context) or newest

    def before_ms(self, context: Context, percent: int | None) -> float | None:
        """Return one level of the baseline: replayed in this run, else the geometric mean over its stored sessions.

        ``percent`` is 1 to 99, or None for the mean.
        """
        replayed = self.replayed(context)
        found = [replayed] if replayed else [session_times(session, context) for session in self.sessions]
        levels = [x.mean_ms if percent is None else x.level_ms(percent) for x in found if x]
        known = [level for level in levels if level is not None]
        # As it is judged, so that what is shown of one baseline is one number.
        return geometric_mean(known) if known and all(0 < level < math.inf for level in known) else middle(known)

    def change(self, percent: int | None = 50, context: Context | None = None) -> float | None:
        """Return how much slower the engine is than its baseline, as a ratio: as judged, else from the levels of both.

        ``percent`` is 1 to 99, or None for the mean.
        """
        context = context or self.context
        if context == self.context:
            check = self.check("latency", f"p{percent}", against="baseline", unit="ratio")
            if check is not None and check.change is not None:
                return check.change
        now = self.times(context)
        level = None if now is None else now.mean_ms if percent is None else now.level_ms(percent)
        factor = ratio(level, self.before_ms(context, percent))
        return None if factor is None else factor - 1

    @cached_property
    def allowed_change(self) -> float | None:
        """How much slower than its baseline the engine may be at p50, as a ratio."""
        check = self.check("latency", "p50", against="baseline", unit="ratio")
        return check.limit if check else None

    @property
    def same_bytes(self) -> bool:
        """Whether engine and baseline engine have the same bytes."""
        return bool(self.engine and self.baseline and self.baseline.engine_sha256 == self.engine.sha256)

    @property
    def same_engine(self) -> bool:
        """Whether engine and baseline engine have the same bytes, and no verdict compared their speeds.

        End-to-end latency is compared all the same: what surrounds the engine may have become slower.
        """
        return self.same_bytes and self.allowed_change is None

    @property
    def speedup(self) -> float | None:
        """How many times faster than the ``.pt`` the engine is at p50; None where it was timed elsewhere."""
        if self.latency and any(launch.recorded for launch in self.latency.of_arm(self.cell.precision)):
            return None
        engine, reference = self.p50_beside_ms
        return ratio(reference, engine)

    @property
    def p50_beside_ms(self) -> tuple[float | None, float | None]:
        """The p50 of the engine and of the ``.pt``, of one and the same session, be it a stored one."""
        then = session_times(self.rest, self.context) if self.rest else None
        return then.level_ms(50) if then else self.level_ms(50), self.level_ms(50, REFERENCE)

    @property
    def size_bytes(self) -> int | None:
        """The size of the engine; None of predictions, whose engine is elsewhere."""
        return self.engine.size_bytes if self.engine and self.engine.runs else None


def numbers_of(run: RunRecord) -> list[CellNumbers]:
    """Return the numbers of every cell that was planned or judged, the one with the worst verdict first."""
    verdicts: dict[Cell, dict[Subject, Verdict]] = {cell: {} for cell in run.cells}
    for verdict in run.verdicts:
        verdicts.setdefault(verdict.cell, {}).setdefault(verdict.subject, verdict)
    found = [CellNumbers(run, cell, known) for cell, known in verdicts.items()]
    return sorted(found, key=lambda n: severity(n.worst)[:2] if n.worst else (False, -1), reverse=True)


def rows_of(run: RunRecord) -> list[list[CellNumbers]]:
    """Return the cells of each model at one image size, batch, backend and device, the worst first."""
    rows: dict[tuple[object, ...], list[CellNumbers]] = {}
    for numbers in numbers_of(run):
        cell = numbers.cell
        rows.setdefault((cell.model, cell.imgsz, cell.batch, cell.backend, cell.device), []).append(numbers)
    return list(rows.values())
