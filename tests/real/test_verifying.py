"""Images that Ultralytics mends or leaves out: the gate uses the same pixels, and leaves the files as they are."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from material import Material, accuracy_request, digests, latency_request, run_job, run_python

pytestmark = pytest.mark.real
READ = """
import json, sys, hashlib
from pathlib import Path
from ultralytics.data.utils import check_image
from ultralytics.utils.patches import imread
theirs, ours = map(Path, sys.argv[1:])
check_image(str(theirs))  # which writes it anew
wanted = imread(str(theirs))
from pytest_trtgate.workers import verifying
verifying.watch(200_000_000)
found = verifying.read_image(str(ours))
grey = verifying.read_image(str(ours), 1)
same = found.shape == wanted.shape and (found == wanted).all()
print(json.dumps({"same": bool(same), "grey": grey.shape, "none": verifying.read_image(str(ours.with_suffix(".txt")))}))
"""


def jpeg(path: Path, cut: int = 0, more: bytes = b"") -> None:
    """Write a JPEG of noise that lacks some bytes at its end, or has more."""
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.effect_noise((80, 60), 90).convert("RGB").save(path, "JPEG")
    path.write_bytes(path.read_bytes()[: -cut or None] + more)


@pytest.mark.parametrize("more", [b"\n", b"MotionPhoto_Data" + bytes(5000)])
def test_a_mended_image_has_the_pixels_that_ultralytics_gives_it(tmp_path: Path, more: bytes) -> None:
    ours, theirs = tmp_path / "ours" / "a.jpg", tmp_path / "theirs" / "a.jpg"
    jpeg(ours, more=more)
    theirs.parent.mkdir()
    shutil.copy(ours, theirs)
    ours.with_suffix(".txt").write_text("no image")
    before = digests(ours.parent)
    said = json.loads(run_python(READ, str(theirs), str(ours), folder=tmp_path / "job").stdout.splitlines()[-1])
    assert said == {"same": True, "grey": [60, 80, 1], "none": None}
    assert digests(ours.parent) == before != digests(theirs.parent)


@pytest.fixture
def damaged(material: Material, tmp_path: Path) -> Path:
    """The dataset, with one image that can be mended and three that cannot be used."""
    shutil.copytree(material.data.parent, tmp_path / "data")
    images = tmp_path / "data" / "images" / "test"
    jpeg(images / "0-more.jpg", more=bytes(100))
    jpeg(images / "0-cut.jpg", 500)
    (images / "0-page.jpg").write_text("<html>404</html>")
    jpeg(images / "0-long.jpg")
    label = tmp_path / "data" / "labels" / "test" / "0-long.txt"
    label.touch()
    os.truncate(label, 20_000_000)
    found = tmp_path / "data" / "data.yaml"
    found.write_text(found.read_text().replace(str(material.data.parent), str(tmp_path / "data")))
    return found


def test_an_evaluation_goes_on_without_what_cannot_be_used(material: Material, damaged: Path, tmp_path: Path) -> None:
    before = digests(damaged.parent)
    request = accuracy_request({"pt": material.weights}, damaged, tmp_path / "arrays")
    done = run_job("accuracy", request, tmp_path / "job")
    assert digests(damaged.parent) == before
    found = done.response["arms"]["pt"]
    assert found["images"] == len(material.images()) + 1
    assert [Path(path).name for path in found["unreadable"]] == ["0-cut.jpg", "0-long.jpg", "0-page.jpg"]
    assert found["left_out"]["count"] == 3
    assert found["left_out"]["first"].startswith("0-cut.jpg (")


def test_inference_is_timed_on_images_that_can_be_used(
    material: Material, fp32: Path, damaged: Path, tmp_path: Path
) -> None:
    images = sorted((damaged.parent / "images" / "test").glob("0-*.jpg"))
    request = latency_request({"fp32": fp32}, images, tmp_path / "samples.npz")
    assert "fp32" in run_job("latency", request, tmp_path / "job").response["launch"]["arms"]
    nothing = latency_request({"fp32": fp32}, [images[0], images[3]], tmp_path / "samples.npz")
    said = run_job("latency", nothing, tmp_path / "none").sentence
    assert "no images to time inference on; none of 2 can be read, first " in said
