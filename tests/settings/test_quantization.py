"""``[tool.trtgate.quantization]``: what may be set, for all models and for one, and what of it is in keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_trtgate.errors import SettingsError
from pytest_trtgate.settings import Int8, Settings, build, recorded_settings

SOURCE = Path("/project/trtgate.toml")


def settings(**int8: Any) -> Settings:
    return build({"quantization": {"int8": int8}}, SOURCE, {}, SOURCE.parent)


def test_one_name_may_stand_for_a_list() -> None:
    assert settings(keep="head").quantization.int8.keep == ("head",)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("calibrator", "mse", "exporter, minmax, entropy, or a percentile from 90 on, such as percentile-99.99"),
        ("calibrator", "percentile-100", "percentile from 90 on"),
        ("calibrator", "percentile-50", "percentile from 90 on"),
        ("keep", 3, "names of layers, as `trtgate layers best.pt` prints them"),
        ("keep", [""], "names of layers"),
        ("per_channel", "yes", "true or false, without quotes"),
        ("kep", [], "unknown key 'quantization.int8.kep'; did you mean 'keep'?"),
    ],
)
def test_what_is_not_allowed_is_one_sentence(key: str, value: object, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{key: value})
    assert words in str(caught.value)
    assert "quantization.int8." in str(caught.value)


def test_only_what_differs_from_the_exporter_is_in_a_key_and_in_one_order() -> None:
    assert Int8().changes("onnxruntime") == Int8(calibrator="exporter", keep=()).changes("onnxruntime") == {}
    asked = Int8(keep=("stem", "head", "stem"), reduce_range=True, calibrator="percentile-99.9")
    assert asked.changes("onnxruntime") == {
        "keep": ["head", "stem"],
        "reduce_range": True,
        "calibrator": "percentile-99.9",
    }
    assert asked.percentile == 99.9
    assert asked.changes("tensorrt") == {"keep": ["head", "stem"], "calibrator": "percentile-99.9"}


def test_what_a_model_says_of_its_own_wins_and_the_rest_is_general() -> None:
    own = {"path": "a.pt", "quantization": {"int8": {"per_channel": True}}}
    table = {"models": [own, "b.pt"], "quantization": {"int8": {"calibrator": "minmax", "keep": ["stem"]}}}
    found = build(table, SOURCE, {}, SOURCE.parent)
    assert found.of("a").quantization.int8 == Int8(per_channel=True, calibrator="minmax", keep=("stem",))
    assert found.of("b").quantization.int8 == Int8(calibrator="minmax", keep=("stem",))
    # As a run record has it, too: it stores what was said and not the defaults of the rest.
    again = recorded_settings(found.model_dump(mode="json"), SOURCE)
    assert again.of("a").quantization == found.of("a").quantization


def test_toml_says_what_differs() -> None:
    asked = Int8(keep=('/model.0/"odd\\name"/Conv', "head.*.last"), per_channel=True)
    found = {"quantization": {"int8": _read(asked.toml("int8"))["int8"]}}
    assert build(found, SOURCE, {}, SOURCE.parent).quantization.int8 == asked
    assert asked.toml("quantization.int8").startswith("[quantization.int8]\nkeep = [")


def _read(text: str) -> dict[str, Any]:
    from pytest_trtgate.settings.load import tomllib

    read: dict[str, Any] = tomllib.loads(text)
    return read
