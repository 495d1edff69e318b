"""What is stored and judged is what was measured, whichever input is replaced at whatever moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from project import Project, write_dataset

from pytest_trtgate.data import Dataset, load_dataset
from pytest_trtgate.errors import ChangedError
from pytest_trtgate.measuring import EvaluatedData, inputs
from pytest_trtgate.measuring.inputs import Inputs, agree
from pytest_trtgate.measuring.own_code import own_code, sent_code
from pytest_trtgate.records.cell import Cell
from pytest_trtgate.records.run_folder import Workspace
from pytest_trtgate.settings.settings import Settings
from pytest_trtgate.verdicts.accuracy import AccuracyJudge
from pytest_trtgate.verdicts.decide import Judgement

REPLACING = """
import shutil
from inline_launcher import InlineLauncher

CONTENT = {content!r}

class Replacing(InlineLauncher):
    def run(self, job, folder, progress):
        mine = job.request.kind == {kind!r} and not Path("replaced").exists()
        if mine and {moment!r} != "after":
            replace()
        answer = super().run(job, folder, progress)
        if mine and {moment!r} == "after":
            replace()
        if mine and {moment!r} == "during":
            put_back()
        return answer

def place():
    [found] = Path().glob({name!r}) if "*" in {name!r} else [Path({name!r})]
    return found

def replace():
    path = place()
    Path("replaced").write_text(str(path))
    if path.exists():
        shutil.copyfile(path, "original")
    if CONTENT is None:
        path.unlink()
    else:
        path.write_bytes((path.read_bytes() if path.exists() else b"") + CONTENT)

def put_back():
    path = Path(Path("replaced").read_text())
    if Path("original").exists():
        path.write_bytes(Path("original").read_bytes())
    else:
        path.unlink()

def pytest_trtgate_launcher(config):
    return Replacing()
"""
MOMENTS = ("before", "during", "after")
"""Before a job reads the file; while it does, put back at its end; once it has answered."""
ENGINE = "cache/engines/*/engine.onnx"
KINDS: dict[str, tuple[str, str, bytes | None]] = {
    # What is replaced, the job, the file, and what comes to its content; None deletes it.
    "weights, looked at": ("survey", "shapes.pt", b" "),
    "weights, built": ("build", "shapes.pt", b" "),
    "weights, evaluated": ("accuracy", "shapes.pt", b" "),
    "weights, timed": ("latency", "shapes.pt", b" "),
    "an engine, evaluated": ("accuracy", ENGINE, b" "),
    "an engine, timed": ("latency", ENGINE, b" "),
    "an image, looked at": ("survey", "data/images/test/1.png", b" "),
    "an image": ("accuracy", "data/images/test/1.png", b" "),
    "an image that is gone": ("accuracy", "data/images/test/1.png", None),
    "an image more": ("accuracy", "data/images/test/9.png", b" "),
    "a label": ("accuracy", "data/labels/test/1.txt", b" "),
    "a label that is gone": ("accuracy", "data/labels/test/1.txt", None),
    "a label more": ("accuracy", "data/labels/test/2.txt", b" "),
    "the YAML": ("accuracy", "data/data.yaml", b"channels: 3\n"),
    "a list": ("accuracy", "data/test.txt", b"\n"),
    "the YAML, built": ("build", "data/data.yaml", b"channels: 3\n"),
    "a calibration image": ("build", "data/images/train/1.png", b" "),
    "a calibration image that is gone": ("build", "data/images/train/1.png", None),
    "a calibration image more": ("build", "data/images/train/9.png", b" "),
    "a calibration label": ("build", "data/labels/train/1.txt", b" "),
    "a module of the checkpoint's own": ("accuracy", "src/mynet/blocks.py", b" "),
}
UNSEEN = {
    # While a job works, and put back: it reads a copy, and is never told of what there is more.
    ("the YAML", "during"),
    ("the YAML, built", "during"),
    ("a list", "during"),
    # What was seen then is stored under the times that the file had, which it has no longer.
    ("an image, looked at", "during"),
    # Modules are imported by then, or not yet: which, nobody can tell.
    ("a module of the checkpoint's own", "during"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_replaced_is_named_and_nothing_of_it_is_stored(
    project: Project, monkeypatch: pytest.MonkeyPatch, kind: str, moment: str
) -> None:
    if (kind, moment) in UNSEEN:
        pytest.skip("measured on what it is filed under")
    job, name, content = KINDS[kind]
    (project.path / "data" / "labels" / "test" / "2.txt").unlink()
    own = write_own_module(project.path / "src")
    if kind == "a list":
        (project.path / "data" / "test.txt").write_text("".join(f"./images/test/{n}.png\n" for n in range(4)))
        yaml = project.path / "data" / "data.yaml"
        yaml.write_text(yaml.read_text().replace("images/test", "test.txt"))
    monkeypatch.syspath_prepend(own)
    project.weights(Behaviour(survey={"checkpoint": {"modules": ["mynet.blocks"]}}))
    subject = "latency" if job == "latency" else "accuracy"
    ask = ("--trt-precision=int8", "-k", subject)
    project.hooks(REPLACING.format(kind=job, moment=moment, name=name, content=content))
    project.run(*ask).assert_outcomes(failed=1)
    verdict = project.verdict("int8", subject)
    assert (str(verdict.outcome), "during this run" in verdict.summary) == ("ERROR", True), verdict.summary
    replaced = (project.path / "replaced").read_text()
    assert ("shapes.pt (code of its own modules)" if "own" in kind else replaced) in verdict.summary
    stored = {"survey": "preflight", "build": "engines", "accuracy": "results"}.get(job, "results")
    assert not list((project.path / "cache").glob(f"{stored}/*"))


@pytest.mark.parametrize(
    "name", ["shapes.pt", ENGINE, "data/images/test/1.png", "data/labels/test/1.txt", "data/data.yaml"]
)
def test_what_is_reused_is_not_judged_where_something_changes_meanwhile(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ask = ("--trt-precision=fp16", "-k", "accuracy")
    project.run(*ask).assert_outcomes(passed=1)
    judge = AccuracyJudge.judge

    def judge_meanwhile(self: AccuracyJudge, cell: Cell) -> Judgement:
        found = judge(self, cell)
        [path] = project.path.glob(name)
        path.write_bytes(path.read_bytes() + b"channels: 3\n")
        return found

    monkeypatch.setattr(AccuracyJudge, "judge", judge_meanwhile)
    project.run(*ask).assert_outcomes(failed=1)
    verdict = project.verdict("fp16", "accuracy")
    assert (str(verdict.outcome), project.job_names("accuracy")) == ("ERROR", [])
    assert f"{next(project.path.glob(name))} changed during this run" in verdict.summary


def write_own_module(folder: Path) -> Path:
    """Write a package with a layer, and return the folder that it is found in."""
    (folder / "mynet").mkdir(parents=True)
    for name, code in (("__init__", ""), ("blocks", "import torch\nimport helpers\n"), ("unused", "")):
        (folder / "mynet" / f"{name}.py").write_text(code)
    (folder / "helpers.py").write_text("from other.part import x, y\n")
    (folder / "stranger.py").write_text("")
    return folder


CHDIR = """
def test_accuracy(trtgate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trtgate.check_accuracy()
"""


def test_a_test_may_work_in_another_folder(project: Project) -> None:
    data = project.path / "data" / "data.yaml"
    (project.path / "elsewhere").mkdir()
    data.rename(project.path / "elsewhere" / "data.yaml")
    with (project.path / "elsewhere" / "data.yaml").open("a") as file:
        file.write("path: data\n")  # which is found in the working folder
    settings = project.path / "trtgate.toml"
    settings.write_text(settings.read_text().replace("data/data.yaml", "elsewhere/data.yaml"))
    project.tests(CHDIR)
    project.run("--trt-precision=int8").assert_outcomes(passed=1)


def test_processes_that_find_different_inputs_do_not_share_a_run(tmp_path: Path) -> None:
    first, second = (Workspace(tmp_path, "20200101T000000Z-0000") for _ in range(2))
    agree(first, "weights-a", "0" * 64, tmp_path / "a.pt")
    agree(second, "weights-a", "0" * 64, tmp_path / "a.pt")
    with pytest.raises(ChangedError, match=r"a\.pt changed during this run"):
        agree(second, "weights-a", "1" * 64, tmp_path / "a.pt")


UNTOLD = """
from inline_launcher import InlineLauncher

class Untold(InlineLauncher):
    def run(self, job, folder, progress):
        return super().run(job, folder, progress).model_copy(update={"read": {}})

def pytest_trtgate_launcher(config):
    return Untold()
"""


def test_an_answer_that_does_not_tell_what_was_read_is_none(project: Project) -> None:
    project.hooks(UNTOLD)
    project.run("--trt-precision=fp16").assert_outcomes(failed=2)
    assert f"does not tell the SHA-256 of {project.path / 'shapes.pt'}" in project.verdict("fp16", "latency").summary
    assert not list((project.path / "cache").glob("engines/*"))


# Code


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("mynet/blocks.py", True),
        ("mynet/added.py", True),
        ("helpers.py", True),
        ("other/part.py", True),
        ("stranger.py", False),
        ("mynet/blocks.pyc", False),
        ("mynet/__pycache__/sealed.cpython-312.pyc", False),
        ("mynet/sealed.pyc", True),
        ("mynet/inner/fast.cpython-312-x86_64-linux-gnu.so", True),
    ],
)
def test_own_code_is_that_of_the_package_and_of_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, counts: bool
) -> None:
    monkeypatch.syspath_prepend(write_own_module(tmp_path / "src"))
    (tmp_path / "src" / "other").mkdir()
    before = own_code(["mynet.blocks"])
    assert own_code(["mynet.blocks", "mynet"]) == before
    (tmp_path / "src" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "src" / name).write_text("changed = True\n")
    assert (own_code(["mynet.blocks"]) != before) == counts


def test_own_code_is_the_same_in_another_folder_and_counts_by_name_where_it_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for folder in ("a", "b"):
        with monkeypatch.context() as patch:
            patch.syspath_prepend(write_own_module(tmp_path / folder))
            found.append(own_code(["mynet.blocks"]))
    assert found[0] == found[1]
    assert len({own_code(["no_such.blocks"]), own_code(["neither.blocks"]), found[0]}) == 3


def test_of_an_installed_package_its_sources_count_and_what_it_imports_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write_own_module(tmp_path / "site-packages")
    monkeypatch.syspath_prepend(site)
    before = own_code(["mynet.blocks"])
    (site / "helpers.py").write_text("changed = True\n")
    assert own_code(["mynet.blocks"]) == before
    (site / "mynet" / "blocks.py").write_text("changed = True\n")
    assert own_code(["mynet.blocks"]) != before


def test_what_python_cannot_read_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write_own_module(tmp_path / "src")
    monkeypatch.syspath_prepend(own)
    before = own_code(["mynet.blocks"]), sent_code(["mynet.blocks"])
    (own / "mynet" / ".#blocks.py").symlink_to("user@host.1234:1700000000")  # as editors lock a file
    (own / "mynet" / "folder.py").mkdir()
    os.mkfifo(own / "mynet" / "pipe.py")
    assert (own_code(["mynet.blocks"]), sent_code(["mynet.blocks"])) == before


def test_of_own_code_python_sources_that_nobody_installed_can_be_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, site = write_own_module(tmp_path / "own"), tmp_path / "site-packages"
    (own / "fastnet").mkdir()
    (own / "fastnet" / "fast.so").touch()
    site.mkdir()
    (site / "installed.py").touch()
    for folder in (own, site):
        monkeypatch.syspath_prepend(folder)
    sent = sent_code(["mynet.blocks", "fastnet", "installed", "no_such.blocks", "torch.nn"])
    (own / "stranger.py").unlink()
    assert set(sent.files) == {path.relative_to(own).as_posix() for path in own.rglob("*.py")}
    assert all(path == own / name for name, path in sent.files.items())
    assert sent.missing == {
        "fastnet": "has compiled code",
        "installed": "is installed here",
        "no_such": "is not found here",
    }


def test_a_changed_layer_makes_a_new_engine_and_a_new_reference(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write_own_module(project.path / "src")
    monkeypatch.syspath_prepend(own)
    project.weights(Behaviour(survey={"checkpoint": {"modules": ["mynet.blocks"]}}))
    for code, jobs in (("", 1), ("", 0), ("changed = True\n", 1)):
        (own / "mynet" / "blocks.py").write_text(code)
        project.run("--trt-precision=fp16", "-k", "accuracy").assert_outcomes(passed=1)
        assert (len(project.job_names("build")), len(project.job_names("accuracy"))) == (jobs, jobs)


# Files


@pytest.mark.parametrize("name", ["images/test/0.png", "labels/test/0.txt", "images/train/0.png"])
def test_a_file_that_no_image_can_be_as_large_as_is_not_read(project: Project, name: str) -> None:
    with (project.path / "data" / name).open("wb") as file:
        file.truncate(10**13)
    result = project.run("--trt-precision=int8", "-k", "accuracy")
    assert result.ret != pytest.ExitCode.OK
    said = " ".join(result.stdout.str().split() + result.stderr.str().split())
    assert f"{project.path}/data/{name}: 10.0 TB, more than the 3.2 GB that an image of inputs.max_megapixels" in said


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files whose bytes are read, as they are."""
    names: list[str] = []
    compute = inputs.file_sha256
    monkeypatch.setattr(inputs, "file_sha256", lambda path: (names.append(path.name), compute(path))[1])
    return names


def test_an_old_file_is_read_once_and_a_young_one_again_where_it_is_checked(tmp_path: Path, read: list[str]) -> None:
    path, run = tmp_path / "a", Inputs()
    path.write_bytes(b"before")
    run.sha256(path)
    run.check([path])
    assert read == ["a", "a"]
    inputs_of_old = Inputs()
    read.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "SETTLED_NS", -1_000_000_000)
        inputs_of_old.sha256(path)
        inputs_of_old.check([path])
        assert read == ["a"]


def test_a_file_that_was_only_touched_is_what_it_was(tmp_path: Path) -> None:
    path, run = tmp_path / "a", Inputs()
    path.write_bytes(b"before")
    run.sha256(path)
    os.utime(path, (1, 1))
    path.chmod(0o600)
    run.check([path])


def rewritten(path: Path) -> None:
    path.write_bytes(b"behind")


def renamed(path: Path) -> None:
    path.with_name("b").write_bytes(b"behind")
    path.with_name("b").replace(path)


@pytest.mark.parametrize("change", [rewritten, renamed, Path.unlink])
def test_a_file_of_the_same_size_and_time_that_is_another_is_told(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path, run = tmp_path / "a", Inputs()
    path.write_bytes(b"before")
    os.utime(path, (1, 1))
    run.sha256(path)
    change(path)
    if path.exists():
        os.utime(path, (1, 1))
    with pytest.raises(ChangedError, match=f"{path} (changed|was removed) during this run"):
        run.check([path])


def test_what_a_job_was_the_first_to_read_is_what_others_have_to_find(tmp_path: Path) -> None:
    run = Inputs()
    run.check_read({str(tmp_path / "a"): "0" * 64})
    with pytest.raises(ChangedError):
        run.check_read({str(tmp_path / "a"): "1" * 64})


@pytest.mark.parametrize("where", ["", "deeper"])
def test_folders_are_listed_again_only_where_something_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(inputs, "SETTLED_NS", 0)
    dataset = load_dataset(write_dataset(tmp_path / "data"))
    images = tmp_path / "data" / "images" / "test"
    (images / "deeper").mkdir()
    data = EvaluatedData(dataset, Settings(), tmp_path / "cache", Workspace(tmp_path, "run"), Inputs())
    data.check(evaluated=True, calibrated=False)
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "images", lambda *_: pytest.fail("listed again"))
        data.check(evaluated=True, calibrated=False)
    (images / where / "more.png").write_bytes(b"more")
    with pytest.raises(ChangedError, match=r"more\.png.*was added"):
        data.check(evaluated=True, calibrated=False)
