"""Which layers of an engine got slower: layers are the same where they have the same name in both profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records import LayerTime


@dataclass(frozen=True)
class LayerChange:
    """One layer in two profiles, in mean milliseconds per inference."""

    name: str
    then_ms: float
    now_ms: float

    @property
    def slower_ms(self) -> float:
        """How much longer it takes; negative where it got faster."""
        return self.now_ms - self.then_ms


def slower_layers(now: Sequence[LayerTime], then: Sequence[LayerTime]) -> list[LayerChange]:
    """Return the layers that take longer than in an earlier profile, the one that lost most time first."""
    before = {layer.name: layer.ms for layer in then}
    changes = [LayerChange(x.name, before[x.name], x.ms) for x in now if x.name in before]
    return sorted((c for c in changes if c.slower_ms > 0), key=lambda c: -c.slower_ms)


def slowest_change(now: Sequence[LayerTime], then: Sequence[LayerTime]) -> str:
    """Return which layer lost most time, for a sentence; empty where none did."""
    changes = slower_layers(now, then)
    if not changes:
        return ""
    worst = changes[0]
    return f"its layer {worst.name} lost most time ({worst.then_ms:.3g} -> {worst.now_ms:.3g} ms)"
