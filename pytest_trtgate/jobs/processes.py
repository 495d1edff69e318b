"""The processes of jobs, as a launcher sees them: started afresh, or taken from those that have imported ahead."""

from __future__ import annotations

import json
import os
import signal
import site
import socket
import subprocess
import sys
import threading
import time
from _socket import socket as RawSocket  # noqa: N812 - what plugins such as pytest-socket leave as it is
from _socket import socketpair
from array import array
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol

from ..locks import monotonic_s
from ..settings import CACHE_KEY, SIGN_PASSWORD

GRACE_S = 5.0
"""How long a process has to end when it is asked to, before it is killed."""
READY = b"ready"
READY_S = 60.0
"""How long an import may take before its process is given up, and the job gets a fresh one."""
_MESSAGE_BYTES = 4096
_NOT_FOR_JOBS = ("PYTHONWARNINGS", "PYTHONDEVMODE", "PYTHONOPTIMIZE")
"""What is for a project's own code: in others', it makes warnings errors, slows all down, or drops checks."""
_PAUSE_S = 0.05


class Process(Protocol):
    """The process of a job, which leads a process group of its own."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status, negative where a signal ended it; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once it has ended; raises ``subprocess.TimeoutExpired``."""


def start(module: str, folder: Path, environment: Mapping[str, str], streams: tuple[int, int]) -> Process:
    """Start a process that runs a module on a job's folder; ``streams`` are its input, and its output with errors."""
    return subprocess.Popen(
        [sys.executable, "-m", module, str(folder)],
        cwd=folder,
        env=environment,
        stdin=streams[0],
        stdout=streams[1],
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


class Waiting:
    """A process that imports what jobs need, then sleeps until it is told what to do, and ends when we do.

    It touches no device and loads no model before that. Its ``folder`` is for the settings of libraries and for its
    log. Raises ``OSError`` where it cannot be started.
    """

    def __init__(self, folder: Path, threads: int, imports: Sequence[str], environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.threads = threads
        # Messages of this kind have ends; an empty one says that nobody is there any more.
        self._channel, theirs = socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with closing(theirs), (folder / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pytest_trtgate.workers.waiting"),
                    *(str(theirs.fileno()), str(folder), str(threads), *imports),
                ],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._is_ready = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        with suppress(OSError):
            self._is_ready = self._channel.recv(_MESSAGE_BYTES) == READY

    def ready(self) -> bool:
        """Wait until it has imported, has failed to, or has had its time; return whether it can do a job."""
        self._listener.join(timeout=READY_S)
        return self._is_ready and self.process.poll() is None

    def become(self, module: str, folder: Path, streams: tuple[int, int]) -> Process:
        """Have it do one job and end, like a process of :func:`start`."""
        self._tell({"module": module, "folder": str(folder), "fork": False}, streams)
        self._channel.close()
        return self.process

    def fork(self, module: str, folder: Path, streams: tuple[int, int], imports: Sequence[str] = ()) -> Process:
        """Have a copy of it import some further modules, do one job and end; raises ``OSError`` where it cannot."""
        order = {"module": module, "folder": str(folder), "fork": True, "imports": list(imports)}
        self._tell(order, streams)
        return _Forked(self._channel)

    def _tell(self, order: Mapping[str, object], streams: tuple[int, int]) -> None:
        passed = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", streams))
        self._channel.sendmsg([json.dumps(order).encode()], [passed])

    def end(self) -> None:
        """End it, whatever it does."""
        end(self.process)
        self._listener.join()
        self._channel.close()


class _Forked:
    """A copy of a waiting process, which tells us what becomes of it."""

    def __init__(self, channel: RawSocket) -> None:
        self._channel = channel
        self._status: int | None = None
        # Its further imports come before this answer.
        self.pid = int(self._receive(READY_S) or 0)
        if not self.pid:
            raise ChildProcessError("the process that was to make a copy of itself is gone")

    def _receive(self, timeout_s: float | None) -> bytes:
        self._channel.settimeout(timeout_s)
        with suppress(ConnectionError):
            return self._channel.recv(_MESSAGE_BYTES)
        return b""

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once it has ended."""
        if self._status is None:
            try:
                # Where the waiting process is gone too, the copy came to no good end.
                self._status = int(self._receive(timeout) or -signal.SIGKILL)
            except (TimeoutError, BlockingIOError) as error:
                raise subprocess.TimeoutExpired("fork", timeout or 0.0) from error
        return self._status


def wait(process: Process, timeout_s: float) -> None:
    """Wait until a process has ended, which keeps its number and that of its group until :func:`end`.

    Raises:
        subprocess.TimeoutExpired: It still runs.
    """
    deadline, pause_s = monotonic_s() + timeout_s, 0.001
    while not _has_ended(process):
        if monotonic_s() > deadline:
            raise subprocess.TimeoutExpired("job", timeout_s)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_S)


def end(process: Process) -> None:
    """End the whole process group of a process, gently first, and free its number; harmless where that was done.

    Nobody is waited for without limit: the process that a copy is of may be stopped, and so tell of no end.
    """
    if isinstance(process, subprocess.Popen) and process.returncode is not None:
        return  # by now its number may be that of a stranger's group
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        with suppress(subprocess.TimeoutExpired):
            wait(process, GRACE_S)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)


def _has_ended(process: Process) -> bool:
    """Return whether a process has ended; one of ours is not freed by that, as ``poll`` would."""
    if not isinstance(process, subprocess.Popen):
        return process.poll() is not None
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else in this process has waited for it
        return process.poll() is not None


def child_environment(python_path: Sequence[str] = ()) -> dict[str, str]:
    """Return our environment for a child whose working folder is another, and for which warnings are no errors.

    It finds this package, and modules in the folders ``python_path`` and PYTHONPATH.
    """
    found = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_JOBS}
    paths = [*python_path, *filter(None, found.get("PYTHONPATH", "").split(os.pathsep))]
    home = str(Path(__file__).parents[2])
    if home not in {*site.getsitepackages(), site.getusersitepackages()}:
        paths.insert(0, home)
    if paths:
        found["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths)
    found["PYTHONUNBUFFERED"] = "1"
    found["PYTHONIOENCODING"] = "utf-8:backslashreplace"  # a name that cannot be printed ends no job
    for secret in (CACHE_KEY, SIGN_PASSWORD):
        found.pop(secret, None)
    # CUDA would count the fastest GPU first, the driver's tools count by bus; a number must mean one GPU.
    found.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return found


def signal_name(number: int) -> str:
    """Return the name of a signal, and what the likely cause is where it has one."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (out of memory?)" if name == "SIGKILL" else name
