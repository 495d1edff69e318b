"""Baselines in git: two branches that accept merge, by git or by ``trtgate baseline resolve``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from project import Project

from pytest_trtgate.baselines.store import load_either
from pytest_trtgate.cli import main
from pytest_trtgate.records.baseline import AccuracyBaseline, Baseline
from pytest_trtgate.records.files import load

ONE = "--trt-precision=fp16"


def git(folder: Path, *arguments: str, status: int = 0) -> None:
    """Run git in a repository; it must end with that exit status."""
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    run = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == status, run.stdout + run.stderr


@pytest.fixture
def repository(accepted: Project) -> Project:
    """A project whose baselines are in git."""
    git(accepted.path, "init", "-q", "-b", "main")
    (accepted.path / ".git/info/exclude").write_text("*\n!/baselines\n!/baselines/**\n")
    git(accepted.path, "add", "baselines")
    git(accepted.path, "commit", "-qm", "one")
    return accepted


def commit(project: Project) -> None:
    """Commit the baselines as they are."""
    git(project.path, "add", "baselines")
    git(project.path, "commit", "-qm", "more")


def accept_on_both_branches(project: Project, later: str) -> None:
    """Accept one more session on each of two branches, on the other one some days later, and merge."""
    root = project.path
    git(root, "checkout", "-qb", "other")
    project.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    for path in (project.baseline("fp16"), project.accepted_accuracy("fp16")):
        path.write_text(path.read_text().replace(project.record.started_at, later))
    commit(project)
    git(root, "checkout", "-q", "main")
    project.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    commit(project)


def test_branches_that_accept_different_cells_merge(repository: Project) -> None:
    git(repository.path, "checkout", "-qb", "other")
    repository.run("--trt-precision=int8", "--trt-baselines=add").assert_outcomes(passed=2)
    commit(repository)
    git(repository.path, "checkout", "-q", "main")
    repository.run("--trt-precision=fp32", "--trt-baselines=add").assert_outcomes(passed=2)
    commit(repository)
    git(repository.path, "merge", "-q", "other")
    repository.run().assert_outcomes(passed=6)
    assert set(repository.outcomes("latency").values()) == {"PASS"}


@pytest.mark.parametrize(
    ("style", "line_end"), [("merge", "\n"), ("diff3", "\n"), ("merge", "\r\n")], ids=["merge", "diff3", "Windows"]
)
def test_a_conflict_is_recognised_and_resolved_with_both_sides_sessions(
    repository: Project, capsys: pytest.CaptureFixture[str], style: str, line_end: str
) -> None:
    git(repository.path, "config", "merge.conflictStyle", style)
    accept_on_both_branches(repository, later="2999-01-31T00:00:00+00:00")
    git(repository.path, "merge", "-q", "other", status=1)
    path = repository.baseline("fp16")
    for one in (path, repository.accepted_accuracy("fp16")):
        one.write_bytes(one.read_bytes().replace(b"\n", line_end.encode()))
    repository.run(ONE).assert_outcomes(failed=2)
    for subject in ("accuracy", "latency"):
        summary = repository.verdict("fp16", subject).summary
        assert "run trtgate baseline resolve, which makes one of both sides" in summary
    capsys.readouterr()
    assert main(["baseline", "resolve"]) == 0
    out = capsys.readouterr().out
    assert f"{path}: 3 sessions of both sides\n" in out
    assert f"{repository.accepted_accuracy('fp16')}: the accuracy that was measured last\n" in out
    moments = [session.recorded_at for session in load(path, Baseline).sessions]
    assert moments == sorted(moments)
    assert len(moments) == 3
    assert load(repository.accepted_accuracy("fp16"), AccuracyBaseline).recorded_at.startswith("2999")
    repository.run(ONE).assert_outcomes(passed=2)


def test_of_two_engines_the_later_stays(repository: Project, capsys: pytest.CaptureFixture[str]) -> None:
    path = repository.baseline("fp16")
    ours = path.read_text()
    theirs = ours.replace(repository.engine("fp16").sha256, "0" * 64).replace('"recorded_at": "2', '"recorded_at": "9')
    path.write_text(f"<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> other\n")
    assert main(["baseline", "resolve"]) == 0
    assert "the engine that was measured last" in capsys.readouterr().out
    assert load(path, Baseline).engine_sha256 == "0" * 64


def test_sessions_that_began_in_one_second_are_all_kept(repository: Project) -> None:
    path = repository.baseline("fp16")
    ours = path.read_text()
    theirs = json.loads(ours)
    theirs["sessions"][0]["engine"]["p50"][0] += 0.5
    for other, sessions in ((json.dumps(theirs), 2), (ours, 1)):
        path.write_text(f"<<<<<<< HEAD\n{ours}=======\n{other}\n>>>>>>> other\n")
        assert main(["baseline", "resolve"]) == 0
        assert len(load(path, Baseline).sessions) == sessions


def test_a_side_that_is_no_baseline_is_left_to_people(repository: Project, capsys: pytest.CaptureFixture[str]) -> None:
    path = repository.baseline("fp16")
    text = f"<<<<<<< HEAD\n{path.read_text()}=======\n{{\n>>>>>>> other\n"
    path.write_text(text)
    assert main(["baseline", "resolve"]) == 2
    assert f"{path}: not valid JSON" in capsys.readouterr().err
    assert path.read_text() == text


def test_what_was_resolved_before_a_file_that_cannot_be_is_said(
    repository: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = repository.accepted_accuracy("fp16"), repository.baseline("fp16")
    first.write_text(f"<<<<<<< HEAD\n{first.read_text()}=======\n{first.read_text()}>>>>>>> other\n")
    second.write_text(f"<<<<<<< HEAD\n{second.read_text()}=======\n{{\n>>>>>>> other\n")
    assert main(["baseline", "resolve"]) == 2
    assert capsys.readouterr().out == f"{first}: the accuracy that was measured last\n"


def test_a_model_that_one_side_has_renamed_keeps_its_new_name(
    repository: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for old in (repository.accepted_accuracy("fp16"), repository.baseline("fp16")):
        new = old.parents[1] / "renamed" / old.name
        new.parent.mkdir()
        ours = old.read_text().replace('"model": "shapes"', '"model": "renamed"')
        theirs = old.read_text().replace('"recorded_at": "2', '"recorded_at": "9')
        new.write_text(f"<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> other\n")
        assert main(["baseline", "resolve"]) == 0
        assert load_either(new).cell.model == "renamed"


def test_waivers_of_both_sides_are_kept(repository: Project, capsys: pytest.CaptureFixture[str]) -> None:
    path = repository.path / "baselines" / "waivers.json"
    sides = []
    for precision in ("fp16", "int8"):
        key = f"shapes-{precision}-320-b1-onnxruntime-cpu"
        assert main(["baseline", "waive", key, "--until", "2999-01-31", "--reason", "why"]) == 0
        sides.append(path.read_text())
        path.unlink()
    path.write_text(f"<<<<<<< HEAD\n{sides[0]}=======\n{sides[1]}>>>>>>> other")
    assert main(["baseline", "resolve"]) == 0
    capsys.readouterr()
    assert main(["baseline", "show"]) == 0
    assert capsys.readouterr().out.count(": waived until 2999-01-31: why") == 2


def test_waivers_of_one_cell_on_two_kinds_of_machines_are_two(repository: Project) -> None:
    path, sides = repository.path / "baselines" / "waivers.json", []
    key = "shapes-fp16-320-b1-onnxruntime-cpu"
    for machine in ("nvidia-l4", "nvidia-a10"):
        more = ["--machine", machine, "--until", "2999-01-31", "--reason", "why"]
        assert main(["baseline", "waive", key, *more]) == 0
        sides.append(path.read_text())
        path.unlink()
    path.write_text(f"<<<<<<< HEAD\n{sides[0]}=======\n{sides[1]}>>>>>>> other")
    assert main(["baseline", "resolve"]) == 0
    assert {waiver["machine"] for waiver in json.loads(path.read_text())["waivers"]} == {"nvidia-l4", "nvidia-a10"}


def test_of_two_waivers_of_a_cell_the_shorter_stays(repository: Project) -> None:
    path, sides = repository.path / "baselines" / "waivers.json", []
    for until in ("2999-01-31", "2999-12-31"):
        key = "shapes-fp16-320-b1-onnxruntime-cpu"
        assert main(["baseline", "waive", key, "--until", until, "--reason", "why"]) == 0
        sides.append(path.read_text())
    for ours, theirs in (sides, sides[::-1]):
        path.write_text(f"<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> other")
        assert main(["baseline", "resolve"]) == 0
        assert [waiver["until"] for waiver in json.loads(path.read_text())["waivers"]] == ["2999-01-31"]


def test_without_conflicts_there_is_nothing_to_resolve(repository: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", "resolve"]) == 0
    assert capsys.readouterr().out == f"0 resolved in {repository.path / 'baselines'}\n"
