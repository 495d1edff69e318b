"""Who else computes on the GPU, apart from sessions of this plugin: those keep each other off while they time."""

from __future__ import annotations

import filelock

from .gpus import gpu_now
from .jobs.launcher import machine_locks


def foreign_processes(gpu: str) -> int:
    """Return how many processes compute on a GPU while no session's job does.

    Whose they are cannot be told from their numbers, which in a container are those of the host. So they are counted
    only while the device's lock is free, and held meanwhile. Every launch counts again what computes beside it.

    Args:
        gpu: Its UUID.
    """
    try:
        with filelock.FileLock(machine_locks() / f"device-{gpu}.lock", timeout=0, mode=0o666):
            return gpu_now(gpu).processes
    except filelock.Timeout:
        return 0
    except OSError:  # no place for locks: jobs will say so
        return gpu_now(gpu).processes
