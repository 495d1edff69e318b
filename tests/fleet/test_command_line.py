"""``trtgate doctor``, ``repair`` and ``explain`` of a project whose jobs are done on a fleet, with fake workers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from fake_jobs import Behaviour
from other_machine import OtherMachine
from pretended import PretendedMachine
from project import SUPPORT, Project

from pytest_trtgate import __version__
from pytest_trtgate.cli import doctor, main
from pytest_trtgate.errors import SettingsError
from pytest_trtgate.fleet import FleetMachine, RayCluster, label_of
from pytest_trtgate.jobs import JobKind

FLEET = 'backend = "onnxruntime"\nmachines = "a"\nfleet = { address = "10.0.0.1:6379" }\nprecisions = ["int8"]\n'
KEY = "shapes-int8-320-b1-onnxruntime-cpu"
HARM = {f"stem.{n}": 0.001 for n in range(3)} | {f"neck.{n}": 0.0 for n in range(12)} | {"head.keypoints.8.last": 0.2}
HERE = label_of(__version__)


@pytest.fixture
def made() -> list[OtherMachine]:
    """The machines on which jobs were done."""
    return []


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: list[OtherMachine]
) -> Iterator[Project]:
    """A project with an INT8 that fails, and a fleet with one machine, of the kind a; none of ours does any job."""
    found = Project(pytester.path, pytester)
    found.weights(Behaviour(harm=HARM))
    found.settings(top=FLEET)
    (found.path / "conftest.py").unlink()
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setattr("pytest_trtgate.jobs.LocalLauncher", None)

    def connect(cluster: RayCluster) -> OtherMachine:
        assert (cluster._address, cluster._kind) == ("10.0.0.1:6379", "a")
        folder = tmp_path / f"machine-{len(made)}"
        modules = dict.fromkeys(get_args(JobKind), "fake_jobs")
        made.append(OtherMachine(folder, machine=PretendedMachine(locks=folder), modules=modules))
        return made[-1]

    monkeypatch.setattr(RayCluster, "connect", connect)
    yield found
    assert all(one.ended for one in made)


def machines(monkeypatch: pytest.MonkeyPatch, *found: FleetMachine) -> None:
    monkeypatch.setattr(RayCluster, "machines", lambda _: list(found))


def test_the_doctor_says_what_the_fleet_has(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made: list[OtherMachine]
) -> None:
    machines(
        monkeypatch, FleetMachine("a", "one (12345678)", 2, 1, HERE), FleetMachine("nvidia-l4", "two (9)", 1, None, "")
    )
    assert main(["doctor"], PretendedMachine(installed={})) == 0
    out = capsys.readouterr().out
    assert "fleet: Ray cluster 10.0.0.1:6379, with 2 machines for jobs\n" in out
    assert f"  a: one (12345678), 1 of 2 devices free; pytest-trtgate {HERE}\n" in out
    assert "  nvidia-l4: two (9), 1 device; pytest-trtgate unknown, since `trtgate worker` did not start it\n" in out
    assert "backend: onnxruntime on cpu (asked for; a of the Ray cluster 10.0.0.1:6379)\n" in out
    assert made == []


def test_the_doctor_names_all_kinds_that_a_project_is_gated_on(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.settings(top=FLEET.replace('"a"', '["a", "b"]'))
    machines(monkeypatch, *(FleetMachine(kind, kind, 1, 1, HERE) for kind in "ab"))
    assert main(["doctor"], PretendedMachine(installed={})) == 0
    assert "backend: onnxruntime on cpu (asked for; a, b of the Ray cluster" in capsys.readouterr().out


def test_the_doctor_looks_at_the_project_on_a_machine_of_the_fleet(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made: list[OtherMachine]
) -> None:
    machines(monkeypatch, FleetMachine("a", "one", 1, 1, HERE))
    assert main(["doctor", "--config"], PretendedMachine(installed={})) == 0
    assert "warning: split 'test' has 4 images, fewer than 100" in capsys.readouterr().out
    assert [b'"kind": "survey"' in job for job in made[0].sent] == [True]


def test_the_doctor_says_a_count_once_it_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    progress = doctor._sparingly(said.append)
    for number in range(1, 4):
        progress(f"sent {number} of 3 MB: {number}/3 files")
    progress("waiting for device cpu")
    monkeypatch.setattr(doctor, "_QUIET_S", 0.0)
    progress("preflight: 1/4 images")
    assert said == ["sent 3 of 3 MB: 3/3 files", "waiting for device cpu", "preflight: 1/4 images"]


def test_the_doctor_fails_for_a_worker_of_another_release(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machines(monkeypatch, FleetMachine("a", "one", 1, 1, "0.0.1"))
    assert main(["doctor", "--config"], PretendedMachine()) == 1
    assert f"pytest-trtgate 0.0.1; this is {__version__}, install the same on both\n" in capsys.readouterr().out


def test_the_doctor_says_in_one_sentence_what_the_fleet_lacks(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machines(monkeypatch, FleetMachine("b", "one", 1, 1, HERE))
    assert main(["doctor"], PretendedMachine()) == 1
    assert "backend: none (the fleet has no a; start `trtgate worker` on one)\n" in capsys.readouterr().out

    def unreachable(_: RayCluster) -> list[FleetMachine]:
        raise SettingsError("fleet.address = '10.0.0.1:6379': no Ray cluster can be joined there (timed out)")

    monkeypatch.setattr(RayCluster, "machines", unreachable)
    assert main(["doctor"], PretendedMachine()) == 1
    assert "backend: none (fleet.address = '10.0.0.1:6379': no Ray cluster can be joined" in capsys.readouterr().out


def test_a_repair_searches_on_a_machine_like_that_of_the_run(
    project: Project, capsys: pytest.CaptureFixture[str], made: list[OtherMachine]
) -> None:
    project.run("-k", "accuracy").assert_outcomes(failed=1)
    first = len(made)
    assert main(["repair", "reports/run.json"], PretendedMachine(installed={})) == 0
    out = capsys.readouterr().out
    assert ": searching for 20 min at most; Ctrl-C ends that" in out
    assert re.search(r"^trial 1 \[(18 min|17 min \d+ s) left\]: ", out, re.MULTILINE)
    assert "recommended is per channel, keeping head.keypoints" in out
    assert any(b'"kind": "latency"' in job for one in made[first:] for job in one.sent)


def test_an_explanation_is_made_on_a_machine_like_that_of_the_run(
    project: Project, capsys: pytest.CaptureFixture[str], made: list[OtherMachine]
) -> None:
    project.run("-k", "accuracy").assert_outcomes(failed=1)
    first = len(made)
    assert main(["explain", "reports/run.json", "--only", KEY], PretendedMachine(installed={})) == 0
    assert "INT8 harms head" in capsys.readouterr().out
    assert any(b'"kind": "explain"' in job for one in made[first:] for job in one.sent)


@pytest.mark.parametrize("command", ["repair", "explain"])
def test_a_fleet_that_does_not_answer_is_said_in_one_sentence(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    project.run("-k", "accuracy")

    def connect(_: RayCluster) -> OtherMachine:
        raise SettingsError("fleet.address = '10.0.0.1:6379': no Ray cluster can be joined there (timed out)")

    monkeypatch.setattr(RayCluster, "connect", connect)
    capsys.readouterr()
    assert main([command, "reports/run.json"], PretendedMachine()) == 2
    said = capsys.readouterr()
    assert said.err == "trtgate: fleet.address = '10.0.0.1:6379': no Ray cluster can be joined there (timed out)\n"
