"""What is read of the engine inspector, and when a precision counts as not taken."""

from __future__ import annotations

import json

import pytest

from pytest_trtgate.judge.engine import judge_engine, precision_finding
from pytest_trtgate.records.cell import Cell
from pytest_trtgate.records.engine import EngineInspection, EngineRecord
from pytest_trtgate.records.verdict import Outcome
from pytest_trtgate.settings.settings import EngineBudgets, EngineLimits
from pytest_trtgate.workers.building.inspection import inspect


def layer(name: str = "conv", *formats: str, output: str = "", tactic: str = "") -> dict[str, object]:
    """Return one layer as the inspector writes it."""
    tensors = [{"Name": "t", "Location": "Device", "Dimensions": [1], "Format/Datatype": f} for f in formats]
    outputs = [{"Name": "o", "Format/Datatype": output}] if output else []
    return {"Name": name, "LayerType": "x", "Inputs": tensors, "Outputs": outputs, "TacticName": tactic}


def look(*layers: object) -> EngineInspection:
    """Inspect an engine of these layers."""
    return inspect(json.dumps({"Layers": layers, "Bindings": ["images", "output0"]}), 1000, 500)


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ("Row major linear FP32", "FP32"),
        ("Row major linear FP16 format", "FP16"),
        ("Channel major FP16 format where channel % 8 == 0", "FP16"),
        ("Two wide channel vectorized row major FP16 format", "FP16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "INT8"),
        ("Four wide channel vectorized row major Int8 format", "INT8"),
        ("Row major linear INT32", "other"),
        ("Row major linear BOOL", "other"),
        ("Int64", "other"),
        ("Float", "FP32"),
        ("Half", "FP16"),
        ("Int8", "INT8"),
        ("BFloat16", "BF16"),
        ("FP8", "FP8"),
    ],
)
def test_the_formats_of_all_versions_are_understood(found: str, precision: str) -> None:
    assert look(layer("a", found), layer("b", "Float")).precisions.get(precision, 0) >= 1
    assert list(look(layer("a", found)).precisions) == [precision]


def test_a_layer_works_in_what_it_reads() -> None:
    int8_to_fp16 = layer("a", "Int8", output="Half")
    assert look(int8_to_fp16).precisions == {"INT8": 1}


def test_without_inputs_the_output_tells_and_else_the_tactic() -> None:
    of_output = layer("constant", output="Half")
    of_tactic = layer("conv", tactic="sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc")
    int8 = layer("conv", tactic="sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32")
    assert look(of_output, of_tactic, int8, layer("odd", "N/A due to dynamic shapes")).precisions == {
        "FP16": 2,
        "INT8": 1,
        "unknown": 1,
    }


def test_the_shares_are_said_in_one_sentence() -> None:
    found = look(*[layer("a", "Int8")] * 61, *[layer("b", "Half")] * 22, *[layer("c", "Float")] * 17)
    assert found.sentence("int8") == "int8 requested: 61 % of layers INT8, 22 % FP16, 17 % FP32"
    assert (found.layers, found.plan_bytes, found.device_memory_bytes) == (100, 1000, 500)


def test_layers_that_stand_for_several_are_counted() -> None:
    names = ["/conv + /act", "PWN(PWN(/sigmoid), /mul)", "{ForeignNode[a...b]}", "/x/conv || /y/conv", "PWN(/s)", "/c"]
    assert look(*[layer(name, "Half") for name in names]).fused_layers == 4


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"Layers": 3}', '{"Layers": null}', "7"])
def test_text_that_tells_nothing_is_no_detail(text: str) -> None:
    found = inspect(text, 1000)
    assert (found.detailed, found.layers, found.precisions, found.fused_layers) == (False, None, {}, None)
    assert found.sentence("int8") == "int8 requested: this TensorRT does not tell the precision of the layers"


def test_names_of_layers_may_hold_what_parts_fused_nodes() -> None:
    found = inspect(json.dumps({"Layers": [layer("a\x1eb", "Half")]}).replace("\\u001e", "\x1e"), 1000)
    assert found.precisions == {"FP16": 1}


def test_mere_names_are_no_detail_but_are_counted() -> None:
    found = look("conv + act", "conv2")
    assert (found.detailed, found.layers, found.fused_layers) == (False, 2, 1)


# Findings


def test_an_fp16_engine_of_fp32_layers_is_found() -> None:
    found = look(*[layer("a", "Float")] * 97, *[layer("b", "Half")] * 3)
    sentence = precision_finding("fp16", found, 1, None)
    assert sentence == "fp16 requested: 97 % of layers FP32, 3 % FP16; fewer than 5 % are FP16"
    assert precision_finding("fp16", look(layer("a", "Half"), layer("b", "Float")), 1, None) is None


def test_an_int8_engine_without_an_int8_layer_is_found() -> None:
    sentence = precision_finding("int8", look(layer("a", "Half")), 1, None)
    assert sentence == "int8 requested: 100 % of layers FP16; no layer is INT8"
    some = look(layer("a", "Int8"), *[layer("b", "Half")] * 99)
    assert precision_finding("int8", some, 1, None) is None


def test_without_detail_the_size_decides() -> None:
    blind = inspect("", 8_800_000)
    sentence = precision_finding("fp16", blind, 8_900_000, 8_900_000)
    assert sentence is not None
    assert sentence.endswith("and it has 8.9 MB, no less than fp32 (8.9 MB)")
    assert precision_finding("fp16", blind, 8_899_999, 8_900_000) is None
    assert precision_finding("fp16", blind, 8_900_000, None) is None


def test_where_tensorrt_is_bound_to_the_network_that_decides_whatever_the_size() -> None:
    bound = inspect("", 13, network=["DataType.INT8"] * 9 + ["DataType.HALF"])
    untold = "this TensorRT does not tell the precision of the layers"
    said = "90 % of the network's convolutions and matrix products INT8, 10 % FP16"
    assert bound.sentence("int8") == f"int8 requested: {said}; {untold}"
    assert precision_finding("int8", bound, 2, 1) is None
    said = "100 % of the network's convolutions and matrix products FP32"
    sentence = precision_finding("int8", inspect("", 13, network=["DataType.FLOAT"]), 1, 2)
    assert sentence == f"int8 requested: {said}; {untold}; no layer is INT8"


def test_the_layers_come_before_the_network() -> None:
    found = inspect(json.dumps({"Layers": [layer("a", "Float")]}), 13, network=["DataType.HALF"])
    assert precision_finding("fp16", found, 1, 2) == "fp16 requested: 100 % of layers FP32; no layer is FP16"


def test_there_is_nothing_to_find_in_fp32_or_where_nothing_was_inspected() -> None:
    assert precision_finding("fp32", look(layer("a", "Half")), 2, 1) is None
    assert precision_finding("int8", None, 2, 1) is None


# Budgets


def engine(device: str = "0", inspection: EngineInspection | None = None) -> EngineRecord:
    """Return an engine of 8.8 MB."""
    return EngineRecord(
        cell=Cell(model="m", precision="fp16", imgsz=320, batch=1, backend="tensorrt", device=device),
        cache_key="k",
        key_parts={},
        artifact="engine.engine",
        files=(),
        sha256="",
        size_bytes=8_800_000,
        built_at="",
        build_seconds=1.0,
        inspection=inspection,
    )


def test_an_engine_over_a_budget_fails() -> None:
    checks = judge_engine(
        engine(inspection=inspect("", 1, 30_000_000)), EngineLimits(max_size_mb=8, max_device_memory_mb=40)
    )
    assert [(c.outcome, c.sentence) for c in checks] == [
        (Outcome.FAIL, "fp16: engine size 8.8 MB is over its budget of 8 MB"),
        (Outcome.PASS, "fp16: device memory 30.0 MB is within its budget of 40 MB"),
    ]


def test_memory_that_is_not_known_is_not_judged() -> None:
    limits = EngineLimits(max_device_memory_mb=40)
    assert [c.outcome for c in judge_engine(engine(), limits)] == [Outcome.INCONCLUSIVE]
    assert judge_engine(engine(device="cpu"), limits) == []


def test_the_budget_of_a_precision_comes_before_the_general_one() -> None:
    budgets = EngineBudgets(max_size_mb=10, max_device_memory_mb=50, int8=EngineLimits(max_size_mb=5))
    assert budgets.limits("int8") == EngineLimits(max_size_mb=5, max_device_memory_mb=50)
    assert budgets.limits("fp16") == EngineLimits(max_size_mb=10, max_device_memory_mb=50)
