"""``trtgate``: what does not need a test run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pretended import PretendedMachine
from project import snapshot
from runs_example import gpu_run, passing_run

from pytest_trtgate import __version__
from pytest_trtgate.cli import demo, main
from pytest_trtgate.cli.baseline import given_path
from pytest_trtgate.machine import package_lines
from pytest_trtgate.records.files import save


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in a folder without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def fails(*arguments: str) -> None:
    """Run a command that must be refused as wrong usage."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "pytest_trtgate.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"pytest-trtgate {__version__}\n")


def test_no_command_and_unknown_commands_are_wrong_usage() -> None:
    fails()
    fails("bake")
    fails("cache")
    fails("report", "run.json")
    fails("cache", "prune", "--older-than=soon")
    fails("cache", "prune", "--older-than=-1")
    fails("cache", "prune", "--cache-dir=")
    fails("demo", "")
    fails("demo", "~nobody-of-that-name/demo")
    fails("doctor", f"--config={'a' * 300}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "dist", "--sha256", "0" * 64, "--sha256", "1" * 64),
        ("promote", "run.json", "-o", "a", "--output=b"),
        ("promote", "run.json", "-o", "a", "--only", "x", "--only", "y"),
        ("cache", "list", "--cache-dir=a", "--cache-dir=b"),
        ("baseline", "waive", "x", "--until=2999-01-01", "--until=2999-01-02", "--reason=x"),
    ],
)
def test_an_option_of_one_value_is_taken_once(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    fails(*arguments)
    assert "is given twice; give it once" in capsys.readouterr().err


def test_a_tilde_behind_an_equals_sign_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save(Path("run.json"), passing_run())
    assert main(["baseline", "accept", "run.json", "--baseline-dir=~/baselines"]) == 0
    assert (tmp_path / "home" / "baselines").is_dir()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("empty", ["", " "])
def test_what_an_unset_variable_leaves_empty_is_not_taken_for_the_default(empty: str) -> None:
    fails("baseline", "waive", "a-fp32-32-b1-x-cpu", "--machine", empty, "--until=2999-01-01", "--reason=x")
    fails("baseline", "waive", "a-fp32-32-b1-x-cpu", "--machine=a/b", "--until=2999-01-01", "--reason=x")
    fails("worker", "--address=a:1", "--machine", empty)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--address=a:0",),
        ("--address=a:65536",),
        ("--address=a:1", "--machine=a,b=c"),
        ("--address=a:1", "--machine=a/b"),
        ("--address=a:1", f"--machine={'a' * 64}"),
    ],
)
def test_a_worker_is_told_an_address_and_a_name_that_can_be(arguments: tuple[str, ...]) -> None:
    fails("worker", *arguments)


def test_a_worker_refuses_folders_that_are_not_there_or_no_cache(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--address=a:1", "--data-root=nowhere"], PretendedMachine()) == 1
    assert capsys.readouterr().err.endswith("/nowhere: no such folder\n")
    Path("thesis.tex").touch()
    assert main(["worker", "--address=a:1", "--cache-dir=."], PretendedMachine()) == 1
    assert " holds thesis.tex, which the cache did not make" in capsys.readouterr().err
    assert main(["worker", "--address=a:1", "--cache-dir=thesis.tex"], PretendedMachine()) == 1
    assert "/thesis.tex: not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["cache", "list"], ["cache", "verify"], ["cache", "prune", "--yes"]])
def test_a_cache_that_is_named_and_not_there_is_not_whole(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--cache-dir=nowhere"]) == 1
    assert capsys.readouterr().err == "trtgate: --cache-dir nowhere: no such folder\n"


@pytest.mark.parametrize("command", [["list"], ["verify"], ["prune", "--yes"]])
def test_a_folder_that_is_no_cache_is_not_a_whole_one(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("thesis.tex").touch()
    assert main(["cache", *command, "--cache-dir=."]) == 1
    assert capsys.readouterr().err.startswith("trtgate: --cache-dir . holds thesis.tex, which the cache did not make; ")


@pytest.mark.parametrize("command", [["layers", "loop"], ["promote", "run.json", "-o", "loop"], ["explain", "loop"]])
def test_a_loop_of_links_is_a_sentence(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("loop").symlink_to("loop")
    save(Path("run.json"), passing_run())
    assert main(command, PretendedMachine()) in (1, 2)
    assert capsys.readouterr().err.startswith("trtgate: ")


@pytest.mark.parametrize("command", [["show"], ["diff", "run.json"], ["accept", "run.json"], ["migrate"]])
def test_a_file_in_the_place_of_baselines_is_a_sentence(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    save(Path("run.json"), passing_run())
    assert main(["baseline", *command, "--baseline-dir=run.json"]) == 2
    why = "no such folder" if len(command) == 1 else "cannot be written (not a folder)"
    assert capsys.readouterr().err == f"trtgate: --baseline-dir run.json: {why}\n"


@pytest.mark.parametrize("command", [["show"], ["prune"], ["resolve"], ["migrate"], ["mv", "a", "b"]])
def test_baselines_that_are_named_and_not_there_are_not_fine(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["baseline", *command, "--baseline-dir=nowhere"]) == 2
    assert capsys.readouterr().err == "trtgate: --baseline-dir nowhere: no such folder\n"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    save(Path("run.json"), passing_run())
    monkeypatch.setattr("pytest_trtgate.report.render", interrupted)
    assert main(["report", "run.json", "-o", "x.html"]) == 130
    assert capsys.readouterr().err == "trtgate: interrupted\n"


# doctor


def test_the_doctor_says_what_is_installed_and_what_would_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["doctor"], PretendedMachine()) == 0
    out = capsys.readouterr().out
    assert f"pytest-trtgate {__version__}" in out
    assert "  torch           2.11.0\n" in out
    assert "  tensorrt        not installed\n" in out
    assert f"engine cache: {tmp_path / 'xdg' / 'pytest-trtgate'}\n" in out
    assert "backend: onnxruntime 1.31.0 on cpu (since TensorRT is not installed)\n" in out


@pytest.mark.parametrize(
    ("versions", "lines"),
    [
        ({"opencv-python": "5.0"}, ["opencv-python   5.0"]),
        ({"opencv-python-headless": "5.0"}, ["opencv-python-headless 5.0"]),
        ({"opencv-contrib-python": "5.0"}, ["opencv-contrib-python 5.0"]),
        (
            {"opencv-python": "5.0", "opencv-python-headless": "4.9"},
            ["opencv-python          5.0", "opencv-python-headless 4.9"],
        ),
        ({}, ["opencv-python   not installed, nor is another distribution of OpenCV"]),
    ],
)
def test_the_doctor_says_which_of_two_that_serve_alike_is_there(versions: dict[str, str], lines: list[str]) -> None:
    assert [line for line in package_lines(versions) if line.startswith("opencv")] == lines


def test_the_doctor_fails_where_nothing_would_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor"], PretendedMachine(installed={"onnx": "1.20.0"})) == 1
    assert "backend: none (backend 'onnxruntime' needs ultralytics, torch, onnxruntime, " in capsys.readouterr().out


def test_the_doctor_names_a_bad_setting(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "trtgate.toml").write_text("imgsz = 33\n")
    assert main(["doctor"]) == 1
    assert "trtgate.toml: imgsz = 33 is not allowed; " in capsys.readouterr().err


# report


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A run record on disk."""
    save(tmp_path / "run.json", passing_run())
    return tmp_path / "run.json"


@pytest.mark.parametrize(
    ("name", "content"),
    [("r.html", "<!doctype html>"), ("R.HTM", "<!doctype html>"), ("r.md", "shapes"), ("r.csv", "shapes")],
)
def test_a_record_is_rendered_again(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    assert main(["report", str(record), "-o", f"deep/er/{name}"]) == 0
    assert content in (tmp_path / "deep" / "er" / name).read_text().lower()
    assert capsys.readouterr().out == f"deep/er/{name}: 1 run\n"


def test_the_format_may_be_named(record: Path, tmp_path: Path) -> None:
    assert main(["report", str(record), "-o", "summary.txt", "--format=markdown"]) == 0
    assert "shapes" in (tmp_path / "summary.txt").read_text()


def test_markdown_is_printed_where_no_file_is_named(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(record), "--format=markdown"]) == 0
    assert capsys.readouterr().out.startswith("## \N{WHITE HEAVY CHECK MARK} Gate passed\n")
    with pytest.raises(SystemExit):
        main(["report", str(record)])
    assert "error: -o FILE is missing; only --format markdown can be printed\n" in capsys.readouterr().err


def test_a_report_does_not_take_the_place_of_its_record(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link.html").symlink_to(record)
    before = record.read_bytes()
    with pytest.raises(SystemExit):
        main(["report", str(record), "-o", "link.html"])
    assert "-o link.html is one of the records, and would take its place; name another" in capsys.readouterr().err
    assert record.read_bytes() == before


@pytest.mark.parametrize("output", ["run.json", "run.metrics.txt"])
def test_neither_file_for_gitlab_takes_the_place_of_a_record(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    ready = tmp_path / "run.metrics.txt"
    ready.write_bytes(record.read_bytes())
    taken = record if output == "run.json" else ready
    with pytest.raises(SystemExit):
        main(["report", str(taken), "--format=gitlab", "-o", str(tmp_path / "run.json")])
    assert f"{output} is one of the records" in capsys.readouterr().err
    assert taken.read_bytes() == ready.read_bytes()


@pytest.mark.parametrize("address", ["", "head", "http://head:6379", "head:port"])
def test_a_worker_is_told_where_a_cluster_is(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["worker", f"--address={address}"])
    assert f"'{address}' is not HOST:PORT" in capsys.readouterr().err


def test_several_records_make_one_report(record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "other.json", gpu_run())
    for name in ("r.html", "r.md", "r.csv"):
        assert main(["report", str(record), "other.json", "-o", name]) == 0
        assert capsys.readouterr().out == f"{name}: 2 runs\n"


def test_parquet_holds_the_same_table_as_the_csv(record: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    for name in ("r.parquet", "r.csv"):
        assert main(["report", str(record), "-o", name]) == 0
    frame = pd.read_parquet(tmp_path / "r.parquet")
    assert frame["value"].tolist() == pytest.approx(pd.read_csv(tmp_path / "r.csv")["value"].tolist())
    assert str(frame["launch"].dtype) == "Int64"


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    commands = {
        "": "The gate itself is a test run: see 'pytest --help'",
        "doctor": "Say what is installed",
        "cache list": "List the engines",
        "cache prune": "Engines that baselines name stay.",
        "report": "Record of a run, such as reports/run.json",
        "demo": "Write a small project",
        "baseline accept": "Record of a run, such as reports/run.json",
        "baseline waive": "A waiver excuses nothing but FAIL",
    }
    for command, said in commands.items():
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        assert said in " ".join(capsys.readouterr().out.split())


def test_parquet_without_pyarrow_is_one_sentence(
    record: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["report", str(record), "-o", "r.parquet"]) == 1
    said = "trtgate: r.parquet: Parquet needs pyarrow; python -m pip install pyarrow\n"
    assert capsys.readouterr().err == said
    assert not Path("r.parquet").exists()


def test_rendering_a_record_leaves_it_as_it_is(record: Path) -> None:
    before = record.read_bytes()
    main(["report", str(record), "-o", "r.html"])
    assert record.read_bytes() == before


def test_a_format_that_nobody_knows_is_named(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(record), "-o", "r.pdf"]) == 1
    assert (
        capsys.readouterr().err
        == "trtgate: r.pdf: its suffix names no format; allowed: .html, .htm, .md, .csv, .parquet; or give --format\n"
    )


def test_a_report_that_cannot_be_written_is_named(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    assert main(["report", str(record), "-o", "taken/r.html"]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "run.json: cannot be read (No such file or directory)"),
        ("", "run.json: not valid JSON, the file may be truncated"),
        ('{"schema_version": 1, "run_id"', "run.json: not valid JSON, the file may be truncated"),
        ('{"schema_version": 2}', "run.json: written by a newer pytest-trtgate (schema 2; this one reads up to 1)"),
        ('{"schema_version": 1}', "run.json: not a valid RunRecord (field 'run_id': Field required)"),
        ('{"runs": []}', "run.json: not a RunRecord of pytest-trtgate (no schema_version)"),
        ("[]", "run.json: not a RunRecord of pytest-trtgate (no schema_version)"),
        ('{"schema_version": true}', "run.json: not a RunRecord of pytest-trtgate (no schema_version)"),
        ("[" * 100_000, "run.json: not valid JSON"),
    ],
    ids=["missing", "empty", "truncated", "newer", "incomplete", "foreign", "list", "true", "deep"],
)
def test_a_bad_record_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert main(["report", "run.json", "-o", "r.html"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"trtgate: {sentence}")
    assert err.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


def test_a_folder_in_the_place_of_a_record_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path), "-o", "r.html"]) == 1
    assert "cannot be read (a folder, not a regular file)" in capsys.readouterr().err


def test_a_record_that_is_no_text_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    assert main(["report", "run.json", "-o", "r.html"]) == 1
    assert "run.json: not valid JSON" in capsys.readouterr().err


# demo


def test_the_demo_does_not_touch_a_folder_that_holds_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    before = snapshot(tmp_path)
    assert main(["demo", "mine"]) == 1
    assert capsys.readouterr().err == "trtgate: mine: exists and is not an empty folder; name another\n"
    assert snapshot(tmp_path) == before


def test_the_demo_does_not_overwrite_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("precious")
    assert main(["demo", "mine"]) == 1
    assert "exists and is not an empty folder" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_demo_that_cannot_be_written_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "file/demo"]) == 1
    assert capsys.readouterr().err.startswith("trtgate: file/demo: cannot be written (")


def test_the_demo_leaves_the_folder_of_its_scripts_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "installed"
    source.mkdir()
    for name in ("shapes.pt", "shapes.pt.license"):
        (source / name).touch()
    (source / "generate.py").write_text("import sys, pathlib\npathlib.Path(sys.argv[1]).mkdir(exist_ok=True)\n")
    (source / "clip.py").write_text("import sys\nsys.argv[1] += '.d'\nimport generate\n")
    before = sorted(source.iterdir())
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setattr(demo, "source_folder", lambda: source)
    assert main(["demo", "mine"]) == 0, capsys.readouterr().err
    assert (tmp_path / "mine" / "clip.mp4.d").is_dir()
    assert (tmp_path / "mine" / "shapes.pt.license").is_file()
    assert sorted(source.iterdir()) == before


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        ("exec >/dev/full", "trtgate: No space left on device"),
        ("exec >&-", ""),
        ('mkdir gone; cd gone; rmdir "$OLDPWD/gone"', "No such file or directory"),
    ],
)
def test_a_terminal_or_a_folder_that_is_gone_is_no_traceback(tmp_path: Path, prepare: str, said: str) -> None:
    command = f"{prepare}; exec '{sys.executable}' -m pytest_trtgate.cli baseline show --baseline-dir '{tmp_path}'"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert said in done.stderr


# Completion


def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")

    def completed(line: str) -> list[str]:
        words = tmp_path / "words"
        environ = os.environ | {
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(words),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        }
        subprocess.run([sys.executable, "-m", "pytest_trtgate.cli"], env=environ, timeout=60, check=True)
        return words.read_text().replace("\v", "\n").split()

    assert completed("trtgate ba") == ["baseline"]
    assert completed("trtgate report run.json --form") == ["--format"]
    assert "gitlab" in completed("trtgate report run.json --format ")


def test_a_tilde_is_the_home_folder_where_the_shell_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert given_path("~/page.html") == tmp_path / "page.html"
    with pytest.raises(SystemExit):
        main(["demo", "~no-such-user/demo"])
    assert "'~no-such-user/demo' names the home folder of a user that does not exist" in capsys.readouterr().err
    assert not list(tmp_path.glob("~*"))
