"""Every kind of job on a machine that has none of our paths, with the real torch, Ultralytics and ONNX Runtime."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from material import IMGSZ, Done, Material, run_python, write_data
from other_machine import OtherMachine, launcher_to, requests_of_all_kinds

from pytest_trtgate.jobs import Job, JobKind, LocalLauncher

pytestmark = pytest.mark.real
KINDS: tuple[JobKind, ...] = get_args(JobKind)
CLIP = """
import sys
import cv2, numpy
writer = cv2.VideoWriter(sys.argv[1], cv2.VideoWriter.fourcc(*"mp4v"), 30, (64, 48))
for shade in range(25):
    writer.write(numpy.full((48, 64, 3), 10 * shade, numpy.uint8))
writer.release()
"""


@pytest.fixture(scope="module")
def ours(material: Material, builds: dict[str, tuple[Done, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that is ours, which no worker sees."""
    folder = tmp_path_factory.mktemp("away") / "ours"
    shutil.copytree(material.data.parent, folder / "data")
    write_data(folder / "data" / "data.yaml")
    shutil.copy(material.weights, folder)
    shutil.copy(builds["int8"][1], folder / "engine.onnx")
    return folder


@pytest.fixture(scope="module")
def requests(ours: Path) -> dict[JobKind, Any]:
    """A request of each kind of job, in our paths."""
    done = run_python(CLIP, str(ours / "clip.mp4"), folder=ours.parent)
    assert done.returncode == 0, done.stderr
    one = {name: np.zeros(1, np.int32) for name in ("pred_cls", "pred_image", "target_cls", "target_image")}
    one |= {"images": np.array(["0.png"]), "names": np.array(["a", "b"]), "conf": np.ones(1, np.float32)}
    np.savez(ours / "part.npz", tp=np.ones((1, 10), bool), **one)  # type: ignore[arg-type]
    rules = {"samples": 20, "block": 10, "warmup_min": 5, "warmup_max_seconds": 1.0}
    paths = (ours / "tiny.pt", ours / "engine.onnx", ours / "data" / "data.yaml", ours / "clip.mp4", ours / "output")
    return requests_of_all_kinds(*paths, {"imgsz": IMGSZ, "rules": rules})


@pytest.fixture(scope="module")
def answers(
    ours: Path, requests: dict[JobKind, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[JobKind, dict[str, Any]]:
    """What each kind of job answered from the other machine."""
    machine = OtherMachine(tmp_path_factory.mktemp("other"), hidden=ours)
    launcher, folder = launcher_to(machine), tmp_path_factory.mktemp("jobs")
    found = {}
    for kind, request in requests.items():
        answer = launcher.run(Job(kind, request, "cpu", 300.0), folder / kind, lambda _: None)
        found[kind] = answer.model_dump()
    launcher.close()
    return found


@pytest.mark.parametrize("kind", ["accuracy", "survey", "explain"])
def test_another_machine_answers_as_ours_does(
    kind: JobKind,
    ours: Path,
    requests: dict[JobKind, Any],
    answers: dict[JobKind, dict[str, Any]],
    tmp_path: Path,
) -> None:
    arrays = {arm: dict(np.load(ours / "output" / arm / "per_image.npz")) for arm in ("pt", "int8")}
    launcher = LocalLauncher(locks=tmp_path, ahead=False)
    here = launcher.run(Job(kind, requests[kind], "cpu", 300.0), tmp_path / "job", lambda _: None).model_dump()
    there = dict(answers[kind])
    for answer in (here, there):
        for name in ("phases", "ahead_s", "peak_bytes"):
            answer.pop(name, None)
        for arm in answer.get("arms", {}).values():
            arm.pop("seconds")
    assert there == here
    if kind == "accuracy":
        for arm, found in arrays.items():
            again = dict(np.load(ours / "output" / arm / "per_image.npz"))
            assert found.keys() == again.keys()
            assert all(np.array_equal(found[name], again[name]) for name in found), arm


def test_an_engine_that_is_built_elsewhere_has_the_bytes_of_ours(
    ours: Path, answers: dict[JobKind, dict[str, Any]]
) -> None:
    assert answers["build"]["artifact"] == "engine.onnx"
    assert (ours / "output" / "engine" / "engine.onnx").read_bytes() == (ours / "engine.onnx").read_bytes()
    assert {str(Path(image).parent) for image in answers["build"]["calibration_images"]} == {
        str(ours / "data" / "images" / "train")
    }


def test_what_times_and_shows_comes_back_too(ours: Path, answers: dict[JobKind, dict[str, Any]]) -> None:
    assert set(answers) == set(KINDS)
    assert set(answers["latency"]["launch"]["arms"]) == {"pt", "int8"}
    assert (ours / "output" / "samples.npz").stat().st_size > 0
    assert answers["profile"]["layers"]
    assert answers["layers"]["layers"]
    assert answers["merge"]["arms"]["pt"]["metrics"]["mAP50-95"] == pytest.approx(0.995)
    assert dict(np.load(ours / "output" / "pt" / "merged.npz"))["images"].tolist() == ["0.png"]
    assert set(answers["pictures"]["pictures"]) == set(map(str, (ours / "data" / "images" / "test").iterdir()))
    assert answers["clip"]["clip"]["path"] == str(ours / "clip.mp4")
    assert (ours / "output" / "video" / answers["video"]["video"]["poster"]).stat().st_size > 0
