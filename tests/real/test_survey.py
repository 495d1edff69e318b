"""The survey job on real files: it finds what is wrong with them, and changes nothing."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from material import CLASSES, IMGSZ, ROOT, Done, Material, digests, run_job

from pytest_trtgate.jobs.contract import SurveyResponse
from pytest_trtgate.workers.survey import survey

pytestmark = pytest.mark.real


class Hostile:
    """A pickle of it runs a command where it is loaded in the ordinary way."""

    def __reduce__(self) -> Any:
        return exec, ("open('was-here', 'w')",)


@pytest.fixture(scope="module")
def folder(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and labels of which some are sound."""
    folder = tmp_path_factory.mktemp("survey")
    for kind in ("images", "labels"):
        (folder / kind / "bad").mkdir(parents=True)
    sound = material.images()[0]

    def image(name: str, label: str | None, content: bytes | None = None) -> None:
        (folder / "images" / "bad" / name).write_bytes(sound.read_bytes() if content is None else content)
        if label is not None:
            (folder / "labels" / "bad" / Path(name).with_suffix(".txt")).write_text(label)

    image("0-sound.png", "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.8 0.8\n")
    image("1-truncated.png", "0 0.5 0.5 0.2 0.2\n", sound.read_bytes()[:200])
    image("2-text.jpg", None, b"no image")
    image("3-class.png", "2 0.5 0.5 0.2 0.2\n")
    image("4-range.png", "0 0.5 0.5 1.2 0.2\n")
    image("5-words.png", "zero 0.5 0.5 0.2 0.2\n")
    image("6-columns.png", "0 0.5 0.5\n")
    image("7-polygon.png", "1 0.1 0.1 0.5 0.1 0.5 0.2\n")
    (folder / "labels" / "bad" / "stray.txt").write_text("")
    (folder / "labels" / "bad" / "classes.txt").write_text("dark\nbright\n")
    from PIL import Image

    Image.new("RGB", (8, 40)).save(folder / "images" / "bad" / "8-narrow.png")
    Image.new("RGB", (80, 40)).save(folder / "images" / "bad" / "9-cut.jpg")
    cut = folder / "images" / "bad" / "9-cut.jpg"
    cut.write_bytes(cut.read_bytes()[:-20])
    Image.new("RGB", (80, 40)).save(folder / "images" / "bad" / "9b-cut.bmp")  # its header tells nothing of it
    cut = cut.with_name("9b-cut.bmp")
    cut.write_bytes(cut.read_bytes()[:-20])
    Image.new("RGB", (80, 40)).save(folder / "images" / "bad" / "9c-cut.tif")  # which is not among the decoded
    cut = cut.with_name("9c-cut.tif")
    cut.write_bytes(cut.read_bytes()[:-20])
    with zipfile.ZipFile(folder / "hostile.pt", "w") as archive:
        archive.writestr("hostile/data.pkl", pickle.dumps({"model": Hostile(), "train_args": {"imgsz": 640}}))
    shutil.copy(material.weights, folder / "tiny.pt")
    return folder


@pytest.fixture(scope="module")
def done(folder: Path, material: Material, fp32: Path) -> tuple[Done, SurveyResponse]:
    before = digests(folder)
    request = {
        "schema_version": 1,
        "threads": 1,
        "classes": len(CLASSES),
        "sample": 6,
        "splits": [
            {"name": "bad", "images": [str(p) for p in sorted((folder / "images" / "bad").iterdir())]},
            {"name": "test", "images": list(map(str, material.images()[:8]))},
        ],
        "checkpoints": {
            "tiny": str(folder / "tiny.pt"),
            "shapes": str(ROOT / "examples" / "shapes" / "shapes.pt"),
            "hostile": str(folder / "hostile.pt"),
            "image": str(folder / "images" / "bad" / "2-text.jpg"),
        },
        "deployed": str(fp32),
    }
    done = run_job("survey", request, folder.parent / "survey-job")
    assert digests(folder) == before
    return done, SurveyResponse.model_validate(done.response)


def test_damaged_images_and_labels_are_counted(done: tuple[Done, SurveyResponse]) -> None:
    facts = done[1].splits["bad"]
    assert facts.images == 12
    assert (facts.corrupt.count, facts.corrupt.first) == (6, "1-truncated.png (not readable)")
    assert (facts.bad_labels.count, facts.bad_labels.first) == (4, "3-class.txt (line 1: class 2 of 2)")
    assert facts.unlabelled == 5
    assert (facts.without_image.count, facts.without_image.first) == (1, "stray.txt (no image)")
    assert facts.classes == {0: 2, 1: 2}
    assert facts.object_sizes == (0.5, 0.2, 0.2)


def test_an_image_that_may_not_be_read_is_one_of_the_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> bool:
        raise PermissionError

    monkeypatch.setattr(survey, "is_cut_off", refused)
    (tmp_path / "0.avif").write_bytes(b"")
    assert survey.image_problem(tmp_path / "0.avif") == "not readable"
    assert survey.image_problem(tmp_path / "1.pfm") == "missing"


def test_a_sound_split_has_no_trouble(done: tuple[Done, SurveyResponse]) -> None:
    facts = done[1].splits["test"]
    assert facts.images == 8  # of twelve in the folder: labels of the others are not stray
    assert facts.corrupt.count == facts.bad_labels.count == facts.unlabelled == facts.without_image.count == 0
    assert len(facts.brightness) == len(facts.contrast) == 4
    assert all(0.2 < value < 0.8 for value in facts.brightness)
    assert all(0.1 < value < 0.4 for value in facts.contrast)


def test_checkpoints_are_read_without_running_anything_in_them(done: tuple[Done, SurveyResponse]) -> None:
    checkpoints = done[1].checkpoints
    shapes = checkpoints["shapes"]
    names = ("circle", "square", "triangle", "star", "cross", "ring")
    assert (shapes.imgsz, shapes.names, shapes.task) == (320, dict(enumerate(names)), "detect")
    assert checkpoints["tiny"].names == dict(enumerate(CLASSES))
    assert checkpoints["hostile"].imgsz == 640
    assert checkpoints["image"].imgsz is None
    assert checkpoints["image"].problem.endswith("2-text.jpg: no checkpoint that can be looked into (BadZipFile)")
    assert not any(facts.problem for name, facts in checkpoints.items() if name != "image")
    assert not (done[0].folder / "was-here").exists()


def test_the_deployed_engine_tells_its_shape(done: tuple[Done, SurveyResponse]) -> None:
    assert done[1].deployed is not None
    metadata = done[1].deployed.metadata
    assert (metadata["batch"], metadata["imgsz"]) == (1, [IMGSZ, IMGSZ])
    assert metadata["version"]
