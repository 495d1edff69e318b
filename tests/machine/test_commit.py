"""The commit of a project: what it says, and that nothing of a repository from elsewhere runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_trtgate.machine.commit import commit_of


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.txt").write_text("a")
    git(folder, "add", "a.txt")
    git(folder, "commit", "-qm", "first")
    return folder


def change(folder: Path) -> None:
    """Change a file to another content of the same length and an old time, so that Git has to read it."""
    (folder / "a.txt").write_text("b")
    os.utime(folder / "a.txt", (1, 1))


def test_a_commit_has_twelve_characters_and_a_mark_once_a_known_file_is_changed(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")[:12]
    (repository / "new.txt").write_text("unknown to git")
    os.utime(repository / "a.txt", (1, 1))  # another time is no change
    (repository / "inside").mkdir()
    assert commit_of(repository, {}) == commit_of(repository / "inside", {}) == commit
    change(repository)
    assert commit_of(repository, {}) == f"{commit}-dirty"


def test_outside_of_a_repository_and_before_its_first_commit_there_is_none(tmp_path: Path) -> None:
    assert commit_of(tmp_path, {"GIT_DIR": str(tmp_path / "none")}) is None
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path, {}) is None


HOSTILE = {
    "fsmonitor": '[core]\n\tfsmonitor = "{hook}"\n',
    "hooks": '[core]\n\thooksPath = "{folder}"\n',
    "clean": '[filter "x"]\n\tclean = "{hook}"\n\trequired = true\n',
    "process": '[filter "x"]\n\tprocess = "{hook}"\n\trequired\n',
    "with-a-sign": '[filter "x"]\n\tclean = cat\n[filter "y=z"]\n\tclean = "{hook}"\n',
    "included": "[include]\n\tpath = more\n",
    "lfs": '[filter "x"]\n\tclean = "git-lfs clean -- %f; {hook}"\n',
}


@pytest.mark.parametrize("how", HOSTILE)
def test_nothing_runs_that_the_configuration_of_a_repository_names(repository: Path, tmp_path: Path, how: str) -> None:
    hooks, ran = tmp_path / "hooks", tmp_path / "ran"
    hooks.mkdir()
    for name in ("hook", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (hooks / name).chmod(0o755)
    places = {"hook": hooks / "hook", "folder": hooks}
    (repository / ".git" / "more").write_text(HOSTILE["clean"].format(**places))
    (repository / ".gitattributes").write_text(f"* filter={'y=z' if how == 'with-a-sign' else 'x'}\n")
    with (repository / ".git" / "config").open("a") as config:
        config.write(HOSTILE[how].format(**places))
    change(repository)
    said = commit_of(repository, {})
    assert not ran.exists()
    assert (said or "").endswith("-dirty") is (how != "with-a-sign")
    # In the ordinary way it runs: the test can fail.
    subprocess.run(["git", "status"], cwd=repository, capture_output=True, check=False)
    assert ran.exists() or how == "with-a-sign"
