"""Why a cell's accuracy fell: the sentence, a bar per block, symptoms, tables of parts, layers and ranges, outliers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ... import text as fmt
from ...records import Explanation, RunRecord, Verdict
from ..numbers import CellNumbers
from . import cell_charts
from .parts import Badge, Row, Table

SHOWN = 20
"""Layers and ranges that the page has; the record has all."""
_FOUND, _NOT = Badge("fail", "Found"), Badge("pass", "No")


@dataclass(frozen=True)
class SymptomView:
    """One symptom: whether it was found, what it is, and its evidence."""

    badge: Badge
    label: str
    sentence: str


@dataclass(frozen=True)
class OutlierView:
    """One calibration image that alone set ranges; ``source`` is its picture as a URL, empty without one."""

    said: str
    source: str


@dataclass(frozen=True)
class ExplanationView:
    """What the page shows of an explanation."""

    sentence: str
    blocks: str
    blocks_note: str
    symptoms: tuple[SymptomView, ...]
    tables: tuple[tuple[str, Table], ...]
    outliers: tuple[OutlierView, ...]


def why_sentence(run: RunRecord, verdict: Verdict) -> str:
    """Return what an explanation says of a verdict on accuracy; empty where there is none."""
    found = run.explanations.get(verdict.cell.key) if verdict.subject == "accuracy" else None
    return fmt.clip(found.sentence, 700) if found else ""


def explanation_view(n: CellNumbers) -> ExplanationView | None:
    """Return the explanation of a cell; None where there is none."""
    found = n.run.explanations.get(n.cell.key)
    if found is None:
        return None
    metric = fmt.clip(found.metric, 40)
    saved = [(block.name, drop) for block in found.blocks if (drop := found.saved(block)) is not None]
    note = f"drop that is saved with the block kept out of INT8, of {fmt.metric(found.blocks_drop)}; "
    return ExplanationView(
        sentence=fmt.clip(found.sentence, 700) or "Nothing was found.",
        blocks=cell_charts.bars(saved, f"{n.label}: drop of {metric} that each block causes in INT8"),
        blocks_note=(note if saved else "") + fmt.clip(found.blocks_note, 300),
        symptoms=tuple(
            SymptomView(_FOUND if one.found else _NOT, fmt.clip(one.kind, 60), fmt.clip(one.sentence, 400))
            for one in found.symptoms
        ),
        tables=tuple(_tables(found, n.label)),
        outliers=tuple(
            OutlierView(
                fmt.clip(
                    f"{one.image}: alone sets {fmt.plural(one.layers, 'range')}, {one.times:.1f} times the median "
                    f"image's in {one.layer}",
                    300,
                ),
                f"data:image/jpeg;base64,{one.picture}" if one.picture else "",
            )
            for one in found.outliers
        ),
    )


def _tables(found: Explanation, label: str) -> Iterator[tuple[str, Table]]:
    if found.parts:
        yield f"{fmt.clip(found.metric, 40)} taken apart ({len(found.parts)} parts)", _parts(found, label)
    if found.blocks:
        yield f"Blocks ({len(found.blocks)})", _blocks(found, label)
    if found.layers:
        shown = found.layers[:SHOWN]
        yield f"The {len(shown)} layers of {len(found.layers)} that add most noise", _layers(found, label)
    if found.ranges:
        yield f"Calibrated ranges, the {len(found.ranges[:SHOWN])} most clipped", _ranges(found, label)


def _parts(found: Explanation, label: str) -> Table:
    rows = tuple(
        Row((
            fmt.clip(part.name, 80),
            part.kind,
            fmt.metric(part.reference),
            fmt.metric(part.engine),
            fmt.metric(part.drop),
            fmt.count(part.objects) if part.objects else fmt.MISSING,
        ))
        for part in found.parts
    )  # fmt: skip
    caption = "of a keypoint, its error in percent of the object's size" if _of_pose(found) else ""
    columns = ("Part", "By", ".pt", "Engine", "Drop", "Objects")
    classes = {"By": "l", "Drop": "d"}
    return Table(f"Parts of {label}", columns, rows, caption, kind="sortable parts", classes=classes, tall=True)


def _of_pose(found: Explanation) -> bool:
    return any(part.kind == "keypoint" for part in found.parts)


def _blocks(found: Explanation, label: str) -> Table:
    rows = tuple(
        Row((
            fmt.clip(block.name, 60),
            str(block.layers),
            fmt.count(block.images) if block.images else fmt.MISSING,
            fmt.metric(found.blocks_drop if block.drop is None else block.drop),
            fmt.metric(block.without),
            fmt.metric(block.alone),
        ))
        for block in found.blocks
    )  # fmt: skip
    columns = ("Block", "Layers", "Images", "Drop of the engine", "With all but it", "With it alone in INT8")
    return Table(
        f"Blocks of {label}", columns, rows, fmt.clip(found.blocks_note, 300), classes={"With all but it": "d"}
    )


def _layers(found: Explanation, label: str) -> Table:
    rows = tuple(
        Row((
            fmt.clip(layer.words, 100),
            fmt.clip(layer.name, 100),
            f"{layer.local_db:.1f} dB",
            f"{layer.arriving_db:.1f} dB",
            f"{layer.worst_db:.1f} dB" if layer.worst_db is not None else fmt.MISSING,
        ))
        for layer in found.layers[:SHOWN]
    )  # fmt: skip
    caption = f"signal over noise: {fmt.clip(found.layers_note, 300)}"
    columns = ("Layer", "Name", "Adds", "Arrives", "On worst images")
    return Table(f"Layers of {label}", columns, rows, caption, classes={"Name": "l", "Adds": "d"}, tall=True)


def _ranges(found: Explanation, label: str) -> Table:
    rows = tuple(
        Row((
            fmt.clip(one.words, 100),
            f"{one.low:.4g} to {one.high:.4g}",
            f"{one.seen_low:.4g} to {one.seen_high:.4g}",
            f"{100 * one.clipped:.2f} %",
            f"{100 * one.unused:.0f} %",
        ))
        for one in found.ranges[:SHOWN]
    )  # fmt: skip
    columns = ("Layer", "Calibrated", "Seen", "Clipped", "Unused")
    return Table(
        f"Ranges of {label}", columns, rows, fmt.clip(found.ranges_note, 300), classes={"Clipped": "d"}, tall=True
    )
