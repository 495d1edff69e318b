"""What a model's engines are compared with in its launches: their stored baseline engines, where those are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..cache import EngineCache
from ..errors import BaselineError
from ..jobs import ArmRequest
from ..judge.latency.candidate import Candidate
from ..judge.latency.checks import still_needed
from ..records import Baseline, Cell, EngineRecord, LatencyRecord, replay_of
from ..settings import Settings
from .launches import Extension
from .plan import Plan


class Replays:
    """The comparison of a run: which baseline engines to time, and until when.

    Args:
        settings: The run's settings.
        plan: Its cells.
        cache: Where the baselines' engines may be.
        baseline_of: Returns the baseline that a cell's latency is to be compared with, or None.
    """

    def __init__(
        self, settings: Settings, plan: Plan, cache: EngineCache, baseline_of: Callable[[Cell], Baseline | None]
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.cache = cache
        self.baseline_of = baseline_of

    def replays(self, engines: Mapping[str, EngineRecord]) -> list[ArmRequest]:
        """Return the baseline engines that are in the cache, with the bytes that were accepted, and are not the new."""
        found = []
        for precision, engine in engines.items():
            try:
                baseline = self.baseline_of(engine.cell)
            except BaselineError:
                continue  # its own cell's verdict says so
            if baseline is None or baseline.engine_sha256 == engine.sha256:
                continue
            stored = self.cache.find(baseline.cache_key)
            if stored is not None and stored.sha256 == baseline.engine_sha256:
                request = ArmRequest(arm=replay_of(precision), artifact=str(stored.path), sha256=stored.sha256)
                found.append(request)
        return found

    def more(self, record: LatencyRecord) -> Extension | None:
        """Return what the undecided cells of a model still need, at most up to ``latency.max_launches``."""
        rules = self.settings.latency
        have = len(record.launches)
        cells = [cell for cell in self.plan.of_model(record.model) if cell.precision not in record.failures]
        judged = [Candidate(record, c.precision, rules.context, rules.limits(c.precision, c.backend)) for c in cells]
        needs = {candidate.arm: need for candidate in judged if (need := still_needed(candidate))}
        if not needs or have >= rules.max_launches:
            return None
        launches = min(rules.max_launches, have + min(need.more for need in needs.values()))
        why = "; ".join(f"{precision} {need.why}" for precision, need in needs.items())
        arms = frozenset().union(*(need.arms for need in needs.values()))
        return Extension(launches, arms, why, all(need.confirms for need in needs.values()))


def why_not_replayed(record: LatencyRecord, cell: Cell) -> str:
    """Return why a cell's baseline engine was not timed beside its new one, for a verdict that has to do without."""
    failed = record.failures.get(replay_of(cell.precision))
    if failed is not None:
        return f"the baseline engine could not be timed ({failed.reason})"
    return "the baseline engine is not in the cache"
