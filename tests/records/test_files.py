"""Records on disk: what a file looks like to people and to tools that compare versions of it."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records_example import baseline, cell, environment
from runs_example import failing_run

from pytest_trtgate.baselines.store import KEEP_BYTES, load_either
from pytest_trtgate.errors import RecordError
from pytest_trtgate.records import file_sha256
from pytest_trtgate.records.baseline import AccuracyBaseline, Baseline
from pytest_trtgate.records.cell import CONTEXTS
from pytest_trtgate.records.figures import AccuracyFigures, PrecisionRecall, Scores
from pytest_trtgate.records.files import (
    OWN_BYTES,
    RECORD_BYTES,
    RECORD_VALUES,
    as_json,
    load,
    read_bytes,
    read_text,
    write_whole,
)
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.run_folder import new_run_id

BASELINES = Path(__file__).parents[2] / "baselines"
HARD = ("[\n 1,\n 2\n]", "[ 1, 2 ]", "\u2028[\\n 1\\n]", '{\n "a": 1\n}')
"""Text that looks like groups of numbers."""


def test_a_baseline_has_a_line_per_earlier_session_and_per_arm_and_context_of_the_newest() -> None:
    stored = baseline(cell("fp16"), 4.2)
    lines = as_json(stored).decode().splitlines()
    sessions = [line for line in lines if line.startswith('  {"recorded_at": ')]
    assert len(sessions) == len(stored.sessions) - 1
    rows = [line for line in lines if line.startswith(('   "engine": {"n": [', '   "end-to-end": {"n": ['))]
    assert len(rows) == 2
    # Earlier sessions have what verdicts depend on.
    assert list(json.loads(sessions[0].rstrip(","))["engine"]) == ["p50", "p95", "p99"]
    newest = json.loads(rows[0].partition(": ")[2].rstrip(","))
    assert list(newest) == ["n", "mean", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99"]
    assert len(lines) < 30
    assert ' "images": 200,' in lines
    assert ' "accuracy": {"mAP50": 0.9331, "mAP50-95": 0.8018},' in lines


def test_a_baseline_is_read_as_it_was_written_to_five_digits(tmp_path: Path) -> None:
    stored, path = baseline(cell("fp16"), 4.2), tmp_path / "one.json"
    path.write_bytes(as_json(stored))
    loaded = load(path, Baseline)
    assert as_json(loaded) == path.read_bytes()
    for context in CONTEXTS:
        for percent in (50, 95, 99):
            then, now = (one.per_session_ms(context, percent) for one in (stored, loaded))
            assert [pytest.approx(session, rel=1e-4) for session in then] == now


@pytest.mark.parametrize(
    "row",
    [
        {"p50": [1.0, 2.0], "p95": [1.0]},
        {"n": [1], "mean": [1.0], "p50": [1.0, 2.0]},
        {"n": [1], "mean": [1.0], "p50": ["a"]},
    ],
)
def test_columns_that_do_not_fit_each_other_are_a_sentence(tmp_path: Path, row: dict[str, list[Any]]) -> None:
    path = tmp_path / "one.json"
    fields = json.loads(as_json(baseline(cell("fp16"), 4.2)))
    fields["sessions"][0]["engine"] = row
    path.write_text(json.dumps(fields))
    with pytest.raises(RecordError, match=r"one\.json: not a valid Baseline \(field 'sessions"):
        load(path, Baseline)


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
    for record in (figures, run):
        plain, text = record.model_dump_json(indent=1), as_json(record)
        # By their words: NaN is not equal to itself, and -0.0 is to 0.
        assert json.dumps(json.loads(text)) == json.dumps(json.loads(plain))
        assert text.decode().split() != plain.split()
        assert "".join(text.decode().split()) == "".join(plain.split())


def test_a_file_says_the_same_when_it_is_written_again_also_one_of_an_older_version(tmp_path: Path) -> None:
    run, old, new = failing_run(), tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(run.model_dump_json(indent=1) + "\n")
    new.write_bytes(as_json(run))
    assert load(old, RunRecord) == load(new, RunRecord)
    assert load(new, RunRecord).verdicts == run.verdicts
    assert as_json(load(old, RunRecord)) == new.read_bytes()


def test_a_file_that_an_editor_saved_with_a_mark_and_other_line_ends_says_the_same(tmp_path: Path) -> None:
    stored = baseline(cell("fp16"), 4.2)
    (tmp_path / "b.json").write_bytes(b"\xef\xbb\xbf" + as_json(stored).replace(b"\n", b"\r\n"))
    assert as_json(load(tmp_path / "b.json", Baseline)) == as_json(stored)


def test_the_baselines_of_this_project_are_written_as_an_update_would_write_them() -> None:
    found = sorted(BASELINES.glob("*/*/*.json"))
    assert len(found) >= 6
    assert [path for path in found if as_json(load_either(path)) != path.read_bytes()] == []
    assert [path for path in found if path.stat().st_size > KEEP_BYTES] == []


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "socket": a_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run.json"
    SPECIAL[kind](path)
    with pytest.raises(RecordError, match=rf"run\.json: cannot be read \(a {kind}, not a regular file\)"):
        load(path, RunRecord)
    for read in (read_bytes, read_text, file_sha256):
        with pytest.raises(OSError, match=f"a {kind}, not a regular file") as error:
            read(path)
        assert error.value.filename == str(path)


def test_a_record_that_would_fill_the_memory_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    large, many = tmp_path / "large.json", tmp_path / "many.json"
    with large.open("wb") as file:
        file.truncate(RECORD_BYTES + 1)
    many.write_bytes(b"[" + b"[]," * RECORD_VALUES + b"0]")
    with pytest.raises(RecordError, match=r"large\.json: cannot be read \(64.0 MB, more than 64.0 MB\)"):
        load(large, RunRecord)
    with pytest.raises(RecordError, match=r"many\.json: holds 6,000,001 values, more than the 3,000,000 of a record"):
        load(many, RunRecord)
    # What a process of the gate hands over may name each file of a dataset.
    with pytest.raises(RecordError, match="not a RunRecord"):
        load(many, RunRecord, own=True)


def test_a_file_that_grows_while_it_is_read_or_has_no_length_is_held_to_the_limit() -> None:
    with pytest.raises(OSError, match="more than 10 B"):
        read_bytes(Path("/proc/self/maps"), 10)


def test_a_small_file_takes_little_memory_however_large_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_bytes(b"{}")
    tracemalloc.start()
    try:
        assert read_bytes(path, OWN_BYTES) == b"{}"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_text_is_utf_8_with_or_without_a_mark_or_the_byte_that_is_not_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffgr\u00fcn".encode())
    assert read_text(path) == "gr\u00fcn"
    path.write_bytes(b"a\nb\xff")
    with pytest.raises(OSError, match="not UTF-8 text: line 2 has the byte 0xff"):
        read_text(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema_version": ' + "9" * 10_000 + "}", '"\\ud800"'])
def test_json_that_is_too_deep_or_holds_impossible_values_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"odd\.json: not "):
        load(path, RunRecord)


def test_a_whole_number_that_no_float_can_be_is_a_sentence(tmp_path: Path) -> None:
    path, raw = tmp_path / "odd.json", json.loads(as_json(failing_run()))
    raw["accuracies"][1]["instances"] = 10**400
    path.write_text(json.dumps(raw))
    with pytest.raises(RecordError, match=r"accuracies\.1\.instances. holds a whole number that is no "):
        load(path, RunRecord)
    # A text may have as many digits.
    raw["accuracies"][1]["instances"], raw["notes"] = 10**19, ["1" * 400]
    path.write_text(json.dumps(raw))
    assert load(path, RunRecord).accuracies[1].instances == 10**19


def test_a_field_of_any_name_is_told_in_a_line_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps({**json.loads(as_json(failing_run())), "x" * 1_000_000: 1}))
    with pytest.raises(RecordError) as caught:
        load(path, RunRecord)
    assert len(str(caught.value)) < 1000


def test_a_stream_is_written_to_rather_than_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", b"text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert [(p.name, p.is_fifo()) for p in tmp_path.iterdir()] == [("pipe", True)]


def test_no_two_runs_have_one_name() -> None:
    assert len({new_run_id() for _ in range(100_000)}) == 100_000


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device or address"):
        write_whole(tmp_path / "pipe", b"text")


@pytest.mark.parametrize("value", ["-1", "1.1", "NaN", "Infinity", "1e308"])
@pytest.mark.parametrize("metrics", ["accuracy", "reference_accuracy"])
def test_a_baseline_with_a_metric_that_is_none_is_refused(tmp_path: Path, metrics: str, value: str) -> None:
    said = AccuracyBaseline(
        cell=cell("int8"), environment=environment(), engine_sha256="0", **{metrics: {"mAP50": 0.5}}
    )
    (tmp_path / "a.json").write_bytes(as_json(said).replace(b"0.5", value.encode()))
    with pytest.raises(RecordError, match=f"not a valid AccuracyBaseline .field '{metrics}.mAP50'"):
        load(tmp_path / "a.json", AccuracyBaseline)


@pytest.mark.parametrize("value", ["0", "-4.0", "NaN", "Infinity", "1e308"])
def test_a_baseline_with_a_time_that_no_machine_takes_is_refused(tmp_path: Path, value: str) -> None:
    file = tmp_path / "a.json"
    before = as_json(baseline(cell("int8"), 4.0)).decode()
    text, count = re.subn(r'("p50": \[)[^,\]]+', rf"\g<1>{value}", before, count=1)
    assert count
    file.write_text(text)
    with pytest.raises(RecordError, match="percentiles that are no durations in milliseconds"):
        load(file, Baseline)
