"""What lies beside a given file and says what the file does not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trtgate.errors import DataError
from pytest_trtgate.settings import read_sidecar, sidecar_path


def test_nothing_beside_a_file_says_nothing(tmp_path: Path) -> None:
    assert read_sidecar(tmp_path / "best.plan").model_fields_set == set()


def test_it_says_how_images_are_fed(tmp_path: Path) -> None:
    file = tmp_path / "best.plan"
    sidecar_path(file).write_text(
        'channels = "bgr"\nscale = 255\nmean = [1, 2.5, 3]\nletterbox = "corner"\npadding = 0\n'
    )
    feed = read_sidecar(file).feed("float16", nhwc=True)
    assert (feed.dtype, feed.nhwc, feed.bgr, feed.scale, feed.mean) == ("float16", True, True, 255, (1, 2.5, 3))
    assert (feed.padding, feed.corner) == (0, True)
    assert read_sidecar(tmp_path / "other").feed("uint8", nhwc=False).scale == 255
    sidecar_path(file).write_text("letterbox = false\n")
    stretched = read_sidecar(file).feed("float32", nhwc=False)
    assert (stretched.stretched, stretched.corner) == (True, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scal = 255", "unknown key 'scal'; allowed: channels, dtype"),
        ('scale = "255"', "scale = '255' is not allowed; allowed: the value of white, such as 1 or 255"),
        ('layout = "nms"', "layout = 'nms' is not allowed; allowed: raw, transposed, end2end, efficientnms"),
        ("letterbox = true", "letterbox = True is not allowed; allowed: centre, corner or false"),
        ("names = []", "names = [] is not allowed; allowed: a list of names"),
        ("scale = ", "not valid TOML"),
    ],
)
def test_what_is_not_allowed_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "best.plan.toml").write_text(text)
    with pytest.raises(DataError) as error:
        read_sidecar(tmp_path / "best.plan")
    assert str(error.value).startswith(f"{tmp_path / 'best.plan.toml'}: ")
    assert said in str(error.value)
