"""Which precision of each model a run speaks for, and which engines are no gain: what to do with the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .. import text as fmt
from ..records import PRECISIONS, SUBJECTS, WORDS, Outcome, RunRecord, Verdict
from .numbers import CellNumbers, primary, ratio, rows_of

ALIKE = 0.05
"""Latencies that differ by less than this ratio are alike: the more accurate engine, then the smaller, is better."""


def shipping(run: RunRecord) -> tuple[str, ...]:
    """Return per judged model, in a sentence, the precision that it would ship, or why none, or what leaves it open.

    An engine is shipped where both its accuracy and its latency were judged and neither is a failure, also a waived
    one, and where it is faster than the ``.pt``, as far as that was timed. The fastest of those is the one.
    """
    rows = [row for row in rows_of(run) if any(n.verdicts for n in row)]
    said = [_sentence(row) for row in rows]
    if len(rows) < 2:
        return tuple(f"{sentence[0].upper()}{sentence[1:]}" for sentence in said)
    return tuple(f"{_place(row[0], rows)}: {sentence}" for row, sentence in zip(rows, said, strict=True))


def no_gain(run: RunRecord) -> tuple[str, ...]:
    """Return a sentence per engine that is slower and less accurate than another one, or slower than its ``.pt``."""
    return tuple(said for row in rows_of(run) for n in row for said in _no_gain(n, row))


def _place(n: CellNumbers, rows: Sequence[Sequence[CellNumbers]]) -> str:
    """Return the model of a row, with what tells it from another row of the same model."""
    cell = n.cell
    alike = [row[0].cell for row in rows if row[0].cell.model == cell.model]
    more = f", {cell.imgsz} px, batch {cell.batch} on {fmt.clip(cell.device, 40)}" if len(alike) > 1 else ""
    return fmt.clip(cell.model, 60) + more


def _sentence(row: Sequence[CellNumbers]) -> str:
    good = [n for n in row if not _against(n) and _timed(n)]
    faster = [n for n in good if n.speedup is None or n.speedup > 1]
    if not good:
        ordered = sorted(row, key=lambda n: PRECISIONS.index(n.cell.precision))
        reasons: dict[str, list[str]] = {}
        for n in ordered:
            reasons.setdefault(_against(n) or "not timed", []).append(_name(n))
        said = [f"{why} ({', '.join(names)})" for why, names in reasons.items()]
        unknown = any(_is_open(n) for n in row)
        return f"{'which to ship is open' if unknown else 'ship none'}: {'; '.join(said)}"
    if not faster:
        best = min(good, key=_p50_ms)
        engine, reference = map(fmt.ms, best.p50_beside_ms)
        levels = f"{_name(best)} {engine}, .pt {reference} at p50{best.rest_of}"
        return f"ship none: no engine that passes is faster than the .pt ({levels})"
    fastest = min(faster, key=_p50_ms)
    near = [n for n in faster if _p50_ms(n) < _p50_ms(fastest) * (1 + ALIKE)]
    best = min(near, key=lambda n: (_lost(n, fastest), n.size_bytes or 0, _p50_ms(n)))
    still_open = "".join(f"; {_is(v)}" for v in best.verdicts if v.outcome is not Outcome.PASS)
    return f"ship {_name(best)}, {_reason(best, fastest, len(good))}{still_open}{_instead(best, row)}"


def _reason(best: CellNumbers, fastest: CellNumbers, good: int) -> str:
    why = "the fastest that passes" if good > 1 else "the one that passes"
    if best is not fastest:
        why = f"as fast as {_name(fastest)}, the fastest that passes, within {fmt.share(ALIKE)}, and "
        why += "as accurate and smaller" if _lost(best, fastest) == 0 else "more accurate"
    faster = f" ({fmt.times(best.speedup)} vs .pt{best.stored})" if best.speedup else ""
    lost = f", {fmt.drop(best.drop())} in {best.metric}" if best.drop() is not None else ""
    return f"{why}: p50 {fmt.ms(best.level_ms(50))}{faster}{lost}"


def _instead(best: CellNumbers, row: Sequence[CellNumbers]) -> str:
    """Return why a faster engine is not shipped, as the end of a sentence."""
    faster = [n for n in row if _against(n) and _timed(n) and _p50_ms(n) < _p50_ms(best)]
    return "".join(f"; {_name(n)} is faster ({fmt.ms(n.level_ms(50))}) but its {_against(n)}" for n in faster)


def _against(n: CellNumbers) -> str:
    """Return what stands against shipping an engine; empty where its accuracy and latency were judged to be fine."""
    if n.accuracy_verdict and n.accuracy_verdict.outcome is Outcome.INCONCLUSIVE:
        return "accuracy could not be decided"
    if bad := _bad(n):
        return " and ".join(map(_is, bad))
    missing = _unjudged(n)
    return f"{' and '.join(missing)} not judged" if missing else ""


def _bad(n: CellNumbers) -> list[Verdict]:
    return [v for v in n.verdicts if v.failed or v.outcome in (Outcome.FAIL, Outcome.ERROR)]


def _is_open(n: CellNumbers) -> bool:
    """Return whether an engine might still be shipped: what was not measured or decided of it is no failure."""
    open_ = (Outcome.ERROR, Outcome.INCONCLUSIVE)
    undecided = bool(_unjudged(n)) or any(verdict.outcome in open_ for verdict in n.verdicts)
    return undecided and all(verdict.outcome in open_ for verdict in _bad(n))


def _unjudged(n: CellNumbers) -> list[str]:
    verdicts = n.accuracy_verdict, n.latency_verdict
    return [subject for subject, verdict in zip(SUBJECTS, verdicts, strict=True) if verdict is None]


def _is(verdict: Verdict) -> str:
    """Return a verdict in words: ``accuracy failed``."""
    said = {Outcome.FAIL: " failed", Outcome.ERROR: " could not be measured"}
    how = said.get(verdict.outcome, f" is {WORDS[verdict.outcome].lower()}")
    if verdict.outcome is Outcome.NO_BASELINE:
        how = " has no baseline"
    return f"{verdict.subject}{how}" + (" (waived)" if verdict.waived else "")


def _no_gain(n: CellNumbers, row: Sequence[CellNumbers]) -> Iterator[str]:
    better = [m for m in row if m is not n and _slower(n, m) > ALIKE and _lost(n, m) > 0]
    if better:
        other = min(better, key=_p50_ms)
        levels = f"{fmt.ms(n.level_ms(50))} against {fmt.ms(other.level_ms(50))} at p50"
        metrics = f"{n.metric} {fmt.metric(primary(n.accuracy))} against {fmt.metric(primary(other.accuracy))}"
        yield f"{n.label} is slower and less accurate here than {_name(other)}: {levels}, {metrics}"
    if n.speedup is not None and n.speedup < 1 / (1 + ALIKE):
        engine, reference = map(fmt.ms, n.p50_beside_ms)
        yield f"{n.label} is slower here than the .pt: {engine} against {reference} at p50{n.rest_of}"


def _slower(n: CellNumbers, other: CellNumbers) -> float:
    """Return by how much an engine is slower than another one, as a ratio; 0 where either was not timed."""
    return (ratio(n.level_ms(50), other.level_ms(50)) or 1.0) - 1


def _lost(n: CellNumbers, other: CellNumbers) -> float:
    """Return how much less accurate an engine is than another one, to three decimals; 0 where that is unknown."""
    mine, theirs = primary(n.accuracy), primary(other.accuracy)
    lost = 0.0 if mine is None or theirs is None else round(theirs - mine, 3)
    return lost if math.isfinite(lost) else 0.0


def _timed(n: CellNumbers) -> bool:
    return 0 < _p50_ms(n) < math.inf


def _p50_ms(n: CellNumbers) -> float:
    return n.level_ms(50) or 0.0


def _name(n: CellNumbers) -> str:
    return n.cell.precision.upper()
