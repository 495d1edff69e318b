"""Which labels may keep an image from being calibrated on."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from pytest_trtgate.data.labels import SOUND, keypoints_of, label_state
from pytest_trtgate.records.files import TEXT_BYTES, file_sha256

BOX, POLYGON = "0 0.5 0.5 0.2 0.2\n", "1 0.1 0.1 0.9 0.1 0.9 0.9\n"
PERSON = "0 0.5 0.5 0.2 0.2 0.4 0.4 2 0 0 0\n"


@pytest.mark.parametrize(
    "text", ["", "\n \n", BOX, BOX + "\n1 0 1 1e-1 1.\n", POLYGON, POLYGON + BOX[:-1] + " 0.1 0.1"]
)
def test_what_sound_labels_say_does_not_count(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert label_state(tmp_path / "a.txt", 2, None) == "sound"
    assert label_state(tmp_path / "missing.txt", 2, None) == "sound"


@pytest.mark.parametrize(
    "text",
    [
        "circle 0.5 0.5 0.2 0.2\n",
        "0 0.5 0.5 0.2\n",
        "0 0.5 0.5 0.2 0.2 0.9\n",
        "0 0.5 0.5 0.2 0.2 0.9 0.9 0.9\n",
        "2 0.5 0.5 0.2 0.2\n",
        "-1 0.5 0.5 0.2 0.2\n",
        "0.5 0.5 0.5 0.2 0.2\n",
        "0 1.001 0.5 0.2 0.2\n",
        "0 -0.001 0.5 0.2 0.2\n",
        "0 nan 0.5 0.2 0.2\n",
        "0 0_1 0.5 0.2 0.2\n",
        "\ufeff" + BOX,
        BOX + POLYGON,
    ],
)
def test_doubtful_labels_count_by_their_content(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert label_state(tmp_path / "a.txt", 2, None) == sha256(text.encode()).hexdigest()


def test_where_there_are_key_points_rows_without_them_are_doubtful(tmp_path: Path) -> None:
    label = tmp_path / "a.txt"
    for text, sound in ((PERSON, True), ("", True), (BOX, False), (PERSON.replace(" 2 ", " -1 "), False)):
        label.write_text(text)
        assert (label_state(label, 2, (2, 3)) == "sound") is sound
    label.write_text("0 0.5 0.5 0.2 0.2 0.4 0.4 2 0\n")
    assert label_state(label, 2, (2, 2)) != "sound"  # without visibility, a 2 is a place outside of the image
    assert keypoints_of([17, 3]) == (17, 3)
    assert [keypoints_of(odd) for odd in (None, 17, [17], ["17", 3], [0, 3], [4, 5])] == [None] * 6


def test_labels_that_cannot_be_read_are_so_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(BOX)
    monkeypatch.setattr("pytest_trtgate.data.labels.read_bytes", lambda _: (_ for _ in ()).throw(PermissionError()))
    assert label_state(tmp_path / "a.txt", 2, None) == "unreadable"


def test_labels_too_large_to_be_parsed_count_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(TEXT_BYTES + 1)
    assert label_state(path, 2, None) == file_sha256(path)


def test_what_is_no_file_counts_as_no_label_as_for_ultralytics(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to("/dev/zero")
    assert {label_state(tmp_path / name, 2, None) for name in ("a.txt", "b.txt", "c.txt")} == {SOUND}
