"""One evaluation in parts on several machines at once, in runs with fake jobs."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs import AccuracyResponse, ArmAccuracy
from pytest_trtgate.measuring.parts import _check_complete
from pytest_trtgate.records import AccuracyRecord, Trouble
from pytest_trtgate.settings.settings import Fleet

HOOKS = """
import json
from functools import cache
from typing import get_args
from other_machine import OtherMachine
from pytest_trtgate.fleet import FleetLauncher, WorkersMachine
from pytest_trtgate.jobs import JobKind

FOLDER = Path({folder!r})
MADE = []

def machine(**more):
    folder = FOLDER / f"machine-{{len(MADE)}}"
    own = PretendedMachine(locks=folder, **{{**MACHINE, **more}})
    MADE.append(OtherMachine(folder, machine=own, modules=dict.fromkeys(get_args(JobKind), "fake_jobs")))
    MADE[-1].name = folder.name
    return MADE[-1]

def further():
    return {further}

def without_fp16(made):
    work = made.worker.work

    def failed(text):
        outcome = json.loads(work(text))
        del outcome["response"]["arms"]["fp16"]
        outcome["response"]["failures"]["fp16"] = "its engine broke"
        return json.dumps(outcome).encode()

    made.worker.work = failed
    return made

@cache
def fleet():
    return FleetLauncher(machine, further)

def pytest_trtgate_launcher(config):
    return fleet()

def pytest_trtgate_machine(config):
    return WorkersMachine(temporary=(), ask=lambda *what: fleet().ask(*what))

def pytest_unconfigure():
    asked = [[json.loads(job)["kind"] for job in one.sent] for one in MADE]
    (FOLDER / "asked.json").write_text(json.dumps([asked, [one.ended for one in MADE]]))
"""
BEHAVIOUR = Behaviour(seen={arm: {"score": 0.9, "missed": n} for n, arm in enumerate(("pt", "fp16"))})


def gate(project: Project, folder: Path, further: str = "machine()", shards: str = "3") -> pytest.RunResult:
    """Gate an engine's accuracy on a machine, with what ``further`` says of others."""
    project.settings(top=f"fresh = true\nfleet = {{ shards = {shards} }}\n")
    project.tests("def test_accuracy(trtgate): trtgate.check_accuracy()")
    project.hooks(HOOKS.format(folder=str(folder), further=further))
    return project.run("--trt-precision=fp16", "-s")


def asked_of(folder: Path) -> tuple[list[list[str]], list[bool]]:
    """Return the kinds of jobs of each machine, and whether each was given back."""
    asked, ended = json.loads((folder / "asked.json").read_text())
    return asked, ended


def accuracies(project: Project) -> list[AccuracyRecord]:
    """Return what the last run measured, without what depends on its time and folder."""
    found = [project.record.accuracy("shapes", arm) for arm in ("pt", "fp16")]
    return [
        one.model_copy(update={"measured_at": "", "seconds": 0.0, "per_image": ""}) for one in found if one is not None
    ]


def arrays(project: Project) -> list[bytes]:
    folder = project.path / "reports" / "trtgate-runs" / project.record.run_id
    return [(folder / one.per_image).read_bytes() for one in project.record.accuracies]


def test_a_split_is_evaluated_on_all_machines_that_are_free_as_in_one_pass(project: Project, tmp_path: Path) -> None:
    project.weights(BEHAVIOUR)
    project.settings(top="fleet = { shards = 1 }\n")
    project.tests("def test_accuracy(trtgate): trtgate.check_accuracy()")
    assert project.run("--trt-precision=fp16").ret == 0
    whole, its_arrays = accuracies(project), arrays(project)
    done = gate(project, tmp_path)
    assert done.ret == 0, done.outlines
    done.stdout.fnmatch_lines(["*accuracy-shapes-pt+fp16: 4 images in 3 parts, on as many machines"])
    assert accuracies(project) == whole
    assert arrays(project) == its_arrays
    asked, ended = asked_of(tmp_path)
    assert [kinds.count("accuracy") for kinds in asked] == [1, 1, 1]
    assert [kinds.count("merge") for kinds in asked] == [1, 0, 0]
    assert ended[1:] == [True, True]
    left = [path.name for path in (project.path / "reports").rglob("*-of-*.npz")]
    assert left == []


@pytest.mark.parametrize(
    ("further", "shards"),
    [("None", "3"), ("machine()", "1"), ("machine()", '"auto"'), ("machine(installed={})", "3")],
    ids=["no machine is free", "one", "few images", "another kind"],
)
def test_a_split_stays_whole(project: Project, tmp_path: Path, further: str, shards: str) -> None:
    project.weights(BEHAVIOUR)
    done = gate(project, tmp_path, further, shards)
    assert done.ret == 0, done.outlines
    asked, ended = asked_of(tmp_path)
    assert [kinds.count("accuracy") for kinds in asked] == [1, *[0] * (len(asked) - 1)]
    assert "merge" not in asked[0]
    assert all(ended[1:])


def test_the_part_of_a_machine_that_dies_is_evaluated_on_the_runs_own(project: Project, tmp_path: Path) -> None:
    project.weights(BEHAVIOUR)
    done = gate(
        project, tmp_path, "setattr(made := machine(), 'dies_at', lambda method: method == 'work') or made", "2"
    )
    assert done.ret == 0, done.outlines
    done.stdout.fnmatch_lines(
        ["*accuracy-shapes-pt+fp16-2-of-2: the worker on machine-1 ended (nobody there); this part is evaluated again*"]
    )
    assert [one.images for one in accuracies(project)] == [4, 4]
    assert asked_of(tmp_path)[0][0].count("accuracy") == 2


def test_an_arm_that_dies_in_each_part_is_found_as_in_one_pass(project: Project, tmp_path: Path) -> None:
    project.weights(Behaviour(faults={"accuracy-fp16": "segfault"}))
    done = gate(project, tmp_path, shards="2")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert [one.arm for one in accuracies(project)] == ["pt"]
    assert "killed by SIGSEGV" in project.verdict("fp16", "accuracy").summary


def test_an_arm_that_fails_in_one_part_has_the_log_of_that_part(project: Project, tmp_path: Path) -> None:
    project.weights(BEHAVIOUR)
    done = gate(project, tmp_path, "without_fp16(machine())", "2")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    verdict = project.verdict("fp16", "accuracy")
    assert "its engine broke" in verdict.summary
    assert verdict.log_tail == "log of 1"  # its machine's first job; of the other it is not the first


def test_a_split_that_names_an_image_twice_stays_whole(project: Project, tmp_path: Path) -> None:
    project.weights(BEHAVIOUR)
    listed = project.path / "data" / "listed.txt"
    listed.write_text("./images/test/0.png\n./images/test/1.png\n./images/test/0.png\n")
    data = project.path / "data" / "data.yaml"
    data.write_text(data.read_text().replace("test: images/test", "test: listed.txt"))
    done = gate(project, tmp_path)
    assert done.ret == 0, done.outlines
    assert [one.images for one in accuracies(project)] == [3, 3]
    assert "merge" not in asked_of(tmp_path)[0][0]


def test_each_part_gets_a_thousand_images_unless_the_settings_name_their_number() -> None:
    assert [Fleet().parts(images) for images in (0, 999, 1999, 2000, 50_000)] == [1, 1, 1, 2, 50]
    assert [Fleet(shards=4).parts(images) for images in (0, 3, 1000)] == [1, 3, 4]


@pytest.mark.parametrize(
    ("seen", "left_out", "why"), [((3, 2), 0, ""), ((3, 1), 1, ""), ((3, 1), 0, "fp16 on 4 of 5 images")]
)
def test_parts_that_do_not_make_up_the_split_are_refused(seen: tuple[int, int], left_out: int, why: str) -> None:
    answers = [
        AccuracyResponse(
            arms={
                "fp16": ArmAccuracy(
                    task="detect", images=n, instances=0, metrics={}, classes=(), left_out=Trouble(count=left_out)
                )
            }
        )
        for n in seen
    ]
    with pytest.raises(JobError, match=why) if why else nullcontext():
        _check_complete("accuracy-m-fp16", answers, 5)
