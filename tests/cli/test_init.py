"""``trtgate init``: what it writes is what a first run needs, and it never replaces what is there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from inline_launcher import InlineLauncher
from pretended import PretendedMachine
from project import Project, write_dataset

from pytest_trtgate.cli import main
from pytest_trtgate.cli.init import _table, _toml, estimated_minutes, write_project
from pytest_trtgate.errors import DataError, TrtGateError
from pytest_trtgate.jobs import CheckpointFacts
from pytest_trtgate.records import write_whole
from pytest_trtgate.settings import Settings, project_settings

CHECKPOINT = {"imgsz": 320, "names": {0: "circle", 1: "square"}, "task": "detect"}


@pytest.fixture
def bare(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a checkpoint and a dataset, and nothing of the gate yet."""
    for name in ("trtgate.toml", "test_gate.py"):
        (project.path / name).unlink()
    monkeypatch.chdir(project.path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.path / "xdg"))
    return project


def init(bare: Project, data: str = "data/data.yaml", **checkpoint: Any) -> tuple[int, list[str]]:
    """Run the command with the fake jobs; return its exit status and what it said."""
    bare.weights(Behaviour(survey={"checkpoint": {**CHECKPOINT, **checkpoint}}))
    said: list[str] = []
    status = write_project(Path("shapes.pt"), Path(data), said.append, PretendedMachine(), InlineLauncher())
    return status, said


def test_what_it_writes_runs_green(bare: Project) -> None:
    status, said = init(bare)
    assert status == 0
    assert said[0] == "shapes.pt: detect, 2 classes, trained at 320 pixels"
    assert said[1].startswith("data/data.yaml: train 4, val 4, test 4 images; accuracy is measured on 'test', INT8 cal")
    assert said[-1] == "  pytest test_gate.py"
    assert "the first time about " in said[-2]
    settings = project_settings(bare.path)[0]
    assert (settings.imgsz, settings.split, settings.models[0].path) == (320, "test", bare.path / "shapes.pt")
    assert settings.accuracy.tolerances("int8", "detect") == {"mAP50": 0.03, "mAP50-95": 0.03}
    assert all(settings.latency.limit(p, "p95", "onnxruntime").budget_ms is None for p in settings.precisions)
    result = bare.run("test_gate.py")
    result.assert_outcomes(passed=6)
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("missing", "split", "calibrated_on", "precisions"),
    [
        ("test", "val", "train", ("fp32", "fp16", "int8")),
        ("train", "test", "val", ("fp32", "fp16", "int8")),
        ("test train", "val", None, ("fp32", "fp16")),
    ],
)
def test_it_takes_splits_that_are_there(
    bare: Project, missing: str, split: str, calibrated_on: str | None, precisions: tuple[str, ...]
) -> None:
    for name in missing.split():
        shutil.rmtree(bare.path / "data" / "images" / name)
    assert init(bare)[0] == 0
    settings = project_settings(bare.path)[0]
    assert (settings.split, settings.precisions) == (split, precisions)
    assert calibrated_on in (None, settings.calibration.split)
    bare.run("test_gate.py", "-k", "accuracy").assert_outcomes(passed=len(precisions))


def test_data_without_a_split_to_evaluate_on_is_refused(bare: Project) -> None:
    for name in ("test", "val"):
        shutil.rmtree(bare.path / "data" / "images" / name)
    with pytest.raises(TrtGateError, match=r"no split 'test' or 'val' with images to evaluate on; .* it has: train"):
        init(bare)


@pytest.mark.parametrize(
    ("told", "imgsz", "said"),
    [
        ({"imgsz": 610}, 640, "trained at 610 pixels"),
        ({"imgsz": None}, 640, "imgsz = 640 is a guess"),
        ({"task": None}, 320, "task not told"),
    ],
)
def test_what_a_checkpoint_does_not_tell_is_guessed_and_said(
    bare: Project, told: dict[str, Any], imgsz: int, said: str
) -> None:
    status, lines = init(bare, **told)
    assert status == 0
    assert said in lines[0]
    assert project_settings(bare.path)[0].imgsz == imgsz


def test_a_checkpoint_of_other_classes_than_the_data_gets_no_project(bare: Project) -> None:
    status, said = init(bare, names={0: "cat", 1: "dog", 2: "cow"})
    assert status == 1
    assert any(line.startswith("FAIL: ") and "class-mismatch" in line for line in said)
    assert said[-1].startswith("nothing written: ")
    assert not (bare.path / "trtgate.toml").exists()
    assert not (bare.path / "test_gate.py").exists()


def test_what_is_no_checkpoint_gets_no_project(bare: Project) -> None:
    with pytest.raises(DataError, match=r"it holds a list; name the \.pt that the training wrote"):
        init(bare, problem="shapes.pt: no checkpoint of Ultralytics: it holds a list", unusable=True)
    assert not (bare.path / "test_gate.py").exists()


@pytest.mark.parametrize("name", ["trtgate.toml", "test_gate.py", "pyproject.toml"])
def test_it_overwrites_nothing(bare: Project, name: str) -> None:
    text = "[tool.trtgate]\nimgsz = 64\n" if name == "pyproject.toml" else "imgsz = 64\n"
    (bare.path / name).write_text(text)
    before = sorted(bare.path.iterdir())
    with pytest.raises(TrtGateError, match=f"{name}: there already, and left as it is"):
        init(bare)
    assert (bare.path / name).read_text() == text
    assert sorted(bare.path.iterdir()) == before


@pytest.mark.parametrize("name", ["trtgate.toml", "test_gate.py"])
def test_a_link_that_leads_nowhere_yet_is_left_as_it_is(bare: Project, name: str) -> None:
    (bare.path / name).symlink_to("later")
    with pytest.raises(TrtGateError, match=f"{name}: there already, and left as it is"):
        init(bare)
    assert (bare.path / name).is_symlink()


def test_an_attempt_that_was_killed_between_its_files_is_taken_up_again(
    bare: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, content: bytes) -> None:
        if path.name == "trtgate.toml":
            raise KeyboardInterrupt
        write_whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("pytest_trtgate.cli.init.write_whole", killed)
        with pytest.raises(KeyboardInterrupt):
            init(bare)
    assert not (bare.path / "trtgate.toml").exists()
    assert init(bare)[0] == 0
    assert project_settings(bare.path)[0].imgsz == 320


def test_below_a_project_with_settings_pytest_is_told_which_to_take(
    bare: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare.path / "pyproject.toml").write_text('[tool.trtgate]\nmodels = ["other.pt"]\n')
    inner = bare.path / "inner"
    inner.mkdir()
    for name in ("data", "shapes.pt"):
        (bare.path / name).rename(inner / name)
    monkeypatch.chdir(inner)
    bare.weights(Behaviour(survey={"checkpoint": CHECKPOINT}), "inner/shapes.pt")
    said: list[str] = []
    write_project(Path("shapes.pt"), Path("data/data.yaml"), said.append, PretendedMachine(), InlineLauncher())
    assert said[-1] == "  pytest --rootdir=. test_gate.py"
    shutil.copy(bare.path / "conftest.py", inner)
    bare.run(*said[-1].split()[1:], "-k", "accuracy").assert_outcomes(passed=3)


def test_paths_with_quotes_and_folders_elsewhere_are_written_so_that_they_are_found(
    bare: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("else where") / 'da"ta\\ \N{GRINNING FACE}'
    write_dataset(folder)
    assert init(bare, str(folder / "data.yaml"))[0] == 0
    assert project_settings(bare.path)[0].data == folder / "data.yaml"


def test_the_command_says_in_one_sentence_what_is_missing(bare: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "none.pt", "data/data.yaml"], PretendedMachine()) == 1
    assert capsys.readouterr().err == "trtgate: none.pt: no such weights file\n"


def test_larger_models_more_images_and_fewer_cores_take_longer() -> None:
    images = {"train": 200, "test": 150}
    nano = estimated_minutes(5_400_000, Settings(), images, 2)
    assert 2 <= nano <= 6
    assert estimated_minutes(5_400_000, Settings(), images, 16) < nano
    assert estimated_minutes(50_000_000, Settings(), images, 2) > nano
    assert estimated_minutes(5_400_000, Settings(), {"train": 200, "test": 5000}, 2) > nano


def test_the_readme_shows_what_it_writes() -> None:
    written = _toml(
        {
            "models": ["best.pt"],
            "data": "data.yaml",
            **_table(CheckpointFacts(task="detect"), {"test": 1, "train": 1}, Path(), on_cpu=False),
        }
    )
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"```toml\n{written.partition(chr(10))[2]}```" in readme
