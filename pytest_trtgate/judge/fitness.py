"""Whether a launch was timed on a device that was fit to be timed.

A device that held its clocks back, or worked for others meanwhile, gives times that say nothing about the engine. Only
what the device itself reports counts. On a CPU no such rule is safe: the load average of a small machine includes the
launch itself, inside a container it is the host's, and mean clocks fall as soon as more cores work. There the second
copy of the baseline engine tells whether the machine is fit.
"""

from __future__ import annotations

from ..records import Launch


def unfit(launch: Launch) -> str:
    """Return why a launch must not be judged, as the end of a sentence; empty for a launch that may be."""
    reasons = []
    if launch.throttled:
        reasons.append(f"the device held its clocks back ({', '.join(launch.throttled)})")
    if launch.foreign_processes:
        reasons.append(f"other processes computed on the device ({launch.foreign_processes})")
    return " and ".join(reasons)
