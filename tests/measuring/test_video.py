"""Clips: settings, when they are looked at and timed, what a failure costs, and how the page shows them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_jobs import VIDEO, Behaviour
from media_example import video
from page_reader import Page, lines
from project import Project
from runs_example import passing_run

from pytest_trtgate import text as fmt
from pytest_trtgate.errors import CacheError, DataError
from pytest_trtgate.measuring.plan import check_clips
from pytest_trtgate.measuring.videos import film, with_videos
from pytest_trtgate.records.cell import Cell
from pytest_trtgate.records.engine import EngineRecord
from pytest_trtgate.records.run_folder import Workspace
from pytest_trtgate.report.media import Media
from pytest_trtgate.report.page import html, video_view

PRECISION = "--trt-precision=fp16"


def page_of(project: Project) -> Page:
    return Page(project.page)


@pytest.fixture
def clip(project: Project) -> Path:
    path = project.path / "a clip.mp4"
    path.write_bytes(VIDEO)
    return path


# A run


def test_a_clip_is_looked_at_first_and_timed_once_per_model_after_all_else(project: Project, clip: Path) -> None:
    second = project.path / "second.mp4"
    second.write_bytes(VIDEO)
    project.settings(top="videos = ['nowhere.mp4']")  # the command line wins
    options = ["--trt-precision=fp32,int8", "--trt-video", clip.name, f"--trt-video={second}"]
    project.run(*options, "-k", "latency").assert_outcomes(passed=2, deselected=2)
    folder = project.run_folders()[-1]
    requests = sorted((path.stat().st_mtime_ns, path.parent.name) for path in folder.glob("jobs/*/request.json"))
    names = [name for _, name in requests]
    assert names[:2] == ["clip-1", "clip-2"]
    assert names[-2:] == ["video-shapes-1", "video-shapes-2"]
    assert names[-3].startswith("launch-shapes")
    videos = project.record.videos
    assert [(video.model, video.clip) for video in videos] == [("shapes", clip.name), ("shapes", second.name)]
    assert [arm.arm for arm in videos[0].arms] == ["pt", "fp32", "int8"]
    assert all((folder / arm.file).is_file() for video in videos for arm in video.arms)
    # The same for every arm, and as in the launches.
    threads = project.record.latencies["shapes"].launches[0].threads
    assert (videos[0].imgsz, videos[0].conf, videos[0].threads) == (320, 0.25, threads)

    page = page_of(project)
    links = [e.attributes["href"] for e in page.all("a") if e.text == "MP4"]
    assert links[0] == f"trtgate-runs/{folder.name}/videos/shapes-1/pt.mp4"
    assert len(links) == 2 * (3 + 1)
    assert all((project.path / "reports" / link).is_file() for link in links)
    (poster, _) = page.all("svg", class_="poster")
    assert poster.attributes["viewbox"] == "0 0 80 74"
    assert "shapes on a clip.mp4" in page.text
    assert "60 frames of 64x48; 320 px, confidence 0.25" in page.text.replace("\N{MULTIPLICATION SIGN}", "x")


@pytest.mark.parametrize("tests", ["test_accuracy", "test_latency"])
def test_clips_are_filmed_only_where_latency_is_measured(project: Project, clip: Path, tests: str) -> None:
    project.run(PRECISION, f"--trt-video={clip}", "-k", tests).assert_outcomes(passed=1, deselected=1)
    assert bool(project.job_names("video")) is (tests == "test_latency")


def test_the_ready_made_tests_film_too(project: Project, clip: Path) -> None:
    project.run("--pyargs", "pytest_trtgate.gate", PRECISION, f"--trt-video={clip}").assert_outcomes(passed=2)
    assert project.job_names("video") == ["video-shapes-1"]


def test_what_is_no_video_is_one_sentence_before_anything_is_built(project: Project, clip: Path) -> None:
    clip.write_bytes(b"text")
    result = project.run(PRECISION, f"--trt-video={clip}")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([f"*clip-1: {clip}: cannot be opened as a video*"])
    assert list((project.run_folders()[-1] / "jobs").iterdir()) == [project.run_folders()[-1] / "jobs" / "clip-1"]


@pytest.mark.parametrize(("content", "sentence"), [(None, "no such video file"), (b"", "an empty file, not a video")])
def test_a_clip_that_is_not_there_ends_the_run_at_once(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: {sentence}$"):
        check_clips([path])


def test_a_missing_clip_is_wrong_usage(project: Project) -> None:
    result = project.run(PRECISION, "--trt-video=nowhere.mp4")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {project.path / 'nowhere.mp4'}: no such video file"])


def test_a_video_that_fails_is_a_note_and_no_verdict(project: Project, clip: Path) -> None:
    project.weights(Behaviour(faults={"video-pt": "refuse"}))
    project.run(PRECISION, f"--trt-video={clip}").assert_outcomes(passed=2)
    (video,) = project.record.videos
    assert video.failure == "the exporter refuses this model"
    note = "shapes: a clip.mp4 was not filmed: the exporter refuses this model"
    assert note in project.record.notes
    page = page_of(project)
    assert "Not filmed: the exporter refuses this model." in page.text
    assert page.all("svg", class_="poster") == []


def test_whatever_is_in_the_way_of_a_video_costs_the_video_only(tmp_path: Path) -> None:
    def engine(cell: Cell) -> EngineRecord:
        raise CacheError("the cache cannot be read")

    run, workspace = passing_run(), Workspace(tmp_path, "run")
    context: Any = SimpleNamespace(
        settings=SimpleNamespace(videos=(tmp_path / "clip.mp4",)),
        plan=SimpleNamespace(of_model=lambda _: run.cells, is_predicted=lambda _: False),
        workspace=workspace,
        milestone=lambda _: None,
    )
    engines: Any = SimpleNamespace(context=context, of=engine)
    film(engines, run.latencies["shapes"])
    told = with_videos(context, run)
    assert [video.failure for video in told.videos] == ["the cache cannot be read"]
    assert told.notes[-1] == "shapes: clip.mp4 was not filmed: the cache cannot be read"


# The page


def shown(media: list[Media], **changes: Any) -> Page:
    return Page(html.render([passing_run().model_copy(update={"videos": (video(**changes),)})], media))


def test_the_page_has_latency_rate_speed_up_and_stages_of_each_arm() -> None:
    page = shown([])
    (table,) = [e for e in page.all("table") if "Milliseconds per frame" in e.text]
    for words in (".pt 20.", "FP16 12.", "INT8 8.1", "2.48x", "Decode", "Preprocess", "Inference", "Drawing"):
        assert words in fmt.plain(table.text)
    assert page.all("a", href="#video")
    assert page.by_id("video").tag == "h2"


def test_an_arm_without_times_of_whole_frames_is_left_out() -> None:
    first, *others = video().arms
    partial = first.model_copy(update={"timings": {"decode": first.timings["decode"]}})
    (view,) = video_view.video_views(
        passing_run().model_copy(update={"videos": (video(arms=(partial, *others)),)}), None
    )
    found = [(row["Arm"], row["Speed-up"]) for row in lines(view.table)]
    assert found == [("FP16", fmt.MISSING), ("INT8", fmt.MISSING)]


def test_a_page_without_clips_has_no_such_part() -> None:
    page = Page(html.render([passing_run()]))
    assert not page.all("a", href="#video")
    assert "Milliseconds per frame" not in page.text


def test_a_record_without_its_folder_says_where_the_videos_are(tmp_path: Path) -> None:
    run = passing_run().model_copy(update={"videos": (video(),)})
    for media in (None, Media(None, tmp_path), Media(tmp_path, tmp_path)):
        (view,) = video_view.video_views(run, media)
        assert view.files == "The videos are in the run's folder, which is not beside this record."
        assert (view.links, [row["Video"] for row in lines(view.table)]) == ((), [fmt.MISSING] * 3)


def test_links_of_a_hostile_record_stay_in_the_folder_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "javascript:alert(1)").write_bytes(b"")
    media = [Media(tmp_path / "run", tmp_path)]
    for path in ("../secret.jpg", str(tmp_path / "secret.jpg"), "..\\secret.jpg", "run/../../secret.jpg"):
        record = video().model_copy(update={"side_by_side": path, "for_browsers": path, "poster": path})
        (view,) = video_view.video_views(passing_run().model_copy(update={"videos": (record,)}), media[0])
        assert (view.links, view.poster) == ((), "")
    page = shown(media, side_by_side="javascript:alert(1)", model="<script>", clip='"><img src=x>')
    assert [e.attributes["href"] for e in page.all("a") if e.text == "MP4"] == ["run/javascript%3Aalert%281%29"]
    assert len(page.all("script")) == 2
    assert not page.all("img")


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -1.0, 0.0])
def test_odd_times_are_drawn_nowhere(odd: float) -> None:
    arms = video().arms
    broken = arms[0].model_copy(update={"course_ms": (odd,) * 20})
    drawn = video_view.frame_chart((broken, *arms[1:]), 600, "chart")
    assert "nan" not in drawn
    assert "inf" not in drawn.replace("infer", "")
    assert drawn.count('class="curve') == (3 if odd == 0 else 2)
    assert video_view.frame_chart((broken,) if odd else (), 600, "chart") == ""


def test_a_frame_that_was_held_up_does_not_press_all_others_flat() -> None:
    first, *others = video().arms
    held_up = first.model_copy(update={"course_ms": (*first.course_ms[:-1], 900.0)})
    drawn = video_view.frame_chart((held_up, *others), 600, "chart")
    assert "frame (the slowest, up to 900" in drawn
    assert ">500</text>" not in drawn
    assert "cut off" not in video_view.frame_chart(video().arms, 600, "chart")


def test_names_of_arms_at_the_end_of_their_lines_do_not_overlap() -> None:
    places = video_view._apart([100.0, 101.0, 102.0, 200.0], 13.0, 160.0)
    ordered = sorted(places)
    assert all(after - before >= 13 for before, after in pairwise(ordered))
    assert max(places) <= 160
