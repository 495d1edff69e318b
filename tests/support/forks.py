"""Processes of tests that begin in no time: forks of one that has imported what is slow to import.

A fork differs from a process of its own by what is imported in it. Tests that are about that start one of their own.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = str(Path(__file__).parent)
_SERVER = """
import atexit, gc, json, os, runpy, signal, sys
# What is imported or forked prints elsewhere.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import jinja2, platformdirs, pydantic, pytest, yaml
import compiled
import pytest_trtgate.cli, pytest_trtgate.jobs.launcher, pytest_trtgate.workers.worker, pytest_trtgate.plugin
import pytest_trtgate.report.publish, pytest_trtgate.plugin.run
for name in ("pytest_benchmark.plugin", "xdist.plugin"):
    try:
        __import__(name)
    except ImportError:
        pass
sys.pycache_prefix, sys.dont_write_bytecode = None, True
gc.freeze()

def child(asked):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, path in ((0, os.devnull), (1, asked["stdout"]), (2, asked["stderr"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), place)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["cwd"])
    sys.path.insert(0, asked["cwd"])
    sys.argv = asked["argv"]
    try:
        if asked["code"]:
            exec(asked["code"], {"__name__": "__main__"})
        else:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code or 0
    return 0

for line in sys.stdin:
    asked = json.loads(line)
    if "wait" in asked:
        print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), file=answers, flush=True)
        continue
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = child(asked)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(pid, file=answers, flush=True)
"""


@dataclass
class Fork:
    """A process that was forked, as far as tests use what :class:`subprocess.Popen` offers.

    Attributes:
        pid: Its number, and that of its process group.
        returncode: Its exit status, negative for a signal; None until :meth:`communicate`.
    """

    pid: int
    folder: Path
    """Where its output is kept."""
    returncode: int | None = None

    def communicate(self, timeout: float = 120.0) -> tuple[str, str]:
        """Wait for its end, and return what it wrote to standard output and to standard error; to be called once."""
        self.returncode = _FORKS.ask({"wait": self.pid}, timeout)
        written = [(self.folder / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        shutil.rmtree(self.folder)
        return written[0], written[1]


class _Forks:
    """The process that is forked, started where a test first needs it."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def ask(self, request: Mapping[str, Any], timeout: float) -> int:
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _SERVER],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (HERE, os.environ.get("PYTHONPATH"))))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        if not select.select([self._server.stdout], [], [], timeout)[0]:
            os.killpg(request["wait"], signal.SIGKILL)
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.communicate()
            self._server = None


_FORKS = _Forks()
close_forks = _FORKS.close


def fork(argv: Sequence[str], cwd: Path, environ: Mapping[str, str], code: str = "", apart: bool = False) -> Fork:
    """Start a process in a group of its own.

    Args:
        argv: The name of a module and its arguments, as after ``python -m``.
        cwd: Its working folder, in which modules are found first.
        environ: Its environment. ``PYTHON*`` and what is read by an import have no effect.
        code: What is run in the place of the module.
        apart: Whether standard error is kept apart from standard output.
    """
    folder = Path(tempfile.mkdtemp(prefix="fork-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    for name in ("stdout", "stderr"):
        (folder / name).touch()
    asked = {"argv": list(argv), "cwd": str(cwd), "environ": dict(environ), "code": code}
    asked |= {"stdout": str(folder / "stdout"), "stderr": str(folder / ("stderr" if apart else "stdout"))}
    return Fork(_FORKS.ask(asked, 60.0), folder)
