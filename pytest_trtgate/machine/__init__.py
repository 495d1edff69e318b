"""The machine that runs the gate: its GPUs, versions, load and device locks."""

from __future__ import annotations

from .backend import gpu_of_worker, planned_backend, resolve_backend, threads_of
from .environment import differences, former_machine, instructions_text, machine_slug, minor, saturates, slug
from .gpus import VISIBLE, Gpu, GpuNow, decoded, throttle_words
from .load import too_many_threads
from .loading import why_not_loadable
from .locks import LOCKS, device_lock
from .machine import Machine
from .packages import DECODERS, KNOWN, package_lines, released, sources, versions_in_key, with_edits
from .tegra import Board, find_board
