"""What a run's reports say once, beside its verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from .records import AccuracyRecord, LatencyRecord, LayerProfile


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


def age(measured_at: str, now: datetime | None = None) -> str:
    """Return how long ago something was measured, such as ``2 days ago``; the text itself where it is no time.

    Args:
        measured_at: When, as ISO 8601 in UTC.
        now: The moment that it is counted to, by default this one.
    """
    try:
        seconds = ((now or datetime.now(timezone.utc)) - datetime.fromisoformat(measured_at)).total_seconds()
    except (TypeError, ValueError):
        return measured_at or "earlier"
    for unit, length_s in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length_s)
        if count > 0:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"
