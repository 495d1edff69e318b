"""What a repair found, in lines for a terminal: a table, the recommendation, and the settings that reproduce it."""

from __future__ import annotations

from collections.abc import Iterator

from .. import text as fmt
from ..quantizing import Candidate
from ..settings import Int8
from .recommending import Repair, Row
from .trials import Given


def lines(found: Repair, given: Given, prefix: str) -> Iterator[str]:
    """Yield the lines; ``prefix`` stands before the names of tables in the settings file."""
    cell, recommended = given.cell, found.recommended
    if found.ended:
        yield f"{cell.label}: the search ended early, since {found.ended}"
    if not found.rows:
        yield f"{cell.label}: nothing was found, since no candidate was tried on all images"
        return
    yield from _table(found, given)
    if found.untimed:
        yield f"p50 is missing: {found.untimed}"
    now, best = found.rows[0].trial, min((row.trial for row in found.rows), key=lambda trial: trial.excess)
    if recommended is None:
        what = "within the time" if found.ended else f"in {fmt.plural(found.trials, 'trial')}"
        yield f"{cell.label}: nothing that was tried {what} passes the cell's limits; the best is over them by " + (
            f"{best.excess:.4f}: {given.described(best.candidate)}"
        )
    elif recommended.trial.candidate == now.candidate:
        yield f"{cell.label}: it passes as it is; nothing has to change"
        return
    else:
        share = 100 * len(recommended.kept) / found.layers
        kept = f"{len(recommended.kept)} of {found.layers} layers ({share:.0f} %) stay out of INT8"
        yield f"{cell.label}: recommended is {given.described(recommended.trial.candidate)}; {kept}. Set:"
    chosen = (recommended.trial if recommended else best).candidate
    if chosen != now.candidate:
        yield ""
        yield from settings_lines(chosen, given, prefix)


def _table(found: Repair, given: Given) -> Iterator[str]:
    metrics = list(found.rows[0].trial.drops)
    heads = ["", *(f"{metric} drop" for metric in metrics), "p50", "size", "kept", "settings"]
    rows = [heads, *(_cells(row, metrics, found.layers, given) for row in found.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _cells(row: Row, metrics: list[str], layers: int, given: Given) -> list[str]:
    trial = row.trial
    return [
        "->" if row.recommended else "ok" if trial.passes else "FAIL",
        *(fmt.plain(fmt.metric(trial.drops.get(metric))) for metric in metrics),
        fmt.plain(fmt.ms(row.p50_ms)),
        fmt.plain(fmt.size(trial.size_bytes)),
        f"{len(row.kept)} of {layers}",
        given.described(trial.candidate),
    ]


def settings_lines(candidate: Candidate, given: Given, prefix: str) -> Iterator[str]:
    """Yield the tables of a settings file that reproduce a candidate."""
    models = given.settings.models
    if len(models) > 1 or any(model.quantization for model in models):
        yield f"# of {given.cell.model} alone: as quantization.int8 in its entry of models"
    if candidate.asked != Int8():
        yield from candidate.asked.toml(f"{prefix}quantization.int8").split("\n")
    if candidate.fraction != given.settings.calibration.fraction:
        yield from (f"[{prefix}calibration]", f"fraction = {candidate.fraction:g}")
