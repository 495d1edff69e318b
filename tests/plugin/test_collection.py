"""Which folders pytest does not search for tests: those of images, labels, engines and runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from project import Project, write_dataset

from pytest_trtgate.plugin.collection import IgnoredFolders
from pytest_trtgate.settings.settings import Settings

SPLITS = {f"{kind}/{split}" for kind in ("images", "labels") for split in ("train", "val", "test")}


def of(data: Path) -> set[str]:
    """Return the folders that are not searched, relative to that of the data."""
    settings = Settings.model_validate({"models": ["one.pt", "two.pt"], "data": data})
    found = IgnoredFolders(settings, [data.parent / "cache"])
    return {str(p.relative_to(data.parent)) for p in (data.parent, *data.parent.rglob("*")) if p in found}


def test_folders_of_images_labels_and_engines_are_not_searched(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    (tmp_path / "data" / "cache").mkdir()
    assert of(data) == {*SPLITS, "cache"}


def test_a_folder_with_a_test_in_it_is_searched_whatever_the_data_says(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    data.write_text("train: .\nval: images/val\nnames: [circle, square]\n")
    assert of(data) == {".", "images/val", "labels/val"}
    (tmp_path / "data" / "images" / "val" / "deep").mkdir()
    (tmp_path / "data" / "images" / "val" / "deep" / "test_it.py").touch()
    assert of(data) == {"labels/val"}


@pytest.mark.parametrize("line", ["[", "train: train\nnames: [a]", f"train: {'x' * 300}\nnames: [a]", 'train: "a\\0b"'])
def test_data_that_cannot_be_looked_at_are_left_to_the_gate_to_complain_of(line: str, tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to("train")
    (tmp_path / "cache").mkdir()
    (tmp_path / "data.yaml").write_text(line)
    assert of(tmp_path / "data.yaml") == {"cache"}


def test_pytest_finds_the_tests_beside_the_images_and_those_that_are_asked_for(project: Project) -> None:
    write_dataset(project.path / "shapes")
    (project.path / "shapes" / "images" / "train" / "test_beside.py").write_text("def test_beside():\n    pass\n")
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write("def pytest_collect_file(file_path): print(file_path.relative_to(file_path.parents[3]))\n")
    asked = ("--collect-only", "-q", "-s", "--trt-data=shapes/data.yaml")
    found = project.run(*asked).stdout.str()
    assert "test_beside.py::test_beside" in found
    assert "shapes/images/train/0.png" in found
    assert "shapes/images/val/0.png" not in found
    assert "shapes/labels/test/0.txt" not in found
    assert "shapes/labels/test/0.txt" in project.run(*asked, "shapes/labels/test").stdout.str()
