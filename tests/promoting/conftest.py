"""What tests of release packs share: a run that passed, and its pack."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pretended import PretendedMachine
from project import Project

from pytest_trtgate.cli import main

Says = Callable[..., str]
FP16 = "--trt-precision=fp16"


@pytest.fixture(scope="package")
def gated_files(tmp_path_factory: pytest.TempPathFactory, accepted_files: Path) -> Path:
    """The files of a project after a run that passed, with release packs of it, by the command line and by pytest."""
    project = Project(tmp_path_factory.mktemp("gated")).take_over(accepted_files)
    result = project.run_apart(FP16, "--trt-promote=packs")
    assert result.ret == 0, result.output
    assert main(["promote", str(project.path / "reports" / "run.json"), "-o", str(project.path / "dist")]) == 0
    return project.path


@pytest.fixture
def here(gated_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the record and the pack of a run that passed, to be harmed; it is the working folder."""
    shutil.copytree(gated_files / "dist", tmp_path / "dist")
    shutil.copy(gated_files / "reports" / "run.json", tmp_path / "run.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Says:
    """Runs a command, checks its exit status, and returns what it says: of a failure, to standard error."""

    def run(status: int, *arguments: str, machine: PretendedMachine | None = None) -> str:
        capsys.readouterr()
        assert main(arguments, machine or PretendedMachine()) == status
        said = capsys.readouterr()
        assert (said.err if status == 0 else said.out) == ""
        return said.out or said.err

    return run
