"""What lies in a dataset and is no regular file, or leads out of it, makes nobody wait."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from project import write_dataset

from pytest_trtgate.data import dataset, load_dataset, reading, shared_contents
from pytest_trtgate.data.data_yaml import YAML_BYTES
from pytest_trtgate.errors import DataError

SPLITS = "train: images/train\nval: images/val\ntest: images/test\nnames: [a, b]\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path)
    return tmp_path


def test_a_fifo_among_images_is_named_where_it_would_be_read(data: Path) -> None:
    for split in ("train", "test"):
        os.mkfifo(data / "images" / split / "x.png")
    found = load_dataset(data / "data.yaml")
    with pytest.raises(DataError, match=r"x\.png: cannot be read \(a FIFO, not a regular file\)"):
        shared_contents(found.images("test"), found.images("train"))
    assert found.digest("test") != load_dataset(data / "data.yaml").digest("train")


def test_a_folder_that_cannot_be_read_is_named_and_not_left_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, scandir = data / "images" / "test" / "closed", os.scandir
    closed.mkdir()

    def refusing(path: str) -> object:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    found = load_dataset(data / "data.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        with pytest.raises(DataError, match=r"closed: cannot be read \(Permission denied\)"):
            found.images("test")


@pytest.mark.parametrize("name", ["data.yaml", "list.txt"])
def test_a_data_yaml_and_a_list_are_regular_files(data: Path, name: str) -> None:
    (data / "data.yaml").write_text(SPLITS.replace("images/test", "list.txt"))
    (data / name).unlink(missing_ok=True)
    (data / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"a device, not a regular file"):
        load_dataset(data / "data.yaml").images("test")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x: " + ":".join(["1"] * 400) + ":1.5", "not valid YAML"),
        ("x: !!timestamp today", "not valid YAML"),
        ("x: !!int ''", "not valid YAML"),
        ("x: !!bool maybe", "not valid YAML"),
        ("x: " + "[" * 5000, "nested too deeply"),
        ("#" * YAML_BYTES, "cannot be read (4.0 MB, more than 4.0 MB)"),
    ],
)
def test_values_that_are_none_or_would_take_for_ever_are_a_sentence(data: Path, text: str, said: str) -> None:
    (data / "data.yaml").write_text(SPLITS + text)
    with pytest.raises(DataError) as caught:
        load_dataset(data / "data.yaml")
    assert said in str(caught.value)


def test_a_name_that_the_locale_cannot_write_is_a_sentence() -> None:
    with pytest.raises(DataError, match="\u00fc: no name of a file can be written so with this locale"), reading():
        "\u00fc".encode("ascii")


def test_a_number_too_long_to_be_one_is_text(data: Path) -> None:
    (data / "data.yaml").write_text(SPLITS + "x: " + (number := ":".join(["1"] * 200_000)))
    assert load_dataset(data / "data.yaml").extra["x"] == number


@pytest.mark.parametrize("to", [".", "/", "/proc/self"])
def test_a_link_in_a_circle_is_named(data: Path, to: str) -> None:
    (data / "images" / "test" / "again").symlink_to(to)
    with pytest.raises(DataError, match=r"a link to a folder above it; remove it|Permission denied"):
        load_dataset(data / "data.yaml").images("test")


def test_a_linked_folder_counts_as_for_ultralytics(data: Path) -> None:
    before = load_dataset(data / "data.yaml").images("test")
    (data / "images" / "test" / "more").symlink_to(data / "images" / "train")
    (data / "images" / "test" / ".hidden").symlink_to(data / "images" / "train")
    after = load_dataset(data / "data.yaml").images("test")
    assert set(before) < set(after)
    assert {path.parent.name for path in set(after) - set(before)} == {"more"}


def test_a_split_of_very_many_folders_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MOST_FOLDERS", 3)
    for number in range(3):
        (data / "images" / "test" / str(number)).mkdir()
    with pytest.raises(DataError, match="more than 3 folders below it, too many for a dataset"):
        load_dataset(data / "data.yaml").images("test")
