"""The launcher: whatever a job does to itself costs its cell, never the session."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from fake_jobs import REFUSAL, Behaviour
from project import SUPPORT, Project, is_running, wait_for

from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs import contract, processes
from pytest_trtgate.jobs.contract import BuildRequest, BuildResponse, JobFailure
from pytest_trtgate.jobs.kinds import JOBS
from pytest_trtgate.jobs.launcher import Job, LocalLauncher
from pytest_trtgate.jobs.logs import log_tail
from pytest_trtgate.machine import device_lock
from pytest_trtgate.records import save
from pytest_trtgate.records.cell import Cell

FAULTS = {
    "segfault": "its process was killed by SIGSEGV",
    "killed": "its process was killed by SIGKILL (out of memory?)",
    "exit": "its process ended with exit code 7",
    "garbage": "it gave no usable answer (*response.json: not valid JSON",
    "silent": "it gave no usable answer (*response.json: cannot be read",
    "refuse": REFUSAL,
}
CELL = Cell(model="shapes", precision="int8", imgsz=320, batch=1, backend="onnxruntime", device="cpu")


class Jobs:
    """Runs fake builds with the real launcher, outside of any session."""

    def __init__(self, path: Path, launcher: LocalLauncher) -> None:
        self.path = path
        self.folder = path / "job"
        self.launcher = launcher
        self.launcher.locks = path / "locks"
        self.told: list[str] = []

    def build(self, fault: str = "", timeout_s: float = 60.0, device: str = "cpu") -> BuildResponse:
        """Run one build that has a fault."""
        weights = Behaviour(faults={"build-int8": fault}).save(self.path / "shapes.pt")
        (self.path / "out").mkdir(exist_ok=True)
        request = BuildRequest(weights=str(weights), cell=CELL, output=str(self.path / "out"))
        answer = self.launcher.run(Job("job", request, device, timeout_s), self.folder, self.told.append)
        assert isinstance(answer, BuildResponse)
        return answer

    def failure(self, fault: str, timeout_s: float = 60.0) -> JobError:
        """Run one build that must fail."""
        with pytest.raises(JobError) as caught:
            self.build(fault, timeout_s)
        return caught.value

    def pid(self, name: str = "pid") -> int:
        """Return the process that the job was, or its child."""
        return int((self.folder / f"{name}.txt").read_text())


@pytest.fixture(scope="module", params=[False, True], ids=["fresh", "copied"])
def launcher(request: pytest.FixtureRequest) -> Iterator[LocalLauncher]:
    """What runs fake builds, each in a fresh process, or all as copies of one, which none of their faults may harm."""
    launcher = LocalLauncher({"build": "fake_jobs"}, ahead=request.param)
    yield launcher
    launcher.close()


@pytest.fixture
def jobs(launcher: LocalLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """Fake builds, whose module any process finds, and which get little time to end in peace."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    return Jobs(tmp_path, launcher)


# In a run


@pytest.mark.parametrize("fault", ["segfault", "garbage"])
def test_a_build_that_goes_wrong_costs_its_cell_and_no_other(project: Project, fault: str) -> None:
    project.weights(Behaviour(faults={"build-int8": fault}))
    project.settings("launches = 1\n")
    result = project.use_processes().run("--trt-precision=fp16,int8")
    result.assert_outcomes(passed=2, failed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes("accuracy") == {"fp16": "NO_BASELINE", "int8": "ERROR"}
    assert project.outcomes("latency")["int8"] == "ERROR"
    result.stdout.fnmatch_lines(
        [f"int8: {FAULTS[fault].replace('[', '?')}* ?build-shapes-int8-320-b1-onnxruntime-cpu?"]
    )
    result.stdout.fnmatch_lines(["The job's log ends with:", "log of build-shapes-int8-320-b1-onnxruntime-cpu"])


def test_a_failed_build_is_not_tried_again_in_its_run(project: Project) -> None:
    project.weights(Behaviour(faults={"build-int8": "refuse"}))
    project.run("--trt-precision=int8").assert_outcomes(failed=2)
    assert len(project.job_names("build")) == 1


def test_all_accuracies_of_a_model_come_from_one_job(project: Project) -> None:
    project.run("-k", "accuracy").assert_outcomes(passed=3, deselected=3)
    assert project.job_names("accuracy") == ["accuracy-shapes-pt+fp32+fp16+int8"]


def test_only_the_cells_that_are_tested_are_built_and_evaluated(project: Project) -> None:
    project.run("-k", "accuracy and (fp32 or int8)").assert_outcomes(passed=2, deselected=4)
    assert project.job_names("accuracy") == ["accuracy-shapes-pt+fp32+int8"]
    assert len(project.job_names("build")) == 2


def test_an_evaluation_that_is_refused_costs_one_accuracy(project: Project) -> None:
    project.weights(Behaviour(faults={"accuracy-fp16": "refuse"}))
    project.run("-k", "accuracy").assert_outcomes(passed=2, failed=1, deselected=3)
    summary = project.verdict("fp16", "accuracy").summary
    assert summary == f"fp16: {REFUSAL} [accuracy-shapes-pt+fp32+fp16+int8]"
    assert len(project.job_names("accuracy")) == 1


def test_what_a_job_says_of_the_data_names_the_yaml_that_the_user_wrote(project: Project) -> None:
    project.weights(Behaviour(faults={"accuracy-fp16": "refuse-data", "build-int8": "refuse-data"}))
    project.run("--trt-precision=fp16,int8", "-k", "accuracy").assert_outcomes(failed=2, deselected=2)
    data = project.path / "data" / "data.yaml"
    summaries = [project.verdict(precision, "accuracy").summary for precision in ("fp16", "int8")]
    assert [summary.partition(f": {REFUSAL}")[0] for summary in summaries] == [f"fp16: {data}", f"int8: {data}"]


def test_an_evaluation_that_dies_costs_one_accuracy(project: Project) -> None:
    project.weights(Behaviour(faults={"accuracy-fp16": "segfault"}))
    project.settings("launches = 1\n")
    project.use_processes().run("--trt-precision=fp16,int8").assert_outcomes(passed=3, failed=1)
    assert project.outcomes("accuracy") == {"fp16": "ERROR", "int8": "NO_BASELINE"}
    assert sorted(project.job_names("accuracy")) == [
        f"accuracy-shapes-{arms}" for arms in ("fp16", "pt+fp16+int8", "pt+int8")
    ]
    assert "[accuracy-shapes-fp16]" in project.verdict("fp16", "accuracy").summary


@pytest.mark.parametrize("gpu", [True, False])
def test_an_evaluation_that_dies_of_its_only_arm_is_tried_once_more_sparingly(project: Project, gpu: bool) -> None:
    project.tests("def test_it(trt_accuracy): pass")
    if gpu:
        project.use_gpu()
    for fault, outcome in (("greedy", "passed"), ("refuse-all", "errors")):
        project.weights(Behaviour(faults={"accuracy-int8": fault}))
        result = project.run("--trt-precision=int8")
        result.assert_outcomes(**{outcome: 1})
        jobs = ["accuracy-shapes-int8", "accuracy-shapes-int8-again"]
        assert sorted(job.name for job in project.record.jobs if job.kind == "accuracy") == jobs
        requests = [project.run_folders()[-1] / "jobs" / job / "request.json" for job in jobs]
        assert [json.loads(path.read_text())["sparing"] for path in requests] == [False, True]
    assert "the evaluation ended at int8 (" in result.stdout.str()


def test_an_evaluation_that_hangs_is_not_tried_alone(project: Project) -> None:
    project.weights(Behaviour(faults={"accuracy-int8": "hang"}))
    project.settings("[timeouts]\naccuracy_s = 0.7\n")
    project.use_processes().run("--trt-precision=int8", "-k", "accuracy").assert_outcomes(failed=1, deselected=1)
    assert "past its limit of 1.4 s [accuracy-shapes-pt+int8]" in project.verdict("int8", "accuracy").summary
    assert sorted(project.job_names("accuracy")) == ["accuracy-shapes-pt", "accuracy-shapes-pt+int8"]
    # Alone as little, nor is it said to be.
    project.tests("def test_it(trt_accuracy): pass")
    result = project.run("--trt-precision=int8")
    assert project.job_names("accuracy") == ["accuracy-shapes-int8"]
    assert "trying again" not in result.stdout.str()


def test_arms_are_evaluated_alone_where_a_job_did_not_say_which_it_was_at(project: Project) -> None:
    project.weights(Behaviour(faults={"accuracy-int8": "refuse-all"}))
    project.run("--trt-precision=fp16,int8", "-k", "accuracy").assert_outcomes(passed=1, failed=1, deselected=2)
    alone = [f"accuracy-shapes-{arms}" for arms in ("fp16", "int8", "pt", "pt+fp16+int8")]
    assert sorted(project.job_names("accuracy")) == alone


def test_a_checkpoint_that_cannot_be_evaluated_is_an_error_of_every_accuracy(project: Project) -> None:
    project.weights(Behaviour(faults={"accuracy-pt": "refuse"}))
    project.run("--trt-precision=fp16,int8").assert_outcomes(passed=2, failed=2)
    assert project.outcomes("accuracy") == {"fp16": "ERROR", "int8": "ERROR"}
    assert project.job_names("accuracy") == ["accuracy-shapes-pt+fp16+int8"]


def test_an_arm_that_cannot_be_timed_leaves_the_others_their_launches(project: Project) -> None:
    project.weights(Behaviour(faults={"latency-int8": "segfault"}))
    project.use_processes().run("-k", "latency").assert_outcomes(passed=2, failed=1, deselected=3)
    launches = project.record.latencies["shapes"].launches
    assert [sorted(launch.arms) for launch in launches] == [["fp16", "fp32", "pt"]] * 3
    assert "[probe-shapes-int8]" in project.verdict("int8", "latency").summary


def test_engines_that_were_built_are_timed_without_the_one_that_was_not(project: Project) -> None:
    project.weights(Behaviour(faults={"build-fp16": "refuse"}))
    project.run("-k", "latency").assert_outcomes(passed=2, failed=1, deselected=3)
    assert sorted(project.record.latencies["shapes"].launches[0].arms) == ["fp32", "int8", "pt"]


def test_a_checkpoint_that_cannot_be_timed_is_an_error_of_every_latency(project: Project) -> None:
    project.weights(Behaviour(faults={"latency-pt": "refuse"}))
    project.run("-k", "latency").assert_outcomes(failed=3, deselected=3)
    assert set(project.outcomes("latency").values()) == {"ERROR"}


def test_a_build_that_hangs_is_ended_at_its_limit(project: Project) -> None:
    project.weights(Behaviour(faults={"build-int8": "hang"}))
    project.settings("[timeouts]\nbuild_s = 1\n")
    result = project.use_processes().run("--trt-precision=fp16,int8", "-k", "accuracy")
    result.assert_outcomes(passed=1, failed=1, deselected=2)
    assert "ended after running past its limit of 1 s" in project.verdict("int8", "accuracy").summary


# A job alone


@pytest.mark.parametrize("fault", FAULTS)
def test_a_job_that_goes_wrong_is_told_by_reason_and_log(jobs: Jobs, fault: str) -> None:
    failure = jobs.failure(fault)
    assert fnmatch(failure.reason, FAULTS[fault] + "*")
    assert failure.log_tail == "log of job"


def test_a_log_that_only_repeats_the_reason_is_not_shown(jobs: Jobs) -> None:
    jobs.folder.mkdir()
    for log, shown in (("no such file\n", ""), ("warning\nno such file\n", "warning\nno such file")):
        (jobs.folder / "log.txt").write_text(log)
        save(jobs.folder / "error.json", JobFailure(sentence="no such file"))
        request = BuildRequest(weights="shapes.pt", cell=CELL, output="")
        with pytest.raises(JobError) as caught:
            jobs.launcher._answer(Job("job", request, "", 1.0), jobs.folder, 1)
        assert (caught.value.reason, caught.value.log_tail) == ("no such file", shown)


def test_a_job_that_does_its_work_answers(jobs: Jobs) -> None:
    assert jobs.build().artifact == "engine.onnx"
    assert jobs.told == ["job: working"]
    assert log_tail(jobs.folder / "log.txt") == "log of job"


def test_work_without_a_device_waits_for_none(jobs: Jobs) -> None:
    with jobs.launcher.hold_device("cpu", jobs.told.append):
        assert jobs.build(device="").artifact == "engine.onnx"
    assert [path.name for path in (jobs.path / "locks").iterdir()] == ["device-cpu.lock"]
    assert jobs.told == ["job: working"]


def test_the_answer_of_an_earlier_attempt_is_not_taken_for_one(jobs: Jobs) -> None:
    jobs.build()
    assert "response.json: cannot be read" in jobs.failure("silent").reason


def test_ten_megabytes_of_output_neither_block_a_job_nor_hide_its_progress(jobs: Jobs) -> None:
    assert jobs.build("flood").artifact == "engine.onnx"
    log = jobs.folder / "log.txt"
    assert log.stat().st_size > 10_000_000
    assert len(log_tail(log).splitlines()) == 25
    assert jobs.told == ["job: working"]
    assert b"trtgate-progress" not in log.read_bytes()


def test_the_tail_of_a_log_is_what_a_terminal_would_have_left_standing(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    bar = "\r".join(f"\x1b[K\x1b[34mval:\x1b[0m {percent:3}% \u2501\u2501" for percent in range(101))
    log.write_bytes(f"first\n{bar}\n\x1b[31m\x1b[1mERROR\x1b[0m out of\x07 memory\r\n\n".encode() + b"\xff last\r")
    assert log_tail(log).splitlines() == ["first", "val: 100% \u2501\u2501", "ERROR out of memory", "", "\ufffd last"]
    # Its lines are those of the file, however often one of them was written over.
    log.write_text("\n".join(f"{n}\r" * 2000 for n in range(100)))
    assert log_tail(log).splitlines() == [str(n) for n in range(75, 100)]
    assert log_tail(tmp_path / "none.txt") == ""


def test_neither_empty_lines_nor_one_without_end_drown_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("out of memory\n" + "\x1b[0m\n\0\n \r\n" * 40)
    assert log_tail(log) == "out of memory"
    log.write_text(f"a{'b' * 3_000_000}c")
    assert log_tail(log) == f"{'b' * 1000} [...] {'b' * 999}c"
    log.write_text(f"before\nd{'e' * 2000}f\nafter")
    assert log_tail(log).splitlines() == ["before", f"d{'e' * 999} [...] {'e' * 999}f", "after"]


def test_the_children_of_a_job_end_with_it(jobs: Jobs) -> None:
    jobs.failure("family", timeout_s=3.0)
    assert not is_running(jobs.pid())
    wait_for(lambda: not is_running(jobs.pid("child")))


def test_a_job_that_ignores_a_polite_request_is_killed(jobs: Jobs) -> None:
    started = time.monotonic()
    jobs.failure("stubborn", timeout_s=2.0)
    assert not is_running(jobs.pid())
    assert time.monotonic() - started < 20


def test_a_process_that_a_job_leaves_behind_does_not_hold_up_the_session(jobs: Jobs) -> None:
    started = time.monotonic()
    try:
        assert jobs.build("daemon").artifact == "engine.onnx"
        assert time.monotonic() - started < 20
    finally:
        os.kill(jobs.pid("child"), signal.SIGKILL)


def test_a_folder_that_cannot_be_written_is_an_error_of_the_job(jobs: Jobs) -> None:
    jobs.folder.write_text("not a folder")
    assert "its process could not be run (" in jobs.failure("").reason


def test_an_interrupt_ends_the_job_too(jobs: Jobs) -> None:
    def interrupt() -> None:
        wait_for((jobs.folder / "span.txt").exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        jobs.build("hang")
    wait_for(lambda: not is_running(jobs.pid()))  # a copy whose server was ended is killed by the kernel, soon


def test_a_device_that_another_process_keeps_for_ever_is_an_error_that_names_it(jobs: Jobs) -> None:
    request = BuildRequest(weights="shapes.pt", cell=CELL, output=str(jobs.path))
    device = device_lock("cpu", jobs.launcher.locks)
    with device.held(), pytest.raises(JobError) as caught:
        jobs.launcher.run(Job("job", request, "cpu", 60.0, wait_s=0.6), jobs.folder, jobs.told.append)
    assert (
        f"another process has held it for 0.6 s, longer than any job of this run may take (process {os.getpid()} in "
        in (caught.value.reason)
    )
    assert jobs.told == [f"waiting for device cpu, which another job is using{device.holder()}"]
    assert jobs.build().artifact == "engine.onnx"


def test_a_launcher_tells_whether_others_have_a_device(jobs: Jobs, tmp_path: Path) -> None:
    other = LocalLauncher({}, jobs.launcher.locks)
    with other.hold_device("cpu", jobs.told.append):
        assert jobs.launcher.others_hold("cpu")
        assert not jobs.launcher.others_hold("0")
    assert not jobs.launcher.others_hold("cpu")
    assert not other.others_hold("cpu")  # asking has left the device free


def test_a_run_that_gave_a_device_up_waits_for_it_no_more(jobs: Jobs) -> None:
    launcher = LocalLauncher({"build": "fake_jobs"}, jobs.path / "locks", ahead=False)
    request = BuildRequest(weights="shapes.pt", cell=CELL, output=str(jobs.path))
    started = time.monotonic()
    with device_lock("cpu", launcher.locks).held():
        for wait_s in (0.1, 60.0):
            with pytest.raises(JobError, match="was not free"):
                launcher.run(Job("job", request, "cpu", 60.0, wait_s), jobs.folder, jobs.told.append)
    assert time.monotonic() - started < 30


def test_a_process_that_was_waited_for_is_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """By then its number, and that of its group, may be a stranger's."""
    process = subprocess.Popen(["true"], start_new_session=True)
    processes.wait(process, 10)
    assert Path(f"/proc/{process.pid}").exists()  # the number is still its own
    processes.end(process)
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("signalled"))
    processes.end(process)


def test_a_job_ends_with_the_process_that_it_is_a_copy_of(project: Project) -> None:
    project.weights(Behaviour(faults={"build-int8": "hang"}))
    project.settings("[timeouts]\nbuild_s = 10\n")  # one that has not been told of its copy yet tries again
    run = project.use_processes(ahead=True).start("--trt-precision=int8", "-k", "accuracy")
    [file] = wait_for(lambda: list(project.path.glob("reports/*-runs/*/jobs/build-*/pid.txt")))
    pid = int(wait_for(file.read_text))
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    assert "pytest_trtgate.workers.waiting" in Path(f"/proc/{parent}/cmdline").read_text()
    os.kill(parent, signal.SIGKILL)
    output, _ = run.communicate()
    assert run.returncode == 1, output
    assert not is_running(pid)


def test_an_interrupted_run_says_so_and_ends_its_job(project: Project) -> None:
    project.weights(Behaviour(faults={"latency-int8": "hang"}))
    process = project.use_processes().start("--trt-precision=fp16,int8", "--trt-baselines=update")
    pid = wait_for(lambda: next(project.path.glob("reports/trtgate-runs/*/jobs/launch-shapes-1/pid.txt"), None))
    job = int(wait_for(pid.read_text))
    os.kill(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert not is_running(job)
    assert "interrupted" in project.record.unfinished
    assert project.outcomes("accuracy") == {"fp16": "PASS"}
    assert not (project.path / "baselines").exists()


def test_each_kind_of_job_has_a_module_a_request_and_a_response() -> None:
    requests = [x for name, x in vars(contract).items() if name.endswith("Request") and hasattr(x, "kind")]
    assert sorted(request.kind for request in requests) == sorted(JOBS)
    for request in requests:
        assert request.__name__.removesuffix("Request") == request.response().__name__.removesuffix("Response")
        assert importlib.util.find_spec(JOBS[request.kind].module)
