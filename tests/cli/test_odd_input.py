"""Every command with arguments that no one means, and with records of which one field is another: a sentence each."""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pretended import PretendedMachine
from project import snapshot
from runs_example import failing_run, gpu_run, passing_run

from pytest_trtgate import cli
from pytest_trtgate.cli import main
from pytest_trtgate.records import as_json

SLOW = {("demo",), ("worker",), ("doctor",)}
"""What writes a dataset, starts Ray, or looks at the machine."""
ARGUMENTS = (
    *("", " ", "nowhere", "user", "fifo", "loop", "dangling", "/dev/zero", "/dev/full", "/dev/null/x", "a" * 300, "-1"),
    *(
        "nan",
        "1e400",
        "9" * 30,
        "run.json",
        "../../../../../x",
        "\udcff",
        "x\ny",
        "~nobody-of-that-name/x",
        "\u0663",
        ".",
    ),
    *("\x1b[31m\u202e\n::error::x", "user/thesis.txt", "@run.json", "0", "2027-02-30", "$(touch owned)", "."),
)
USUAL = {"record": "run.json", "before": "run.json", "after": "other.json", "records": "run.json", "output": "new"}
FIELDS: tuple[Any, ...] = (
    *(None, "", "x", -1, 0, 2**31, 10**400, 1e308, math.nan, math.inf, 1e-320, True, [], {}, [None], {"x": 1}, "../x"),
    *("\x1b[31m\u202e\n::error::x", "a" * 100_000, "9" * 5000, "2026-01-01T00:00:00", "9999-99-99"),
)
COMMANDS = (
    *(f"report m.json --format {form} -o out.{form}" for form in ("html", "markdown", "csv", "gitlab")),
    *("report m.json --format markdown", "compare m.json good.json", "compare good.json m.json"),
    *("baseline diff m.json", "baseline accept m.json --allow-busy --even-so", "baseline show", "explain m.json"),
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def commands(parser: argparse.ArgumentParser, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command and its parser."""
    below = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
    if below is None:
        yield above, parser
    for name, one in below.choices.items() if below else ():
        yield from commands(one, (*above, name))


def ends_well(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Run a command, which has to end by itself, and say why where it ends badly."""
    try:
        status = main(words, PretendedMachine())
    except SystemExit as error:
        status = int(error.code or 0)
    said = "".join(capsys.readouterr())
    assert status in (0, 1, 2), words
    assert said or not status, words
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]|^::|Traceback", said, re.MULTILINE), (words, said)
    assert max(map(len, said.split("\n"))) < 30_000, words


PARSERS = [(words, parser) for words, parser in commands(cli._parser()) if words not in SLOW]


@pytest.mark.parametrize(("words", "parser"), PARSERS, ids=[" ".join(words) for words, _ in PARSERS])
def test_odd_arguments_are_taken_or_refused_in_a_sentence_and_harm_no_file(
    words: tuple[str, ...], parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("user").mkdir()
    for name in ("user/thesis.txt", "user/thesis.html"):
        Path(name).write_text("years of work")
    Path("run.json").write_bytes(as_json(passing_run()))
    Path("other.json").write_bytes(as_json(failing_run()))
    os.mkfifo("fifo")
    for link, place in (("loop", "loop"), ("dangling", "gone")):
        Path(link).symlink_to(place)
    mine = snapshot(Path("user"))
    arguments, chosen = [action for action in parser._actions if action.nargs != 0], random.Random(" ".join(words))
    for odd in arguments:
        for value in chosen.sample(ARGUMENTS, 8):
            given = []
            for one in arguments:
                text = value if one is odd else USUAL.get(one.dest, "x")
                if not one.option_strings:
                    given.append(text)
                elif one is odd or one.required:
                    given.append(f"{one.option_strings[-1]}={text}")
            ends_well(capsys, *words, *given)
            assert mine.items() <= snapshot(Path("user")).items(), given
    assert not Path("owned").exists()


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the places of all fields of a record; of a list, those of the first and the last entry."""
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    for step in inner if isinstance(inner, dict) else ():
        if isinstance(value, dict) or step in (0, len(value) - 1):
            yield (*above, step)
            yield from places(value[step], (*above, step))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("run", [passing_run(), failing_run(), gpu_run()], ids=["passing", "failing", "gpu"])
def test_a_record_with_an_odd_field_is_taken_or_refused_in_a_sentence(
    run: Any, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    good, chosen = as_json(run), random.Random(seed)
    Path("good.json").write_bytes(good)
    every = list(places(json.loads(good)))
    for *above, last in chosen.sample(every, 4):
        odd = json.loads(good)
        inner = odd
        for step in above:
            inner = inner[step]
        if chosen.random() < 0.2:
            del inner[last]
        else:
            inner[last] = chosen.choice(FIELDS)
        Path("m.json").write_text(json.dumps(odd))
        for command in COMMANDS:
            ends_well(capsys, *command.split())
        shutil.rmtree("baselines", ignore_errors=True)
