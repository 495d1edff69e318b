"""Records on disk: what a file looks like to people and to tools that compare versions of it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from records_example import baseline, cell
from runs_example import failing_run

from pytest_trtgate.records.baseline import Baseline
from pytest_trtgate.records.figures import AccuracyFigures, PrecisionRecall, Scores
from pytest_trtgate.records.files import as_json, load, write_whole
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.run_folder import new_run_id

BASELINES = Path(__file__).parents[2] / "baselines"
HARD = ("[\n 1,\n 2\n]", "[ 1, 2 ]", "\u2028[\\n 1\\n]", '{\n "a": 1\n}')
"""Text that looks like groups of numbers."""


def test_what_one_launch_measured_of_a_context_is_one_line_and_every_other_field_has_its_own() -> None:
    stored = baseline(cell("fp16"), 4.2)
    lines = as_json(stored).decode().splitlines()
    series = [line for line in lines if "quantiles_ms" in line]
    assert series[0].startswith('      "engine": {"n": ')
    assert len(series) == sum(len(launch.timings) for session in stored.sessions for launch in session.launches)
    assert all(line.count(", ") == 4 + 98 for line in series)
    # The largest change that there can be, of all sessions, is for people to read.
    assert len(lines) < 5 * len(series)
    assert ' "images": 200,' in lines
    assert ' "accuracy": {"mAP50": 0.9331, "mAP50-95": 0.8018},' in lines


def test_what_has_words_or_many_fields_is_not_pressed_into_a_line() -> None:
    names = {f"class {number}": number for number in range(17)}
    run = failing_run().model_copy(update={"settings": {"few": {'"a\\[ b': 1}, "many": names, "words": {"a": "b"}}})
    lines = as_json(run).decode().splitlines()
    assert '  "few": {"\\"a\\\\[ b": 1},' in lines
    assert '   "class 16": 16' in lines
    assert '   "a": "b"' in lines


def test_a_record_is_the_same_json_as_ever() -> None:
    numbers = PrecisionRecall(iou=0.5, reference=(1e-7, -0.0, 1e22, 3), engine=(math.nan, math.inf, -math.inf))
    figures = AccuracyFigures(
        cell=cell("int8"), images=2, replicates=0, curves=(numbers,), scores=Scores(conf=0.2, reference=(), engine=(7,))
    )
    run = failing_run().model_copy(update={"notes": HARD, "settings": {"mixed": [1, "a", None, [2, [3]]], "none": []}})
    for record in (figures, run, baseline(cell("fp32"), 9.1)):
        plain, text = record.model_dump_json(indent=1), as_json(record)
        # By their words: NaN is not equal to itself, and -0.0 is to 0.
        assert json.dumps(json.loads(text)) == json.dumps(json.loads(plain))
        assert text.decode().split() != plain.split()
        assert "".join(text.decode().split()) == "".join(plain.split())


def test_a_file_says_the_same_when_it_is_written_again_also_one_of_an_older_version(tmp_path: Path) -> None:
    run, old, new = failing_run(), tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(run.model_dump_json(indent=1) + "\n")
    new.write_bytes(as_json(run))
    assert load(old, RunRecord) == load(new, RunRecord) == run
    assert as_json(load(old, RunRecord)) == new.read_bytes()


def test_the_baselines_of_this_project_are_written_as_an_update_would_write_them() -> None:
    found = sorted(BASELINES.glob("*/*/*.json"))
    assert len(found) >= 6
    assert [path for path in found if as_json(load(path, Baseline)) != path.read_bytes()] == []


def test_a_stream_is_written_to_rather_than_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", b"text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert [(p.name, p.is_fifo()) for p in tmp_path.iterdir()] == [("pipe", True)]


def test_no_two_runs_have_one_name() -> None:
    assert len({new_run_id() for _ in range(100_000)}) == 100_000
