"""Where the time of jobs goes: measured in their processes, kept in the record, shown on the page."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import get_args

from page_reader import lines
from project import Project
from runs_example import passing_run

from pytest_trtgate.records.run import JobRecord, Phase
from pytest_trtgate.report.page.timing_view import PHASES, timing_view
from pytest_trtgate.workers.phases import Phases


def jobs() -> tuple[JobRecord, ...]:
    """Return two launches of eight seconds each, and a build that failed."""
    phases: dict[Phase, float] = {"start": 0.5, "imports": 3.0, "work": 4.0}
    launches = [JobRecord(name=f"launch-{n}", kind="latency", seconds=8.0, ok=True, phases=phases) for n in (1, 2)]
    return JobRecord(name="build", kind="build", seconds=5.0, ok=False), *launches


def test_phases_begin_with_the_process_and_add_up() -> None:
    code = (
        "import time; time.sleep(0.3); from pytest_trtgate.workers.phases import Phases; print(Phases().end()['start'])"
    )
    started = time.monotonic()
    found = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert 0.3 <= found <= time.monotonic() - started + 0.05
    phases = Phases()
    for phase, seconds in (("work", 0.02), ("images", 0.0), ("work", 0.02), ("write", 0.0)):
        phases.begin(phase)
        time.sleep(seconds)
    assert list(phases.end()) == ["start", "work", "images", "write"]
    assert phases.seconds["work"] >= 0.04
    phases.restart(1.5)
    assert (list(phases.end()), phases.ahead_s) == (["start"], 1.5)


def test_the_time_of_jobs_is_shown_by_kind_and_phase() -> None:
    view = timing_view(passing_run().model_copy(update={"jobs": jobs(), "seconds": 30.0}))
    assert view is not None
    table, note = view
    assert table.columns == ("Jobs", "Number", "Together", "Start", "Imports", "Work", "Waiting, end")
    nothing = "\N{EN DASH}"
    assert [tuple(row.values()) for row in lines(table)] == [
        ("Builds", "1", "5.0 s", nothing, nothing, nothing, "5.0 s"),
        ("Launches", "2", "16 s", "1.0 s", "6.0 s", "8.0 s", "1.0 s"),
    ]
    assert note == "The run took 30\N{NO-BREAK SPACE}s."
    assert tuple(PHASES) == get_args(Phase)


def test_what_was_imported_ahead_is_apart_from_the_seconds_of_jobs() -> None:
    early = [job.model_copy(update={"ahead_s": 2.5}) for job in jobs()[1:]]
    view = timing_view(passing_run().model_copy(update={"jobs": (jobs()[0], *early), "seconds": 30.0}))
    assert view is not None
    table, note = view
    assert table.columns[3:] == ("Start", "Imports", "Work", "Waiting, end", "Imported ahead")
    assert [row["Imported ahead"] for row in lines(table)] == ["\N{EN DASH}", "5.0 s"]
    assert [row["Waiting, end"] for row in lines(table)] == ["5.0 s", "1.0 s"]
    assert "imported ahead" in note


def test_time_outside_of_jobs_counts_once_what_jobs_did_side_by_side() -> None:
    began_s = (100.0, 103.0, 118.0)  # for 5, 8 and 8 seconds: two of them overlap
    timed = [job.model_copy(update={"began_s": began}) for job, began in zip(jobs(), began_s, strict=True)]
    view = timing_view(passing_run().model_copy(update={"jobs": tuple(timed[::-1]), "seconds": 30.0}))
    assert view is not None
    assert "; 11 s of it were outside of jobs." in view[1].replace("\N{NO-BREAK SPACE}", " ")


def test_a_run_whose_jobs_said_nothing_has_no_such_table() -> None:
    assert timing_view(passing_run()) is None


def test_what_jobs_say_is_in_the_record_and_on_the_page(project: Project) -> None:
    project.run("--trt-precision=fp16")
    assert all(job.phases == {"start": 0.25, "work": 0.5} for job in project.record.jobs)
    assert all(job.began_s is not None and 0 <= time.time() - job.began_s < 60 for job in project.record.jobs)
    page = project.page
    assert "Where the time went" in page
