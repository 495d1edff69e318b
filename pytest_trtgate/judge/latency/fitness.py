"""Whether a launch was timed on a device that was fit to be timed.

A device that held its clocks back, or worked for others meanwhile, gives times that say nothing about the engine. Only
what the device itself reports counts. On a CPU no such rule is safe: the load average of a small machine includes the
launch itself, inside a container it is the host's, and mean clocks fall as soon as more cores work. There the second
copy of the baseline engine tells whether the machine is fit.
"""

from __future__ import annotations

from ...records import Check, LatencyRecord, Launch, Outcome


def unfit(launch: Launch) -> str:
    """Return why a launch must not be judged, as the end of a sentence; empty for a launch that may be."""
    reasons = []
    if launch.throttled:
        reasons.append(f"the device held its clocks back ({', '.join(launch.throttled)})")
    if launch.foreign_processes:
        reasons.append(f"other processes computed on the device ({launch.foreign_processes})")
    return " and ".join(reasons)


def why_unfit(latency: LatencyRecord) -> str:
    """Return why nothing may be judged by a model's launches: what is wrong with the first unfit one; else empty."""
    return next((why for launch in latency.launches if (why := unfit(launch))), "")


def doubted(check: Check, why: str) -> Check:
    """Return a check as INCONCLUSIVE where launches are unfit, and unchanged where ``why`` is empty."""
    if not why or check.outcome not in (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE):
        return check
    sentence = f"{check.sentence}; not judged, since {why}"
    return check.model_copy(update={"outcome": Outcome.INCONCLUSIVE, "sentence": sentence})
