"""A node of a Ray cluster that takes jobs: how it joins, what it is called, and how it leaves."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import SettingsError
from ..jobs import JobKind
from ..machine import Machine, device_lock, machine_slug, resolve_backend, slug
from ..records import Environment
from ..settings import Settings
from .worker import Worker

LABEL = "trtgate-machine"
"""The label of a node that says what kind of machine it is."""
RELEASE = "trtgate-release"
"""The label that says which release of pytest-trtgate its worker has."""
CPU = "trtgate-cpu"
"""The resource that stands for all of a node's CPU."""
_KIND, _ROOTS, _CACHE = "TRTGATE_WORKER_KIND", "TRTGATE_WORKER_DATA_ROOTS", "TRTGATE_WORKER_CACHE"
"""Environment variables by which `trtgate worker` tells the workers on its node what it was told."""
_RAY = """
import os, runpy, signal, threading

def end_with_parent():
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("ray.scripts.scripts", run_name="__main__", alter_sys=True)
"""
"""Ray's command line, in a process that ends with all that it has started as soon as its standard input ends.

That is when `trtgate worker` is gone, whatever ended it, since only that holds the other end.
"""
_END_S = 15.0
_FETCH_S = 5.0
"""How long the coordinator has to fetch what the last job wrote."""


class NodeWorker(Worker):
    """A worker as `trtgate worker` set it up on its node."""

    def __init__(self, machine: Machine | None = None, modules: Mapping[JobKind, str] | None = None) -> None:
        roots = filter(None, os.environ.get(_ROOTS, "").split(os.pathsep))
        cache = os.environ.get(_CACHE)
        super().__init__(Path(cache) if cache else None, tuple(map(Path, roots)), machine, modules)

    def hello(self) -> dict[str, str]:
        """Return which release this is, where it runs, and what kind of machine that is."""
        import ray

        node = f"{platform.node()} ({ray.get_runtime_context().get_node_id()[:8]})"
        return super().hello() | {"node": node, "kind": kind_of(self._machine)}

    def ask(self, what: str, *arguments: Any) -> Any:
        """Return what this machine says of itself; a kind that its owner gave it names its baselines."""
        found = super().ask(what, *arguments)
        if isinstance(found, Environment) and (kind := os.environ.get(_KIND)):
            named = machine_slug(kind, found.backend, found.backend_version)
            found = found.model_copy(update={"machine": named})
        return found


def kind_of(machine: Machine) -> str:
    """Return the kind of a machine: that which its owner gave it, or its GPU, such as ``nvidia-l4``, or its CPU."""
    gpus = machine.gpus()
    return os.environ.get(_KIND) or slug(gpus[0].name if gpus else f"cpu-{platform.machine()}")[:63]


def label_of(text: str) -> str:
    """Return a text as the value of a label may be."""
    return re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)[:63]


def join(
    address: str,
    say: Callable[[str], None],
    *,
    kind: str | None = None,
    data_roots: Sequence[Path] = (),
    cache_dir: Path | None = None,
    machine: Machine | None = None,
) -> int:
    """Check this machine, have it join a cluster, and stay until SIGTERM or an interrupt; then finish the present job.

    Returns:
        The exit status: 0 where it was asked to leave, 1 where Ray ended by itself.

    Raises:
        SettingsError: Ray is missing, or the gate cannot run here.
    """
    if find_spec("ray") is None:
        raise SettingsError("a worker needs Ray: python -m pip install 'pytest-trtgate[ray]'")
    machine = machine or Machine()
    backend, device, why = resolve_backend(Settings(), machine)
    told = {_KIND: kind, _CACHE: cache_dir and str(cache_dir), _ROOTS: os.pathsep.join(map(str, data_roots))}
    os.environ.update({name: value for name, value in told.items() if value})
    gpus = machine.gpus() if backend == "tensorrt" else ()
    say(f"{kind_of(machine)}: {backend} on {device} ({why}); joining {address}")
    command = [
        *(sys.executable, "-c", _RAY, "start", "--block", "--disable-usage-stats"),
        *(
            f"--address={address}",
            f"--labels={LABEL}={kind_of(machine)},{RELEASE}={label_of(__version__)}",
            f"--num-gpus={len(gpus)}",
        ),
        f'--resources={{"{CPU}": 1}}',
    ]
    leaving = [False]

    def leave(number: int, frame: object) -> None:
        leaving[0] = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    # In a group of its own: an interrupt is for us, who may have to wait for a job.
    with subprocess.Popen(command, start_new_session=True, stdin=subprocess.PIPE) as process:
        while process.poll() is None and not leaving[0]:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        if leaving[0]:
            _drain(machine, [gpu.uuid for gpu in gpus] or ["cpu"], say)
        _end(process)
    if not leaving[0]:
        say(f"Ray ended with exit code {process.returncode}; what it printed says why")
    return 0 if leaving[0] else 1


def _drain(machine: Machine, devices: Sequence[str], say: Callable[[str], None]) -> None:
    """Wait until no job uses a device, and let none begin; a second signal waits no longer."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    told: list[str] = []

    def tell(holder: str) -> None:
        told.append(holder)
        say(f"leaving once the present job has ended{holder}; a second signal ends it")

    with suppress(KeyboardInterrupt, OSError):
        for device in devices:
            lock = device_lock(device, machine.device_locks())
            lock.acquire(waiting=tell)
            _HELD.append(lock)
        time.sleep(_FETCH_S if told else 0.0)


_HELD: list[object] = []
"""Locks that are held until this process ends."""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End Ray on this node, and what it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
