"""On GitHub Actions: the step's summary, and one annotation per verdict that failed the run."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_jobs import Behaviour
from project import Project
from runs_example import failing_run, passing_run

from pytest_trtgate.cli import main
from pytest_trtgate.report import github

INT8 = "--trt-precision=int8"


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment like that of a workflow's step; its summary."""
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


def test_failed_run_annotates_its_test_and_fills_the_summary(
    project: Project, actions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path.parent))
    actions.write_text("before\n")
    project.weights(Behaviour(drop={"int8": 0.02}))
    result = project.run(INT8)
    (line,) = [line for line in result.outlines if line.startswith("::")]
    found = re.fullmatch(r"::error file=(.*?),line=(\d+),title=(.*?)::(.*)", line)
    assert found is not None
    file, number, title, message = found.groups()
    source = (project.path.parent / file).read_text().splitlines()
    assert "def test_accuracy" in source[int(number) - 1]
    assert title == "shapes int8 accuracy%3A Fail"
    assert message.startswith("mAP50 fell 0.0200")
    assert '%0AAccept: set "mAP50" = 0.0200' in message
    text = actions.read_text()
    assert text.startswith("before\n## \N{CROSS MARK} Gate failed\n")
    assert "| shapes INT8 |" in text


def test_an_annotation_offers_to_accept_its_own_cell() -> None:
    run = passing_run()
    slow = run.verdicts[0].model_copy(update={"failed": True, "accept": "pytest all", "accept_cell": "trtgate one"})
    [line] = github.annotate([run.model_copy(update={"verdicts": (slow,)})], {})
    assert line.endswith("%0AAccept: trtgate one")


def test_what_a_runner_offers_to_accept_works_where_its_artifact_was_taken_to(
    project: Project, actions: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "true")
    result = project.run(INT8, "-k", "latency")
    command = "trtgate baseline accept run.json --only shapes-int8-320-b1-onnxruntime-cpu"
    [line] = [line for line in result.outlines if line.startswith("::")]
    assert line.endswith(f"%0AAccept, with run.json from the run's artifact: {command}")
    assert f"    to accept, with run.json from the run's artifact: {command}" in result.outlines
    assert f"To accept this cell, with run.json from the run's artifact:\n```sh\n{command}\n```" in actions.read_text()
    (project.path / "reports" / "run.json").rename(project.path / "run.json")
    capsys.readouterr()
    assert main(command.split()[1:]) == 0
    assert "baseline written to " in capsys.readouterr().out


def test_a_ready_made_test_is_annotated_at_the_settings(
    project: Project, actions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path))
    project.weights(Behaviour(drop={"int8": 0.02}))
    ready_made = ("--pyargs", "pytest_trtgate.gate", INT8)
    [line] = [line for line in project.run(*ready_made).outlines if line.startswith("::")]
    assert line.startswith("::error file=trtgate.toml,line=1,title=shapes int8 accuracy")
    (project.path / "trtgate.toml").unlink()
    told = ("--trt-model=shapes.pt", "--trt-data=data/data.yaml", "--trt-imgsz=320", "--trt-cache-dir=cache")
    [line] = [line for line in project.run(*ready_made, *told).outlines if line.startswith("::")]
    assert line.startswith("::error file=data/data.yaml,line=1,title=shapes int8 accuracy")


def test_run_that_measured_nothing_is_annotated(project: Project, actions: Path) -> None:
    (project.path / "test_gate.py").write_text("def test_unit(): pass\n")
    result = project.run(INT8)
    (line,) = [line for line in result.outlines if line.startswith("::")]
    assert line.startswith("::error title=trtgate::nothing was measured")
    assert not actions.exists()


def test_summary_that_cannot_be_written_is_said_and_fails_nothing(
    project: Project, actions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(actions.parent))
    result = project.run(INT8)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*: the step's summary cannot be written (Is a directory)"])


def test_nothing_is_said_outside_of_github(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.02}))
    assert not [line for line in project.run(INT8).outlines if line.startswith("::")]


def test_every_failed_verdict_is_annotated_and_no_note_is() -> None:
    found = list(github.annotate([failing_run()], {}))
    assert len(found) == 4
    assert all(line.startswith("::error title=shapes") for line in found)


def test_text_cannot_end_a_command_nor_one_of_its_fields() -> None:
    line = github.command("50 % more\r\n::error::two", "a,b:c\nd", ("x,y.py", 3))
    assert line == "::error file=x%2Cy.py,line=3,title=a%2Cb%3Ac%0Ad::50 %25 more%0D%0A::error::two"


def test_test_outside_of_the_repository_has_no_place(tmp_path: Path) -> None:
    properties = [("trtgate_cell", "key"), ("trtgate_accuracy", "FAIL")]
    inside, outside = (
        SimpleNamespace(location=(path, 4, "t"), user_properties=properties) for path in ("a/t.py", "../t.py")
    )
    assert github.places_of([inside], tmp_path) == {("", "key", "accuracy"): ("a/t.py", 5)}
    assert github.places_of([outside, SimpleNamespace()], tmp_path) == {}
