"""What a run's reports say once, beside its verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from ..records import AccuracyRecord, LatencyRecord, LayerProfile
from ..text import age


def notes(
    accuracies: Iterable[AccuracyRecord],
    latencies: Iterable[LatencyRecord],
    profiles: Iterable[LayerProfile],
    now: datetime,
) -> Iterator[str]:
    """Yield what was reused, repeated or left out, one sentence each.

    Args:
        accuracies: The run's accuracies.
        latencies: Its launches.
        profiles: Its profiles of layers.
        now: The moment that ages are counted to.
    """
    reused: dict[str, list[AccuracyRecord]] = {}
    for a in accuracies:
        if a.reused:
            reused.setdefault(a.model, []).append(a)
    for model, found in reused.items():
        arms = ", ".join(a.arm for a in found)
        ages = list(dict.fromkeys(age(a.measured_at, now) for a in sorted(found, key=lambda a: a.measured_at)))
        when = ages[0] if len(ages) == 1 else f"{ages[0]} to {ages[-1]}"
        yield f"{model}: accuracy of {arms} was measured {when} on the same bytes; again with --trt-fresh"
    for latency in latencies:
        for why in latency.discarded:
            yield f"{latency.model}: a launch was repeated, since {why}"
    for profile in profiles:
        if profile.failure:
            yield f"{profile.cell.label}: its layers were not profiled: {profile.failure}"
