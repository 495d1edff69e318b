"""What every job process does: read the request, set up the process, work, answer.

This module imports nothing heavy: thread counts and settings of Ultralytics take effect only if the environment has
them before torch, NumPy and Ultralytics are imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import sys
import tempfile
import threading
import time
import traceback
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ..errors import TrtGateError
from ..jobs import PROGRESS, JobFailure, Request, Response
from ..records import FULL, load, save
from ..text import counted, without_escapes
from .phases import Phases
from .reading import READ

Q = TypeVar("Q", bound=Request[Any])
PHASES = Phases()
"""The phases of this process; a job begins with its imports and says when the next phase begins."""
PROGRESS_INTERVAL_S = 2.0
_PR_SET_PDEATHSIG = 1
_last_progress = [-PROGRESS_INTERVAL_S]


def main(request_model: type[Q], work: Callable[[Q, Path], Response]) -> int:
    """Do one job in the folder that the command line names, and return the exit status of the process.

    ``work`` gets the request and the folder. The status is 0 with ``response.json`` written, or 1 with ``error.json``.
    """
    folder = Path(sys.argv[1]).resolve()
    _watch_launcher()
    READ.clear()
    try:
        request = load(folder / "request.json", request_model, own=True)
        prepare(folder, request.threads)
        PHASES.begin("imports")
        answer = work(request, folder)
        told = {"phases": PHASES.end(), "ahead_s": round(PHASES.ahead_s, 3), "read": dict(READ)}
        save(folder / "response.json", answer.model_copy(update=told))
    except (Exception, SystemExit) as error:
        save(folder / "error.json", JobFailure(sentence=explain(error, folder)))
        if is_cuda_fault(error):
            # CUDA no longer works in this process, and would abort it as it frees memory.
            leave(1)
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End this process at once: all is written, and torch and the runtimes take a second to shut down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def prepare(folder: Path, threads: int) -> None:
    """Set up this process before anything heavy is imported.

    ``folder`` becomes the working folder and holds settings and temporary files of all libraries; each numeric library
    gets ``threads`` threads.
    """
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        OMP_WAIT_POLICY="PASSIVE",  # threads that spin while they wait stall one another on a busy machine
        YOLO_CONFIG_DIR=str(folder / "yolo"),
        YOLO_OFFLINE="True",
        YOLO_AUTOINSTALL="false",
        YOLO_VERBOSE="True",
        ORT_DISABLE_TELEMETRY="1",  # ONNX Runtime sends usage data over the network since 1.32
        MPLCONFIGDIR=str(folder / "matplotlib"),
        TMPDIR=str(temporary),
    )
    (folder / "yolo").mkdir(exist_ok=True)
    tempfile.tempdir = None  # in case it was looked up before
    # Ultralytics behaves differently if it believes that it is under test.
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    os.chdir(folder)


def progress(text: str) -> None:
    """Tell the user how far the job is; within two seconds of the last message only if a count is complete."""
    now = time.monotonic()
    if now - _last_progress[0] >= PROGRESS_INTERVAL_S or counted(text)[1]:
        _last_progress[0] = now
        print(f"{PROGRESS}{text}", flush=True)


def explain(error: BaseException, folder: Path) -> str:
    """Write an error to the log, with its traceback if it is not ours, and return its :func:`sentence`."""
    if not isinstance(error, TrtGateError) or error.__cause__ is not None:
        traceback.print_exception(error)
    else:
        print(error, file=sys.stderr)
    return sentence(error, folder)


def sentence(error: BaseException, folder: Path) -> str:
    """Return one sentence that says why a job gave up; it names ``folder`` if the error names no file."""
    if isinstance(error, TrtGateError):
        return str(error)
    if is_disk_full(error):
        return f"no space left on the disk of {getattr(error, 'filename', None) or folder}; free some and run again"
    if is_out_of_memory(error):
        return f"out of memory ({plain(error)}); close other programs on the device, or lower batch or imgsz"
    if is_cuda_fault(error):
        return (
            f"the GPU reported an error after which its process cannot go on ({plain(error)}); if it comes again, "
            f"look into the log, and for Xid errors into the kernel's"
        )
    if type(error).__module__.startswith("onnxruntime"):
        return f"ONNX Runtime refused ({plain(error)}); the log has the details"
    return f"{type(error).__name__}: {plain(error)}"


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that the disk, or our share of it, is full."""
    said = str(error).lower()
    return getattr(error, "errno", None) in FULL or "no space left" in said or "quota exceeded" in said


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the machine or the GPU has no memory left."""
    text = str(error).lower().replace("_", "").replace(" ", "")
    return isinstance(error, MemoryError) or "outofmemory" in text or "allocfailed" in text


def is_cuda_fault(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, is one of CUDA from which the process does not recover."""
    while error is not None:
        if "CUDA error" in str(error) and not is_out_of_memory(error):
            return True
        error = error.__cause__
    return False


def plain(error: BaseException) -> str:
    """Return the first line of an error's text without colours, emoji and a leading ERROR."""
    text = "".join(c for c in without_escapes(str(error)) if not _is_emoji(c))
    lines = (" ".join(line.split()).removeprefix("ERROR ") for line in text.splitlines())
    return next((line.rstrip(" .:;") for line in lines if line), type(error).__name__)


def _is_emoji(character: str) -> bool:
    return character in "\u200d\ufe0f" or unicodedata.category(character) == "So"


def at_end_of_parent(number: int) -> None:
    """Have the kernel send this process a signal when the thread that began it ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


def _watch_launcher() -> None:
    """End this process and its children when the launcher, the other end of standard input, has gone."""
    try:
        piped = stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:
        return
    if piped:
        at_end_of_parent(signal.SIGCONT)  # or this process would see no end while it is stopped
        threading.Thread(target=_end_with_launcher, daemon=True).start()


def _end_with_launcher() -> None:
    # Not sys.stdin, whose lock the interpreter needs as it ends.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
