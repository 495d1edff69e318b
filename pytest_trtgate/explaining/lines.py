"""An explanation in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from .. import text as fmt
from ..records import BlockSensitivity, Explanation

SHOWN = 8
"""Layers, ranges and parts of one kind that are shown."""


def lines(found: Explanation) -> Iterator[str]:
    """Yield the lines: the sentence first, then what it rests on."""
    yield f"{found.cell.label}: {found.sentence or 'nothing was found'}"
    if found.metric:
        fell = fmt.plain(fmt.metric(found.reference - found.engine))
        yield f"{found.metric}: {found.reference:.4f} -> {found.engine:.4f}, a drop of {fell}"
    for symptom in found.symptoms:
        yield f"  {'FOUND' if symptom.found else 'no   '} {symptom.kind}: {symptom.sentence}"
    for kind in dict.fromkeys(part.kind for part in found.parts):
        worst = sorted((part for part in found.parts if part.kind == kind), key=lambda part: -part.drop)
        yield f"by {kind}, what fell most first:"
        yield from (f"  {p.reference:8.4f} -> {p.engine:8.4f}  {p.name}" for p in worst[:SHOWN])
    if found.blocks:
        yield f"blocks ({found.blocks_note}):"
        for block in found.blocks:
            yield f"  {block.name}: {_of_block(block, found.blocks_drop)}"
    if found.layers:
        yield f"layers, those that add most noise first ({found.layers_note}):"
        for layer in found.layers[:SHOWN]:
            noise = f"{layer.local_db:6.1f} dB added, {layer.arriving_db:6.1f} dB arriving"
            yield f"  {noise}  {layer.name} ({layer.words})"
    elif found.layers_note:
        yield f"layers: {found.layers_note}"
    if found.ranges:
        yield f"calibrated ranges, the most clipped first ({found.ranges_note}):"
        for one in found.ranges[:SHOWN]:
            seen = f"{one.seen_low:.3g} to {one.seen_high:.3g} seen in {one.low:.3g} to {one.high:.3g}"
            yield f"  {100 * one.clipped:.2f} % clipped, {100 * one.unused:.0f} % unused: {one.name}, {seen}"
    for image in found.outliers:
        yield (
            f"  outlier {image.image}: alone sets {fmt.plural(image.layers, 'range')}, "
            f"{image.times:.1f} times the median image's in {image.layer}"
        )
    peak = f", at most {found.peak_bytes / 1e6:.0f} MB of memory for layers" if found.peak_bytes else ""
    yield f"explained in {fmt.duration(found.seconds)}{peak}"


def _of_block(block: BlockSensitivity, whole: float | None) -> str:
    drop = whole if block.drop is None else block.drop
    if block.without is None or drop is None:
        return "not tried"
    alone = "" if block.alone is None else f", {block.alone:.4f} with it alone"
    images = f" ({fmt.plural(block.images, 'image')})" if block.images else ""
    return f"{block.without:.4f} in place of {drop:.4f} with it kept out of INT8{alone}{images}"
