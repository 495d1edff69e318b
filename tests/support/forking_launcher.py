"""A launcher for tests of real jobs: each job is a fork of one process, which has imported what is slow to import."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs.contract import JobFailure
from pytest_trtgate.jobs.kinds import JOBS
from pytest_trtgate.jobs.launcher import LOG_NAME, Job
from pytest_trtgate.records.base import FileRecord
from pytest_trtgate.records.files import load, save

_SERVER = """
import os, runpy, sys
# What the imports print is no answer.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import cv2, matplotlib, onnx, torch, torchvision, ultralytics
import onnxruntime.quantization
import ultralytics.engine.exporter, ultralytics.models
from ultralytics.models.yolo.model import YOLO

for line in sys.stdin:
    module, folder = line.rstrip().split("\\t")
    child = os.fork()
    if not child:
        log = os.open(os.path.join(folder, "log.txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for place, file in ((0, nothing), (1, log), (2, log)):
            os.dup2(file, place)
        sys.argv = [module, folder]
        status = 70
        try:
            runpy.run_module(module, run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code
        finally:
            sys.stdout.flush()
            os._exit(status)
    print(os.waitpid(child, 0)[1], file=answers, flush=True)
"""


class ForkingLauncher:
    """Does real jobs one after another, without an import of torch and Ultralytics for each."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        """Do one job; as the protocol says."""
        folder.mkdir(parents=True, exist_ok=True)
        save(folder / "request.json", job.request)
        status = self.fork(JOBS[job.kind].module, folder)
        log = (folder / LOG_NAME).read_text(errors="replace")[-3000:]
        if (folder / "error.json").exists():
            raise JobError(job.name, load(folder / "error.json", JobFailure).sentence, log)
        if status:
            raise JobError(job.name, f"the job ended with status {status}", log)
        response: FileRecord = load(folder / "response.json", job.request.response())
        return response

    def fork(self, module: str, folder: Path) -> int:
        """Run a module in a fork of the server, and return the status of its process."""
        if self._server is None:
            environ = {**os.environ, "YOLO_OFFLINE": "True", "YOLO_AUTOINSTALL": "false", "OMP_NUM_THREADS": "1"}
            environ |= {"YOLO_CONFIG_DIR": tempfile.mkdtemp(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-c", _SERVER]
            self._server = subprocess.Popen(
                command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{module}\t{folder}\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline() or -1)

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.communicate()
