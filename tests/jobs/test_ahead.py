"""Processes that import ahead of their jobs: fresh all the same, never while something is timed, never left behind."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from inline_launcher import InlineLauncher
from project import SUPPORT, Project, is_running, wait_for
from records_example import SETTINGS

from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs import ahead as ahead_module
from pytest_trtgate.jobs import processes
from pytest_trtgate.jobs.ahead import EACH_BYTES, KEEP_FREE_BYTES, affordable
from pytest_trtgate.jobs.contract import ArmRequest, BuildRequest, JobKind, LatencyRequest, LatencyResponse
from pytest_trtgate.jobs.expected import ExpectedJobs
from pytest_trtgate.jobs.kinds import JOBS, JobSpec
from pytest_trtgate.jobs.launcher import EarlyLauncher, Job, LocalLauncher
from pytest_trtgate.machine import device_lock
from pytest_trtgate.records.cell import Cell
from pytest_trtgate.settings.latency import Latency

CELL = Cell(model="shapes", precision="fp32", imgsz=32, batch=1, backend="onnxruntime", device="cpu")
SLOW = """
import pathlib, sys, time
time.sleep(0.4 * int(pathlib.Path(sys.argv[2]).name))  # the second process takes longer than the first
pathlib.Path(__file__).with_name("imported.txt").write_text(str(time.monotonic_ns()))
"""


def command_of(pid: int) -> bytes:
    """Return the words that a process was started with; nothing where it has ended or is another user's."""
    try:
        # In the middle of its start a process has no words yet; the kernel's have none, and no file that they run.
        while not (words := Path(f"/proc/{pid}/cmdline").read_bytes()) and is_running(pid):
            Path(f"/proc/{pid}/exe").readlink()
        return words
    except OSError:
        return b""


def waiting(path: Path) -> list[int]:
    """Return the processes that wait for a job, or are copies of one, and belong somewhere under a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        words = command_of(int(place.name))
        if b"pytest_trtgate.workers.waiting" in words and bytes(path) in words and is_running(int(place.name)):
            found.append(int(place.name))
    return found


class Jobs:
    """Fake launches and builds on a CPU, by a launcher that prepares them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.launcher = LocalLauncher({"build": "fake_jobs", "latency": "fake_jobs"}, path / "locks")
        self.weights = Behaviour(faults={"build-int8": "segfault", "build-fp16": "hang"}).save(path / "shapes.pt")

    def prepare(self, count: int) -> list[int]:
        """Have launches prepared, and return the processes that wait."""
        self.launcher.prepare("latency", count, "cpu", 1, self.path / "ahead")
        return waiting(self.path)

    def launch(self, name: str) -> int:
        """Make a launch and return its process."""
        request = LatencyRequest(
            index=0,
            arms=(ArmRequest(arm="pt", artifact=str(self.weights), sha256=""),),
            device="cpu",
            images=(),
            how=SETTINGS,
            rules=Latency(samples=30),
            samples_file=str(self.path / name / "samples.npz"),
        )
        answer = self.launcher.run(Job(name, request, "cpu", 60), self.path / name, lambda _: None)
        assert isinstance(answer, LatencyResponse)
        return self.pid(name)

    def build(self, precision: str, timeout_s: float = 60.0) -> int:
        """Build an engine and return the process that did."""
        (self.path / "out").mkdir(exist_ok=True)
        cell = CELL.model_copy(update={"precision": precision})
        request = BuildRequest(weights=str(self.weights), cell=cell, output=str(self.path / "out"))
        job = Job(precision, request, "cpu", timeout_s)
        self.launcher.run(job, self.path / precision, lambda _: None)
        return self.pid(precision)

    def pid(self, name: str) -> int:
        """Return the process that did a job."""
        return int((self.path / name / "pid.txt").read_text())

    @property
    def device_is_free(self) -> bool:
        """Whether another session could have the device now."""
        lock = device_lock("cpu", self.path / "locks")
        free = lock.take()
        lock.release()
        return free


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Fake jobs that are prepared; what waits is gone when the launcher is closed."""
    (tmp_path / "slow_import.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), str(tmp_path)]))
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    monkeypatch.setattr(ahead_module, "affordable", lambda count: count)
    jobs = Jobs(tmp_path)
    yield jobs
    jobs.launcher.close()
    assert waiting(tmp_path) == []


# Launches


def test_each_launch_is_a_process_of_its_own_prepared_or_not(jobs: Jobs) -> None:
    prepared = jobs.prepare(2)
    assert jobs.prepare(2) == prepared
    wait_for(lambda: jobs.device_is_free)  # once all is imported, though nothing was timed
    did = [jobs.launch(name) for name in ("one", "two", "three")]
    assert (sorted(did[:2]), len(set(did))) == (sorted(prepared), 3)
    assert "log of two" in (jobs.path / "two" / "log.txt").read_text()
    wait_for(lambda: not any(map(is_running, did)))


def test_no_plugin_that_forbids_sockets_is_in_the_way(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(socket.socket):
        def __init__(self, *_: object, **__: object) -> None:
            raise RuntimeError("no sockets in tests")

    monkeypatch.setattr(socket, "socket", Refused)
    [prepared] = jobs.prepare(1)
    assert jobs.launch("one") == prepared
    assert jobs.build("fp32") != prepared


def test_a_session_that_dies_of_a_signal_leaves_no_process_in_the_middle_of_an_import(tmp_path: Path) -> None:
    (tmp_path / "endless_import.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_name('begun').touch()\nwhile True: time.sleep(1)"
    )
    code = (
        "import os, signal, sys, time\nfrom pathlib import Path\nfrom pytest_trtgate.jobs import processes\n"
        f"here = Path({str(tmp_path)!r})\n"
        "processes.Waiting(here / 'one', 1, ['endless_import'], processes.child_environment([str(here)]))\n"
        "while not (here / 'begun').exists(): time.sleep(0.01)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGUSR1
    wait_for(lambda: waiting(tmp_path) == [])


def test_a_process_that_was_begun_by_a_thread_does_its_job_after_the_thread_has_ended(tmp_path: Path) -> None:
    began: list[processes.Waiting] = []

    def begin() -> None:
        began.append(processes.Waiting(tmp_path / "one", 1, [], processes.child_environment([str(tmp_path)])))
        assert began[0].ready()
        theirs, ours = os.pipe()
        (tmp_path / "job").mkdir()
        began[0].become("sleeping", tmp_path / "job", (theirs, ours))
        wait_for((tmp_path / "job" / "begun").exists)

    (tmp_path / "sleeping.py").write_text(
        "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(1)\npathlib.Path('done').touch()"
    )
    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    processes.wait(began[0].process, 60)
    assert (tmp_path / "job" / "done").exists()
    began[0].end()


def test_nothing_is_timed_while_anything_imports(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JOBS, "latency", JobSpec("fake_jobs", imports=("slow_import",)))  # type: ignore[arg-type]
    jobs.launcher.modules = {}
    jobs.prepare(2)
    assert not jobs.device_is_free  # for other sessions on this machine
    jobs.launch("one")
    began = int((jobs.path / "one" / "span.txt").read_text().split()[0])
    assert began > int((jobs.path / "imported.txt").read_text())
    assert jobs.device_is_free


def test_nothing_is_prepared_while_another_session_has_the_device(jobs: Jobs) -> None:
    with LocalLauncher({}, jobs.path / "locks").hold_device("cpu", lambda _: None):
        assert jobs.prepare(1) == []


def test_a_prepared_process_that_has_died_is_replaced(jobs: Jobs) -> None:
    (prepared,) = jobs.prepare(1)
    os.kill(prepared, signal.SIGKILL)
    assert jobs.launch("one") != prepared


def test_processes_wait_only_where_there_is_memory_for_them(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo, group = tmp_path / "proc" / "meminfo", tmp_path / "sys" / "fs" / "cgroup"
    for folder in (meminfo.parent, group):
        folder.mkdir(parents=True)
    assert affordable(3, tmp_path) == 0  # where the system does not tell
    meminfo.write_text(f"MemTotal: 1 kB\nMemAvailable: {(KEEP_FREE_BYTES + 2 * EACH_BYTES) // 1024 + 1} kB\n")
    assert [affordable(count, tmp_path) for count in (1, 2, 3)] == [1, 2, 2]
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    assert affordable(3, tmp_path) == 2
    (group / "memory.max").write_text(f"{KEEP_FREE_BYTES + EACH_BYTES + 1000}\n")
    assert affordable(3, tmp_path) == 1
    # What files have left in memory goes where memory is wanted.
    (group / "memory.current").write_text(f"{1000 + 2 * EACH_BYTES}\n")
    assert affordable(3, tmp_path) == 0
    (group / "memory.stat").write_text(f"anon 7\ninactive_file {2 * EACH_BYTES}\nactive_file 9\n")
    assert affordable(3, tmp_path) == 1
    monkeypatch.setattr(ahead_module, "affordable", lambda count: 0)
    assert jobs.prepare(3) == []


# Copies


def test_a_job_that_crashes_or_hangs_costs_its_copy_only(jobs: Jobs) -> None:
    first = jobs.build("fp32")
    (server,) = waiting(jobs.path)
    with pytest.raises(JobError, match="SIGSEGV"):
        jobs.build("int8")
    with pytest.raises(JobError, match="past its limit"):
        jobs.build("fp16", timeout_s=2)
    assert not is_running(jobs.pid("fp16"))
    last = jobs.build("fp32")
    assert waiting(jobs.path) == [server]
    assert len({server, first, jobs.pid("int8"), jobs.pid("fp16"), last}) == 5
    # Where there is nothing to copy any more, a job gets a new process.
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not is_running(server))
    jobs.build("fp32")
    jobs.build("fp32")
    assert server not in waiting(jobs.path)


def test_a_job_ends_at_its_limit_where_the_process_that_it_is_a_copy_of_has_stopped(jobs: Jobs) -> None:
    first = jobs.build("fp32")
    (server,) = waiting(jobs.path)

    def stop() -> None:
        wait_for((jobs.path / "fp16" / "pid.txt").exists)
        os.kill(server, signal.SIGSTOP)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(JobError, match="past its limit of 4 s"):
        jobs.build("fp16", timeout_s=4)
    thread.join()
    assert server not in waiting(jobs.path)
    assert jobs.build("fp32") != first


@pytest.mark.parametrize("what", ["original", "copy", "both", "fresh"])
def test_what_is_stopped_ends_with_a_session_that_is_killed(tmp_path: Path, what: str) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "endless.py").write_text(
        "import os, pathlib, time\nfrom pytest_trtgate.workers.worker import _watch_launcher\n_watch_launcher()\n"
        "pathlib.Path('pid.tmp').write_text(str(os.getpid()))\npathlib.Path('pid.tmp').rename('pid.txt')\n"
        "while True: time.sleep(1)"
    )
    begin = (
        "process = start('endless', here / 'job', environment, (theirs, ours))"
        if what == "fresh"
        else "one = Waiting(here / 'one', 1, [], environment)\nassert one.ready()\n"
        "process = one.fork('endless', here / 'job', (theirs, ours))"
    )
    code = (
        "import os, time\nfrom pathlib import Path\nfrom pytest_trtgate.jobs.processes import *\n"
        f"here = Path({str(tmp_path)!r})\nenvironment = child_environment([str(here)])\ntheirs, _ = os.pipe()\n"
        f"ours = os.open(os.devnull, os.O_WRONLY)\n{begin}\ntime.sleep(60)"
    )
    session = subprocess.Popen([sys.executable, "-c", code])
    wait_for((tmp_path / "job" / "pid.txt").exists)
    copy = int((tmp_path / "job" / "pid.txt").read_text())
    originals = [pid for pid in waiting(tmp_path) if pid != copy]
    stopped = [*(originals if what in ("original", "both") else []), *([copy] if what != "original" else [])]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    session.kill()
    session.wait()
    try:
        wait_for(lambda: not any(map(is_running, (copy, *originals))))
    finally:
        for pid in (copy, *originals):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_the_end_of_a_copy_is_seen_where_the_session_ignores_that_of_its_children(jobs: Jobs) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        jobs.build("fp32")
        with pytest.raises(JobError, match="SIGSEGV"):
            jobs.build("int8")
        assert waiting(jobs.path)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_the_end_of_a_copy_is_seen_where_many_files_are_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with ours, theirs, socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1024)) as channel:
            theirs.send(b"123")
            copy = processes._Forked(channel)
            assert (copy.pid, copy.poll()) == (123, None)
            with pytest.raises(subprocess.TimeoutExpired):
                copy.wait(0.01)
            theirs.send(b"7")
            assert (copy.poll(), copy.wait()) == (7, 7)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_interrupts_the_making_of_a_copy_is_not_taken_for_the_next_job(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(processes._Forked, "__init__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            jobs.build("fp32")
    with pytest.raises(JobError, match="SIGSEGV"):  # its own end, not that of the copy before
        jobs.build("int8")


def test_there_is_nothing_to_copy_where_memory_is_short(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_module, "affordable", lambda count: 0)
    jobs.launcher.prepare("build", 1, "cpu", 1, jobs.path / "ahead")
    assert jobs.build("fp32")
    assert waiting(jobs.path) == []


# Sessions


def test_a_run_leaves_no_process_behind(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_module, "affordable", lambda count: count)
    project.use_processes(ahead=True).run().assert_outcomes(passed=6)
    assert waiting(project.path) == []
    folders = {path.name for path in (project.run_folders()[-1] / "ahead").iterdir()}
    assert folders == {"1", "2", "3", "4"}  # one for builds and the evaluation, and three launches


def test_a_session_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    code = (
        "import time\nfrom pathlib import Path\nfrom pytest_trtgate.jobs import ahead\n"
        "from pytest_trtgate.jobs.launcher import LocalLauncher\nahead.affordable = lambda count: count\n"
        f"launcher = LocalLauncher(dict(latency='x', build='x'), Path({str(tmp_path)!r}, 'locks'))\n"
        f"for kind in ('build', 'latency'): launcher.prepare(kind, 1, 'cpu', 1, Path({str(tmp_path)!r}, kind))\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: len(waiting(tmp_path)) == 2)
    process.kill()
    process.wait()
    wait_for(lambda: waiting(tmp_path) == [])


# What is prepared when


class Recorder(InlineLauncher):
    """Notes what it is to prepare."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def prepare(self, kind: JobKind, count: int, device: str, threads: int, folder: Path) -> None:
        """Note it."""
        self.asked.append(f"{kind} {count}")

    def close(self) -> None:
        """Note it."""
        self.asked.append("close")


def early(models: set[str], builds: bool, device: str = "cpu") -> tuple[ExpectedJobs, list[str]]:
    """Return what prepares the jobs of a run, and where it is noted."""
    launcher = Recorder()
    jobs = ExpectedJobs(launcher, device, 1, Path("ahead"), 5)
    jobs.expect(models, builds)
    jobs.begin()
    jobs.without({"quick"})
    return jobs, launcher.asked


def test_one_launch_is_prepared_at_once_where_engines_are_there_else_all_beside_the_first_build() -> None:
    assert early({"shapes", "quick"}, builds=False)[1] == ["latency 1"]
    assert early({"quick"}, builds=False)[1] == []  # nothing that takes long is imported for it
    jobs, asked = early({"shapes"}, builds=True)
    jobs.before("survey")
    assert asked == ["build 1"]
    jobs.before("build")
    assert asked == ["build 1", "latency 5"]
    jobs, asked = early({"shapes"}, builds=True, device="0")
    jobs.before("build")  # TensorRT times kernels
    assert asked == ["build 1"]
    jobs.before("accuracy")
    assert asked == ["build 1", "latency 5"]


def test_launches_that_nobody_expects_are_prepared_when_they_come() -> None:
    jobs, asked = early(set(), builds=False)
    jobs.before("accuracy")
    assert asked == []
    jobs.before_launches("shapes", 1)
    jobs.before("accuracy")
    jobs.further_launches(4)
    jobs.close()
    assert asked == ["latency 1", "latency 4", "close"]
    ExpectedJobs(InlineLauncher(), "cpu", 1, Path("ahead"), 3).before_launches("shapes", 1)  # nothing to tell it
    assert not isinstance(InlineLauncher(), EarlyLauncher)


def test_a_run_prepares_launches_only_where_a_test_names_a_latency(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    # A class of its own: what once had the methods of a protocol has them for ever, to whom asks isinstance.
    class Early(InlineLauncher):
        def prepare(self, kind: JobKind, *how: object) -> None:
            asked.append(kind)

        def close(self) -> None:
            asked.append("close")

    monkeypatch.setattr("inline_launcher.InlineLauncher", Early)
    project.run("--trt-precision=fp16", "-k", "accuracy").assert_outcomes(passed=1, deselected=1)
    assert asked == ["build", "close"]
    del asked[:]
    project.run("--trt-precision=fp16").assert_outcomes(passed=2)
    assert asked == ["latency"] * 3 + ["close"]  # one at the start, all when they come, and what one did not decide
    del asked[:]
    project.tests("def test_mine(trt_cell): pass")
    project.run("--trt-precision=fp16")
    assert asked == []
