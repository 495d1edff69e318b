"""The launcher: runs jobs in processes of their own and owns the device while they use it."""

from __future__ import annotations

import math
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from ..errors import JobError, JobTimeoutError, RecordError
from ..locks import Lock
from ..machine import LOCKS, VISIBLE, device_lock
from ..records import FileRecord, file_sha256, load, save
from . import processes
from .ahead import AT_MOST, Ahead
from .contract import PROGRESS, JobFailure, JobKind, Request
from .kinds import JOBS
from .logs import log_tail

LOG_NAME = "log.txt"
_WAITING_S = 5.0


def sha256_or_none(path: Path) -> str:
    """Return the SHA-256 of a file; empty where it is missing."""
    return file_sha256(path) if path.exists() else ""


@dataclass(frozen=True)
class Job:
    """One piece of work: what is asked, on which device, and for how long at most.

    ``device`` is empty for work that is short and neither uses a device nor times anything: it waits for none. A job
    waits for its device until one and the same holder has kept it for ``wait_s``.

    For a launcher that has to send what is read: ``sha256`` returns that of a file, empty of one that is missing.
    ``code`` are the source files of a checkpoint's own modules, by their paths from a folder on Python's path, and
    ``unsent`` says why other modules of it are not among them. Jobs that time something have the same ``beside`` where
    their times are compared: one machine does them all.
    """

    name: str
    request: Request[Any]
    device: str
    timeout_s: float
    wait_s: float = math.inf
    sha256: Callable[[Path], str] = sha256_or_none
    code: Mapping[str, Path] = field(default_factory=dict)
    unsent: Mapping[str, str] = field(default_factory=dict)
    beside: str = ""

    @property
    def kind(self) -> JobKind:
        """What kind of job it is."""
        return self.request.kind


class Launcher(Protocol):
    """Runs jobs, here or elsewhere."""

    def run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        """Run one job in ``folder`` and return its response.

        Raises:
            JobError: The job failed, crashed, ran past its limit, or answered with something that is no response.
        """


@runtime_checkable
class EarlyLauncher(Launcher, Protocol):
    """A launcher whose processes can begin to import before their jobs are known."""

    def prepare(self, kind: JobKind, count: int, device: str, threads: int, folder: Path) -> None:
        """Let processes begin to import what ``count`` jobs of one kind need, where that helps and disturbs nobody.

        Returns at once. If some processes wait already, only the missing ones are started. Before its job begins, a
        process writes into ``folder`` only, and does not touch ``device``. :meth:`close` ends those that no job used.
        """

    def close(self) -> None:
        """End every process that is left."""


@runtime_checkable
class ParallelLauncher(Launcher, Protocol):
    """A launcher that may have further devices, equal to its own."""

    def beside(self, most: int) -> AbstractContextManager[Sequence[Launcher]]:
        """Lend launchers of further devices that are free now, at most so many, each for jobs of one thread.

        What they still run as the context ends is ended too.
        """


@runtime_checkable
class LanedLauncher(Launcher, Protocol):
    """A launcher of several equal devices. Each thread has a lane, the number of the device that does its jobs."""

    def lanes(self, wanted: int) -> int:
        """Add lanes for devices that are free now, until so many work; return how many there ever were.

        Their numbers begin at 0, which is always there.
        """

    def enter(self, lane: int) -> bool:
        """Have the jobs of the calling thread done in a lane; return False where it has no device."""

    def stop(self) -> None:
        """End every job, and so the threads that wait for one: each is interrupted."""

    def resume(self) -> None:
        """Take jobs again, all in one lane."""


class LocalLauncher:
    """Runs each job as a child process of this one.

    A launch is a fresh process, which may have imported before its turn. On a CPU, builds and evaluations are copies
    (forks) of one process that has done no more than import, so that each is as fresh. On a GPU each is started afresh:
    a build takes minutes there, an import seconds.

    Args:
        modules: Modules to run in place of the usual ones, by kind of job; nothing is imported ahead for them.
        locks: Folder of the device locks; all processes that share a device must share it. By default one of the
            machine, whatever the sessions' TMPDIR.
        gpu: UUID of the GPU that the jobs use, since its number may differ among processes; empty for the CPU.
        only_gpu: Whether the jobs see no other GPU, so that to them its number is 0.
        ahead: Whether processes may import ahead of their jobs.
        python_path: Folders of modules that checkpoints may need.
    """

    def __init__(
        self,
        modules: Mapping[JobKind, str] | None = None,
        locks: Path | None = None,
        gpu: str = "",
        only_gpu: bool = False,
        ahead: bool = True,
        python_path: Sequence[str] = (),
    ) -> None:
        self.modules = modules or {}
        self.locks = locks or LOCKS
        self.gpu = gpu
        self.only_gpu = only_gpu
        self.python_path = python_path
        self._gave_up = False
        self._ahead = Ahead(self._environment, AT_MOST if ahead else 0)

    def _environment(self) -> dict[str, str]:
        return processes.child_environment(self.python_path) | ({VISIBLE: self.gpu} if self.only_gpu else {})

    def prepare(self, kind: JobKind, count: int, device: str, threads: int, folder: Path) -> None:
        """Let processes begin to import; see :class:`EarlyLauncher`. Not where another job has the device."""
        copied = _is_copied(kind, device)
        if not (copied or kind == "latency"):
            return
        with suppress(OSError):
            lock = self._lock(device)
            lock = self._ahead.take_lock(lock.path) or lock
            if not (lock.is_held or lock.take()):
                return
            try:
                if copied:
                    self._ahead.start_server(folder, threads, self._imports("accuracy", "build"))
                else:
                    runtime = ("onnxruntime",) if device == "cpu" and self._imports(kind) else ()
                    self._ahead.start_idle(count, folder, threads, (*self._imports(kind), *runtime))
            finally:
                self._ahead.leave_lock(lock)

    def _imports(self, *kinds: JobKind) -> tuple[str, ...]:
        return tuple(name for kind in kinds if kind not in self.modules for name in JOBS[kind].imports)

    def close(self) -> None:
        """End every process that waits for a job."""
        self._ahead.close()

    def run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        """Run one job; see :meth:`Launcher.run`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in ("response.json", "error.json"):
                (folder / old).unlink(missing_ok=True)
            save(folder / "request.json", job.request)
            with self.hold_device(job.device, progress, job) if job.device else nullcontext():
                status = self._execute(job, folder, progress)
        except OSError as error:
            where = error.filename or folder
            raise JobError(job.name, f"its process could not be run ({where}: {error.strerror or error})") from error
        return self._answer(job, folder, status)

    @contextmanager
    def hold_device(self, device: str, progress: Callable[[str], None], job: Job | None = None) -> Iterator[None]:
        """Hold a device: nothing else that asks for it, in any process on this machine, runs meanwhile.

        Raises ``JobError`` where the job has waited for too long.
        """
        own = self._lock(device)
        lock = self._ahead.take_lock(own.path) or own
        if not lock.is_held:
            # Again and again: where lines are scarce, as in a log, one of them is shown.
            waiting = f"waiting for device {device}, which another job is using"
            limit_s = 0.0 if self._gave_up else job.wait_s if job else math.inf
            if not lock.acquire(limit_s, lambda holder: progress(waiting + holder), _WAITING_S):
                self._gave_up = True
                who = lock.holder() or f"; `fuser -v {lock.path}` may name it"
                name, limit_s = (job.name, job.wait_s) if job else (device, limit_s)
                raise JobError(
                    name,
                    f"device {device} was not free: another process has held it for {limit_s:g} s, longer than any job "
                    f"of this run may take{who}; end that process, or raise the limits under timeouts",
                )
        try:
            yield
        finally:
            self._ahead.leave_lock(lock)

    def others_hold(self, device: str) -> bool:
        """Return whether something else has a device now, so that the next job waits."""
        own = self._lock(device)
        lock = self._ahead.take_lock(own.path) or own
        with suppress(OSError):
            if not (lock.is_held or lock.take()):
                return True
            self._ahead.leave_lock(lock)
        return False

    def _lock(self, device: str) -> Lock:
        return device_lock(self.gpu if self.gpu and device != "cpu" else device, self.locks)

    def _execute(self, job: Job, folder: Path, progress: Callable[[str], None]) -> int | None:
        """Return the exit status of the job's process; None where it was ended for running past its limit."""
        theirs_in, ours_in = os.pipe()  # its end tells the job that we are gone
        ours_out, theirs_out = os.pipe()
        with os.fdopen(ours_in, "wb"):
            output = os.fdopen(ours_out, "rb")
            try:
                process = self._process(job, folder, (theirs_in, theirs_out))
            except BaseException:
                output.close()
                raise
            finally:
                os.close(theirs_in)
                os.close(theirs_out)
            reader = threading.Thread(target=_pump, args=(output, folder / LOG_NAME, progress), daemon=True)
            try:
                reader.start()
                processes.wait(process, job.timeout_s)
                in_time = True
            except subprocess.TimeoutExpired:
                in_time = False
            finally:
                processes.end(process)
                if process.poll() is None:  # what it is a copy of has stopped, and may tell of its end at any time
                    self._ahead.end_server()
                # What the job left in a session of its own may hold the pipe open: the reader then stays with it.
                with suppress(RuntimeError):  # an interrupt came before it had begun
                    reader.join(timeout=processes.GRACE_S)
            return process.wait() if in_time else None

    def _process(self, job: Job, folder: Path, streams: tuple[int, int]) -> processes.Process:
        """Return the process of a job: one that waits for it, a copy of one, or a new one."""
        module, ahead = self.modules.get(job.kind, JOBS[job.kind].module), self._ahead
        threads = job.request.threads
        if _is_copied(job.kind, job.device):
            ahead.start_server(folder / "ahead", threads, self._imports(job.kind))
            if server := ahead.server(threads):
                try:
                    return server.fork(module, folder, streams, self._imports(job.kind))
                except BaseException as error:
                    # A late message about this copy would be mistaken for one about the next.
                    ahead.end_server()
                    if not isinstance(error, OSError):
                        raise
        elif job.device and job.kind != "accuracy":
            ahead.settle()  # nothing imports while something is timed
            if job.kind == "latency" and (waiting := ahead.pick(threads)):
                with suppress(OSError):
                    return waiting.become(module, folder, streams)
        return processes.start(module, folder, self._environment(), streams)

    def _answer(self, job: Job, folder: Path, status: int | None) -> FileRecord:
        tail = log_tail(folder / LOG_NAME)
        if status is None:
            raise JobTimeoutError(job.name, f"ended after running past its limit of {job.timeout_s:g} s", tail)
        try:
            # First, since a process that has said why it gives up may still be aborted by what it frees at its end.
            if (folder / "error.json").exists():
                said = load(folder / "error.json", JobFailure, own=True).sentence
                raise JobError(job.name, said, "" if tail == said else tail)
            if status < 0:
                raise JobError(job.name, f"its process was killed by {processes.signal_name(-status)}", tail)
            if status != 0:
                raise JobError(job.name, f"its process ended with exit code {status}", tail)
            answer: FileRecord = load(folder / "response.json", job.request.response(), own=True)
            return answer
        except RecordError as error:
            raise JobError(job.name, f"it gave no usable answer ({error})", tail) from error


def _is_copied(kind: JobKind, device: str) -> bool:
    return JOBS[kind].copied and device == "cpu"


def _pump(stream: IO[bytes], path: Path, progress: Callable[[str], None]) -> None:
    """Write what a job says to its log, all but its progress; close the stream at its end."""
    prefix = PROGRESS.encode()
    with stream:
        with suppress(OSError), path.open("wb", buffering=0) as log:
            for line in stream:
                if line.startswith(prefix):
                    progress(line[len(prefix) :].decode(errors="replace").strip())
                else:
                    log.write(line)
        for _ in stream:  # the log cannot be written: that costs the log, not the job
            pass
