"""Every setting with values that no one means: each is taken, or refused in a sentence that names it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from pytest_trtgate.errors import SettingsError
from pytest_trtgate.plugin.options import OPTIONS
from pytest_trtgate.settings.load import build
from pytest_trtgate.settings.settings import Settings
from pytest_trtgate.settings.types import MOST, Section

ODD: tuple[Any, ...] = (
    *("", " ", "a\0b", "~nosuchuser/x", "\x1b[31m\u202e", "a" * 100_000, "9" * 5000, "\u0663", "fp32", "."),
    *(-1, 0, 10**25, -(10**25), 1.5, float("nan"), float("inf"), -0.0, 1e308, True, datetime.date(2027, 1, 1)),
    *([], [""], [[]], [1], [{}], [None], {}, {"x": 1}, {"path": ""}, {"fp32": ""}, {"fp32": [1]}, {"fp32": {"p50": 1}}),
)
Path_ = tuple[str, ...]


def places(section: type[Section], above: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of each key of a table and of those below it, and of one that there is not; ``#``: in a list."""
    yield (*above, "nosuch")
    for name, field in section.model_fields.items():
        here = (*above, field.alias or name)
        yield here
        of = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        for kind in (kind for kind in of if issubclass(kind, Section)):
            more = {"models": ("#",), "machine": ("any",)}.get(here[-1], ())
            yield from places(kind, (*here, *more))


def nested(path: Path_, value: Any) -> Any:
    """Return tables in which a value is at some path."""
    for step in reversed(path):
        whole = {"path": "a.pt", **value} if step == "#" and isinstance(value, dict) else value
        value = [whole] if step == "#" else {step: value}
    return value


def refused(*arguments: Any) -> str:
    """Return why settings are refused; empty where they are taken."""
    try:
        build(*arguments)
    except SettingsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("path", sorted(set(places(Settings))), ids=".".join)
def test_an_odd_value_of_a_setting_is_taken_or_refused_in_a_sentence(path: Path_, tmp_path: Path) -> None:
    said = [refused(nested(path, value), tmp_path / "trtgate.toml", {}, tmp_path) for value in ODD]
    assert max(map(len, said)) < 1500
    assert all(str(tmp_path / "trtgate.toml") in why or "NUL" in why or "home folder" in why for why in said if why)
    assert any(said)
    huge = refused(nested(path, 1e308), tmp_path / "trtgate.toml", {}, tmp_path)
    assert huge
    assert ("no more than" not in huge) or huge.endswith(f", and no more than {MOST}")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.metavar], ids=lambda option: option.key)
def test_an_odd_value_of_an_option_is_taken_or_refused_in_a_sentence(option: Any, tmp_path: Path) -> None:
    flags = {one.key: one.flag for one in OPTIONS}
    for value in (value for value in ODD if isinstance(value, str)):
        given = {option.key: [value] if option.repeatable else value}
        assert len(refused({}, None, given, tmp_path, None, flags)) < 1500
