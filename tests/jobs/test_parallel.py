"""Several processes at once, of one run or of several: they share the device, the cache and what was measured."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from project import SUPPORT, TESTS, Project, jobs_of, snapshot

from pytest_trtgate.jobs.contract import BuildRequest
from pytest_trtgate.jobs.launcher import Job, LocalLauncher
from pytest_trtgate.machine import device_lock
from pytest_trtgate.records.cell import Cell

Spans = list[tuple[int, int, str]]


def assert_one_at_a_time(spans: Spans) -> None:
    """Fail where one job began before another had ended."""
    assert all(before[1] <= after[0] for before, after in pairwise(sorted(spans)))


# Two launchers in one process, which is how two processes look to the lock


def test_jobs_of_one_device_never_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_one_at_a_time(_spans_of_two_launchers(tmp_path, monkeypatch, "0", "0", seconds=0.05))


def test_jobs_of_different_devices_may_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        assert_one_at_a_time(_spans_of_two_launchers(tmp_path, monkeypatch, "0", "1"))


def _spans_of_two_launchers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *devices: str, seconds: float = 0.3
) -> Spans:
    """Run two jobs that take ``seconds`` on each of two devices at once; return when they began and ended."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    weights = Behaviour(seconds=seconds).save(tmp_path / "shapes.pt")

    def work(name: str, device: str) -> None:
        launcher = LocalLauncher({"build": "fake_jobs"}, tmp_path / "locks")
        for number in range(2):
            output = tmp_path / f"out-{name}-{number}"
            output.mkdir()
            cell = Cell(model="shapes", precision="fp32", imgsz=320, batch=1, backend="onnxruntime", device=device)
            request = BuildRequest(weights=str(weights), cell=cell, output=str(output))
            job = Job(output.name, request, device, 60.0)
            launcher.run(job, tmp_path / "jobs" / output.name, lambda _: None)

    threads = [threading.Thread(target=work, args=pair) for pair in zip("ab", devices, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    spans = jobs_of(tmp_path)
    assert len(spans) == 4
    return spans


# One run over two workers


@dataclass(frozen=True)
class Runs:
    """A project after its runs, and what they printed."""

    project: Project
    outputs: list[str]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, accepted_files: Path) -> Runs:
    """A project whose FP16 engine had a faster one accepted, after one run over two workers of pytest-xdist."""
    pytest.importorskip("xdist")
    project = Project(tmp_path_factory.mktemp("shared")).take_over(accepted_files).use_processes()
    speeds = {"pt": 8.0, "fp32": 9.0, "fp16": 4.2 * 1.3, "int8": 3.0, "baseline-fp16": 4.2}
    project.weights(Behaviour(drop={"int8": 0.5}, p50_ms=speeds))
    project.settings("p50 = { budget_ms = 8.5 }\n")
    project.tests(TESTS.replace("test_latency(trtgate)", "test_latency(trtgate, benchmark)"))
    result = project.run_apart("-n2", "-v")
    assert result.ret == pytest.ExitCode.TESTS_FAILED, result.output
    return Runs(project, [result.output])


def test_workers_give_the_verdicts_that_one_process_gives(shared: Runs) -> None:
    assert shared.project.outcomes("accuracy") == {"fp32": "NO_BASELINE", "fp16": "PASS", "int8": "FAIL"}
    assert shared.project.outcomes("latency") == {"fp32": "FAIL", "fp16": "FAIL", "int8": "NO_BASELINE"}
    assert "3 failed, 3 passed" in shared.outputs[0]


def test_workers_leave_one_run_with_one_report(shared: Runs) -> None:
    reports = shared.project.path / "reports"
    assert len(shared.project.run_folders()) == 2  # with the one whose engine was accepted
    assert sorted(p.name for p in reports.iterdir()) == ["run.json", "trtgate-runs", "trtgate.csv", "trtgate.html"]
    assert shared.outputs[0].count("report: ") == 1
    assert "3 of 6 verdicts failed" in (reports / "trtgate.html").read_text(encoding="utf-8")
    assert len((reports / "trtgate.csv").read_text(encoding="utf-8").splitlines()) > 500


def test_the_record_of_workers_covers_the_whole_run(shared: Runs) -> None:
    record = shared.project.record
    assert record.seconds > max(job.seconds for job in record.jobs)
    assert len(record.verdicts) == 6


def test_workers_share_what_was_measured(shared: Runs) -> None:
    names = [name for _, _, name in jobs_of(shared.project.run_folders()[-1])]
    assert [name for name in names if name.startswith("accuracy")] == ["accuracy-shapes-pt+fp32+fp16+int8"]
    assert sorted(name for name in names if name.startswith("launch")) == [f"launch-shapes-{n}" for n in range(1, 6)]
    assert len([name for name in names if name.startswith("build")]) == 3


def test_jobs_of_two_workers_never_overlap(shared: Runs) -> None:
    spans = jobs_of(shared.project.run_folders()[-1])
    assert len(spans) == 10
    assert_one_at_a_time(spans)


def test_under_workers_pytest_benchmark_stays_out(shared: Runs) -> None:
    assert "Name (time in" not in shared.outputs[0]


def test_workers_without_any_settings_fail_with_the_reason(project: Project) -> None:
    pytest.importorskip("xdist")
    (project.path / "trtgate.toml").unlink()
    before = snapshot(project.path)
    result = project.run_apart("-n1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert snapshot(project.path) == before
    assert "Traceback" not in result.output
    assert "no model to gate: name one with --trt-model=best.pt" in result.output
    assert "KeyError" not in result.output


def test_a_models_tests_follow_each_other_so_that_workers_can_take_a_model_each(project: Project) -> None:
    (project.path / "second.pt").write_bytes((project.path / "shapes.pt").read_bytes())
    models = ("--trt-model=shapes.pt", "--trt-model=second.pt", "--trt-precision=fp32,fp16")
    lines = project.run("--collect-only", "-q", *models).outlines
    models_of = [line.partition("[")[2].split("-")[0] for line in lines if "::" in line]
    assert models_of == ["shapes"] * 4 + ["second"] * 4


# Two runs at once


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A project after two runs at the same time, of which each needs the INT8 engine."""
    project = Project(tmp_path_factory.mktemp("rivals")).use_processes()
    project.weights(Behaviour(seconds=0.2))
    common = ("--trt-precision=int8", "-k", "accuracy", "--trt-fresh")
    runs = [project.start(*common, f"--trt-report={r}/r.html") for r in ("a", "b")]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    return Runs(project, outputs)


def test_two_runs_that_need_an_engine_build_it_once(rivals: Runs) -> None:
    assert sorted("engine built in" in output for output in rivals.outputs) == [False, True]
    assert len(list((rivals.project.path / "cache" / "engines").iterdir())) == 1


def test_jobs_of_two_runs_never_overlap(rivals: Runs) -> None:
    spans = [span for run in rivals.project.path.glob("[ab]/r-runs/*") for span in jobs_of(run)]
    on_the_device = [span for span in spans if span[2] != "preflight"]
    assert len(on_the_device) == 3
    assert_one_at_a_time(on_the_device)


def test_two_runs_have_folders_of_their_own(rivals: Runs) -> None:
    assert len({p.name for p in rivals.project.path.glob("[ab]/r-runs/*") if p.is_dir()}) == 2


def test_sessions_with_temporary_folders_of_their_own_share_the_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "machine").mkdir()
    for name in ("one", "other"):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
        with LocalLauncher({}, tmp_path / "machine" / "locks").hold_device(name, lambda _: None):
            pass
    found = sorted(path.name for path in (tmp_path / "machine" / "locks").iterdir())
    assert found == ["device-one.lock", "device-other.lock"]


def test_devices_are_held_also_where_the_machine_has_no_place_for_locks(tmp_path: Path) -> None:
    place = tmp_path / "missing" / "locks"
    with LocalLauncher({}, place).hold_device("cpu", lambda _: None):
        assert not device_lock("cpu", place).take()
    assert device_lock("cpu", place).take()
    assert not place.parent.exists()


def test_locks_are_shared_by_all_users_of_the_machine(tmp_path: Path) -> None:
    with LocalLauncher({}, tmp_path / "locks").hold_device("cpu", lambda _: None):
        assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777
        assert [p.name for p in (tmp_path / "locks").iterdir()] == ["device-cpu.lock"]
