"""How much of a change since the stored sessions is the machine's: side-by-side launches tell it from the engine's.

A stored latency carries the speed that the machine had. The verdict does without it, where it rests on launches that
timed both engines side by side or on equal bytes; what is accepted is stored with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

from .. import text as fmt
from ..judge.latency.regression import IDENTICAL_CHECK
from ..records import Baseline, Cell, Check, RunRecord, is_replayed, usable
from ..settings import PERCENTILES, Settings


def machine_offset(before: Baseline | None, run: RunRecord, cell: Cell, settings: Settings) -> str:
    """Return in a sentence by how much the machine moved a run's latency since the stored sessions.

    It is of the first percentile that the machine moved by more than the smallest slow-down worth failing for; empty
    where none is, or where the verdict compared with nothing else than the stored sessions.
    """
    use = run.baselines.get(cell.key)
    judged_against = use.baseline if use else None
    if before is None or judged_against is None or judged_against.engine_sha256 != before.engine_sha256:
        return ""
    rules, latency = settings.latency, run.latencies[cell.model]
    verdicts = [verdict for verdict in run.verdicts if verdict.cell == cell and verdict.subject == "latency"]
    checks = {check.name: check for v in verdicts for check in v.checks if check.against == "baseline"}
    for name, percent in PERCENTILES.items():
        threshold = rules.limit(cell.precision, name, cell.backend).regression
        own = latency.per_launch_ms(cell.precision, rules.context, percent)
        stored = [median(session) for session in before.per_session_ms(rules.context, percent)]
        paired = _paired(checks, name, is_replayed(latency, cell.precision))
        if threshold is None or paired is None or not (stored and usable(own) and usable(stored)):
            continue
        engine_change, how = paired
        moved = median(own) / median(stored)
        machine_change = moved / (1 + engine_change) - 1
        if abs(math.log1p(machine_change)) > math.log1p(threshold):
            word = "slower" if machine_change > 0 else "faster"
            levels = f"{fmt.number(median(stored))} -> {fmt.ms(median(own))} ({fmt.percent(moved - 1)})"
            return fmt.plain(
                f"stored {name} {levels}, {how}: the machine was {word} when this was recorded; "
                f"accepting stores the {word} session"
            )
    return ""


def _paired(checks: Mapping[str, Check], name: str, replayed: bool) -> tuple[float, str] | None:
    """Return by how much an engine is slower than its baseline on the same machine, and how that is known."""
    if IDENTICAL_CHECK in checks:
        return 0.0, "though the engine is the same"
    check = checks.get(name)
    if not replayed or check is None or check.change is None:
        return None
    return check.change, f"beside the replayed baseline {fmt.percent(check.change)}"
