"""Names and paths in records never lead out of the folder that they are for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from records_example import accuracy, cell
from runs_example import failing_run

from pytest_trtgate import load_run
from pytest_trtgate.errors import RecordError
from pytest_trtgate.records import AccuracyRecord, ClassAccuracy, as_json, cell_of_key
from pytest_trtgate.records.names import InnerPath, Name

KEY = cell("int8").key
NAMES, PATHS = TypeAdapter(Name), TypeAdapter(InnerPath)
BAD = ["", ".", "..", ".pt", "a/b", "/a", "a\\b", "a\0b", "a\nb", "a\tb", "a\x1b[2J", "a\u202eb", "a\ud800", "é" * 76]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_single_step_in_plain_text_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        NAMES.validate_python(name)


@pytest.mark.parametrize("name", ["best", "a..b", "yolo26n (2)", "größe", "\N{SLICE OF PIZZA}", "x" * 150])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert NAMES.validate_python(name) == name


@pytest.mark.parametrize("path", ["/a", "\\a", "..", "a/../../b", "a\\..\\b", "C:\\a", "c:a", "a\0", "a/" * 501])
def test_a_stored_path_never_leaves_its_folder(path: str) -> None:
    with pytest.raises(ValidationError):
        PATHS.validate_python(path)


@pytest.mark.parametrize("path", ["", "a", "jobs/accuracy-a-pt/per_image.npz", "a..b/c", "./a"])
def test_other_paths_stay_as_they_are(path: str) -> None:
    assert PATHS.validate_python(path) == path


def test_the_sentence_names_the_text_and_what_is_wrong() -> None:
    with pytest.raises(ValidationError, match=r"'\.\./\.\./x' has a slash or backslash, as only a path has"):
        NAMES.validate_python("../../x")


OUTSIDE = "../../outside"
PLACES = [
    ("run_id",),
    ("environment", "machine"),
    ("cells", 0, "model"),
    ("cells", 0, "backend"),
    ("engines", KEY, "artifact"),
    ("engines", KEY, "cache_key"),
    ("engines", KEY, "files", 0, "name"),
    ("accuracies", 0, "per_image"),
    ("latencies", "shapes", "launches", 0, "samples"),
    ("jobs", 0, "log"),
    ("baselines", cell("fp16").key, "baseline", "cache_key"),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place[-1]))
def test_a_record_that_names_something_outside_is_refused(place: tuple[str | int, ...], tmp_path: Path) -> None:
    run = json.loads(as_json(failing_run()))
    *above, last = place
    part = run
    for step in above:
        part = part[step]
    assert isinstance(part[last], str)
    part[last] = OUTSIDE
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(RecordError, match=f"not a valid RunRecord .*{last}': '{OUTSIDE}' "):
        load_run(tmp_path / "run.json")


def test_a_key_that_is_a_path_is_of_no_cell() -> None:
    assert cell_of_key(KEY) is not None
    assert cell_of_key(f"../{KEY}") is None


def test_classes_of_one_name_are_told_apart() -> None:
    classes = [ClassAccuracy(name=name, images=1, instances=1, metrics={}) for name in ("a", "b", "a", "a (class 2)")]
    record = AccuracyRecord.model_validate({**dict(accuracy("pt", 0.5)), "classes": classes})
    assert [c.name for c in record.classes] == ["a (class 0)", "b", "a (class 2) (class 2)", "a (class 2) (class 3)"]
