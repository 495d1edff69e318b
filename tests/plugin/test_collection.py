"""Which folders pytest does not search for tests: those of images, labels, engines and runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from project import ACCURACY_TEST, Project, write_dataset

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


def beside(project: Project) -> Path:
    """Write a test that has settings of its own into a folder of the project; return the folder."""
    other = project.path / "other"
    other.mkdir()
    (other / "trtgate.toml").write_text('models = ["../shapes.pt"]\n')
    project.tests(ACCURACY_TEST, "other/test_other.py")
    return other


REFUSED = "other/test_other.py belongs to the settings in other, and this run has those of {path}/trtgate.toml; gate"


def test_no_test_is_judged_by_the_settings_of_another_project_than_its_own(project: Project) -> None:
    beside(project)
    refused = project.run()
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    said = f"{REFUSED.format(path=project.path)} each project by itself: pytest --rootdir=other other"
    assert said in refused.stderr.str()
    project.run("--ignore=other", "-k", "accuracy").assert_outcomes(passed=3)
    project.run("-k", "accuracy", "--deselect=other").assert_outcomes(passed=3, deselected=6)
    # Who says which project he means, means it.
    project.run("--rootdir=.", "other").assert_outcomes(passed=3)


def test_a_worker_judges_no_test_by_the_settings_of_another_project(project: Project) -> None:
    pytest.importorskip("xdist")
    beside(project)
    result = project.run_apart("-n1", "-k", "accuracy and fp32")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "1 passed, 1 error" in result.output
    assert REFUSED.format(path=project.path) in " ".join(result.output.split())


def test_a_run_below_the_project_says_where_the_settings_are(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.path / "below").mkdir()
    project.tests(ACCURACY_TEST, "below/test_below.py")
    (project.path / "conftest.py").rename(project.path / "below" / "conftest.py")
    monkeypatch.chdir(project.path / "below")
    refused = project.run()
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "test_below.py belongs to the settings in .., and this run has none; gate each" in refused.stderr.str()
    project.run("--rootdir=..", "-k", "accuracy").assert_outcomes(passed=3)
