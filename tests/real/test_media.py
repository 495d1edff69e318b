"""Pictures and clips, with the real OpenCV, torch, Ultralytics and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from material import Done, Material, latency_request, run_job, run_jobs, run_python

from pytest_trtgate.jobs.contract import ClipResponse, PicturesResponse, VideoResponse
from pytest_trtgate.records.media import STAGES, VideoRecord
from pytest_trtgate.report.media import MOST_BYTES

pytestmark = pytest.mark.real

FRAMES, TAKEN = 60, 50
ODD = """
import sys
import cv2, numpy
folder = sys.argv[1]
for name, codec in (("cut.mp4", "mp4v"), ("codec.avi", "MJPG")):
    writer = cv2.VideoWriter(folder + "/" + name, cv2.VideoWriter.fourcc(*codec), 30, (64, 48))
    for shade in range(3):
        writer.write(numpy.full((48, 64, 3), shade, numpy.uint8))
    writer.release()
    whole = open(folder + "/" + name, "rb").read()
    changed = whole.replace(b"MJPG", b"ZZZZ") if codec == "MJPG" else whole[: len(whole) // 2]
    open(folder + "/" + name, "wb").write(changed)
open(folder + "/text.mp4", "wb").write(b"this is no video")
cv2.VideoWriter(folder + "/empty.avi", cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48)).release()
"""
COUNT = """
import sys
import cv2
for path in sys.argv[1:]:
    clip = cv2.VideoCapture(path)
    frames = 0
    while clip.read()[0]:
        frames += 1
    print(path.rpartition("/")[2], frames, int(clip.get(3)), int(clip.get(4)))
"""
TALL = """
from pathlib import Path
import cv2, numpy
from pytest_trtgate.workers.media.film import Films
from pytest_trtgate.records.media import ClipRecord
noise = numpy.random.default_rng(0).integers(0, 256, (178, 100, 3), numpy.uint8)
frame = cv2.resize(noise, (400, 711), interpolation=cv2.INTER_CUBIC)
arms = ["pt", "fp32", "fp16", "int8"]
with Films(Path(), ClipRecord(path="", width=400, height=711, fps=30, frames=1, codec=""), arms) as films:
    films.add(0, dict.fromkeys(arms, frame), dict.fromkeys(arms, numpy.array([5.0])), poster=True)
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of moving shapes, as the demo has them."""
    folder = tmp_path_factory.mktemp("clip")
    script = Path(__file__).parents[2] / "examples" / "shapes" / "clip.py"
    code = f"import sys; sys.path.insert(0, {str(script.parent)!r}); import clip; sys.exit(clip.main())"
    for name in ("clip.mp4", "again.mp4"):
        done = run_python(code, name, "--seconds=2", folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "clip.mp4"


def test_the_clip_of_the_demo_has_the_same_bytes_each_time(clip: Path) -> None:
    assert clip.read_bytes() == clip.with_name("again.mp4").read_bytes()


@pytest.fixture(scope="module")
def clips(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Return what the job says of sound and odd clips, by name."""
    folder = tmp_path_factory.mktemp("clips")
    made = run_python(ODD, str(folder), folder=folder)
    assert made.returncode == 0, made.stderr
    names = ("text.mp4", "cut.mp4", "codec.avi", "empty.avi")
    requests = {"sound": {"clip": str(clip)}} | {name: {"clip": str(folder / name)} for name in names}
    requests["large"] = {"clip": str(clip), "max_pixels": 100_000}
    return run_jobs("clip", requests, folder / "jobs")


def test_a_clip_tells_its_size_rate_and_codec(clips: dict[str, Done]) -> None:
    told = ClipResponse.model_validate(clips["sound"].response).clip
    assert (told.width, told.height, told.fps, told.frames) == (480, 270, 30.0, FRAMES)
    assert told.codec


def test_a_clip_of_too_many_pixels_is_not_decoded(clips: dict[str, Done]) -> None:
    assert "its frames have 0.1 megapixels, more than inputs.max_megapixels = 0.1" in clips["large"].sentence


@pytest.mark.parametrize("name", ["text.mp4", "cut.mp4", "codec.avi", "empty.avi"])
def test_what_cannot_be_decoded_is_one_sentence(clips: dict[str, Done], name: str) -> None:
    sentence = clips[name].sentence
    assert name in sentence
    assert "convert it, for example to MP4 with H.264" in sentence
    assert sentence.isprintable()


Filmed = tuple[VideoRecord, Path, Path]


@pytest.fixture(scope="module")
def films(material: Material, fp32: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Filmed]:
    """Return records of the clip, the folders of the videos, and the samples: of two arms, and of a batch of frames."""
    folder = tmp_path_factory.mktemp("video")
    arms = {"pt": material.weights, "fp32": fp32}
    asked: dict[str, dict[str, Any]] = {
        "two": {"launch": latency_request(arms, [], folder / "two.npz", conf=0.02, warmup_min=3), "frames": TAKEN},
        "batch": {
            "launch": latency_request({"pt": material.weights}, [], folder / "batch.npz", batch=8),
            "frames": 100,
        },
    }
    requests = {name: {**x, "clip": str(clip), "output": str(folder / f"{name}-videos")} for name, x in asked.items()}
    done = run_jobs("video", requests, folder / "jobs")
    return {
        name: (VideoResponse.model_validate(x.response).video, folder / f"{name}-videos", folder / f"{name}.npz")
        for name, x in done.items()
    }


@pytest.fixture(scope="module")
def filmed(films: dict[str, Filmed]) -> Filmed:
    return films["two"]


def test_frames_of_a_batch_share_its_time_and_the_last_batch_is_filled_up(films: dict[str, Filmed]) -> None:
    video, _, samples = films["batch"]
    assert (video.frames, video.cut, video.batch) == (FRAMES, False, 8)
    with np.load(samples) as arrays:
        frame = arrays["pt/frame"]
    assert len(frame) == FRAMES
    assert all((frame[start : start + 8] == frame[start]).all() for start in range(0, FRAMES, 8))


def test_every_arm_is_timed_on_every_frame_stage_by_stage(filmed: Filmed) -> None:
    video, _, samples = filmed
    assert [arm.arm for arm in video.arms] == ["pt", "fp32"]
    assert (video.frames, video.cut, video.clip) == (TAKEN, True, "clip.mp4")
    with np.load(samples) as arrays:
        for arm in video.arms:
            spent = [arrays[f"{arm.arm}/{stage}"] for stage in STAGES]
            assert all(len(array) == TAKEN and (array > 0).all() for array in spent)
            whole = arrays[f"{arm.arm}/frame"]
            assert (sum(spent) == whole).all()
            assert arm.timings["frame"].quantile_ms(50) == pytest.approx(np.median(whole) / 1e6)
            assert arm.fps == pytest.approx(1e9 / whole.mean())
            assert arm.course_ms == tuple(whole / 1e6)


def test_each_arm_has_a_video_and_all_have_one_side_by_side(filmed: Filmed, tmp_path: Path) -> None:
    video, folder, _ = filmed
    files = [*(arm.file for arm in video.arms), video.side_by_side, *filter(None, [video.for_browsers])]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*files, video.poster])
    assert (folder / video.poster).read_bytes().startswith(b"\xff\xd8")
    done = run_python(COUNT, *(str(folder / file) for file in files), folder=tmp_path)
    found = {name: tuple(map(int, rest)) for name, *rest in map(str.split, done.stdout.splitlines())}
    assert {file: found[file][0] for file in files} == dict.fromkeys(files, TAKEN)
    assert found["pt.mp4"] == (TAKEN, 480, 270)
    assert found[video.side_by_side][1:] == (video.poster_width, video.poster_height) == (800, 250)


def test_the_poster_of_a_tall_clip_full_of_detail_fits_into_the_page(tmp_path: Path) -> None:
    assert run_python(TALL, folder=tmp_path).returncode == 0
    assert 100_000 < (tmp_path / "poster.jpg").stat().st_size < MOST_BYTES


def test_pictures_are_small_named_by_content_and_made_once(material: Material, tmp_path: Path) -> None:
    first = material.images()[0]
    copy, broken = tmp_path / "copy.png", tmp_path / "broken.png"
    copy.write_bytes(first.read_bytes())
    broken.write_bytes(b"\x89PNG")
    paths = [str(path) for path in (first, copy, broken, tmp_path / "missing.png")]
    request = {"images": paths, "output": str(tmp_path / "pictures"), "side_px": 48}
    found = PicturesResponse.model_validate(run_job("pictures", request, tmp_path / "job").response).pictures
    assert list(found) == paths[:2]
    assert found[paths[0]] == found[paths[1]]
    assert (found[paths[0]].width, found[paths[0]].height) == (72, 96)
    (file,) = (tmp_path / "pictures").iterdir()
    assert file.name == found[paths[0]].file
    assert file.read_bytes().startswith(b"\xff\xd8")
