"""What a card says of an engine that is otherwise than the accepted one."""

from __future__ import annotations

import re
from typing import Any

from records_example import baseline, cell, use
from runs_example import failing_run

from pytest_trtgate import text as fmt
from pytest_trtgate.records.baseline import Built
from pytest_trtgate.records.engine import QuantizationRecord
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.verdict import Outcome
from pytest_trtgate.report.numbers import CellNumbers
from pytest_trtgate.report.page import html
from pytest_trtgate.report.page.changed import changed_since, quantization_cost

SAME = {"weights_sha256": "5be1" * 16}
KNOWN = Built(size_bytes=1_094_656, layers=None, calibration="e8d4" * 16, calibration_images=600)


def run_with(**stored: Any) -> RunRecord:
    """Return the failing run, whose INT8 engine has a baseline with some fields."""
    where, run = cell("int8"), failing_run()
    kept = use(where, Outcome.PASS, baseline(where, 8.6).model_copy(update=stored))
    return run.model_copy(update={"baselines": {**run.baselines, where.key: kept}})


def said(**stored: Any) -> str:
    """Return what is told of the failing INT8 engine."""
    return changed_since(CellNumbers(run_with(**stored), cell("int8")), "accuracy")


def test_other_weights_are_told() -> None:
    told = said(weights_sha256="aaaa" * 16, built=KNOWN)
    assert told == "Changed since the baseline: weights (aaaaaaaa to 5be15be1)."
    assert f'<p class="s changed">{told}</p>' in html.render([run_with(weights_sha256="aaaa" * 16, built=KNOWN)])


def test_calibration_size_and_layers_are_told_with_both_values() -> None:
    then = KNOWN.model_copy(update={"calibration": "20ca" * 16, "calibration_images": 20, "size_bytes": 1_000_000})
    assert fmt.plain(said(**SAME, built=then)) == (
        "Changed since the baseline: calibration (20 images, 20ca20ca to 600 images, e8d4e8d4), "
        "size (1.0 MB to 1.1 MB)."
    )
    near = KNOWN.model_copy(update={"size_bytes": 1_094_655})
    assert said(**SAME, built=near).endswith("size (1,094,655 to 1,094,656 bytes).")


def test_where_nothing_is_known_to_have_changed_that_is_told() -> None:
    told = "Changed since the baseline: the engine, of the same weights; what made it differ is not known."
    assert said(**SAME, built=KNOWN) == told
    assert said(**SAME) == told  # an older file
    assert said() == told.replace(", of the same weights", "")


def test_other_versions_are_told() -> None:
    then = baseline(cell("int8"), 8.6, "1.30.0").environment
    versions = then.versions | {"torch": "2.10.0"}
    told = said(**SAME, built=KNOWN, environment=then.model_copy(update={"versions": versions}))
    assert told == "Changed since the baseline: onnxruntime (1.30.0 to 1.32.0), torch (2.10.0 to 2.11.0)."


def test_of_the_same_engine_and_without_a_baseline_nothing_is_told() -> None:
    sha256 = failing_run().engines[cell("int8").key].sha256
    assert said(engine_sha256=sha256) == ""
    assert changed_since(CellNumbers(failing_run(), cell("int8")), "accuracy") == ""


def test_an_engine_of_another_backend_is_compared_by_its_weights_alone() -> None:
    other = cell("int8").model_copy(update={"backend": "tensorrt"})
    then = KNOWN.model_copy(update={"size_bytes": 7})
    environment = baseline(cell("int8"), 8.6).environment
    told = said(cell=other, weights_sha256="aaaa" * 16, built=then, environment=environment)
    assert told == "Changed since the baseline: weights (aaaaaaaa to 5be15be1)."


def cost(quantization: dict[str, Any] | None, **stored: Any) -> str:
    """Return what is told of an INT8 engine with 1 of 10 layers kept, where one with some settings is accepted."""
    where = cell("int8")
    run = run_with(**SAME | {"built": KNOWN.model_copy(update={"quantization": quantization})} | stored)
    special = QuantizationRecord(settings={"keep": ["stem"]}, layers=10, kept=("stem.0",))
    engine = run.engines[where.key].model_copy(update={"quantization": special})
    run = run.model_copy(update={"engines": {**run.engines, where.key: engine}})
    text = quantization_cost(CellNumbers(run, where))
    page = html.render([run])
    assert "Quantization" in page
    assert ("Quantization costs" in page) is bool(text)
    return fmt.plain(text)


def test_what_kept_layers_cost_is_told_against_an_accepted_engine_that_keeps_none() -> None:
    told = cost({})
    assert re.fullmatch(
        r"[+-][\d.]+ % of p50 \(8\.6\d? ms to [\d.]+ ms\), against the accepted engine, in its stored sessions, "
        r"quantized as the exporter does",
        told,
    )
    assert cost({"keep": ["neck"]}).endswith("quantized with other settings")


def test_a_cost_that_is_not_known_is_not_told() -> None:
    assert cost({"keep": ["stem"]}) == ""  # the same settings
    assert cost(None) == ""  # an older file
    assert cost({}, weights_sha256="aaaa" * 16) == ""
    assert (
        cost(
            {},
            environment=baseline(cell("int8"), 8.6, "1.30.0").environment.model_copy(
                update={"versions": {"torch": "2.10.0"}}
            ),
        )
        == ""
    )


def test_other_settings_of_int8_are_told_as_a_change() -> None:
    then = KNOWN.model_copy(update={"quantization": {"keep": ["stem"]}})
    assert said(**SAME, built=then) == "Changed since the baseline: quantization.int8."
