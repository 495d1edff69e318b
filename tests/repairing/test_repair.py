"""``trtgate repair`` and ``trtgate layers``, from the record of a run to the settings that let the next one pass."""

from __future__ import annotations

from typing import Any

import pytest
from fake_jobs import Behaviour
from inline_launcher import InlineLauncher
from pretended import PretendedMachine
from project import Project

import pytest_trtgate.jobs
from pytest_trtgate.cli import main
from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs.launcher import Job
from pytest_trtgate.locks import Lock

KEY = "shapes-int8-320-b1-onnxruntime-cpu"
RECORD = "reports/run.json"
HARM = {f"stem.{n}": 0.001 for n in range(3)} | {f"neck.{n}": 0.0 for n in range(12)} | {"head.keypoints.8.last": 0.2}
"""What each layer of the network costs in INT8."""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that gates the INT8 of a network with one guilty layer; what the command line launches is fake."""
    found = Project(pytester.path, pytester)
    found.weights(Behaviour(harm=HARM))
    found.settings(top='precisions = ["int8"]')
    monkeypatch.setattr(pytest_trtgate.jobs, "LocalLauncher", lambda **_: InlineLauncher())
    return found


def repaired(*arguments: str) -> int:
    """Search for a repair of the last run; return the exit status."""
    return main(["repair", RECORD, *arguments], PretendedMachine())


def test_the_guilty_layer_is_found_and_its_settings_let_the_next_run_pass(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("-k", "accuracy").assert_outcomes(failed=1)
    assert repaired() == 0
    out = capsys.readouterr().out
    assert "recommended is per channel, keeping head.keypoints; 1 of 16 layers (6 %) stay out of INT8. Set:" in out
    settings = out.partition("Set:\n")[2]
    assert settings == '\n[quantization.int8]\nkeep = ["head.keypoints"]\nper_channel = true\n'
    project.settings(more=settings, top='precisions = ["int8"]')
    project.run("-k", "accuracy").assert_outcomes(passed=1)
    engine = project.record.engines[KEY]
    assert engine.from_cache
    assert engine.quantization is not None
    assert engine.quantization.kept == ("head.keypoints.8.last",)
    assert engine.key_parts["quantization"] == {"keep": ["head.keypoints"], "per_channel": True}


@pytest.mark.parametrize("command", ["repair", "explain"])
@pytest.mark.parametrize(
    ("change", "said"), [("label", "the evaluated images or their labels"), ("weights", "the checkpoint")]
)
def test_what_changed_since_the_run_is_not_taken_for_what_was_judged(
    project: Project, capsys: pytest.CaptureFixture[str], command: str, change: str, said: str
) -> None:
    project.run("-k", "accuracy").assert_outcomes(failed=1)
    before = (project.path / RECORD).read_bytes()
    if change == "label":
        next((project.path / "data" / "labels" / "test").glob("*.txt")).write_text("0 0.4 0.4 0.1 0.1\n")
    else:
        project.weights(Behaviour(harm=HARM, drop={"int8": 0.1}))
    assert main([command, RECORD, "--only", KEY], PretendedMachine()) == 2
    assert f"shapes int8: {said} changed since the run of this record" in capsys.readouterr().err
    assert (project.path / RECORD).read_bytes() == before


def test_the_table_has_what_is_now_first_and_what_is_recommended_next(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("-k", "accuracy")
    repaired("--only", KEY, "--minutes", "5")
    lines = capsys.readouterr().out.splitlines()
    head = next(n for n, line in enumerate(lines) if "mAP50 drop" in line)
    assert lines[head].split() == ["mAP50", "drop", "mAP50-95", "drop", "p50", "size", "kept", "settings"]
    assert lines[head + 1].split()[:3] == ["FAIL", "0.2030", "0.2030"]
    assert lines[head + 1].endswith("0 of 16  as the exporter makes it")
    assert lines[head + 2].startswith("->    0.0024")
    assert " 3.00 ms  " in lines[head + 2]


def test_a_setting_is_preferred_to_layers_that_are_kept(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.weights(Behaviour(harm={"stem.0": 0.006, "head.boxes.8.0": 0.006}))
    project.run("-k", "accuracy").assert_outcomes(failed=1)
    assert repaired() == 0
    assert capsys.readouterr().out.endswith("\n[quantization.int8]\nper_channel = true\n")


def test_where_nothing_helps_the_best_is_shown(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.weights(Behaviour(harm={f"stem.{n}": 0.1 for n in range(3)}))
    project.run("-k", "accuracy")
    assert repaired() == 1
    out = capsys.readouterr().out
    assert "nothing that was tried in" in out
    assert "passes the cell's limits; the best is over them by 0.2300: per channel" in out
    assert out.endswith("per_channel = true\n")


def test_what_was_found_is_kept_where_the_search_is_interrupted(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("-k", "accuracy")
    run, jobs = InlineLauncher.run, list[str]()

    def interrupted(self: InlineLauncher, job: Job, *rest: Any) -> Any:
        jobs.append(job.name)
        if len(jobs) == 8:
            raise KeyboardInterrupt
        return run(self, job, *rest)

    monkeypatch.setattr(InlineLauncher, "run", interrupted)
    assert repaired() == 1
    out = capsys.readouterr().out
    assert "the search ended early, since it was interrupted" in out
    assert "FAIL  0.2030" in out
    assert "p50 is missing: it was interrupted" in out
    assert len(jobs) == 8


def test_a_search_ends_when_its_time_is_up(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.run("-k", "accuracy")
    assert repaired("--minutes", "0.000001") == 1
    assert "the time was up after 0 trials" in capsys.readouterr().out


def test_a_candidate_that_cannot_be_built_is_said_and_passed_over(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("-k", "accuracy")
    run = InlineLauncher.run

    def refusing(self: InlineLauncher, job: Job, *rest: Any) -> Any:
        asked = getattr(job.request, "quantization", None)
        if asked is not None and asked.calibrator != "exporter":
            raise JobError(job.name, "no such calibrator here")
        return run(self, job, *rest)

    monkeypatch.setattr(InlineLauncher, "run", refusing)
    assert repaired() == 0
    out = capsys.readouterr().out
    assert "calibrator percentile-99.9, per channel, 25 % of the images: not possible (no such calibrator here)" in out
    assert "recommended is per channel, keeping head.keypoints;" in out
    left = sorted(path.name for path in (project.path / "reports").glob("repair-*/*"))
    assert left[0] == ".gitignore"
    assert left[1:]
    assert all(name.startswith("trial-") for name in left[1:])


def test_nothing_is_left_but_engines_in_the_cache(project: Project) -> None:
    project.run("-k", "accuracy")
    before = {path.name for path in (project.path / "reports").iterdir()}
    assert repaired() == 0
    assert {path.name for path in (project.path / "reports").iterdir()} == before


@pytest.mark.parametrize("command", ["repair", "explain"])
def test_what_a_user_keeps_in_the_folder_of_a_search_stays(project: Project, command: str) -> None:
    project.run("-k", "accuracy")
    folder = project.path / "reports" / f"{command}-{KEY}"
    (folder / "trial-001").mkdir(parents=True)
    (folder / "thesis").mkdir()
    (folder / "notes.txt").touch()
    assert main([command, RECORD, "--only", KEY], PretendedMachine()) == 0
    assert sorted(path.name for path in folder.iterdir() if path.name != ".gitignore") == ["notes.txt", "thesis"]


@pytest.mark.parametrize("command", ["repair", "explain"])
def test_two_searches_of_a_cell_do_not_share_a_folder(
    project: Project, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    project.run("-k", "accuracy")
    folder = project.path / "reports" / f"{command}-{KEY}"
    folder.mkdir()
    with Lock(folder).held():
        (folder / "trial-001").mkdir()
        assert main([command, RECORD, "--only", KEY], PretendedMachine()) == 2
        assert f"{folder}: another search or explanation of this cell works here" in capsys.readouterr().err
        assert (folder / "trial-001").exists()


def test_a_link_in_the_place_of_the_folder_of_a_search_is_not_followed(project: Project) -> None:
    project.run("-k", "accuracy")
    (project.path / "mine" / "trial-001").mkdir(parents=True)
    (project.path / "reports" / f"repair-{KEY}").symlink_to(project.path / "mine")
    assert main(["repair", RECORD, "--only", KEY], PretendedMachine()) == 2
    assert (project.path / "mine" / "trial-001").exists()


def test_a_cell_that_is_none_or_of_another_machine_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("-k", "accuracy")
    assert repaired("--only", "shapes-int8-640-b1-onnxruntime-cpu") == 2
    assert f"no INT8 cell 'shapes-int8-640-b1-onnxruntime-cpu'; it has: {KEY}" in capsys.readouterr().err
    project.weights(Behaviour())
    project.run("-k", "accuracy").assert_outcomes(passed=1)
    assert repaired() == 2
    assert f"name the cell with --only; INT8 cells are: {KEY}" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["0", "-1", "inf", "nan", "soon"])
def test_minutes_are_a_number(minutes: str) -> None:
    with pytest.raises(SystemExit):
        main(["repair", RECORD, "--minutes", minutes], PretendedMachine())


def test_layers_are_printed_with_their_share_of_the_work(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "shapes.pt", "--nodes"], PretendedMachine()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "weights", "work", "place", "node"]
    assert lines[-1].split() == ["stem.2", "9", "6.2", "%", "stem.2", "/stem.2/Conv"]
    assert len(lines) == 1 + len(HARM)
    assert main(["layers", "no.pt"], PretendedMachine()) == 2
    assert "no.pt: no such weights file" in capsys.readouterr().err
