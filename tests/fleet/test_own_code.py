"""The own modules of a checkpoint on a machine that has none of them, with fake jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from fake_jobs import VIDEO, Behaviour
from other_machine import OtherMachine, launcher_to
from project import SUPPORT, Project

from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs import ClipRequest, Job, JobKind
from pytest_trtgate.measuring.own_code import SentCode, sent_code

LOOKS = """
import json, os, sys
from pathlib import Path
folder = Path(sys.argv[1])
request = json.loads((folder / "request.json").read_text())
try:
    import ownlayers.blocks
    seen = ownlayers.blocks.NAME
except ModuleNotFoundError as error:
    seen = ""
    (folder / "error.json").write_text(json.dumps({"schema_version": 1, "sentence": f"tiny.pt: {error}"}))
    sys.exit(1)
told = {"path": seen, "width": 1, "height": 1, "frames": 1, "fps": 1.0, "codec": ""}
(folder / "response.json").write_text(json.dumps({"schema_version": 1, "clip": told}))
"""


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Path]:
    """The sources of a package of ours, by their paths from the folder that is on our path."""
    folder = tmp_path / "ours" / "src" / "ownlayers"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "blocks.py").write_text("NAME = 'sent'\n")
    return {f"ownlayers/{path.name}": path for path in folder.iterdir()}


@pytest.fixture
def clip(tmp_path: Path) -> ClipRequest:
    path = tmp_path / "ours" / "clip.mp4"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(VIDEO)
    return ClipRequest(clip=str(path))


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OtherMachine:
    """A machine on which no folder of ours is there, whose jobs tell what they import."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "looking_job.py").write_text(LOOKS)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    (tmp_path / "other").mkdir()
    jobs = dict.fromkeys(get_args(JobKind), "looking_job")
    return OtherMachine(tmp_path / "other", hidden=tmp_path / "ours", modules=jobs)


def test_a_job_imports_what_was_sent_with_it_and_the_next_does_not(
    own: dict[str, Path], clip: ClipRequest, other: OtherMachine, tmp_path: Path
) -> None:
    launcher = launcher_to(other)
    for _ in range(2):
        with_code = Job("with", clip, "cpu", 60.0, code=own)
        assert launcher.run(with_code, tmp_path / "jobs" / "with", print).clip.path == "sent"  # type: ignore[attr-defined]
        with pytest.raises(JobError, match=r"No module named 'ownlayers'$"):
            launcher.run(Job("without", clip, "cpu", 60.0), tmp_path / "jobs" / "without", print)
    launcher.close()
    assert not any(str(tmp_path).encode() in job for job in other.sent)


def test_what_cannot_be_sent_is_said_where_a_job_misses_it(
    clip: ClipRequest, other: OtherMachine, tmp_path: Path
) -> None:
    unsent = {"ownlayer": "is installed here", "ownlayers": "has compiled code", "another": "is not found here"}
    launcher = launcher_to(other)
    with pytest.raises(JobError) as caught:
        launcher.run(Job("job", clip, "cpu", 60.0, unsent=unsent), tmp_path / "jobs", print)
    launcher.close()
    assert caught.value.reason == (
        "tiny.pt: No module named 'ownlayers'; the checkpoint's module 'ownlayers' has compiled code, and so is not "
        "sent: install it on other"
    )


def test_a_run_sends_them_with_the_jobs_that_load_the_checkpoint(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = project.path / "src" / "ownlayers.py"
    layers.parent.mkdir()
    layers.write_text("NAME = 'ours'\n")
    monkeypatch.syspath_prepend(layers.parent)
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    project.weights(Behaviour(survey={"checkpoint": {"modules": ["ownlayers"]}}))
    project.settings(top="profile = true\n")
    project.hooks(
        f"""
import json
from functools import cache
from typing import get_args
from other_machine import OtherMachine, launcher_to
from pytest_trtgate.fleet import WorkersMachine
from pytest_trtgate.jobs import JobKind

OTHER = []

@cache
def fleet():
    machine = PretendedMachine(locks=Path({str(tmp_path)!r}), **MACHINE)
    modules = dict.fromkeys(get_args(JobKind), "fake_jobs")
    OTHER.append(OtherMachine(Path({str(tmp_path)!r}), hidden=Path.cwd() / "src", machine=machine, modules=modules))
    return launcher_to(OTHER[0])

def pytest_trtgate_launcher(config):
    return fleet()

def pytest_trtgate_machine(config):
    return WorkersMachine(temporary=(), ask=lambda *what: fleet().ask(*what))

def pytest_unconfigure():
    Path("sent.json").write_text("[" + ",".join(job.decode() for job in OTHER[0].sent) + "]")
"""
    )
    walked: list[tuple[str, ...]] = []

    def walk(modules: tuple[str, ...]) -> SentCode:
        walked.append(modules)
        return sent_code(modules)

    monkeypatch.setattr("pytest_trtgate.measuring.context.sent_code", walk)
    project.run("--trt-precision=fp16").assert_outcomes(passed=2)
    assert walked.count(("ownlayers",)) == 1
    jobs = json.loads((project.path / "sent.json").read_text())
    with_code = {job["kind"] for job in jobs if job["code"]}
    assert {job["kind"] for job in jobs if not job["code"]} == {"survey", "profile"}
    assert with_code == {"build", "accuracy", "latency"}
    (code,) = {job["code"] for job in jobs} - {None}
    assert set(json.loads((tmp_path / "cache" / "content" / code).read_text())["files"]) == {"ownlayers.py"}
