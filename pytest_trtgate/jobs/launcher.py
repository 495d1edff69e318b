"""The launcher: runs jobs in processes of their own and owns the device while they use it."""

from __future__ import annotations

import os
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import filelock

from ..errors import JobError, JobTimeoutError, RecordError
from ..gpus import VISIBLE
from ..record_base import FileRecord
from ..recordfile import load, save
from .contract import PROGRESS, RESPONSES, JobFailure, JobKind

LOG_NAME = "log.txt"
LOCKS = Path("/tmp/trtgate-locks")
_TAIL_LINES = 25
_GRACE_S = 5.0
_WAITING_S = 5.0

JOB_MODULES: Mapping[JobKind, str] = {
    "build": "pytest_trtgate.jobs.build",
    "accuracy": "pytest_trtgate.jobs.accuracy",
    "latency": "pytest_trtgate.jobs.latency",
    "profile": "pytest_trtgate.jobs.profile",
    "pictures": "pytest_trtgate.jobs.pictures",
    "clip": "pytest_trtgate.jobs.clip",
    "video": "pytest_trtgate.jobs.video",
    "survey": "pytest_trtgate.jobs.survey",
}


@dataclass(frozen=True)
class Job:
    """One piece of work: what is asked, on which device, and for how long at most.

    ``device`` is empty for work that is short and neither uses a device nor times anything: it waits for none.
    """

    name: str
    kind: JobKind
    request: FileRecord
    device: str
    timeout_s: float


class Launcher(Protocol):
    """Runs jobs, here or elsewhere."""

    def run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        """Run one job in ``folder`` and return its response.

        Raises:
            JobError: The job failed, crashed, ran past its limit, or answered with something that is no response.
        """


class LocalLauncher:
    """Runs each job as a child process of this one.

    Args:
        modules: Module to run for each kind of job.
        locks: Folder of the device locks; all processes that share a device must share it. By default one of the
            machine, whatever the sessions' TMPDIR.
        gpu: UUID of the GPU that the jobs use, since its number may differ among processes; empty for the CPU.
        only_gpu: Whether the jobs see no other GPU, so that to them its number is 0.
    """

    def __init__(
        self,
        modules: Mapping[JobKind, str] = JOB_MODULES,
        locks: Path | None = None,
        gpu: str = "",
        only_gpu: bool = False,
    ) -> None:
        self.modules = modules
        self.locks = locks
        self.gpu = gpu
        self.only_gpu = only_gpu

    def run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        """Run one job; see :meth:`Launcher.run`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in ("response.json", "error.json"):
                (folder / old).unlink(missing_ok=True)
            save(folder / "request.json", job.request)
            with self.device(job.device, progress) if job.device else nullcontext():
                status = self._execute(job, folder, progress)
        except OSError as error:
            where = error.filename or folder
            raise JobError(job.name, f"its process could not be run ({where}: {error.strerror or error})") from error
        return self._answer(job, folder, status)

    @contextmanager
    def device(self, device: str, progress: Callable[[str], None]) -> Iterator[None]:
        """Hold a device: nothing else that asks for it, in any process on this machine, runs meanwhile."""
        locks = self.locks or machine_locks()
        _make_locks(locks)
        name = self.gpu if self.gpu and device != "cpu" else device
        lock = filelock.FileLock(locks / f"device-{name}.lock", mode=0o666)
        patience_s = 0.5
        while not lock.is_locked:
            try:
                lock.acquire(timeout=patience_s)
            except filelock.Timeout:
                # Again and again: where lines are scarce, as in a log, one of them is shown.
                progress(f"waiting for device {device}, which another job is using")
                patience_s = _WAITING_S
        try:
            yield
        finally:
            lock.release()

    def _execute(self, job: Job, folder: Path, progress: Callable[[str], None]) -> int | None:
        """Return the exit status of the job's process; None where it was ended for running past its limit."""
        process = subprocess.Popen(
            [sys.executable, "-m", self.modules[job.kind], str(folder)],
            cwd=folder,
            env=_job_environment() | ({VISIBLE: self.gpu} if self.only_gpu else {}),
            stdin=subprocess.PIPE,  # its end tells the job that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        reader = threading.Thread(target=_pump, args=(process.stdout, folder / LOG_NAME, progress), daemon=True)
        try:
            reader.start()
            return process.wait(timeout=job.timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)
            # A process that the job left in a session of its own may hold the pipe open: the reader then stays with it.
            with suppress(RuntimeError):  # an interrupt came before it had begun
                reader.join(timeout=_GRACE_S)
            process.stdin.close()

    def _answer(self, job: Job, folder: Path, status: int | None) -> FileRecord:
        tail = log_tail(folder / LOG_NAME)
        if status is None:
            raise JobTimeoutError(job.name, f"ended after running past its limit of {job.timeout_s:g} s", tail)
        try:
            # First, since a process that has said why it gives up may still be aborted by what it frees at its end.
            if (folder / "error.json").exists():
                raise JobError(job.name, load(folder / "error.json", JobFailure).sentence, tail)
            if status < 0:
                raise JobError(job.name, f"its process was killed by {_signal_name(-status)}", tail)
            if status != 0:
                raise JobError(job.name, f"its process ended with exit code {status}", tail)
            return load(folder / "response.json", RESPONSES[job.kind])
        except RecordError as error:
            raise JobError(job.name, f"it gave no usable answer ({error})", tail) from error


def machine_locks() -> Path:
    """Return the folder of the device locks of this machine; one of our own where that cannot be made or written."""
    try:
        _make_locks(LOCKS)
        usable = os.access(LOCKS, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    return LOCKS if usable else Path(tempfile.gettempdir()) / LOCKS.name


def _make_locks(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1777)  # other users of the machine take the same locks


def _job_environment() -> dict[str, str]:
    """Return our environment, with this package importable in a child whose working folder is another."""
    environment = dict(os.environ)
    home = str(Path(__file__).parents[2])
    if home not in {*site.getsitepackages(), site.getusersitepackages()}:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (home, environment.get("PYTHONPATH"))))
    environment["PYTHONUNBUFFERED"] = "1"
    # CUDA would count the fastest GPU first, the driver's tools count by bus; a number must mean one GPU.
    environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return environment


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


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the job's whole process group, gently first; harmless where it has ended already."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        deadline = time.monotonic() + _GRACE_S
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    process.wait()


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (out of memory?)" if name == "SIGKILL" else name


def log_tail(path: Path) -> str:
    """Return the last lines of a log, empty where there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(line.rstrip() for line in lines[-_TAIL_LINES:])
