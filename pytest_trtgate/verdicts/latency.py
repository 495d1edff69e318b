"""The latency of a cell judged: against budgets, other arms of its launches, and its baseline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..baselines import BaselineLookup, Now, platform_changed
from ..errors import BaselineError, JobError
from ..findings import Found, engine_findings, unstable_warmup
from ..judge.engine import judge_engine, judge_resources
from ..judge.latency.candidate import Against
from ..judge.latency.checks import judge_latency
from ..measuring import Latencies, RunContext, candidate_of, profile_layers, why_not_replayed
from ..records import PLATFORM, Baseline, Cell, Check, LatencyRecord, Outcome, Preflight, slowest_change
from .decide import Judgement, explained, no_baseline, to_be_accepted

NO_TIMES = "what was predicted elsewhere came without times; name files of them as times in the settings"


@dataclass(frozen=True)
class LatencyJudge:
    """Judges the launches of engines; ``preflight`` returns what was found before the build."""

    latencies: Latencies
    lookup: BaselineLookup
    preflight: Callable[[], Preflight]

    @property
    def context(self) -> RunContext:
        """What the measuring of the run shares."""
        return self.latencies.context

    def launches(self, cell: Cell) -> LatencyRecord:
        """Return the launches that timed a cell, with stored baseline engines to compare with.

        Raises:
            JobError: It could not be timed.
        """
        latency = self.latencies.of(cell.model)
        if self._is_without_times(cell):
            raise JobError("times", f"{cell.label} has none: {NO_TIMES}")
        if failure := latency.failures.get(cell.precision):
            raise JobError(failure.job, failure.reason, failure.log_tail)
        return latency

    def judge(self, cell: Cell) -> Judgement:
        """Return the checks of a cell's latency, and what was found beside them.

        Raises:
            TrtGateError: It could not be measured.
        """
        if self._is_without_times(cell):
            said = f"{cell.precision}: latency was not judged, since {NO_TIMES}"
            return [Check(name="latency", against="baseline", outcome=Outcome.INCONCLUSIVE, sentence=said)], []
        latency, predicted = self.launches(cell), self.context.plan.is_predicted(cell)
        engine, use = self.latencies.engines.of(cell), self.lookup.use(cell)
        checks = self.times(cell)
        checks += judge_resources(latency, cell.precision, *self.context.settings.latency.resources(cell.precision))
        if self.context.settings.profile and not predicted:
            layers = profile_layers(self.latencies.engines, cell).layers
            checks = explained(checks, slowest_change(layers, use.baseline.layers if use.baseline else ()))
        if not predicted:
            checks += judge_engine(engine, self.context.settings.engine.limits(cell.precision))
        launches = latency.of_arm(cell.precision)
        unstable = sum(not launch.arms[cell.precision].warmup_stable for launch in launches)
        return checks, [
            *engine_findings(self.latencies.engines, cell),
            *unstable_warmup(cell.label, unstable, len(launches)),
            *self._platform(cell, latency),
        ]

    def _is_without_times(self, cell: Cell) -> bool:
        """Return whether nothing was timed of a cell, here or elsewhere."""
        model = next((model for model in self.context.settings.models if model.name == cell.model), None)
        return self.context.plan.is_predicted(cell) and not (model and model.times.get(cell.precision))

    def _platform(self, cell: Cell, latency: LatencyRecord) -> list[Found]:
        """Return a finding where the machine moved the cell's latency since the stored sessions."""
        context, found = self.context, dict[Cell, Baseline]()
        timed = [one for one in context.plan.of_model(cell.model) if not context.plan.is_predicted(one)]
        for other in timed if cell in timed else ():  # what was timed elsewhere tells nothing of this machine
            with suppress(BaselineError):  # its own verdict says so
                if baseline := self.lookup.comparable(other):
                    found[other] = baseline
        now = Now(latency, context.environment, context.settings.latency.context, self.preflight().busy)
        said = platform_changed(cell, found, now)
        # To become the baseline is what accepts it.
        return [Found(PLATFORM, said, warns=self.lookup.accepts(cell, "latency"))] if said else []

    def times(self, cell: Cell) -> list[Check]:
        """Return the checks of a cell's launches alone.

        Raises:
            JobError: It could not be timed.
        """
        latency, rules = self.launches(cell), self.context.settings.latency
        predicted = self.context.plan.is_predicted(cell)
        baseline = self.lookup.comparable(cell)
        against = None
        if baseline is not None:
            same = baseline.engine_sha256 == self.latencies.engines.of(cell).sha256 and not predicted
            against = Against(baseline, same, why_not_replayed(latency, cell), self.preflight().busy)
        candidate = candidate_of(self.context, latency, cell, baseline)
        speedup = rules.speedup_rule(cell.precision, cell.backend, self.context.settings.precisions)
        speedup = None if predicted else speedup  # no launch had both
        checks, accepting = judge_latency(candidate, speedup, against), self.lookup.accepts(cell, "latency")
        if baseline is None and not accepting:
            use = self.lookup.use(cell)
            checks.append(no_baseline(cell, "latency", use.outcome, use.note))
        if not accepting:
            return checks
        since = [check for check in checks if check.against == "baseline"]
        return [check for check in checks if check not in since] + to_be_accepted(since)
