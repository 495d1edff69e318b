"""A warm worker: imports once, then runs one job or forks for many.

``python -m pytest_trtgate.workers.waiting CHANNEL FOLDER THREADS MODULE...``: the number of a socket, a folder of its
own, the threads of each numeric library, and the modules to import. Over the socket it says that it is ready, receives
each job with its standard input and output, and reports a fork's process number and exit status.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..jobs import READY
from .worker import PHASES, at_end_of_parent, leave, prepare


def main() -> None:
    """Import, then do jobs until the socket is closed or a job in this very process is done."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    # Whoever ignores it hands that down, and then nothing tells of a copy's end.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Imports leave hardly any garbage, and searching for it takes a sixth of their time.
    gc.disable()
    at_end_of_parent(signal.SIGKILL)  # in the middle of an import, too
    if _is_alone(channel):
        os._exit(1)
    prepare(Path(sys.argv[2]), int(sys.argv[3]))
    _import(sys.argv[4:])
    gc.freeze()
    gc.enable()
    ahead_s = sum(PHASES.end().values())
    channel.send(READY)
    child = 0
    signal.signal(signal.SIGCONT, lambda *_: _go_on(child))
    while True:
        message, streams, _, _ = socket.recv_fds(channel, 65536, 2)
        if child:
            os.waitpid(child, 0)  # only now: whoever ended its process group needed its number
            child = 0
        if not message:
            leave(0)
        order: dict[str, Any] = json.loads(message)
        # From now on, the job and the end of the socket tell: the thread that began us may end. Who is stopped hears
        # neither, and goes on.
        at_end_of_parent(signal.SIGCONT)
        if not order["fork"]:
            break
        started = time.monotonic()
        _import(order["imports"])
        # What stays is not searched in a fork, so that its memory is not copied.
        gc.collect()
        gc.freeze()
        ahead_s += time.monotonic() - started
        server = os.getpid()
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            at_end_of_parent(signal.SIGKILL)
            if os.getppid() != server:
                os._exit(1)
            break
        os.setpgid(child, child)  # either may be first, and neither may be late
        for stream in streams:
            os.close(stream)
        channel.send(str(child).encode())
        found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        if found is None:
            return
        channel.send(str(found.si_status if found.si_code == os.CLD_EXITED else -found.si_status).encode())
        ahead_s = 0.0
    channel.close()
    _work(order["module"], order["folder"], streams, ahead_s)


def _go_on(child: int) -> None:
    """Let a copy that is stopped go on, as this process does."""
    if child:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGCONT)


def _is_alone(channel: socket.socket) -> bool:
    """Return whether nobody is at the other end of a socket any more."""
    poll = select.poll()
    poll.register(channel, 0)  # for no event but the other end's end
    return bool(poll.poll(0))


def _import(modules: Sequence[str]) -> None:
    """Import modules; the job itself reports one that cannot be imported."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:
            traceback.print_exc()


def _work(module: str, folder: str, streams: Sequence[int], ahead_s: float) -> None:
    """Do a job with its streams and in its folder, like a process that was started for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    for stream, places in zip(streams, ((0,), (1, 2)), strict=True):
        for place in places:
            os.dup2(stream, place)
        os.close(stream)
    os.chdir(folder)
    PHASES.restart(ahead_s)
    sys.argv = [module, folder]
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    main()
