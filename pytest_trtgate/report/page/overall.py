"""The verdict on all runs together: a badge, a headline, and a sentence that counts verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ... import text as fmt
from ...records import SUBJECTS, WORDS, Cell, Outcome, RunRecord, Subject, Verdict
from ..numbers import excess, is_speedup, numbers_of, worst_first
from .parts import Badge, badge, how_fast


def overall(runs: Sequence[RunRecord], *, named: bool = True) -> tuple[Badge, str, str]:
    """Return the verdict on all runs together, as badge, headline and one sentence.

    A run that judged nothing has failed: a gate that measured nothing is not green.

    ``named``: whether the sentence names what failed.
    """
    verdicts = [verdict for run in runs for verdict in worst_first(run)]
    unfinished = "; ".join(run.unfinished for run in runs if run.unfinished)
    total = fmt.plural(len(verdicts), "verdict")
    if not verdicts and not unfinished and all(run.engines for run in runs):
        lead = "Engines were built or measured for tests of your own; the gate itself was asked for no verdict."
        return badge(Outcome.INCONCLUSIVE), "Nothing was judged", lead
    if not verdicts:
        lead = "No verdict was reached, so this run does not count as passed."
        return badge(Outcome.ERROR), "Nothing was judged", lead
    if any(verdict.failed for verdict in verdicts):
        return _failed(verdicts, unjudged(runs), named)
    if unfinished:
        lead = f"{total} so far, and none of them failed, but {unfinished}."
        return badge(Outcome.ERROR), "Not passed", lead
    if silent := [run for run in runs if not run.verdicts]:
        return badge(Outcome.ERROR), "Gate failed", f"{fmt.plural(len(silent), 'run')} judged nothing."
    planned = len(verdicts) + sum(map(len, _missing(runs).values()))
    return _passed(verdicts, planned, unjudged(runs))


def _failed(verdicts: Sequence[Verdict], missing: str, named: bool) -> tuple[Badge, str, str]:
    """Return the overall verdict where something failed."""
    failed = [verdict for verdict in verdicts if verdict.failed]
    names = [f"{fmt.clip(v.cell.label, 60)} {v.subject}" for v in failed]
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    tail = " and ".join((", ".join(shown[:-1]), shown[-1])) if len(shown) > 1 else shown[0]
    excused = sum(bool(verdict.waived) for verdict in verdicts)
    waived = f"{excused} more failed and {'is' if excused == 1 else 'are'} waived for now" if excused else ""
    said = f"{len(failed)} of {fmt.plural(len(verdicts), 'verdict')} failed{_kinds(failed)}"
    worst = Outcome.ERROR if all(v.outcome is Outcome.ERROR for v in failed) else Outcome.FAIL
    return badge(worst), "Gate failed", _sentences(said + (f": {tail}" if named else ""), waived, missing)


def _passed(verdicts: Sequence[Verdict], planned: int, missing: str) -> tuple[Badge, str, str]:
    """Return the overall verdict where nothing failed."""
    passed = sum(verdict.outcome is Outcome.PASS for verdict in verdicts)
    total = fmt.plural(len(verdicts), "verdict")
    notes = _undecided(verdicts)
    headline = ", ".join(["Gate passed", *(["in part"] if missing else []), *(["with notes"] if notes else [])])
    said = f"All {total} pass"
    if missing:
        said = f"{passed} of {planned} planned verdicts {'passes' if passed == 1 else 'pass'}"
    elif notes:
        said = f"{passed} of {total} pass"
    lead = _sentences("; ".join(part for part in (said, notes) if part), missing)
    return badge(Outcome.PASS), headline, lead + ("" if missing or notes else closest(verdicts))


def _kinds(failed: Sequence[Verdict]) -> str:
    """Return how often each outcome failed the run, in brackets; empty where all are failures or errors."""
    counts = Counter(verdict.outcome for verdict in failed)
    if counts.keys() <= {Outcome.FAIL, Outcome.ERROR}:
        return ""
    return f" ({', '.join(f'{n} {WORDS[outcome].lower()}' for outcome, n in counts.items())})"


def _sentences(*said: str) -> str:
    return " ".join(f"{sentence}." for sentence in said if sentence)


def _undecided(verdicts: Sequence[Verdict]) -> str:
    """Return how many verdicts neither pass nor failed the run; empty where all pass."""
    waived = sum(bool(verdict.waived) for verdict in verdicts)
    new = sum(verdict.outcome is Outcome.NO_BASELINE for verdict in verdicts)
    undecided = sum(verdict.outcome is not Outcome.PASS for verdict in verdicts) - waived - new
    rest = [f"{new} had no baseline to be compared with"] if new else []
    rest += [f"{undecided} could not be decided and did not fail the run"] if undecided else []
    rest += [f"{waived} failed and {'is' if waived == 1 else 'are'} waived for now"] if waived else []
    return ", ".join(rest)


def unjudged(runs: Sequence[RunRecord]) -> str:
    """Return which planned verdicts are missing, as after a run of some tests only; empty where none is."""
    parts = [
        f"{subject} of {fmt.clip(labels[0], 60) if len(labels) == 1 else f'{len(labels)} cells'}"
        for subject, labels in _missing(runs).items()
        if labels
    ]
    return f"Not judged: {' and '.join(parts)}" if parts else ""


def _missing(runs: Sequence[RunRecord]) -> dict[Subject, list[str]]:
    """Return by subject the cells without a verdict, as labels; what jobs judge apart, of one engine, is judged."""
    judged: dict[tuple[str, Cell, str], set[str]] = {}
    for run in runs:
        for n in numbers_of(run):
            key = (run.environment.machine, n.cell, n.engine.sha256 if n.engine else run.run_id)
            judged.setdefault(key, set()).update(v.subject for v in n.verdicts)
    return {s: [cell.label for (_, cell, _), found in judged.items() if s not in found] for s in SUBJECTS}


def closest(verdicts: Sequence[Verdict]) -> str:
    """Return a sentence that names the check nearest to its limit, or nothing where no check has one."""
    used = [(part, v, c) for v in verdicts for c in v.checks if (part := excess(c)) is not None and part > 0]
    if not used:
        return ""
    part, verdict, check = max(used, key=lambda item: item[0])
    label = f"{fmt.clip(verdict.cell.label, 60)} {fmt.clip(check.name, 40)}"
    how_close = f"{fmt.share(part)} of what is allowed"
    if is_speedup(check):
        how_close = how_fast(check)
    return f" Closest to its limit: {label}, {how_close}."
