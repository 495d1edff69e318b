"""What a run leaves behind where its pictures or videos are not all made."""

from __future__ import annotations

from typing import Any

import fake_jobs
import pytest
from fake_jobs import VIDEO, Behaviour
from page_reader import Page
from project import Project

from pytest_trtgate.errors import RecordError
from pytest_trtgate.measuring import media as media_making
from pytest_trtgate.records.files import load
from pytest_trtgate.records.run import RunRecord

DISAGREEING = Behaviour(seen={"pt": {"score": 0.8}, "int8": {"score": 0.7, "missed": 1}})


@pytest.mark.parametrize(
    ("job", "stop", "ret", "why"),
    [
        ("pictures", KeyboardInterrupt(), pytest.ExitCode.INTERRUPTED, "it was interrupted; its verdicts are whole"),
        ("video", KeyboardInterrupt(), pytest.ExitCode.INTERRUPTED, "it was interrupted; its verdicts are whole"),
        ("pictures", RuntimeError("a defect"), pytest.ExitCode.OK, "RuntimeError: a defect"),
    ],
    ids=["pictures", "video", "defect"],
)
def test_what_stops_pictures_or_videos_costs_neither_report_nor_baselines(
    project: Project, monkeypatch: pytest.MonkeyPatch, job: str, stop: BaseException, ret: int, why: str
) -> None:
    (project.path / "clip.mp4").write_bytes(VIDEO)
    project.weights(DISAGREEING)
    reports = project.path / "reports"
    on_disk: list[RunRecord] = []

    def stopped(*_: Any) -> Any:
        # As if the process were killed now.
        on_disk.append(load(reports / "run.json", RunRecord))
        assert (reports / "trtgate.html").is_file()
        assert (reports / "trtgate.csv").is_file()
        assert list((project.path / "baselines").rglob("int8*.json"))
        raise stop

    monkeypatch.setattr(fake_jobs, job, stopped)
    result = project.run("--trt-precision=int8", "--trt-baselines=add", "--trt-video=clip.mp4")
    result.assert_outcomes(passed=2)
    assert result.ret == ret
    note = f"not all videos and pictures of this run were made: {why}"
    result.stdout.fnmatch_lines([note, f"report: {reports / 'trtgate.html'}"])
    assert on_disk[0].notes[-1] == "not all videos and pictures of this run were made: it ended before"
    record = project.record
    assert (record.unfinished, record.pictures) == ("", {})
    assert record.notes[-1] == note
    assert "ended before" not in "".join(record.notes)
    assert len(record.verdicts) == len(on_disk[0].verdicts) == 2
    assert len(record.videos) == (job == "pictures")
    assert [x.ok for x in record.jobs if x.kind == job] == [False]
    page = Page(project.page)
    assert note in page.text
    assert "Gate passed" in page.text


def test_a_run_folder_that_cannot_be_written_any_more_costs_the_videos_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "clip.mp4").write_bytes(VIDEO)

    def full(*_: Any) -> None:
        raise RecordError("the run's folder cannot be written (No space left on device)")

    monkeypatch.setattr(media_making, "film", full)
    result = project.run("--trt-precision=int8", "--trt-video=clip.mp4")
    assert result.ret == pytest.ExitCode.OK
    said = "not all videos and pictures of this run were made: the run's folder cannot be written (No space*"
    result.stdout.fnmatch_lines([said, "report: *"])
