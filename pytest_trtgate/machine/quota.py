"""The processor time that a control group, such as a container's, leaves to its processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path


def quota_cores(system: Path) -> float | None:
    """Return how many cores' time the processes of our control group may use; None where nothing limits it.

    ``system``: the root folder of ``/proc`` and ``/sys``.
    """
    return min((cores for _, cores in _quotas(system)), default=None)


def quota_share(
    system: Path, look_s: float, wait: Callable[[float], None], own_ticks: Callable[[Path], float] = lambda _: 0.0
) -> float | None:
    """Return the share of our quota that others use over a moment, 0 to 1; None without one, or if nothing tells it.

    All processes of the group share it; ``own_ticks`` returns what those of this run have used.
    """
    group, cores = min(_quotas(system), key=lambda found: found[1], default=(None, 0.0))
    if group is None:
        return None
    before, own_before, began = _used_s(group), own_ticks(system), time.monotonic()
    wait(look_s)
    after, took_s = _used_s(group), time.monotonic() - began
    own_s = (own_ticks(system) - own_before) / os.sysconf("SC_CLK_TCK")
    return None if before is None or after is None else max(0.0, after - before - own_s) / max(took_s, look_s) / cores


def _quotas(system: Path) -> Iterator[tuple[Path, float]]:
    """Yield the control groups that limit us, with how many cores' time each allows."""
    for group in _groups(system):
        words = file_text(group / "cpu.max").split() or [
            file_text(group / "cpu.cfs_quota_us"),
            file_text(group / "cpu.cfs_period_us"),
        ]
        with suppress(ValueError, ZeroDivisionError):  # "max", or no such files
            if (quota := float(words[0])) > 0:
                yield group, quota / float(words[1])


def _groups(system: Path) -> Iterator[Path]:
    """Yield our own control group and those above it, of both versions."""
    mounted = system / "sys/fs/cgroup"
    for line in file_text(system / "proc/self/cgroup").splitlines() or ["0::/"]:
        _, controllers, path = f"{line}::".split(":", 3)[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container, the path may be that of the host: then what is mounted is our own group.
        for root in [mounted / controllers, mounted / "cpu"] if controllers else [mounted]:
            own = root / path.lstrip("/")
            yield from (group for group in (own, *own.parents) if group.is_relative_to(root))


def _used_s(group: Path) -> float | None:
    """Return the seconds of processor time that a group has used so far."""
    for line in file_text(group / "cpu.stat").splitlines():
        if line.startswith("usage_usec "):
            return float(line.split()[1]) / 1e6
    with suppress(ValueError):
        return float(file_text(group / "cpuacct.usage")) / 1e9
    return None


def file_text(path: Path) -> str:
    """Return what a file of the system says, without spaces around; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
