"""The machine that runs the gate: its GPUs, versions, load and device locks."""

from __future__ import annotations

from .environment import (
    DECODERS,
    collect,
    cpu_instructions,
    cpu_model,
    differences,
    gpu_of_worker,
    installed_versions,
    instructions_text,
    package_lines,
    resolve_backend,
    saturates,
    slug,
    threads_of,
    usable_cores,
)
from .gpus import VISIBLE, text, throttle_words
from .load import foreign_processes, too_many_threads, why_busy
from .locks import machine_locks, make_locks

__all__ = [
    "DECODERS",
    "VISIBLE",
    "collect",
    "cpu_instructions",
    "cpu_model",
    "differences",
    "foreign_processes",
    "gpu_of_worker",
    "installed_versions",
    "instructions_text",
    "machine_locks",
    "make_locks",
    "package_lines",
    "resolve_backend",
    "saturates",
    "slug",
    "text",
    "threads_of",
    "throttle_words",
    "too_many_threads",
    "usable_cores",
    "why_busy",
]
