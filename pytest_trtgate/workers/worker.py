"""The main loop of a job process: read the request, set up the process, work, answer.

Nothing heavy is imported here: thread counts and the settings of Ultralytics only take effect if they are in the
environment before torch, NumPy and Ultralytics are.
"""

from __future__ import annotations

import contextlib
import errno
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
from ..records import load, save
from ..text import counted, without_escapes
from .phases import Phases

Q = TypeVar("Q", bound=Request[Any])
PHASES = Phases()
"""Of this process. A job begins with its imports, and says when it goes on."""
PROGRESS_INTERVAL_S = 2.0
_last_progress = [-PROGRESS_INTERVAL_S]


def main(request_model: type[Q], work: Callable[[Q, Path], Response]) -> int:
    """Do one job in the folder that the command line names and return the exit status of the process.

    Args:
        request_model: What ``request.json`` holds.
        work: Does the job and returns the response, given the request and the folder. It may import what it likes.

    Returns:
        0 with ``response.json`` written, or 1 with ``error.json``.
    """
    folder = Path(sys.argv[1]).resolve()
    _watch_launcher()
    try:
        request = load(folder / "request.json", request_model)
        prepare(folder, request.threads)
        PHASES.begin("imports")
        answer = work(request, folder)
        told = {"phases": PHASES.end(), "ahead_s": round(PHASES.ahead_s, 3)}
        save(folder / "response.json", answer.model_copy(update=told))
    except (Exception, SystemExit) as error:
        save(folder / "error.json", JobFailure(sentence=explain(error, folder)))
        if is_cuda_fault(error):
            # Nothing of CUDA works any more in this process; what it frees on its way out would abort it.
            leave(1)
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End this process at once: all is written, and to take down what torch and runtimes hold takes a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def prepare(folder: Path, threads: int) -> None:
    """Set up this process, before anything heavy is imported, so that it stays inside ``folder`` and ``threads``.

    Args:
        folder: Becomes the working folder, and holds settings and temporary files of all libraries.
        threads: Threads of each numeric library.
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
    tempfile.tempdir = None  # where it was looked up before
    # Ultralytics behaves differently where it believes to be under test.
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    os.chdir(folder)


def progress(text: str) -> None:
    """Tell the user how far the job is; but for a full count, dropped within two seconds of the message before."""
    now = time.monotonic()
    if now - _last_progress[0] >= PROGRESS_INTERVAL_S or counted(text)[1]:
        _last_progress[0] = now
        print(f"{PROGRESS}{text}", flush=True)


def explain(error: BaseException, folder: Path) -> str:
    """Write an error to the log, whole where we did not expect it, and return its :func:`sentence`."""
    if not isinstance(error, TrtGateError) or error.__cause__ is not None:
        traceback.print_exception(error)
    else:
        print(error, file=sys.stderr)
    return sentence(error, folder)


def sentence(error: BaseException, folder: Path) -> str:
    """Return one sentence that says why a job gave up.

    Args:
        error: What the work raised.
        folder: The folder of the job, named where the error itself names no file.
    """
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
    """Return whether an error says that a file could not be written for want of space."""
    return getattr(error, "errno", None) == errno.ENOSPC or "no space left" in str(error).lower()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the machine or the GPU has no memory left."""
    text = str(error).lower().replace("_", "").replace(" ", "")
    return isinstance(error, MemoryError) or "outofmemory" in text or "allocfailed" in text


def is_cuda_fault(error: BaseException | None) -> bool:
    """Return whether an error, or what it came from, is one of CUDA that the process does not recover from."""
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


def _watch_launcher() -> None:
    """End this process and its children when the other end of standard input, the launcher, has gone."""
    try:
        piped = stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:
        return
    if piped:
        threading.Thread(target=_end_with_launcher, daemon=True).start()


def _end_with_launcher() -> None:
    # sys.stdin would hold a lock that the interpreter wants when it ends.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
