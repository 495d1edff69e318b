"""INT8 as the settings ask, built and evaluated by the real ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from material import Done, Material, build_request, run_job, run_jobs, run_python

from pytest_trtgate.records.files import file_sha256

pytestmark = pytest.mark.real

ASKED: dict[str, dict[str, Any]] = {
    "exporter": {},
    "minmax": {"calibrator": "minmax"},
    "last": {"keep": ["head.*.last", "/model.0/conv/*"]},
    "reduced": {"reduce_range": True},
    "entropy": {"calibrator": "entropy"},
    "percentile": {"calibrator": "percentile-99.9", "keep": ["stem"], "per_channel": True},
    "unknown": {"keep": ["head.classes", "head.boxs"]},
    "all": {"keep": ["*"]},
}

AS_IT_COMES = """
import sys
from contextlib import nullcontext
from pathlib import Path
from pytest_trtgate.jobs.contract import BuildRequest
from pytest_trtgate.workers import worker
folder = Path(sys.argv[1])
worker.prepare(folder, 2)
from pytest_trtgate.workers.building import build, quantization
quantization.calibrating = lambda *how: nullcontext()
build.work(BuildRequest.model_validate_json(sys.argv[2]), folder)
"""
"""A build that leaves ONNX Runtime's calibrators as they are."""


@pytest.fixture(scope="module")
def made(material: Material, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Done], Path]:
    """Return builds of the same model by what was asked of them, and the folder of their outputs."""
    folder = tmp_path_factory.mktemp("quantized")
    requests = {
        name: build_request(
            material.weights,
            folder / "out" / name,
            "int8",
            data=str(material.data),
            traced=str(folder / "traced"),
            ranges=str(folder / "ranges"),
            quantization=asked,
        )
        for name, asked in ASKED.items()
    }
    return run_jobs("build", requests, folder / "jobs"), folder / "out"


def quantized(engine: Path) -> set[str]:
    """Return the convolutions and products of an engine whose weights, or second input, is dequantized."""
    import onnx

    nodes = onnx.load(engine).graph.node
    dequantized = {output for node in nodes if node.op_type == "DequantizeLinear" for output in node.output}
    return {n.name for n in nodes if n.op_type in ("Conv", "MatMul", "Gemm") and n.input[1] in dequantized}


def test_what_is_kept_stays_out_of_int8_and_is_recorded(made: tuple[dict[str, Done], Path]) -> None:
    done, out = made
    everything = quantized(out / "exporter" / "engine.onnx")
    left = {name: everything - quantized(out / name / "engine.onnx") for name in ("last", "percentile")}
    last = {f"/model.23/cv{branch}.{scale}/cv{branch}.{scale}.2/Conv" for branch in (2, 3) for scale in range(3)}
    assert left["last"] == {*last, "/model.0/conv/Conv"}
    assert {name.split("/")[1] for name in left["percentile"]} == {"model.0", "model.1", "model.2"}
    record = done["last"].response["quantization"]
    assert record["layers"] == len(everything)
    assert len(record["kept"]) == 7
    assert "head.classes.32.last" in record["kept"]
    assert record["settings"] == {"keep": ["/model.0/conv/*", "head.*.last"]}


def test_settings_that_say_what_the_exporter_does_change_no_byte(
    made: tuple[dict[str, Done], Path], builds: dict[str, tuple[Done, Path]]
) -> None:
    done, out = made
    assert done["exporter"].response["quantization"] is None
    same = {file_sha256(out / name / "engine.onnx") for name in ("exporter", "minmax")}
    assert same == {file_sha256(builds["int8"][1])}


def test_each_setting_makes_another_engine(made: tuple[dict[str, Done], Path]) -> None:
    _, out = made
    names = [name for name in ASKED if name not in ("minmax", "unknown", "all")]
    assert len({file_sha256(out / name / "engine.onnx") for name in names}) == len(names)


def test_an_engine_keeps_its_metadata_and_calibration_images(made: tuple[dict[str, Done], Path]) -> None:
    done, _ = made
    for name in ("percentile", "entropy", "last"):
        for key in ("metadata", "calibration_images", "read"):
            assert done[name].response[key] == done["exporter"].response[key]


def test_a_build_that_calibrates_itself_has_the_same_bytes(
    made: tuple[dict[str, Done], Path], material: Material, tmp_path: Path
) -> None:
    for name in ("last", "percentile"):
        more = {"data": str(material.data), "quantization": ASKED[name]}
        request = build_request(material.weights, tmp_path / name, "int8", **more)
        assert run_job("build", request, tmp_path / f"job-{name}").response
        assert file_sha256(tmp_path / name / "engine.onnx") == file_sha256(made[1] / name / "engine.onnx")


def test_ranges_of_several_images_at_a_time_are_those_of_one_after_another(material: Material, tmp_path: Path) -> None:
    how = {"threads": 2, "data": str(material.data)}
    requests = {side: build_request(material.weights, tmp_path / side, "int8", **how) for side in ("ours", "theirs")}
    assert run_job("build", requests["ours"], tmp_path / "job").response
    done = run_python(
        AS_IT_COMES, str(tmp_path), json.dumps({"schema_version": 1, **requests["theirs"]}), folder=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    engines = [file_sha256(tmp_path / side / "engine.onnx") for side in requests]
    assert engines[0] == engines[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unknown", ["tiny.pt: quantization.int8.keep names 'head.boxs'", "the nearest names are head.boxes"]),
        ("all", ["tiny.pt: quantization.int8.keep names all", "nothing would be INT8"]),
    ],
)
def test_names_that_cannot_be_obeyed_are_one_sentence(
    made: tuple[dict[str, Done], Path], name: str, words: list[str]
) -> None:
    assert all(word in made[0][name].sentence for word in words), made[0][name].sentence
