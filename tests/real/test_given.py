"""Files that are gated as they are, with the real torch, Ultralytics and ONNX Runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from material import (
    CELL,
    IMGSZ,
    THREADS,
    Done,
    Material,
    accuracy_request,
    build_request,
    latency_request,
    run_job,
    write_data,
)
from material import run_jobs as several
from task_material import KINDS, make_tasks

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.real
PLACES = 84
"""How many a head looks at, at this size."""
Change = Callable[[Any], None]


def given_request(file: Path, material: Material, output: Path, **changes: Any) -> dict[str, Any]:
    """Return a request to look into a file."""
    cell = {"model": "tiny", "precision": "fp32", "imgsz": IMGSZ, **CELL, **changes.pop("cell", {})}
    told = file.suffix == ".json" and "images" not in changes
    images = list(map(str, material.images())) if told else []
    return {
        "file": str(file),
        "weights": str(material.weights),
        "cell": cell,
        "sidecar": {},
        "data": str(material.data),
        "data_split": "val",
        "images": images,
        "device": "cpu",
        "threads": THREADS,
        "output": str(output),
        **changes,
    }


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, outputs, **attributes)


def constant(graph: Any, name: str, value: Any) -> None:
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))


def output(graph: Any, name: str, *shape: int, kind: str = "FLOAT") -> None:
    graph.output.append(onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape))


def corners_and_best(graph: Any) -> None:
    """Add boxes by their corners, the best score of each, and its class; take the outputs away."""
    del graph.output[:]
    constant(graph, "sizes", np.array([2, 2, 2]))
    constant(graph, "half", np.float32(0.5))
    constant(graph, "last", np.array([2]))
    graph.node.extend(
        [
            node("Transpose", ["output0"], ["by_place"], perm=[0, 2, 1]),
            node("Split", ["by_place", "sizes"], ["centre", "size", "each"], axis=2),
            node("Mul", ["size", "half"], ["reach"]),
            node("Sub", ["centre", "reach"], ["first"]),
            node("Add", ["centre", "reach"], ["second"]),
            node("Concat", ["first", "second"], ["corners"], axis=2),
            node("ReduceMax", ["each", "last"], ["best"], keepdims=1),
            node("ArgMax", ["each"], ["index"], axis=2, keepdims=1),
            node("Cast", ["index"], ["class"], to=onnx.TensorProto.FLOAT),
        ]
    )


def deepstream(graph: Any) -> None:
    corners_and_best(graph)
    graph.node.append(node("Concat", ["corners", "best", "class"], ["output"], axis=2))
    output(graph, "output", 1, PLACES, 6)


def deepstream_of_three(graph: Any) -> None:
    corners_and_best(graph)
    names = {"classes": ("class", 1), "boxes": ("corners", 4), "scores": ("best", 1)}
    for name, (made, width) in names.items():
        graph.node.append(node("Identity", [made], [name]))
        output(graph, name, 1, PLACES, width)


def best_twenty(graph: Any) -> None:
    """Add the twenty places with the best scores: there is no suppression, as in a head that needs none."""
    corners_and_best(graph)
    constant(graph, "twenty", np.array([20]))
    constant(graph, "flat", np.array([1, -1]))
    graph.node.extend(
        [
            node("Reshape", ["best", "flat"], ["scores_of_all"]),
            node("Reshape", ["class", "flat"], ["classes_of_all"]),
            node("TopK", ["scores_of_all", "twenty"], ["kept_scores", "kept"], axis=1),
            node("GatherElements", ["classes_of_all", "kept"], ["kept_classes"], axis=1),
        ]
    )
    constant(graph, "as_column", np.array([1, 20, 1]))
    constant(graph, "four_times", np.array([1, 1, 4]))
    graph.node.extend(
        [
            node("Reshape", ["kept", "as_column"], ["column"]),
            node("Tile", ["column", "four_times"], ["of_boxes"]),
            node("GatherElements", ["corners", "of_boxes"], ["kept_boxes"], axis=1),
        ]
    )


def end2end(graph: Any) -> None:
    best_twenty(graph)
    for name in ("scores", "classes"):
        graph.node.append(node("Reshape", [f"kept_{name}", "as_column"], [f"{name}_column"]))
    graph.node.append(node("Concat", ["kept_boxes", "scores_column", "classes_column"], ["found"], axis=2))
    output(graph, "found", 1, 20, 6)


def efficientnms(graph: Any) -> None:
    """Return all twenty, of which the first fifteen count."""
    best_twenty(graph)
    constant(graph, "num_detections", np.array([[15]], dtype=np.int32))
    graph.node.append(node("Cast", ["kept_classes"], ["detection_classes"], to=onnx.TensorProto.INT32))
    graph.node.append(node("Identity", ["kept_boxes"], ["detection_boxes"]))
    graph.node.append(node("Identity", ["kept_scores"], ["detection_scores"]))
    output(graph, "num_detections", 1, 1, kind="INT32")
    output(graph, "detection_boxes", 1, 20, 4)
    output(graph, "detection_scores", 1, 20)
    output(graph, "detection_classes", 1, 20, kind="INT32")


def first_fifteen(graph: Any) -> None:
    end2end(graph)
    for name, value in (("from", [0]), ("to", [15]), ("axis", [1])):
        constant(graph, name, np.array(value))
    graph.node.append(node("Slice", ["found", "from", "to", "axis"], ["found15"]))
    del graph.output[:]
    output(graph, "found15", 1, 15, 6)


def takes_bytes(graph: Any) -> None:
    """Take pictures as bytes, channels last and blue first, under another name."""
    given = graph.input[0]
    inner, given.name = given.name, "data"
    given.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    for side, wanted in zip(given.type.tensor_type.shape.dim, (1, IMGSZ, IMGSZ, 3), strict=True):
        side.dim_value = wanted
    constant(graph, "white", np.float32(255))
    constant(graph, "reversed", np.array([2, 1, 0]))
    first = [
        node("Cast", ["data"], ["floats"], to=onnx.TensorProto.FLOAT),
        node("Gather", ["floats", "reversed"], ["rgb"], axis=3),
        node("Transpose", ["rgb"], ["planes"], perm=[0, 3, 1, 2]),
        node("Div", ["planes", "white"], [inner]),
    ]
    nodes = [*first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def takes_halves(graph: Any) -> None:
    given = graph.input[0]
    inner, given.name = given.name, "input"
    given.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    nodes = [node("Cast", ["input"], [inner], to=onnx.TensorProto.FLOAT), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def takes_normalized(graph: Any) -> None:
    """Take (picture - mean) / std of each channel, from 0 to 255."""
    given = graph.input[0]
    inner, given.name = given.name, "normalized"
    constant(graph, "std", np.array([50, 60, 70], dtype=np.float32).reshape(3, 1, 1))
    constant(graph, "mean", np.array([120, 110, 100], dtype=np.float32).reshape(3, 1, 1))
    constant(graph, "white", np.float32(255))
    first = [
        node("Mul", ["normalized", "std"], ["scaled"]),
        node("Add", ["scaled", "mean"], ["shifted"]),
        node("Div", ["shifted", "white"], [inner]),
    ]
    nodes = [*first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def takes_doubles(graph: Any) -> None:
    given = graph.input[0]
    inner, given.name = given.name, "input"
    given.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    nodes = [node("Cast", ["input"], [inner], to=onnx.TensorProto.FLOAT), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def half_of_the_input(graph: Any) -> None:
    """Find one dark object, in the middle half of the input."""
    del graph.output[:]
    places = np.zeros((1, 6, PLACES), dtype=np.float32)
    places[0, :5, 0] = IMGSZ / 2, IMGSZ / 2, IMGSZ / 2, IMGSZ / 2, 0.9
    constant(graph, "places", places)
    constant(graph, "nothing", np.float32(0))
    graph.node.extend([node("Mul", ["output0", "nothing"], ["none"]), node("Add", ["none", "places"], ["half"])])
    output(graph, "half", 1, 6, PLACES)


def transposed(graph: Any) -> None:
    del graph.output[:]
    graph.node.append(node("Transpose", ["output0"], ["by_place"], perm=[0, 2, 1]))
    output(graph, "by_place", 1, PLACES, 6)


def as_it_is(graph: Any) -> None:
    """Change nothing."""


VARIANTS: dict[str, tuple[Change, dict[str, Any], str]] = {
    "bare": (as_it_is, {"task": "detect", "names": ["dark", "bright"]}, "raw"),
    "transposed": (transposed, {"layout": "transposed"}, "transposed"),
    "deepstream": (deepstream, {"layout": "deepstream"}, "deepstream"),
    "deepstream3": (deepstream_of_three, {}, "deepstream"),
    "end2end": (first_fifteen, {}, "end2end"),
    "efficientnms": (efficientnms, {}, "efficientnms"),
    "bytes": (takes_bytes, {"channels": "bgr"}, "raw"),
    "halves": (takes_halves, {}, "raw"),
    "normalized": (takes_normalized, {"scale": 255, "mean": [120, 110, 100], "std": [50, 60, 70]}, "raw"),
    "padded": (as_it_is, {"padding": 0}, "raw"),
}


def changed(engine: Path, output: Path, change: Change, *, bare: bool = True) -> Path:
    """Write an engine with a change to its graph, and without Ultralytics' metadata."""
    model = onnx.load(engine)
    if bare:
        del model.metadata_props[:]
    change(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, output)
    return output


@pytest.fixture(scope="module")
def looked(material: Material, fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Done, Path]]:
    """Return by variant of the FP32 engine a job that looked into it, and the copy that it left."""
    folder = tmp_path_factory.mktemp("given")
    requests = {"whole": given_request(fp32, material, folder / "whole-out")}
    for name, (change, sidecar, _) in VARIANTS.items():
        file = changed(fp32, folder / f"{name}.onnx", change)
        requests[name] = given_request(file, material, folder / f"{name}-out", sidecar=sidecar)
    done = several("given", requests, folder / "jobs")
    return {name: (done[name], folder / f"{name}-out" / "engine.onnx") for name in requests}


@pytest.fixture(scope="module")
def evaluated(
    material: Material, fp32: Path, looked: dict[str, tuple[Done, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Done:
    """Return a job that evaluated all of them beside the engine that they are made of."""
    folder = tmp_path_factory.mktemp("given-accuracy")
    arms = {"pt": material.weights, "built": fp32, **{name: copy for name, (_, copy) in looked.items()}}
    return run_job("accuracy", accuracy_request(arms, material.data, folder), folder / "job")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_layout_is_known_by_its_shapes(looked: dict[str, tuple[Done, Path]], name: str) -> None:
    assert looked[name][0].response["layout"] == VARIANTS[name][2]


@pytest.mark.parametrize("name", ["whole", "bare", "transposed"])
def test_what_the_gate_built_is_as_accurate_when_it_is_given(evaluated: Done, name: str) -> None:
    assert evaluated.accuracy(name).metrics == evaluated.accuracy("built").metrics
    assert evaluated.accuracy(name).classes == evaluated.accuracy("built").classes
    assert evaluated.accuracy(name).head == "nms"


def test_a_copy_has_the_bytes_of_the_file(looked: dict[str, tuple[Done, Path]], fp32: Path) -> None:
    assert looked["whole"][1].read_bytes() == fp32.read_bytes()


@pytest.mark.parametrize(("name", "digits"), [("bytes", 1e-6), ("normalized", 1e-3), ("halves", 0.02)])
def test_images_are_fed_as_the_file_takes_them(evaluated: Done, name: str, digits: float) -> None:
    assert evaluated.accuracy(name).metrics == pytest.approx(evaluated.accuracy("built").metrics, abs=digits)


def test_another_grey_around_the_picture_is_another_input(evaluated: Done) -> None:
    assert evaluated.accuracy("padded").metrics != evaluated.accuracy("built").metrics


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of pictures twice as wide as high, each with one dark object in its middle half."""
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("wide")
    for split in ("train", "test"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(4):
            picture = np.random.default_rng(index).integers(0, 256, (40, 80, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / "images" / split / f"{index}.png"), picture)
            (folder / "labels" / split / f"{index}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return write_data(folder / "data.yaml")


@pytest.mark.parametrize(("letterbox", "expected"), [(False, 0.995), ("centre", 0.0995)])
def test_boxes_in_a_stretched_picture_are_put_where_its_letterbox_has_them(
    material: Material, fp32: Path, wide: Path, tmp_path: Path, letterbox: Any, expected: float
) -> None:
    file = changed(fp32, tmp_path / "half.onnx", half_of_the_input)
    own = Material(material.weights, wide)
    request = given_request(file, own, tmp_path / "out", sidecar={"letterbox": letterbox})
    assert run_job("given", request, tmp_path / "look").response
    arms = {"fp32": tmp_path / "out" / "engine.onnx"}
    done = run_job("accuracy", accuracy_request(arms, wide, tmp_path), tmp_path / "job")
    # In a letterbox, that half is as high as the picture: its IoU is 0.5, which the first of ten thresholds takes.
    assert done.accuracy("fp32").metrics["mAP50-95"] == pytest.approx(expected, abs=0.01)
    latency = latency_request(arms, own.images(), tmp_path / "samples.npz")
    assert run_job("latency", latency, tmp_path / "launch").response


def test_a_square_picture_is_the_same_where_it_is_stretched(material: Material, fp32: Path, tmp_path: Path) -> None:
    own = squared(material, tmp_path / "squared")
    own.data.write_text(own.data.read_text().replace("class0", "dark").replace("class1", "bright"))
    request = given_request(fp32, own, tmp_path / "out", sidecar={"letterbox": False})
    assert run_job("given", request, tmp_path / "look").response
    arms = {"fp32": fp32, "int8": tmp_path / "out" / "engine.onnx"}
    done = run_job("accuracy", accuracy_request(arms, own.data, tmp_path), tmp_path / "job")
    assert done.accuracy("int8").metrics == done.accuracy("fp32").metrics
    assert done.accuracy("fp32").metrics["mAP50"] > 0


def test_boxes_of_deepstream_are_suppressed_here(evaluated: Done) -> None:
    one, three, built = (evaluated.accuracy(name) for name in ("deepstream", "deepstream3", "built"))
    assert one.metrics == three.metrics
    assert one.head == "nms"
    # It keeps the best class of each place only, where Ultralytics keeps all.
    assert one.metrics["mAP50"] == pytest.approx(built.metrics["mAP50"], abs=0.02)
    assert one.metrics["mAP50"] > 0.05


def test_detections_behind_the_count_of_efficientnms_do_not_count(evaluated: Done) -> None:
    final, counted = evaluated.accuracy("end2end"), evaluated.accuracy("efficientnms")
    assert counted.metrics == final.metrics
    assert counted.metrics["mAP50"] > 0
    assert (final.head, counted.head) == ("nms-in-engine", "nms-in-engine")


def test_all_of_them_can_be_timed(material: Material, looked: dict[str, tuple[Done, Path]], tmp_path: Path) -> None:
    arms = {"pt": material.weights, **{name: copy for name, (_, copy) in looked.items()}}
    done = run_job("latency", latency_request(arms, material.images(), tmp_path / "samples.npz"), tmp_path / "job")
    launch = done.response["launch"]["arms"]
    assert launch.keys() == arms.keys()
    assert all(arm["timings"]["engine"]["mean_ms"] > 0 for arm in launch.values())


def test_an_engine_of_the_types_in_its_graph_is_known(
    builds: dict[str, tuple[Done, Path]], material: Material, tmp_path: Path
) -> None:
    for precision in ("fp16", "int8"):
        done = run_job("given", given_request(builds[precision][1], material, tmp_path / precision), tmp_path / "job")
        counts = done.response["inspection"]["precisions"]
        assert counts[precision.upper()] > 0.5 * sum(counts.values())


@pytest.mark.parametrize(
    ("change", "sidecar", "cell", "said"),
    [
        (as_it_is, {"names": ["bright", "dark"]}, {}, "class 0 is 'bright', and that of tiny.pt is 'dark'; the same"),
        (as_it_is, {"names": ["dark", "bright", "grey"]}, {}, "it has 3 classes, and tiny.pt has 2"),
        (as_it_is, {"task": "segment"}, {}, "its task is segment, and that of tiny.pt is detect"),
        (as_it_is, {}, {"imgsz": 96}, "its input images is 1x3x64x64, and this run's imgsz = 96 and batch = 1 make"),
        (as_it_is, {}, {"batch": 2}, "make 2x3x64x64"),
        (takes_doubles, {}, {}, "its input input is of type tensor(double); known are"),
        (as_it_is, {"dtype": "float16"}, {}, "its input images is of type float32, and file.onnx.toml says float16"),
        (as_it_is, {"layout": "end2end"}, {}, "its outputs look like raw, and file.onnx.toml says end2end"),
        (as_it_is, {"mean": [0.5, 0.5]}, {}, "file.onnx.toml says mean by 2 numbers, for 3 channels"),
        (as_it_is, {"input": "data"}, {}, "its inputs are images, not one for images called data"),
        (corners_and_best, {}, {}, "are of no known layout"),
        (as_it_is, {"task": "segment", "letterbox": False}, {}, "its task is segment"),
        (transposed, {}, {}, "say which by layout = 'transposed' or 'deepstream' in file.onnx.toml"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    material: Material,
    fp32: Path,
    tmp_path: Path,
    change: Change,
    sidecar: dict[str, Any],
    cell: dict[str, Any],
    said: str,
) -> None:
    def lacking(graph: Any) -> None:
        change(graph)
        if not graph.output:
            output(graph, "corners", 1, PLACES, 4)

    file = changed(fp32, tmp_path / "file.onnx", lacking)
    done = run_job(
        "given", given_request(file, material, tmp_path / "out", sidecar=sidecar, cell=cell), tmp_path / "job"
    )
    assert done.sentence.startswith(f"{file}: ")
    assert said in done.sentence
    assert "Traceback" not in done.log
    assert not (tmp_path / "out" / "given.json").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("names", "{0: 'bright', 1: 'dark'}", "the same classes in another order cannot be compared"),
        ("args", "{'batch': 1, 'nms': 'no'}", "its metadata says args: nms = 'no', which is neither true nor false"),
    ],
)
def test_metadata_of_its_own_that_cannot_be_right_are_a_sentence(
    material: Material, fp32: Path, tmp_path: Path, key: str, value: str, said: str
) -> None:
    model = onnx.load(fp32)
    for pair in model.metadata_props:
        if pair.key == key:
            pair.value = value
    onnx.save(model, tmp_path / "file.onnx")
    done = run_job("given", given_request(tmp_path / "file.onnx", material, tmp_path / "out"), tmp_path / "job")
    assert said in done.sentence


def test_weights_in_another_file_are_a_sentence(material: Material, fp32: Path, tmp_path: Path) -> None:
    file = tmp_path / "apart.onnx"
    onnx.save(onnx.load(fp32), file, save_as_external_data=True, location="apart.data", size_threshold=100)
    done = run_job("given", given_request(file, material, tmp_path / "out"), tmp_path / "job")
    assert done.sentence == (
        f"{file}: its weights lie in other files (apart.data), and one file is gated: write them into it, by "
        "onnx.save(onnx.load('apart.onnx'), 'whole.onnx')"
    )


@pytest.mark.parametrize("size", [5000, -200])
def test_a_truncated_file_is_a_sentence(material: Material, fp32: Path, tmp_path: Path, size: int) -> None:
    file = tmp_path / "cut.onnx"
    file.write_bytes(fp32.read_bytes()[:size])
    done = run_job("given", given_request(file, material, tmp_path / "out"), tmp_path / "job")
    assert done.sentence == f"{file}: not a whole ONNX file, or its metadata cannot be read (it is truncated)"
    assert "Traceback" not in done.log


def test_a_plan_without_tensorrt_is_a_sentence(material: Material, fp32: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    shutil.copy(fp32, tmp_path / "best.plan")
    done = run_job("given", given_request(tmp_path / "best.plan", material, tmp_path / "out"), tmp_path / "job")
    assert "best.plan: TensorRT" in done.sentence


@pytest.fixture(scope="module")
def tasks(material: Material, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Material, Path]]:
    """Return by kind of model its checkpoint and data, and an FP32 engine of it."""
    folder = tmp_path_factory.mktemp("tasks")
    made = {name: Material(one.weights, one.data) for name, one in make_tasks(folder).items()}
    made["detect"] = material
    requests = {name: build_request(own.weights, folder / name / "engine") for name, own in made.items()}
    done = several("build", requests, folder / "builds")
    assert all(one.response for one in done.values())
    return {name: (own, folder / name / "engine" / "engine.onnx") for name, own in made.items()}


@pytest.mark.parametrize("name", KINDS)
def test_an_engine_of_every_task_is_as_accurate_when_it_is_given(
    tasks: dict[str, tuple[Material, Path]], tmp_path: Path, name: str
) -> None:
    own, engine = tasks[name]
    assert run_job("given", given_request(engine, own, tmp_path / "out"), tmp_path / "look").response
    arms = {"fp32": engine, "int8": tmp_path / "out" / "engine.onnx"}
    done = run_job("accuracy", accuracy_request(arms, own.data, tmp_path), tmp_path / "job")
    assert done.accuracy("int8").metrics == done.accuracy("fp32").metrics
    assert done.accuracy("int8").head == done.accuracy("fp32").head


def squared(own: Material, folder: Path) -> Material:
    """Return a dataset of the same pictures in squares with grey around them: there is no letterbox left to add."""
    cv2 = pytest.importorskip("cv2")
    for split in ("train", "test"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for path in own.images(split):
            image = cv2.imread(str(path))
            height, width = image.shape[:2]
            gain = IMGSZ / max(height, width)
            inside = round(width * gain), round(height * gain)
            left, top = (IMGSZ - inside[0]) // 2, (IMGSZ - inside[1]) // 2
            square = np.full((IMGSZ, IMGSZ, 3), 114, dtype=np.uint8)
            square[top : top + inside[1], left : left + inside[0]] = cv2.resize(image, inside)
            cv2.imwrite(str(folder / "images" / split / path.name), square)
            label = own.data.parent / "labels" / split / f"{path.stem}.txt"
            rows = []
            for line in label.read_text().splitlines():
                cls, *points = line.split()
                moved = (np.array(points, dtype=float).reshape(-1, 2) * inside + (left, top)) / IMGSZ
                rows.append(" ".join([cls, *(f"{value:.6f}" for value in moved.reshape(-1))]))
            (folder / "labels" / split / label.name).write_text("\n".join(rows) + "\n")
    return Material(own.weights, write_data(folder / "data.yaml", names=("class0", "class1")))


@pytest.mark.parametrize("name", ["detect", "segment", "pose"])
def test_predictions_agree_with_the_engine_that_made_them(
    tasks: dict[str, tuple[Material, Path]], tmp_path: Path, name: str
) -> None:
    own, built = tasks[name]
    # Of an image there is no mask in its letterbox, where an engine's own may reach.
    own = squared(own, tmp_path / "squared") if name == "segment" else own
    results, copy = tmp_path / "results.json", tmp_path / "out" / "engine.json"
    write = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1] / 'support')!r})\n"
    write += f"import coco_results; coco_results.install({str(results)!r})"
    engine = run_job(
        "accuracy", accuracy_request({"fp32": built}, own.data, tmp_path), tmp_path / "engine-job", before=write
    )
    expected = engine.accuracy("fp32")
    done = run_job("given", given_request(results, own, tmp_path / "out"), tmp_path / "look")
    assert done.response["layout"] == "predictions"
    request = accuracy_request({"pt": own.weights, "int8": copy}, own.data, tmp_path)
    found = run_job("accuracy", request, tmp_path / "job").accuracy("int8")
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-6)
    assert found.instances == expected.instances
    assert found.head == "nms-in-engine"  # so it may be compared with a checkpoint of any head
    assert max(found.metrics.values()) > 0.05


@pytest.mark.parametrize("name", ["obb", "classify"])
def test_predictions_without_a_form_in_coco_are_refused(
    tasks: dict[str, tuple[Material, Path]], tmp_path: Path, name: str
) -> None:
    (tmp_path / "results.json").write_text("[]")
    request = given_request(tmp_path / "results.json", tasks[name][0], tmp_path / "out", images=[])
    done = run_job("given", request, tmp_path / "job")
    assert f"COCO's results have no form for the task {name}" in done.sentence


def test_detections_can_be_shown(material: Material, tmp_path: Path) -> None:
    """The evaluation of predictions keeps per-image records, from which pictures are drawn."""
    rows = [
        {"image_id": image.stem, "category_id": 1, "bbox": [10, 10, 20, 30], "score": 0.5}
        for image in material.images()
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    done = run_job("given", given_request(tmp_path / "results.json", material, tmp_path / "out"), tmp_path / "look")
    assert done.response
    request = accuracy_request({"int8": tmp_path / "out" / "engine.json"}, material.data, tmp_path)
    assert run_job("accuracy", request, tmp_path / "job").response
    records = np.load(tmp_path / "int8.npz")
    assert records["pred_box"] == pytest.approx(np.array([[10, 10, 30, 40]] * len(rows)), abs=1e-3)


def test_a_picture_in_the_corner_is_found_where_it_was() -> None:
    torch = pytest.importorskip("torch")
    from pytest_trtgate.records import Feed
    from pytest_trtgate.workers.given.backend import _Bindings, _placed, moved, pads_of

    padded = pads_of([(30, 64)], 64)
    assert padded == [(0, 17, 0, 17)]
    image = torch.full((1, 3, 64, 64), 114 / 255)
    image[:, :, 17:47] = 1.0
    corner = Feed(corner=True, padding=0)
    placed = _placed(image, padded, corner)
    assert (placed[:, :, :30] == 1).all()
    assert (placed[:, :, 30:] == 0).all()
    raw, final = torch.zeros(1, 6, 2), torch.zeros(1, 2, 6)
    assert moved(raw, padded, (64, 64), corner, final=False)[0, :4, 0].tolist() == [0, 17, 0, 0]
    assert moved(final, padded, (64, 64), corner, final=True)[0, 0, :4].tolist() == [0, 17, 0, 17]
    bindings = _Bindings({"data": 1, "found": 2}, "data")
    bindings["images"] = 3
    assert (bindings["images"], list(bindings.items())) == (3, [("data", 3), ("found", 2)])
