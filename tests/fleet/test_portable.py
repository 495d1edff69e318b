"""Jobs on a machine that has none of our paths, with fake jobs in processes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from fake_jobs import VIDEO, Behaviour
from other_machine import OtherMachine, launcher_to, requests_of_all_kinds
from project import SUPPORT, Project, png, write_dataset

from pytest_trtgate.data import load_dataset
from pytest_trtgate.errors import JobError, JobTimeoutError, MachineLostError, RecordError
from pytest_trtgate.fleet import packing
from pytest_trtgate.fleet.launcher import FleetLauncher
from pytest_trtgate.fleet.portable import PortableJob, Tree, split_place
from pytest_trtgate.fleet.store import ContentStore
from pytest_trtgate.jobs import REQUESTS, Job, JobKind, LocalLauncher, PicturesRequest
from pytest_trtgate.jobs.paths import _role_of
from pytest_trtgate.records import PerImage, as_json, file_sha256

KINDS: tuple[JobKind, ...] = get_args(JobKind)
FAKE = dict.fromkeys(KINDS, "fake_jobs")
BASE = 'models = ["shapes.pt"]\ndata = "data/data.yaml"\nimgsz = 320\ncache_dir = "cache"\n[latency]\n'
SHARED = {"imgsz": 320, "rules": {"samples": 20}}


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))


class Ours:
    """Our machine: a checkpoint, an engine, a dataset and a clip in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.weights = Behaviour(
            seen={arm: {"score": 0.9} for arm in ("pt", "int8")}, layers={"int8": {"stem": 1.0}}
        ).save(folder / "tiny.pt")
        part = (["0.png"], {"path": "data", "names": {"0": "a"}}, {"score": 0.9}, {"metrics": {}, "classes": []})
        (folder / "part.npz").write_text(json.dumps(part))
        self.engine = folder / "engine.onnx"
        self.engine.write_bytes(self.weights.read_bytes() + b" ")
        self.data = self.resolve(write_dataset(folder / "data"))
        self.clip = folder / "clip.mp4"
        self.clip.write_bytes(VIDEO)

    def resolve(self, source: Path) -> Path:
        return load_dataset(source).write_resolved(source.with_name("resolved") / source.name)

    def request(self, kind: JobKind, output: str = "output") -> Any:
        data = self.folder / "data" / "data.json"
        data.write_bytes(self.data.read_bytes())
        made = requests_of_all_kinds(self.weights, self.engine, data, self.clip, self.folder / output, SHARED)[kind]
        (self.folder / output / "engine").mkdir(parents=True, exist_ok=True)
        return made

    def job(self, kind: JobKind, output: str = "output") -> Job:
        return Job(f"job-{kind}", self.request(kind, output), "cpu", 60.0)


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    return Ours(tmp_path / "ours")


@pytest.fixture
def other(ours: Ours, tmp_path: Path) -> Any:
    (tmp_path / "other").mkdir()
    machine = OtherMachine(tmp_path / "other", hidden=ours.folder, modules=FAKE)
    yield machine
    machine.end()


def run(launcher: Any, job: Job, folder: Path) -> dict[str, Any]:
    answer: dict[str, Any] = launcher.run(job, folder / job.name, lambda _: None).model_dump()
    return answer


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_job_answers_from_elsewhere_as_it_does_here(
    kind: JobKind, ours: Ours, other: OtherMachine, tmp_path: Path
) -> None:
    local = LocalLauncher(FAKE, locks=tmp_path / "locks", ahead=False)
    here = run(local, ours.job(kind), tmp_path / "jobs")
    files = written(ours.folder / "output")
    (ours.folder / "output").rename(tmp_path / "first")
    there = run(launcher_to(other), ours.job(kind), tmp_path / "jobs-there")
    if kind == "latency":  # noise is drawn anew
        here["launch"]["arms"] = there["launch"]["arms"] = {}
    assert there == here
    assert written(ours.folder / "output").keys() == files.keys()
    if kind != "latency":
        assert written(ours.folder / "output") == files
    assert (tmp_path / "jobs-there" / f"job-{kind}" / "log.txt").read_text() == "log of 1\n"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_travels_has_a_path_of_ours(
    kind: JobKind, ours: Ours, other: OtherMachine, tmp_path: Path
) -> None:
    run(launcher_to(other), ours.job(kind), tmp_path / "jobs")
    trees = [content for content in _received(other).values() if content.startswith(b"{")]
    assert len(trees) == len(json.loads(other.sent[0])["trees"])
    assert str(tmp_path).encode() not in b"".join((*other.sent, *trees))


def _received(other: OtherMachine) -> dict[str, bytes]:
    """Return the contents that were sent, by digest; none of them needs several parts."""
    parts = [arguments[0] for method, arguments in other.asked if method == "receive"]
    assert sum(map(len, parts)) == len(set().union(*parts))  # nothing twice
    return {sha256: content for some in parts for sha256, content in some.items()}


def test_every_text_of_a_request_is_known_to_be_a_path_or_none() -> None:
    no_paths = {"arm", "device", "sha256", "name", "model", "split", "data_split", "backend", "precision"}
    unknown = set()

    def look(model: Any) -> None:
        for name, field in model.model_fields.items():
            if _role_of(model, name) is None and "str" in repr(field.annotation).replace("Literal", ""):
                unknown.add(name)

    from pytest_trtgate.jobs import contract

    for model in vars(contract).values():
        if isinstance(model, type) and model.__name__.endswith(("Request", "Arm", "Build")):
            look(model)
    # A new field that holds a path is to be marked, or a worker elsewhere cannot find it; all others are named here.
    assert unknown - no_paths == {"budgets_ms", "export_args", "sharp"}


def test_what_a_worker_has_is_not_sent_again(ours: Ours, other: OtherMachine, tmp_path: Path) -> None:
    launcher = launcher_to(other)
    run(launcher, ours.job("accuracy"), tmp_path / "jobs")
    first = _received(other)
    run(launcher, ours.job("accuracy"), tmp_path / "jobs")
    again = FleetLauncher(lambda: other)  # another run, which does not know what was sent
    run(again, ours.job("latency"), tmp_path / "jobs")
    assert len(first) == 2 + 4 + 1 + 2  # checkpoint and engine, images, one label for all of them, two trees
    new = {content for sha256, content in _received(other).items() if sha256 not in first}
    assert [content for content in new if not content.startswith(b"{")] == []


def test_large_files_travel_in_parts(
    ours: Ours, other: OtherMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("launcher", "worker"):
        monkeypatch.setattr(f"pytest_trtgate.fleet.{module}.CHUNK_BYTES", 200)
    ours.weights.write_bytes(ours.weights.read_bytes() + b" " * 1000)
    told: list[str] = []
    launcher_to(other).run(ours.job("build"), tmp_path / "jobs", told.append)
    assert told[-2].startswith("other: sent 0 of 0 MB: ")
    built = ours.folder / "output" / "engine" / "engine.onnx"
    assert built.read_bytes().rstrip() == ours.weights.read_bytes().rstrip()
    assert max(len(one) for method, asked in other.asked if method == "receive" for one in asked[0].values()) <= 200


def test_a_built_engine_stays_where_it_was_built(ours: Ours, other: OtherMachine, tmp_path: Path) -> None:
    launcher = launcher_to(other)
    run(launcher, ours.job("build"), tmp_path / "jobs")
    built = ours.folder / "output" / "engine" / "engine.onnx"
    ours.engine = built
    run(launcher, ours.job("profile"), tmp_path / "jobs")
    assert file_sha256(built) not in _received(other)


def test_inputs_that_a_machine_has_below_a_data_root_are_not_sent(ours: Ours, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    write_dataset(mirror / "elsewhere")
    machine = OtherMachine(tmp_path, hidden=ours.folder, modules=FAKE, data_roots=(mirror,))
    answer = run(launcher_to(machine), ours.job("accuracy"), tmp_path / "jobs")
    assert answer["arms"]["pt"]["images"] == 4
    assert len(_received(machine)) == 2 + 2  # checkpoint and engine, and trees
    machine.end()


def test_a_shared_store_is_asked_before_the_coordinator(ours: Ours, tmp_path: Path) -> None:
    class Shared:
        def fetch(self, sha256: str, path: Path) -> bool:
            if sha256 == file_sha256(ours.clip):
                path.write_bytes(VIDEO)
                return True
            return False

    machine = OtherMachine(tmp_path, modules=FAKE, shared=Shared())
    run(launcher_to(machine), ours.job("clip"), tmp_path / "jobs")
    assert [content[:1] for content in _received(machine).values()] == [b"{"]
    machine.end()


def test_a_dataset_that_is_scattered_keeps_the_names_of_its_images(
    ours: Ours, other: OtherMachine, tmp_path: Path
) -> None:
    away = ours.folder / "scattered" / "images"
    away.mkdir(parents=True)
    png(away / "0.png", 9)
    source = ours.folder / "data" / "other.yaml"
    source.write_text(f"train: images/train\nval: {away}\ntest: [{away}, images/test]\nnames: [circle, square]\n")
    resolved = ours.resolve(source)
    request = ours.request("accuracy").model_copy(update={"data": str(resolved)})
    answer = run(launcher_to(other), Job("job", request, "cpu", 60.0), tmp_path / "jobs")
    assert str(away / "0.png") in answer["read"]
    assert answer["arms"]["pt"]["images"] == 5
    images = PerImage(ours.folder / "output" / "pt" / "per_image.npz").read(["images"])["images"].tolist()
    assert sorted(images) == sorted([str(away / "0.png"), *(f"images/test/{n}.png" for n in range(4))])


def test_a_dataset_may_be_anywhere_on_the_disk(
    ours: Ours, other: OtherMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_common", lambda folders: "/")
    answer = run(launcher_to(other), ours.job("accuracy"), tmp_path / "jobs")
    images = {str(ours.folder / "data" / "images" / "test" / f"{number}.png") for number in range(4)}
    assert images < answer["read"].keys()


def test_lists_of_images_are_lists_elsewhere_too(ours: Ours, other: OtherMachine, tmp_path: Path) -> None:
    listing = ours.folder / "data" / "some.txt"
    listing.write_text("./images/test/2.png\n./labels/../images/test/1.png\n./classes.txt\n")
    (ours.folder / "data" / "classes.txt").write_text("circle\n")
    source = ours.folder / "data" / "listed.yaml"
    source.write_text("train: images/train\nval: some.txt\ntest: some.txt\nnames: [circle, square]\n")
    request = ours.request("accuracy").model_copy(update={"data": str(ours.resolve(source))})
    answer = run(launcher_to(other), Job("job", request, "cpu", 60.0), tmp_path / "jobs")
    read = {path for path in answer["read"] if path.endswith(".png")}
    assert read == {str(ours.folder / "data" / image) for image in ("images/test/2.png", "labels/../images/test/1.png")}


def test_a_folder_per_class_is_one_elsewhere_too(ours: Ours, other: OtherMachine, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("circle", "square"):
            (ours.folder / "classes" / split / name).mkdir(parents=True)
            png(ours.folder / "classes" / split / name / "0.png", 9)
    for artifact in (ours.weights, ours.engine):
        Behaviour().save(artifact)
    request = ours.request("accuracy").model_copy(update={"data": str(ours.folder / "classes")})
    answer = run(launcher_to(other), Job("job", request, "cpu", 60.0), tmp_path / "jobs")
    assert [one["name"] for one in answer["arms"]["pt"]["classes"]] == ["circle", "square"]
    assert answer["arms"]["pt"]["images"] == 2


# What goes wrong


def test_a_job_that_fails_elsewhere_says_why_in_our_words(ours: Ours, other: OtherMachine, tmp_path: Path) -> None:
    ours.weights = Behaviour(faults={"accuracy-pt": "refuse-all"}).save(ours.weights)
    ours.clip.write_bytes(b"no video")
    with pytest.raises(JobError) as caught:
        run(launcher_to(other), ours.job("clip"), tmp_path / "jobs")
    assert caught.value.reason == f"{ours.clip}: cannot be opened as a video"
    assert caught.value.log_tail == "log of 1"
    with pytest.raises(JobError):
        run(launcher_to(other), ours.job("accuracy"), tmp_path / "jobs")
    assert (tmp_path / "jobs" / "job-accuracy" / "log.txt").exists()


def test_an_input_that_is_missing_here_is_missing_there(ours: Ours, other: OtherMachine, tmp_path: Path) -> None:
    request = ours.request("pictures")
    asked = PicturesRequest(images=(str(ours.folder / "no.png"),), output=request.output, side_px=9)
    with pytest.raises(JobError, match="exit code"):
        run(launcher_to(other), Job("job", asked, "", 60.0), tmp_path / "jobs")


def test_a_file_that_changed_on_its_way_is_refused(ours: Ours, other: OtherMachine, tmp_path: Path) -> None:
    job = ours.job("clip")
    job = Job(job.name, job.request, "", 60.0, sha256=lambda path: "a" * 64)
    with pytest.raises(JobError, match="arrived with the digest") as caught:
        run(launcher_to(other), job, tmp_path / "jobs")
    assert "aaaaaaaaaaaa" in caught.value.reason


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "in:0/../../x", "in:0//etc", "out:0/x", "data:0", "in:zz/x", "in:0\0"]
)
def test_a_place_that_leads_elsewhere_is_refused(place: str) -> None:
    with pytest.raises(RecordError, match="is no place of a file"):
        split_place(place, "file")


@pytest.mark.parametrize("path", ["../x", "/x", "", "a/../../x", "./x", "a//x"])
def test_a_tree_with_a_path_out_of_it_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="file"):
        Tree.model_validate({"files": {path: {"sha256": "0" * 64, "size_bytes": 1}}})


def test_a_request_for_a_path_of_the_workers_is_not_done(ours: Ours, other: OtherMachine) -> None:
    packed = packing.pack(ours.job("clip")).job
    evil = packed.model_copy(update={"request": {**packed.request, "clip": "/etc/passwd"}, "trees": ()})
    outcome = json.loads(other.worker.work(as_json(evil)))
    assert outcome["response"] is None
    assert "is no place of a file" in outcome["failure"]


def test_a_worker_cannot_write_where_it_was_not_asked_to(
    ours: Ours, other: OtherMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = other.worker.work

    def lying(text: bytes) -> bytes:
        outcome = json.loads(work(text))
        outcome["files"] = {"out:0/conftest.py": {"sha256": "0" * 64, "size_bytes": 0}}
        return json.dumps(outcome).encode()

    monkeypatch.setattr(other.worker, "work", lying)
    with pytest.raises(JobError, match="which was not asked for"):
        run(launcher_to(other), ours.job("latency"), tmp_path / "jobs")


def test_a_worker_that_is_lost_is_replaced_while_nothing_was_timed(ours: Ours, tmp_path: Path) -> None:
    machines = []

    def connect() -> OtherMachine:
        machines.append(OtherMachine(tmp_path, modules=FAKE))
        return machines[-1]

    launcher, told = FleetLauncher(connect), list[str]()
    _ = launcher.connection
    machines[0].dies_at = lambda method: method == "work"
    launcher.run(ours.job("clip"), tmp_path / "jobs", told.append)
    assert len(machines) == 2
    assert machines[0].ended
    assert told[0] == "the worker on other ended (nobody there); trying another"
    launch = replace(ours.job("latency"), beside="tiny")
    launcher.run(launch, tmp_path / "jobs", told.append)
    machines[1].dies_at = lambda method: method == "work"
    with pytest.raises(MachineLostError, match="the worker on other ended"):
        launcher.run(launch, tmp_path / "jobs", told.append)
    assert len(machines) == 2
    launcher.run(ours.job("clip"), tmp_path / "jobs", told.append)
    launcher.run(replace(launch, beside="another"), tmp_path / "jobs", told.append)
    assert len(machines) == 3
    with pytest.raises(MachineLostError, match="the worker on other, which timed tiny before, is gone"):
        launcher.run(launch, tmp_path / "jobs", told.append)
    launcher.close()


def test_a_worker_that_is_joined_once_nobody_waits_for_it_is_ended(other: OtherMachine) -> None:
    def connect() -> OtherMachine:
        launcher.stop()
        return other

    launcher = FleetLauncher(connect)
    with pytest.raises(KeyboardInterrupt):
        _ = launcher.connection
    assert other.ended


def test_a_worker_that_falls_silent_is_given_up(ours: Ours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_trtgate.fleet.launcher.ANSWER_S", 1.0)
    silent = threading.Event()

    class Silent(OtherMachine):
        def end(self) -> None:
            silent.set()
            super().end()

    machine = Silent(tmp_path, modules=FAKE)
    monkeypatch.setattr(machine.worker, "work", lambda text: silent.wait(30))
    monkeypatch.setattr(machine.worker, "said", lambda: silent.wait(30))
    launcher = launcher_to(machine)
    launcher._stays = True
    with pytest.raises(JobError, match=r"the worker on other has not answered for 1 s"):
        run(launcher, ours.job("clip"), tmp_path / "jobs")
    assert machine.ended


def test_a_worker_that_answers_and_does_not_end_its_job_is_given_up(
    ours: Ours, other: OtherMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_trtgate.fleet.launcher.ANSWER_S", 1.0)
    monkeypatch.setattr(other.worker, "work", lambda text: time.sleep(5))
    launcher = launcher_to(other)
    job = replace(ours.job("clip"), timeout_s=0.5, wait_s=0.0)
    with pytest.raises(JobTimeoutError, match=r"the worker on other has not ended it in 1\.5 s"):
        run(launcher, job, tmp_path / "jobs")
    assert other.ended


def test_a_worker_may_take_long_to_look_for_what_it_has(
    ours: Ours, other: OtherMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_trtgate.fleet.launcher.ANSWER_S", 1.0)
    lacks = other.worker.lacks

    def slowly(sizes: dict[str, int]) -> list[str]:
        time.sleep(1.5)
        return lacks(sizes)

    monkeypatch.setattr(other.worker, "lacks", slowly)
    assert run(launcher_to(other), ours.job("accuracy"), tmp_path / "jobs")["arms"]["pt"]["images"] == 4


def test_a_full_disk_of_a_worker_costs_a_sentence(
    ours: Ours, other: OtherMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r", *more: Any, **other: Any) -> Any:
        if mode == "ab":
            opened(path, "wb").close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return opened(path, mode, *more, **other)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(JobError, match=r"what was sent cannot be kept \(No space left on device\)"):
        run(launcher_to(other), ours.job("clip"), tmp_path / "jobs")
    assert [path.name for path in (tmp_path / "other" / "cache" / "tmp").iterdir() if path.is_file()] == []


def test_a_worker_of_another_release_is_refused(ours: Ours, other: OtherMachine, tmp_path: Path) -> None:
    other.worker.hello = lambda: {"release": "9.9"}  # type: ignore[method-assign]
    with pytest.raises(JobError, match=r"other has pytest-trtgate 9\.9, this is .*install the same on both"):
        run(launcher_to(other), ours.job("clip"), tmp_path / "jobs")


# A worker by itself


def test_what_a_worker_keeps_is_pruned_and_is_not_its_coordinators(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "cache")
    store.receive(file_sha256(_file(tmp_path, b"abc")), b"ab", False)
    store.receive(file_sha256(_file(tmp_path, b"abc")), b"c", True)
    kept = store.find(file_sha256(tmp_path / "file"), 3)
    assert kept is not None
    assert kept.read_bytes() == b"abc"
    os.utime(kept, (1, 1))
    ContentStore(tmp_path / "cache")
    assert not kept.exists()


def _file(folder: Path, content: bytes) -> Path:
    (folder / "file").write_bytes(content)
    return folder / "file"


def test_a_worker_leaves_nothing_but_contents(ours: Ours, other: OtherMachine, tmp_path: Path) -> None:
    run(launcher_to(other), ours.job("accuracy"), tmp_path / "jobs")
    other.worker.close()
    assert {path.name for path in (tmp_path / "other" / "cache").iterdir()} == {"CACHEDIR.TAG", "content", "tmp"}
    assert list((tmp_path / "other" / "cache" / "tmp").iterdir()) == []


def test_all_kinds_have_a_request() -> None:
    assert set(REQUESTS) == set(KINDS)
    assert PortableJob.model_fields["kind"].annotation == JobKind


# In a run


FLEET = 'machines = "nvidia-l4"\nbackend = "onnxruntime"\nfleet = { address = "127.0.0.1:9" }\n'


def test_nobody_is_asked_before_a_test_needs_it(project: Project) -> None:
    project.settings(top=FLEET)
    (project.path / "conftest.py").write_text(
        "import sys\ndef pytest_unconfigure(): print('ray' in sys.modules, 'pytest_trtgate.fleet' in sys.modules)\n"
    )
    done = project.run_apart("--collect-only", "-q", "--trt-precision=fp16", every_plugin=True)
    assert "test_gate.py::test_accuracy[shapes-fp16]" in done.output
    assert done.output.strip().endswith("False False")


def test_a_fleet_that_is_not_there_fails_each_test_by_a_sentence(project: Project) -> None:
    project.settings(top=FLEET)
    (project.path / "conftest.py").unlink()
    done = project.run_apart("--trt-precision=fp16", every_plugin=True)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    told = [line for line in done.output.splitlines() if line.startswith("fleet.address ")]
    assert len(told) == 2, done.output
    assert "Traceback" not in done.output
    assert "deadlock" not in done.output


def test_a_fleet_needs_to_be_told_the_backend(project: Project) -> None:
    project.settings(top=FLEET.replace("onnxruntime", "auto"))
    result = project.run("--trt-precision=fp16")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*backend = 'auto' cannot be used with fleet.address*name tensorrt or onnxruntime"])


def test_machines_without_a_fleet_are_refused(project: Project) -> None:
    result = project.run("--trt-machine=nvidia-l4")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*machines names machines of a fleet, and fleet.address is not set"])


def test_a_run_elsewhere_decides_as_a_run_here(project: Project, tmp_path: Path) -> None:
    project.settings("launches = 3\nsamples = 60\n", top='profile = true\nvideos = "clip.mp4"\n', base=BASE)
    (project.path / "clip.mp4").write_bytes(VIDEO)
    seen = {arm: {"score": 0.9, "missed": n} for n, arm in enumerate(("pt", "fp16", "int8"))}
    project.weights(Behaviour(seen=seen, survey={"test": {"corrupt": {"count": 1, "first": "0.png (damaged)"}}}))
    here = project.run("--trt-precision=fp16,int8")
    first = project.record
    shutil.rmtree(project.path / "cache")
    project.hooks(
        f"""
from functools import cache
from other_machine import OtherMachine, launcher_to
from pytest_trtgate.fleet import WorkersMachine

@cache
def fleet():
    kinds = ("build", "accuracy", "latency", "profile", "pictures", "clip", "video", "survey")
    machine = PretendedMachine(locks=Path({str(tmp_path)!r}), **MACHINE)
    fakes = dict.fromkeys(kinds, "fake_jobs")
    other = OtherMachine(Path({str(tmp_path)!r}), hidden=Path.cwd() / "data", machine=machine, modules=fakes)
    return launcher_to(other)

def pytest_trtgate_launcher(config):
    return fleet()

def pytest_trtgate_machine(config):
    return WorkersMachine(temporary=(), ask=lambda *what: fleet().ask(*what))
"""
    )
    there = project.run("--trt-precision=fp16,int8")
    second = project.record
    assert there.ret == here.ret, there.outlines
    assert second.environment.extra == {"node": "other"}
    assert second.environment.model_copy(update={"extra": {}}) == first.environment
    kinds = {job.kind for job in second.jobs}
    assert kinds == set(KINDS) - {"given", "layers", "explain", "merge"} == {job.kind for job in first.jobs}
    assert all(job.ok for job in second.jobs)
    assert {key: engine.sha256 for key, engine in second.engines.items()} == {
        key: engine.sha256 for key, engine in first.engines.items()
    }
    assert [(v.cell, v.subject, v.outcome) for v in second.verdicts] == [
        (v.cell, v.subject, v.outcome) for v in first.verdicts
    ]
    assert second.pictures == first.pictures
    assert not any(pictures.note for pictures in second.pictures.values())
    assert [video.failure for video in second.videos] == [""]
    assert first.preflight is not None
    assert second.preflight is not None
    assert second.preflight.findings == first.preflight.findings
