"""Builds, with the real torch, Ultralytics and ONNX Runtime."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
from material import (
    IMGSZ,
    WATCH,
    Done,
    Material,
    build_request,
    run_job,
)

from pytest_trtgate.data import label_of
from pytest_trtgate.jobs.contract import BuildResponse
from pytest_trtgate.records.files import file_sha256

pytestmark = pytest.mark.real


def test_a_build_leaves_one_engine_in_the_output_folder(builds: dict[str, tuple[Done, Path]]) -> None:
    done, engine = builds["fp32"]
    assert BuildResponse.model_validate(done.response).artifact == engine.name
    assert [path.name for path in engine.parent.iterdir()] == ["engine.onnx"]


def test_a_build_tells_what_is_in_the_engine(builds: dict[str, tuple[Done, Path]]) -> None:
    metadata = builds["fp32"][0].response["metadata"]
    assert (metadata["task"], metadata["batch"], metadata["imgsz"]) == ("detect", 1, [IMGSZ, IMGSZ])
    assert metadata["names"] == {"0": "dark", "1": "bright"}


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.6), ("int8", 0.45)])
def test_lower_precisions_make_smaller_engines(
    builds: dict[str, tuple[Done, Path]], precision: str, share: float
) -> None:
    done, engine = builds[precision]
    assert done.response
    assert engine.stat().st_size < share * builds["fp32"][1].stat().st_size


def test_only_int8_is_calibrated(builds: dict[str, tuple[Done, Path]], material: Material) -> None:
    images = {precision: done.response["calibration_images"] for precision, (done, _) in builds.items()}
    assert images == {"fp32": None, "fp16": None, "int8": [str(path) for path in material.images("train")]}


def test_a_build_tells_what_it_has_read(builds: dict[str, tuple[Done, Path]], material: Material) -> None:
    weights = {str(material.weights): file_sha256(material.weights)}
    images = [file for image in material.images("train") for file in (image, label_of(image))]
    assert builds["fp32"][0].response["read"] == weights
    assert builds["int8"][0].response["read"] == weights | {str(file): file_sha256(file) for file in images}


class Hostile:
    """A pickle of it runs code where it is loaded in the ordinary way."""

    def __reduce__(self) -> Any:
        return exec, ("open('was-here', 'w')",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_runs_code_unless_weights_are_to_be_loaded_safely(tmp_path: Path, legacy: bool) -> None:
    weights, content = tmp_path / "hostile.pt", pickle.dumps({"model": Hostile(), "train_args": {}}, protocol=2)
    weights.write_bytes(content)
    if not legacy:
        with zipfile.ZipFile(weights, "w") as archive:
            archive.writestr("hostile/data.pkl", content)
            archive.writestr("hostile/version", "3\n")
    requests = {
        name: build_request(weights, tmp_path / name, "fp32", safe_weights=name == "safe")
        for name in ("safe", "trusted")
    }
    done = {name: run_job("build", request, tmp_path / name) for name, request in requests.items()}
    if legacy:
        assert "hostile.pt: not" in done["safe"].sentence
    else:
        named = "names what safe loading does not allow: "
        assert named in done["safe"].sentence
        assert done["safe"].sentence.partition(named)[2] in (
            f"{module}.exec; nothing in it was run" for module in ("builtins", "__builtin__")
        )
    assert not (done["safe"].folder / "was-here").exists()
    assert legacy or (done["trusted"].folder / "was-here").exists()


def test_a_checkpoint_of_ultralytics_is_loaded_safely_to_the_same_engine(
    builds: dict[str, tuple[Done, Path]], material: Material, tmp_path: Path
) -> None:
    done = run_job("build", build_request(material.weights, tmp_path / "output", "fp32", safe_weights=True), tmp_path)
    assert done.response["artifact"] == "engine.onnx"
    assert (tmp_path / "output" / "engine.onnx").read_bytes() == builds["fp32"][1].read_bytes()


def test_a_build_tells_how_far_calibration_is(builds: dict[str, tuple[Done, Path]]) -> None:
    assert "calibrating INT8 on 12 images: " in " ".join(builds["int8"][0].progress)


def test_calibration_images_are_those_that_were_read(material: Material, tmp_path: Path) -> None:
    # Of the 6 images in half of the split, a batch of 4 leaves 2 over, and which ones is up to a shuffle.
    more = {"data": str(material.data), "fraction": 0.5, "batch": 4}
    request = build_request(material.weights, tmp_path / "output", "int8", **more)
    done = run_job("build", request, tmp_path / "job", before=WATCH)
    images = done.response["calibration_images"]
    assert len(images) == 4
    assert set(images) <= {str(path) for path in material.images("train")[:6]}
    assert set(images) == set((tmp_path / "job" / "decoded.txt").read_text().split())


def test_an_engine_is_the_same_from_a_graph_that_another_build_left(
    builds: dict[str, tuple[Done, Path]], material: Material, tmp_path: Path
) -> None:
    engines: list[bytes] = []
    found: dict[str, int] = {}
    for precision in ("fp32", "fp16", "int8"):
        more = {"data": str(material.data)} if precision == "int8" else {}
        request = build_request(
            material.weights, tmp_path / precision, precision, traced=str(tmp_path / "traced"), **more
        )
        assert run_job("build", request, tmp_path / f"job-{precision}").response
        engines.append((tmp_path / precision / "engine.onnx").read_bytes())
        # Runs are kept, and uploaded: without the weights.
        assert not [*(tmp_path / f"job-{precision}").rglob("*.pt"), *(tmp_path / f"job-{precision}").rglob("*.onnx")]
        kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "traced").glob("*/*")}
        assert kept == (found or kept)
        found = kept
    assert sorted(found) == ["simplified.onnx", "traced.onnx"]
    # Whatever the file holds when the next engine is built: that does not take another's graph.
    assert [path.name for path in (tmp_path / "traced").iterdir()] == [file_sha256(material.weights)]
    # To the byte, in another folder and at another time.
    assert engines == [engine.read_bytes() for _, engine in builds.values()]


@pytest.mark.parametrize(
    ("request_name", "words"),
    [
        ("text", ["text.pt: not a YOLO checkpoint that Ultralytics", "can load ("]),
        ("missing", ["missing.pt: no such file"]),
        ("semantic", ["semantic.pt: its task is semantic", "detect, segment, pose, obb, classify models only"]),
        ("classify", ["classify.pt as fp32: Ultralytics could not export it", "'nms=True' is not valid for classif"]),
        ("backend", ["backend 'openvino' cannot build engines", "onnxruntime"]),
        ("reserved", ["export_args: 'half' is decided by pytest-trtgate"]),
        ("argument", ["tiny.pt as fp32: Ultralytics could not export it to ONNX", "nonsense"]),
        ("opset", ["tiny.pt as fp32: Ultralytics could not export it to ONNX", "opset=3"]),
        ("stride", ["the engine takes images of 96x96 pixels, not the 65x65"]),
        ("empty", ["no images to calibrate on in split 'train'", "data.yaml"]),
    ],
)
def test_a_build_that_cannot_be_is_one_sentence(
    refused_builds: dict[str, Done], request_name: str, words: list[str]
) -> None:
    sentence = refused_builds[request_name].sentence
    assert all(word in sentence for word in words), sentence
    assert sentence.isprintable()
