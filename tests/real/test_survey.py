"""The survey job on real files: it finds what is wrong with them, and changes nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from material import CLASSES, IMGSZ, ROOT, Done, Material, digests, run_job, run_python

from pytest_trtgate.jobs.contract import SurveyResponse

pytestmark = pytest.mark.real
Image = pytest.importorskip("PIL.Image")
WHYS = """
import json, sys
from pathlib import Path
from pytest_trtgate.workers import verifying
from pytest_trtgate.workers.survey.splits import image_problem
verifying.watch(200_000_000)
print(json.dumps({path.name: image_problem(path) for path in Path(sys.argv[1]).iterdir()}))
"""
LABELS = """
import json, sys
from pathlib import Path
from pytest_trtgate.workers.survey.splits import Labels
labels = Labels(2, (2, 3))
labels.add(Path(sys.argv[1]))
print(json.dumps({"poses": len(labels.bad_poses), "others": len(labels.bad), "classes": labels.classes}))
"""


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

    image("0-sound.png", "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.8 0.8\n1 0.5 0.5 0.8 0.8\n")
    image("1-truncated.png", "0 0.5 0.5 0.2 0.2\n", sound.read_bytes()[:200])
    image("2-text.jpg", None, b"no image")
    image("3-class.png", "2 0.5 0.5 0.2 0.2\n")
    image("4-range.png", "0 0.5 0.5 1.2 0.2\n")
    image("5-words.png", "zero 0.5 0.5 0.2 0.2\n")
    image("6-columns.png", "0 0.5 0.5\n")
    image("7-polygon.png", "1 0.1 0.1 0.5 0.1 0.5 0.2\n")
    (folder / "labels" / "bad" / "stray.txt").write_text("")
    (folder / "labels" / "bad" / "classes.txt").write_text("dark\nbright\n")
    image("7-mixed.png", "1 0.1 0.1 0.5 0.1 0.5 0.2\n0 0.5 0.5 0.2 0.2\n")
    image("8-page.jpg", None, b"<html>gone</html>")
    blank = Image.new("RGB", (80, 40))

    def drawn(name: str, kind: str, cut: int = 0, more: bytes = b"") -> None:
        content = io.BytesIO()
        blank.save(content, kind)
        image(name, None, content.getvalue()[: -cut or None] + more)

    image("9h-endless-label.png", "0 0.5 0.5 0.2 0.2\n")
    os.truncate(folder / "labels" / "bad" / "9h-endless-label.txt", 20_000_000)
    blank.resize((8, 40)).save(folder / "images" / "bad" / "8-narrow.png")
    drawn("9-cut.jpg", "JPEG", 300)
    drawn("9b-cut.bmp", "BMP", 20)
    drawn("9c-cut.tif", "TIFF", 20)
    drawn("9d-lying.jpg", "GIF")
    drawn("9e-no-end.jpg", "JPEG", 2)
    drawn("9f-film-behind.jpg", "JPEG", 0, b"MotionPhoto_Data" + bytes(200_000))
    drawn("9g-byte-behind.avif", "AVIF", 0, b"\n")
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
    assert facts.images == 19
    assert (facts.corrupt.count, facts.corrupt.first[:15]) == (9, "1-truncated.png")
    assert (facts.bad_labels.count, facts.bad_labels.first[:11]) == (6, "3-class.txt")
    assert (facts.repeated.count, facts.repeated.first) == (1, "0-sound.txt")
    assert facts.bad_poses.count == 0
    assert (facts.boxes.count, facts.boxes.first) == (1, "0-sound.txt")
    assert facts.unlabelled == 2
    assert (facts.without_image.count, facts.without_image.first) == (1, "stray.txt (no image)")
    assert facts.classes == {0: 1, 1: 2}
    assert facts.object_sizes == (0.5, 0.2)


def test_each_image_that_is_left_out_has_a_reason(folder: Path, tmp_path: Path) -> None:
    whys = json.loads(run_python(WHYS, str(folder / "images" / "bad"), folder=tmp_path).stdout.splitlines()[-1])
    assert {name: why for name, why in whys.items() if why} == {
        "1-truncated.png": whys["1-truncated.png"],
        "2-text.jpg": "not an image",
        "8-narrow.png": "image size (40, 8) <10 pixels",
        "8-page.jpg": "not an image",
        "9-cut.jpg": whys["9-cut.jpg"],
        "9b-cut.bmp": "cannot be decoded",
        "9c-cut.tif": "cannot be decoded",
        "9e-no-end.jpg": whys["9e-no-end.jpg"],
        "9d-lying.jpg": "its suffix says another format, which is not supported",
    }
    assert all("truncated" in whys[name].lower() for name in ("9-cut.jpg", "9e-no-end.jpg"))


def test_labels_of_key_points_are_read_as_a_model_of_key_points_reads_them(folder: Path, tmp_path: Path) -> None:
    found = json.loads(
        run_python(LABELS, str(folder / "images" / "bad" / "0-sound.png"), folder=tmp_path).stdout.splitlines()[-1]
    )
    assert found == {"poses": 1, "others": 0, "classes": {"0": 1, "1": 1}}


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
    assert checkpoints["tiny"].imgsz is None  # it was never trained
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
    assert sum(name.endswith(".onnx") for name in done[1].read) == 1  # without its digest the answer is refused
