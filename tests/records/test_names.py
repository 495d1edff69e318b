"""Names and paths in records never lead out of the folder that they are for."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from pytest_trtgate.records.names import InnerPath, Name

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
