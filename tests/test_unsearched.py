"""Which folders pytest does not search for tests: those of images, labels, engines and runs."""

from __future__ import annotations

from pathlib import Path

from conftest import Project, write_dataset

from pytest_trtgate.settings import Settings
from pytest_trtgate.unsearched import unsearched


def of(data: Path, *keep: Path) -> set[str]:
    """Return the folders that are not searched, relative to that of the data."""
    settings = Settings.model_validate({"models": ["one.pt", "two.pt"], "data": data})
    return {str(p.relative_to(data.parent.resolve())) for p in unsearched(settings, [data.parent / "cache"], keep)}


def test_folders_of_images_labels_and_engines_are_not_searched(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    splits = {f"{kind}/{split}" for kind in ("images", "labels") for split in ("train", "val", "test")}
    assert of(data) == {*splits, "cache"}


def test_a_folder_that_holds_the_project_is_searched_whatever_the_data_says(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    data.write_text("train: .\nval: images/val\nnames: [circle, square]\n")
    assert of(data, tmp_path / "data") == {"images/val", "labels/val", "cache"}
    assert of(data, tmp_path / "data" / "images" / "val" / "deep") == {"labels/val", "cache"}


def test_data_that_cannot_be_read_are_left_to_the_gate_to_complain_of(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("[")
    assert of(tmp_path / "data.yaml") == {"cache"}


def test_pytest_finds_the_tests_beside_the_images_and_those_that_are_asked_for(project: Project) -> None:
    write_dataset(project.path / "shapes")
    for folder in ("shapes/images/train", "shapes/labels/val", "shapes"):
        name = folder.replace("/", "_")
        (project.path / folder / f"test_{name}.py").write_text(f"def test_{name}():\n    pass\n")
    asked = ("--collect-only", "-q", "--trt-data=shapes/data.yaml")
    found = project.run(*asked).stdout.str()
    assert "test_shapes.py::test_shapes" in found
    assert "test_shapes_images_train" not in found
    assert "test_shapes_labels_val" not in found
    assert "test_shapes_images_train" in project.run(*asked, "shapes/images/train").stdout.str()
