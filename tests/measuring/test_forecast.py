"""How much of a run is left, and where its time went."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pytest_trtgate.measuring.forecast import FORECAST, Forecast, Work, countdown, spent, told
from pytest_trtgate.records import JobRecord, Preflight, Workspace

BUILD = Work(job="build-a", done="engine-a", seconds=20.0)
LAUNCHES = tuple(Work(job=f"launch-a-{n}", done="latency-a", seconds=10.0) for n in (1, 2))
WHOLE = Forecast(works=(BUILD, *LAUNCHES), rest_s=3.0)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """The workspace of a run that has its forecast."""
    space = Workspace(tmp_path, "run")
    space.put(FORECAST, WHOLE)
    return space


def ask(space: Workspace, job: str, ago_s: float) -> None:
    """Leave a workspace as it is where a job was asked for some seconds ago."""
    request = space.job_folder(job) / "request.json"
    request.parent.mkdir(parents=True)
    request.touch()
    os.utime(request, (time.time() - ago_s,) * 2)


def test_what_is_left_is_what_no_record_tells_to_be_done(space: Workspace) -> None:
    assert countdown(space) == "about 43 s left"
    space.put("job-build-a", Preflight())
    assert countdown(space) == "about 23 s left"


def test_a_job_that_turned_out_not_to_be_needed_is_done(space: Workspace) -> None:
    space.put("engine-a", Preflight())
    space.put("latency-a", Preflight())
    assert countdown(space) == ""  # nothing is left but what is too short to be counted down


def test_the_present_job_counts_for_what_it_has_left_to_do(space: Workspace) -> None:
    ask(space, "build-a", ago_s=15)
    assert countdown(space) == "about 28 s left"


def test_a_job_that_takes_longer_than_before_takes_nothing_from_the_others(space: Workspace) -> None:
    ask(space, "build-a", ago_s=1000)
    assert countdown(space) == "about 23 s left"


@pytest.mark.parametrize("unknown", [Work(job="launch-a-3", done="latency-a"), None], ids=["new job", "first run"])
def test_nothing_is_counted_down_where_nothing_tells(space: Workspace, unknown: Work | None) -> None:
    changes = {"rest_s": None} if unknown is None else {"works": (*WHOLE.works, unknown)}
    space.put(FORECAST, WHOLE.model_copy(update=changes))
    assert countdown(space) == ""


def test_time_that_jobs_share_is_not_taken_from_the_gate() -> None:
    def job(name: str, kind: str, began_s: float, seconds: float) -> JobRecord:
        return JobRecord(name=name, kind=kind, seconds=seconds, ok=True, began_s=began_s)

    jobs = [job("c", "latency", 130.0, 10.0), job("a", "build", 100.0, 20.0), job("b", "build", 110.0, 20.0)]
    assert spent(jobs, 45.0) == "time: builds 40 s, launches 10 s, gate 5.0 s; 45 s in all"


def test_jobs_of_several_machines_are_summed_and_it_is_said() -> None:
    jobs = [
        JobRecord(name=node, kind="build", seconds=20.0, ok=True, began_s=100.0, node=node) for node in ("a", "b", "")
    ]
    assert spent(jobs, 21.0) == "time of 2 machines together: builds 1 min, gate 1.0 s; 21 s in all"


def test_a_wait_for_the_device_is_no_time_of_the_job_that_waited() -> None:
    job = JobRecord(name="a", kind="build", seconds=30.0, ok=True, began_s=1.0, phases={"start": 1.0, "work": 11.0})
    assert spent([job], 32.0) == "time: builds 12 s, waiting 18 s, gate 2.0 s; 32 s in all"


def test_a_device_that_another_run_uses_is_waited_for_first() -> None:
    found = Forecast(works=(Work(job="build-a", done="engine-a", seconds=3.0),), rest_s=1.0)
    assert told(found).endswith("; about 4.0 s, as long as it took here last")
    assert told(found, "cpu") == f"{told(found)}, after a wait for device cpu, which another run uses now"
