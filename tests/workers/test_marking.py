"""Layers of TensorRT that are told by marked tensors, against fakes with exactly the names of the real versions."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_tensorrt import VERSIONS, FakeTensorRT
from material import build_request

from pytest_trtgate.errors import TrtGateError
from pytest_trtgate.jobs import ExplainRequest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - only where it is installed

from pytest_trtgate.workers.explaining import explain, marking  # noqa: E402
from pytest_trtgate.workers.explaining.beside import ENGINE, Graph, Marked, Range, compared_at  # noqa: E402
from pytest_trtgate.workers.explaining.marking import Marks, TellingEngine, ranges_in  # noqa: E402

SHAPE = (2, 3, 8, 8)
TENSORS = ["silu0", "silu1", "output0"]
CACHE = b"TRT-8600-MinMaxCalibration\nsilu0: 3c010a14\nodd\n(Unnamed Layer* 2) [x]_output: 3f800000\nsilu1: zz\n"
"""What TensorRT writes: 0x3c010a14 is 0.0078759."""


def network(harm: float = 1.0) -> Any:
    """Return a graph of three convolutions, behind two of them SiLU; the weights of the second are times ``harm``."""
    rng = np.random.default_rng(0)
    nodes, weights, before = [], [], "images"
    for number in range(3):
        values = rng.normal(size=(3, 3, 3, 3)).astype(np.float32) / 5 * (harm if number == 1 else 1)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{number}"))
        out = f"conv{number}" if number < 2 else "output0"
        name = f"/model.{number}/conv/Conv"
        nodes.append(helper.make_node("Conv", [before, f"w{number}"], [out], name, pads=[1, 1, 1, 1]))
        if number < 2:
            nodes += [
                helper.make_node("Sigmoid", [out], [f"sigmoid{number}"], f"s{number}"),
                helper.make_node("Mul", [out, f"sigmoid{number}"], [f"silu{number}"], f"m{number}"),
            ]
        before = f"silu{number}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("images", "output0")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    onnx.save(network(), tmp_path / "engine.onnx")
    return tmp_path / "engine.onnx"


def layers_in(graph: Path) -> Any:
    return marking.read_layers(graph)


def run_with(model: Any, inputs: dict[str, Any], wanted: Sequence[str]) -> list[Any]:
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(list(wanted), inputs)
    return found


def values_of(model: Any, images: Any, wanted: Collection[str]) -> dict[str, Any]:
    """Return tensors inside of a graph, as an engine would tell them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {one.name for one in copy.graph.output}
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted if name not in there)
    return dict(zip(wanted, run_with(copy, {"images": images}, list(wanted)), strict=True))


# The graph


def test_a_layer_is_compared_behind_its_activation(graph: Path) -> None:
    assert list(compared_at(Graph(network()), layers_in(graph)).values()) == TENSORS


@pytest.mark.parametrize("most_bytes", [10**9, 1])
def test_only_the_harmed_layer_adds_noise_and_what_follows_it_gets_it(graph: Path, most_bytes: int) -> None:
    images = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    joint = Marked(network(), layers_in(graph), TENSORS, {"silu0": Range(0.0, 0.01)}, ())
    told, parts = [], list(joint.parts(most_bytes))
    for part, names in parts:
        inputs = {ENGINE + name: value for name, value in values_of(network(3.0), images, names).items()}
        told.append(run_with(part, {"images": images, **inputs}, ["statistics"])[0])
    assert len(parts) == (3 if most_bytes == 1 else 1)
    numbers = np.concatenate(told, axis=1).reshape(2, 3, -1).astype(np.float64)
    by_name = {layer.name: layer for layer in explain.noise_of(joint, numbers, [False, False])}
    first, harmed, last = (by_name[layer.name] for layer in joint.layers)
    assert min(first.local_db, first.arriving_db, last.local_db) > 100
    assert harmed.local_db == pytest.approx(harmed.arriving_db, abs=0.01)
    assert harmed.local_db < 3
    assert last.arriving_db < 20
    (clipped,) = explain.ranges_of(joint, numbers)
    assert (clipped.name, clipped.high) == (first.name, 0.01)
    assert clipped.clipped > 0.5


def test_what_the_engine_does_not_tell_is_passed_through(graph: Path) -> None:
    joint = Marked(network(), layers_in(graph), ["output0"], {}, [layers_in(graph)[2].name])
    assert (joint.tensors, joint.lower) == (["output0"], [False])
    ((part, names),) = joint.parts(10**9)
    assert names == ["output0"]
    images = np.zeros(SHAPE, np.float32) + 0.5
    seen = values_of(network(3.0), images, names)["output0"]
    numbers = run_with(part, {"images": images, ENGINE + "output0": seen}, ["statistics"])[0]
    assert numbers[0, 1] == pytest.approx(numbers[0, 2])
    assert numbers[0, 1] > 0


# The build


def marked(version: str, graph: Path, *outputs: str) -> tuple[Marks, FakeTensorRT]:
    """Mark a network whose layers write tensors of some names."""
    fake = FakeTensorRT(version, layers=tuple(("CONVOLUTION", "in:FLOAT", f"{name}:FLOAT") for name in outputs))
    builder = fake.module.Builder(None)  # type: ignore[attr-defined]
    config = builder.create_builder_config()
    if hasattr(config, "int8_calibrator"):
        config.int8_calibrator = type("Calibrator", (), {"write_calibration_cache": lambda self, cache: None})()
    marks = Marks(graph.with_name("copy.onnx"))
    marks.mark(builder.create_network(0), config, graph)
    if hasattr(config, "int8_calibrator"):
        config.int8_calibrator.write_calibration_cache(memoryview(CACHE))
    return marks, fake


@pytest.mark.parametrize("version", VERSIONS)
def test_tensors_behind_activations_are_marked_in_the_way_of_the_release(version: str, graph: Path) -> None:
    marks, fake = marked(version, graph, "conv0", "sigmoid0", "silu0", "silu1", "output0")
    how = "mark_output" if version.startswith("8.") else "mark_debug"
    assert fake.marked == [(how, "silu0"), (how, "silu1")]
    assert (marks.tensors, marks.debug) == (TENSORS, how == "mark_debug")
    assert graph.with_name("copy.onnx").read_bytes() == graph.read_bytes()
    assert [layer.node for layer in marks.layers] == [f"/model.{number}/conv/Conv" for number in range(3)]
    assert set(marks.ranges) == (set() if version.startswith("11.") else {"silu0", "(Unnamed Layer* 2) [x]_output"})


def test_a_network_whose_tensors_have_other_names_is_refused(graph: Path) -> None:
    with pytest.raises(TrtGateError, match="calls none of its tensors as the ONNX graph does"):
        marked(VERSIONS[0], graph, "a", "b")


def test_ranges_are_those_of_the_calibration_cache() -> None:
    found = ranges_in(CACHE)
    assert found["silu0"].high == pytest.approx(127 * 0.0078759, rel=1e-4)
    assert found["silu0"].low == -found["silu0"].high
    assert ranges_in(b"") == {}


# The run


class FakeTensor:
    """As much of a tensor of torch as is read."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def view(self, kind: Any) -> FakeTensor:
        return FakeTensor((self.array.astype(np.uint32) << 16).view(np.float32))

    def copy_(self, other: Any) -> None:
        self.array[:] = other

    def float(self) -> FakeTensor:
        return FakeTensor(self.array.astype(np.float32))

    def cpu(self) -> FakeTensor:
        return self

    def numpy(self) -> Any:
        return self.array

    def data_ptr(self) -> int:
        return 0


class FakeTorch:
    """As much of torch as the job uses; memory of the GPU is memory of this process."""

    float32, float16, bfloat16 = "float32", "float16", "bfloat16"

    def __init__(self) -> None:
        stream = SimpleNamespace(cuda_stream=7)
        self.cuda = SimpleNamespace(synchronize=lambda device: None, Stream=lambda device: stream)

    def zeros(self, shape: Sequence[int], dtype: Any, device: Any) -> FakeTensor:
        return FakeTensor(np.zeros(shape, np.float32))

    def from_numpy(self, array: Any) -> Any:
        return array

    def as_tensor(self, there: Any, device: Any) -> FakeTensor:
        told = there.__cuda_array_interface__
        kind = np.dtype(told["typestr"])
        size = int(np.prod(told["shape"])) * kind.itemsize
        found = np.frombuffer(ctypes.string_at(told["data"][0], size), kind)
        return FakeTensor(found.reshape(told["shape"]))


def capsule(array: Any) -> Any:
    """Return Python's object for a pointer to an array's memory."""
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return make(array.ctypes.data, None, None)


class Plan:
    """A loaded plan whose tensors are those of a graph; tensors inside of it are debug tensors, or outputs.

    ``kinds``: TensorRT's type of a debug tensor, FLOAT for others.
    """

    def __init__(self, model: Any, debug: bool, kinds: dict[str, str] | None = None) -> None:
        self.model, self.debug, self.kinds = model, debug, kinds or {}
        self.on: dict[str, bool] = {}
        self.told: list[str] = []
        self.listener: Any = None
        self.buffers: dict[str, FakeTensor] = {}
        self.context: Any = self
        self.inputs = ["images"]
        for name in ("images", "output0", *(() if debug else TENSORS)):
            self.buffers[name] = FakeTensor(np.zeros(SHAPE, np.float32))

    def set_debug_listener(self, listener: Any) -> bool:
        self.listener = listener
        return True

    def set_tensor_debug_state(self, name: str, on: bool) -> None:
        self.on[name] = on

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7
        found = values_of(self.model, self.buffers["images"].array, TENSORS)
        for name, value in found.items():
            if name in self.buffers:
                self.buffers[name].copy_(value)
            elif self.on.get(name):
                self.told.append(name)
                if not self.tell(name, value):
                    return False
        return True

    def tell(self, name: str, value: Any) -> bool:
        kind = self.kinds.get(name, "FLOAT")
        types = {"HALF": lambda v: v.astype(np.float16), "BF16": lambda v: (v.view(np.uint32) >> 16).astype(np.int16)}
        there = np.ascontiguousarray(types.get(kind, lambda v: v)(value))
        return bool(
            self.listener.process_debug_tensor(
                addr=capsule(there),
                location="DEVICE",
                type=SimpleNamespace(name=kind),
                shape=SHAPE,
                name=name,
                stream=7,
            )
        )


Opened = Callable[[Plan], TellingEngine]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Open a pretended plan with TensorRT 10 or, where tensors are outputs, 8.6."""

    def open_it(plan: Plan) -> TellingEngine:
        monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT("10.3.0" if plan.debug else "8.6.0").module)
        base = sys.modules["tensorrt"]
        if plan.debug:
            monkeypatch.setattr(base, "IDebugListener", type("IDebugListener", (), {}))
        monkeypatch.setattr(marking, "OpenPlan", lambda *_: plan)
        return TellingEngine(b"plan", TENSORS, plan.debug, FakeTorch(), "GPU")

    return open_it


IMAGES = np.random.default_rng(2).random(SHAPE).astype(np.float32)


@pytest.mark.parametrize("debug", [True, False])
def test_an_engine_tells_the_tensors_that_are_wanted(opened: Opened, debug: bool) -> None:
    plan = Plan(network(), debug, {"silu0": "HALF", "silu1": "BF16"})
    engine = opened(plan)
    expected = values_of(network(), IMAGES, TENSORS)
    for wanted in (["silu1", "output0"], ["silu0"]):
        found = engine.values(IMAGES, wanted)
        assert set(found) == set(wanted)
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], rtol=0.01, atol=1e-3)
    assert plan.told == (["silu1", "silu0"] if debug else [])


def test_a_tensor_of_a_type_that_cannot_be_read_is_an_error_and_no_crash(opened: Opened) -> None:
    engine = opened(Plan(network(), debug=True, kinds={"silu0": "FP8"}))
    with pytest.raises(TrtGateError, match=r"refused to run the engine \(silu0: .*FP8"):
        engine.values(IMAGES, ["silu0"])


def test_a_tensor_that_is_not_told_is_an_error(opened: Opened) -> None:
    plan = Plan(network(), debug=True)
    plan.set_tensor_debug_state = lambda name, on: None  # type: ignore[method-assign]
    with pytest.raises(TrtGateError, match="did not tell 1 of 2 tensors, such as silu0"):
        opened(plan).values(IMAGES, ["silu0", "output0"])


@pytest.mark.parametrize("version", ["8.6.0", "10.3.0"])
def test_a_job_builds_marks_and_compares(
    version: str, graph: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The whole job, but for the export, TensorRT, and torch."""
    debug = version != "8.6.0"

    def export(build: Any, model: Any, subject: str, choice: Any, mark: Any) -> tuple[Path, None]:
        fake = FakeTensorRT(version, layers=tuple(("CONVOLUTION", "i:FLOAT", f"{name}:FLOAT") for name in TENSORS))
        builder = fake.module.Builder(None)  # type: ignore[attr-defined]
        mark(builder.create_network(0), builder.create_builder_config(), graph)
        (tmp_path / "engine.engine").write_bytes(b"\2\0\0\0{}plan")
        return tmp_path / "engine.engine", None

    request = ExplainRequest(
        build=build_request(tmp_path / "best.pt", tmp_path, backend="tensorrt", device="0", batch=2, imgsz=8),
        images=("a.png", "b.png"),
        worst=1,
    )
    opened(plan := Plan(network(3.0), debug))
    monkeypatch.setattr(explain, "load", lambda build, folder: (build, SimpleNamespace(task="detect"), "best.pt"))
    monkeypatch.setattr(explain, "prepare_calibration", lambda build: [])
    monkeypatch.setattr(explain, "export_tensorrt", export)
    monkeypatch.setattr(explain, "_inputs", lambda paths, *_: zip(paths, IMAGES, strict=False))
    monkeypatch.setitem(sys.modules, "torch", FakeTorch())  # type: ignore[arg-type]
    timing = ModuleType("cuda_timing")
    timing.open_device = lambda device: f"GPU {device}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pytest_trtgate.workers.timing.cuda_timing", timing)
    (folder := tmp_path / "job").mkdir()
    answer = explain.work(request, folder)
    assert answer.marked == ("debug tensors" if debug else "outputs")
    assert (answer.images, len(answer.network)) == (2, 3)
    assert answer.layers[0].name == layers_in(graph)[1].name
    assert answer.layers[0].local_db < 3
    assert answer.layers[1].local_db > 100
    assert plan.told == (["silu0", "silu1"] if debug else [])
    assert list(folder.iterdir()) == []
