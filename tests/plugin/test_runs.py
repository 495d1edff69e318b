"""What a run leaves behind, what it shows while it works, and what it does not touch."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from project import TESTS, Project, snapshot
from runs_example import empty_run

from pytest_trtgate.errors import DataError
from pytest_trtgate.machine import Machine
from pytest_trtgate.measuring.plan import Plan, check_inputs
from pytest_trtgate.plugin import narrator as progress
from pytest_trtgate.plugin.narrator import Narrator
from pytest_trtgate.plugin.relay import Relay
from pytest_trtgate.records import run_folder
from pytest_trtgate.records.files import load, save
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.run_folder import Workspace, new_run_id
from pytest_trtgate.records.verdict import Preflight
from pytest_trtgate.settings.settings import Settings

INT8 = "--trt-precision=int8"


# The record


def test_the_record_round_trips(project: Project) -> None:
    project.run("--trt-baselines=add")
    record = project.record
    save(project.path / "again.json", record)
    assert (project.path / "again.json").read_bytes() == (project.path / "reports" / "run.json").read_bytes()
    assert load(project.path / "again.json", RunRecord) == record


def test_a_record_may_be_written_by_two_processes_of_one_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "run.json", Path.replace

    def replace(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", real)
        save(path, empty_run())  # as a process of another container, which may have our number
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    save(path, empty_run())
    assert load(path, RunRecord) == empty_run()
    (tmp_path / "ordinary").touch()
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ordinary", "run.json"]


def test_the_record_is_in_the_runs_folder_too(project: Project) -> None:
    project.run(INT8)
    [folder] = project.run_folders()
    assert folder.name == project.record.run_id
    assert (folder / "run.json").read_bytes() == (project.path / "reports" / "run.json").read_bytes()
    # The folder of the runs is none of git's.
    assert (folder.parent / ".gitignore").read_text() == "*\n"


def test_the_record_tells_what_was_planned_measured_and_decided(project: Project) -> None:
    project.run(INT8, "-v")
    record = project.record
    assert [cell.key for cell in record.cells] == ["shapes-int8-320-b1-onnxruntime-cpu"]
    assert record.command.endswith(f"{INT8} -v")
    assert {(a.model, a.arm) for a in record.accuracies} == {("shapes", "pt"), ("shapes", "int8")}
    assert len(record.latencies["shapes"].launches) == 3
    assert [v.subject for v in record.verdicts] == ["accuracy", "latency"]
    assert record.settings["imgsz"] == 320
    assert record.settings["accuracy"]["mAP50-95"] is None
    assert all(job.ok for job in record.jobs)
    assert record.seconds > 0


def test_what_the_record_names_is_in_the_runs_folder(project: Project) -> None:
    project.run(INT8)
    [folder] = project.run_folders()
    names = [a.per_image for a in project.record.accuracies] + [job.log for job in project.record.jobs]
    names += [launch.samples for launch in project.record.latencies["shapes"].launches]
    assert [name for name in names if not (folder / name).is_file()] == []


def test_what_was_measured_once_is_not_measured_again_in_its_run(project: Project) -> None:
    lines = project.run().outlines
    assert lines.count("  trtgate: shapes: evaluating pt, fp32, fp16, int8 on split 'test'") == 1
    assert len([line for line in lines if "launch 1 of 3" in line]) == 1


def test_verdicts_come_in_the_order_of_the_plan(project: Project) -> None:
    project.run()
    precisions = [v.cell.precision for v in project.record.verdicts]
    assert precisions == ["fp32", "fp32", "fp16", "fp16", "int8", "int8"]


# Folders


def test_only_the_newest_runs_are_kept(project: Project) -> None:
    project.settings(top="keep_runs = 2")
    old = [project.path / "reports" / "trtgate-runs" / f"20200101T00000{n}Z-abcd" for n in range(3)]
    for folder in old:
        save(folder / "run.json", empty_run())
    (old[0].parent / ".gitignore").write_text("*.log\n")
    project.run(INT8)
    assert [p.name for p in project.run_folders()] == ["20200101T000002Z-abcd", project.record.run_id]
    assert (old[0].parent / ".gitignore").read_text() == "*.log\n"


def test_a_run_gives_way_only_to_newer_ones_with_as_many_verdicts(tmp_path: Path) -> None:
    counts = [6, 1, 6, 2, 1, 1, 2, 1]  # oldest first: full runs, runs of one precision, runs of one test
    for number, count in enumerate(counts):
        run = Workspace(tmp_path, f"20200101T00000{number}Z-0000")
        save(run.path / "run.json", empty_run())
        for verdict in range(count):
            run.put(f"verdict-{verdict}", Preflight())
    run.discard_older(keep=2)
    kept = sorted(int(path.name[14]) for path in tmp_path.iterdir())
    assert kept == [0, 2, 3, 6, 7]
    run.discard_older(keep=1)
    assert sorted(int(path.name[14]) for path in tmp_path.iterdir()) == [2, 6, 7]


def test_what_is_no_run_is_not_deleted(project: Project) -> None:
    project.settings(top="keep_runs = 1")
    for name in ("mine", "20200101", "20200101T000000Z-abcd.bak", "20200101T000000Z-abcd"):
        (project.path / "reports" / "trtgate-runs" / name).mkdir(parents=True)
    project.run(INT8)
    assert len(project.run_folders()) == 5


def test_a_clock_that_is_ahead_deletes_no_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, mine = Workspace(tmp_path, "20200101T000000Z-0000"), Workspace(tmp_path, "20200101T000001Z-0000")
    for workspace in (other, mine):
        workspace.put("preflight", Preflight())
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86400)
    mine.discard_older(keep=1)
    assert other.path.exists()


def test_a_run_that_goes_on_beside_this_one_is_not_deleted(tmp_path: Path) -> None:
    other, mine = Workspace(tmp_path, "20200101T000000Z-0000"), Workspace(tmp_path, "20200101T000001Z-0000")
    for workspace in (other, mine):
        workspace.job_folder("build").mkdir(parents=True)
    mine.discard_older(keep=1)
    assert other.path.exists()


def test_a_run_that_goes_on_is_not_deleted_however_old_it_seems(tmp_path: Path) -> None:
    other, mine = Workspace(tmp_path, "20200101T000000Z-0000"), Workspace(tmp_path, "20200101T000001Z-0000")
    for workspace in (other, mine):
        workspace.put("preflight", Preflight())
    old = time.time() - 2 * 86400  # to the clock that stamps the files
    os.utime(other.path, (old, old))
    mine.discard_older(keep=1)
    assert other.path.exists()
    place = other.path
    del other, workspace
    mine.discard_older(keep=1)
    assert not place.exists()


def test_what_a_run_knows_is_had_without_waiting_for_who_computes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = (Workspace(tmp_path, "20200101T000000Z-0000") for _ in range(2))
    found = mine.once("preflight", Preflight, Preflight)
    monkeypatch.setattr(run_folder, "Lock", lambda path: pytest.fail(f"waited for {path}"))
    assert mine.once("preflight", Preflight, lambda: pytest.fail("computed twice")) is found
    assert other.once("preflight", Preflight, lambda: pytest.fail("computed twice")) == found


COMMIT_IS_FOLDER = """
class Machine(PretendedMachine):
    def commit(self, folder):
        return str(folder)

def pytest_trtgate_machine(config):
    return Machine(**MACHINE)
"""


def test_the_commit_is_that_of_the_project_and_not_of_what_holds_it_and_a_path_elsewhere(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project.hooks(COMMIT_IS_FOLDER)
    elsewhere = str(tmp_path_factory.mktemp("elsewhere"))
    project.run(".", elsewhere, INT8, "-k", "accuracy").assert_outcomes(passed=1, deselected=1)
    assert project.record.environment.commit == str(project.path)


def test_no_git_is_started_for_a_project_that_is_in_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(environ={})
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("started a process"))
    assert machine.commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    with pytest.raises(pytest.fail.Exception):
        machine.commit(tmp_path / "inside")


def test_runs_that_start_at_once_have_names_of_their_own() -> None:
    assert len({new_run_id() for _ in range(20)}) == 20


def test_a_run_writes_into_its_own_folders_and_leaves_weights_and_dataset_as_they_were(project: Project) -> None:
    before = snapshot(project.path)
    project.use_processes().run(INT8, "--trt-baselines=update").assert_outcomes(passed=2)
    after = snapshot(project.path)
    assert {Path(name).parts[0] for name in set(after) - set(before)} == {
        "baselines",
        "cache",
        "device-locks",
        "reports",
    }
    assert {name for name, content in before.items() if after[name] != content} == {"conftest.py"}  # our own change


def test_reports_go_where_the_settings_say(project: Project) -> None:
    project.run(INT8, "--trt-report=public/index.html")
    assert sorted(p.name for p in (project.path / "public").iterdir()) == [
        "index-runs",
        "index.csv",
        "index.html",
        "run.json",
    ]
    assert not (project.path / "reports").exists()


def test_a_project_is_gated_from_another_folder_by_its_path(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    project.run(str(project.path), "--trt-precision=fp16").assert_outcomes(passed=2)
    assert project.outcomes("accuracy") == {"fp16": "NO_BASELINE"}
    assert list(elsewhere.iterdir()) == []


def test_a_report_that_cannot_be_written_fails_the_run_with_one_sentence(project: Project) -> None:
    project.tests(f"{TESTS}\n    import pathlib\n    pathlib.Path('reports/trtgate.html').mkdir()\n")
    result = project.run(INT8)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["trtgate: *trtgate.html: cannot be written (*)"])
    assert "report: " not in result.stdout.str()


def test_a_file_in_the_place_of_reports_is_said_before_anything_is_measured(project: Project) -> None:
    (project.path / "reports").write_text("")
    result = project.run(INT8)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: report = *cannot be written: */reports is not a folder"])
    assert not (project.path / "cache").exists()


def test_a_place_that_cannot_be_written_is_said_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there" / "run.json").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "page-runs").touch()
    before = snapshot(tmp_path)

    def said(report: str, **settings: Any) -> str:
        asked = Settings(report=tmp_path / report, baseline_dir=tmp_path / "baselines", **settings)
        with pytest.raises(DataError) as caught:
            check_inputs(asked, Plan((), {}))
        return str(caught.value).replace(f"{tmp_path}/", "")

    assert said("there/a.html") == "report = there/a.html cannot be written: there/run.json beside it is a folder"
    assert said("runs/page.html") == "report = runs/page.html cannot be written: runs/page-runs is not a folder"
    check_inputs(Settings(report=tmp_path / "new" / "a.html", baselines="add"), Plan((), {}))

    def read_only(dir: Path) -> None:
        if dir == tmp_path:
            raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: read_only(dir) or nullcontext())
    assert said("new/a.html") == f"report = new/a.html cannot be written: {tmp_path}: Read-only file system"
    where = f"baseline_dir = baselines cannot be written: {tmp_path}: Read-only file system"
    assert said("runs/a.html", baselines="add") == where
    assert snapshot(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 2


def test_collecting_finds_a_report_that_cannot_be_written(project: Project) -> None:
    (project.path / "reports" / "trtgate.csv").mkdir(parents=True)
    result = project.run("--collect-only")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: report = *trtgate.html cannot be written: *trtgate.csv beside it is a folder"])


# What the user sees meanwhile


def test_the_header_says_what_will_run_where(project: Project) -> None:
    result = project.run("--collect-only")
    where = "trtgate: backend onnxruntime on cpu (since TensorRT is not installed)"
    result.stdout.fnmatch_lines([f"{where}; fp32, fp16, int8 at 320, batch 1"])


def test_a_backend_that_was_asked_for_is_said_to_be(project: Project) -> None:
    result = project.run("--collect-only", "--trt-backend=onnxruntime")
    result.stdout.fnmatch_lines(["trtgate: backend onnxruntime on cpu (asked for); *"])


def test_a_backend_that_is_not_there_is_said_in_the_header(project: Project) -> None:
    project.tests("def test_unit(): pass")
    result = project.run("--collect-only", "--trt-backend=tensorrt")
    result.stdout.fnmatch_lines(["trtgate: backend = 'tensorrt' cannot be used here: TensorRT is not installed*"])


def test_milestones_are_lines_of_their_own(project: Project) -> None:
    project.run(INT8).stdout.fnmatch_lines(
        [
            "  trtgate: shapes int8: building the engine",
            "  trtgate: shapes int8: engine built in * s (*)",
            "  trtgate: shapes: evaluating pt, int8 on split 'test'",
            "  trtgate: shapes: launch 1 of 3, timing pt, int8",
            "  trtgate: shapes: launch 3 of 3, timing pt, int8",
        ],
        consecutive=False,
    )


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_milestones_are_shown_under_every_kind_of_capture(project: Project, capture: str) -> None:
    result = project.run(INT8, f"--capture={capture}")
    result.stdout.fnmatch_lines(["  trtgate: shapes int8: building the engine"])


def test_what_a_test_prints_stays_with_the_test(project: Project) -> None:
    project.tests("def test_mine(trtgate):\n    print('loud')\n    trtgate.check_accuracy()\n    assert False\n")
    result = project.run(INT8)
    result.stdout.fnmatch_lines(["*Captured stdout call*", "loud"])
    assert result.outlines.count("loud") == 1


def test_a_quiet_run_shows_no_milestones(project: Project) -> None:
    result = project.run(INT8, "-q")
    assert "building the engine" not in result.stdout.str()
    result.stdout.fnmatch_lines(["report: *trtgate.html"])


def test_the_summary_says_where_the_report_is(project: Project) -> None:
    project.run(INT8).stdout.fnmatch_lines([f"report: {project.path / 'reports' / 'trtgate.html'}"])


def test_a_run_that_is_not_about_the_gate_has_no_summary(project: Project) -> None:
    project.tests("def test_unit(): pass", "test_unit.py")
    assert "report: " not in project.run("test_unit.py").stdout.str()


class Screen:
    """A terminal reporter that keeps its lines.

    Attributes:
        isatty: As of a file.
    """

    def __init__(self, isatty: bool = False) -> None:
        self.isatty = isatty
        self.lines: list[str] = []
        self.in_place: list[str] = []
        self._tw = SimpleNamespace(width_of_current_line=0, fullwidth=60)

    def ensure_newline(self) -> None:
        """Do nothing."""

    def write_line(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text.removeprefix("  trtgate: "))

    def write(self, text: str, flush: bool) -> None:
        """Keep what is shown in place."""
        self.in_place.append(text.removeprefix("  trtgate: "))

    def rewrite(self, text: str, erase: bool) -> None:
        """Keep that it was taken away."""
        self.in_place.append(text)


def narrator_on(screen: Screen, left: Callable[[], str] = str, relay: Path | None = None) -> Narrator:
    """Return a narrator of a run with that terminal."""
    plugins = SimpleNamespace(get_plugin=lambda name: screen if name == "terminalreporter" else None)
    config: Any = SimpleNamespace(pluginmanager=plugins, get_verbosity=lambda: 0)
    return Narrator(config, left, relay)


def test_a_count_that_was_shown_is_shown_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    screen = Screen()
    narrator = narrator_on(screen)
    for after_s, text in (
        *((2.0, "warming up"), (2.0, "a: 20/20 images")),
        *((20.0, "b: 1 of 3, 169/200 images"), (1.0, "a: 20/20 images"), (1.0, "b: 1 of 3, 181/200 images")),
        *((1.0, "b: 1 of 3, 200/200 images"), (1.0, "b: 1 of 3, 200/200 images")),
    ):
        now[0] += after_s
        narrator.progress(text)
    assert screen.lines == ["b: 1 of 3, 169/200 images", "b: 1 of 3, 200/200 images"]


def test_a_terminal_shows_how_far_a_job_is_and_what_time_is_left_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, seconds = Screen(isatty=True), iter(range(9, 0, -1))
    narrator = narrator_on(screen, lambda: f"about {next(seconds)} s left")
    narrator.progress("evaluating pt: 3/20 images")
    narrator.tick()
    narrator.milestone("shapes: launch 1 of 3")
    narrator.job_ended()
    narrator.tick()
    narrator.clear()
    of_job = "evaluating pt: 3/20 images"
    expected = [f"about 9 s left; {of_job}", "", f"about 8 s left; {of_job}", "", "about 7 s left", ""]
    assert screen.in_place == expected
    assert screen.lines == ["shapes: launch 1 of 3"]


def test_a_countdown_goes_on_while_a_job_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_TICK_S", 0.001)
    screen = Screen(isatty=True)
    with narrator_on(screen, lambda: "about 9 s left").working():
        deadline = time.monotonic() + 30
        while len(screen.in_place) < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
    shown = list(screen.in_place)
    assert shown.count("about 9 s left") > 2
    assert shown[-1] == ""  # what pytest writes next begins on a line of its own
    time.sleep(0.02)
    assert screen.in_place == shown


def test_a_line_that_has_something_on_it_is_left_for_a_milestone() -> None:
    screen = Screen()
    screen._tw = SimpleNamespace(width_of_current_line=3, line=lambda: screen.lines.append("(dots end)"))
    narrator_on(screen).milestone("shapes: launch 1 of 3")
    assert screen.lines == ["(dots end)", "shapes: launch 1 of 3"]


def test_a_controller_shows_what_its_workers_say(tmp_path: Path) -> None:
    screen, none = Screen(isatty=True), Screen()
    worker = narrator_on(none, relay=Relay.file(tmp_path, "gw0"))
    worker.milestone("shapes: launch 1 of 3\x1b[2J")
    relay = Relay(narrator_on(screen, lambda: "about 9 s left"), [tmp_path])
    with worker.working():
        worker.progress("warming up")
        deadline = time.monotonic() + 30
        while "about 9 s left; warming up" not in screen.in_place and time.monotonic() < deadline:
            time.sleep(0.01)
    worker.milestone("shapes: launch 2 of 3")
    relay.close()
    assert "about 9 s left; warming up" in screen.in_place
    assert screen.in_place[-1] == ""
    assert [line[:21] for line in screen.lines] == ["shapes: launch 1 of 3", "shapes: launch 2 of 3"]
    assert "\x1b" not in "".join(screen.lines)


# What is to do, and where the time went


def test_a_run_says_what_is_to_do_and_how_long_that_took_last(project: Project) -> None:
    first = project.run(INT8)
    first.stdout.fnmatch_lines(
        ["*to do: 1 build, 2 accuracies, 3 launches; how long that takes is known once it was done here"]
    )
    assert [line for line in first.outlines if line.startswith("time: preflight ")]
    again = project.run(INT8, "--trt-fresh")
    again.stdout.fnmatch_lines(["*to do: 2 accuracies, 3 launches; about *s, as long as it took here last"])
    more = project.run("--trt-fresh")
    more.stdout.fnmatch_lines(["*to do: 2 builds, 4 accuracies, 3 launches; about *, and 2 jobs that never ran here"])
    assert "to do" not in project.run(INT8, "-q").stdout.str()


def test_a_run_foresees_one_launch_of_engines_that_are_accepted(project: Project) -> None:
    project.run("--trt-baselines=add", INT8).stdout.fnmatch_lines(["*to do: 1 build, 2 accuracies, 3 launches;*"])
    project.run(INT8).stdout.fnmatch_lines(["*to do: 1 launch; about *s, as long as it took here last"])


def test_a_run_whose_results_are_known_has_nothing_to_do(project: Project) -> None:
    project.run("-k", "accuracy", INT8)
    project.run("-k", "accuracy", INT8).stdout.fnmatch_lines(["*to do: nothing is to be built or measured*"])


def test_the_end_says_where_the_time_went(project: Project) -> None:
    [line] = [line for line in project.run(INT8).outlines if line.startswith("time: ")]
    assert re.fullmatch(
        r"time: preflight \S+ s, builds \S+ s, accuracy \S+ s, launches \S+ s, .*gate \S+ s; .* in all", line
    )


def test_workers_are_heard_in_the_controller(project: Project) -> None:
    pytest.importorskip("xdist")
    output = project.run_apart(INT8, "-n2").output
    assert "  trtgate: to do: 1 build, 2 accuracies, 3 launches; how long" in output
    assert "  trtgate: shapes: launch 3 of 3" in output
