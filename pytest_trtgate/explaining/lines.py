"""An explanation in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from .. import text as fmt
from ..records import Explanation

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
            alone, without = (fmt.plain(fmt.metric(value)) for value in (block.alone, block.without))
            yield f"  {block.name}: {alone} with it alone in INT8, {without} with all but it"
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
