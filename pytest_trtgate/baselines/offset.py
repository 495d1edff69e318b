"""Whether a machine was as fast when a run was made as when its baseline was: what side-by-side launches tell apart.

A stored latency carries the speed that the machine had. The verdict does without it, where it rests on launches that
timed both engines side by side or on equal bytes; what is accepted is stored with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from .. import text as fmt
from ..judge.latency.regression import IDENTICAL
from ..records import Baseline, Cell, Check, LatencyRecord, RunRecord, is_replayed, usable
from ..settings import PERCENTILES, Settings


@dataclass(frozen=True)
class Offset:
    """One percentile of a run beside the stored one, and what of the change is the engine's. Changes are ratios.

    Attributes:
        engine_change: What the verdict rested on.
        how: How that is known.
    """

    name: str
    stored_ms: float
    now_ms: float
    engine_change: float
    how: str

    @property
    def machine_change(self) -> float:
        """How much slower the machine was than in the stored sessions; less than 0 where it was faster."""
        return self.now_ms / self.stored_ms / (1 + self.engine_change) - 1

    @property
    def sentence(self) -> str:
        """Both numbers, and what they mean to somebody who accepts the run; without its full stop."""
        change = fmt.percent(self.now_ms / self.stored_ms - 1)
        moved = f"{fmt.number(self.stored_ms)} -> {fmt.ms(self.now_ms)} ({change})"
        word = "slower" if self.machine_change > 0 else "faster"
        return fmt.plain(
            f"stored {self.name} {moved}, {self.how}: the machine was {word} when this was recorded; "
            f"accepting stores the {word} session"
        )


def machine_offset(
    before: Baseline | None, run: RunRecord, cell: Cell, latency: LatencyRecord, settings: Settings
) -> Offset | None:
    """Return by how much the machine moved a run's latency since the stored sessions, where that is worth telling.

    It is from the smallest slow-down that is worth failing for, of the first percentile that moved as much; None where
    nothing did, or where the verdict compared with nothing else than the stored sessions.

    Args:
        before: The baseline that there is.
        run: The run.
        cell: One of its cells.
        latency: The launches that timed it.
        settings: Those of the run.
    """
    use = run.baselines.get(cell.key)
    judged_against = use.baseline if use else None
    if before is None or judged_against is None or judged_against.engine_sha256 != before.engine_sha256:
        return None
    rules = settings.latency
    checks = {
        check.name: check
        for verdict in run.verdicts
        if verdict.cell == cell and verdict.subject == "latency"
        for check in verdict.checks
        if check.against == "baseline"
    }
    for name, percent in PERCENTILES.items():
        threshold = rules.limit(cell.precision, name, cell.backend).regression
        own = latency.per_launch_ms(cell.precision, rules.context, percent)
        stored = [median(session) for session in before.per_session_ms(rules.context, percent)]
        paired = _paired(checks, name, is_replayed(latency, cell.precision))
        if threshold is None or paired is None or not (stored and usable(own) and usable(stored)):
            continue
        found = Offset(name, median(stored), median(own), *paired)
        if abs(math.log1p(found.machine_change)) > math.log1p(threshold):
            return found
    return None


def _paired(checks: Mapping[str, Check], name: str, replayed: bool) -> tuple[float, str] | None:
    """Return by how much an engine is slower than its baseline on the same machine, and how that is known."""
    if IDENTICAL in checks:
        return 0.0, "though the engine is the same"
    check = checks.get(name)
    if not replayed or check is None or check.change is None:
        return None
    return check.change, f"beside the replayed baseline {fmt.percent(check.change)}"
