"""Layer profiles: what each runtime reports, what the gate keeps of it, and what it says of a slower engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate.errors import TrtGateError
from pytest_trtgate.jobs.contract import ProfileRequest, ProfileResponse
from pytest_trtgate.records.baseline import Baseline
from pytest_trtgate.records.files import load, save
from pytest_trtgate.records.latency import LayerTime, slower_layers, slowest_change
from pytest_trtgate.workers.timing.profile import WARMUP, fixed, mean_node_ms, tensorrt_layers

FP16 = "--trt-precision=fp16"
STREAM = 77
LAYERS = {"stem": 1.0, "neck": 0.6, "head": 2.4}


def event(name: str, ts: int, dur: int, cat: str = "Node") -> dict[str, Any]:
    return {"cat": cat, "name": name, "ts": ts, "dur": dur}


def test_the_time_of_a_node_is_its_mean_over_the_runs_that_count() -> None:
    events = [event("conv_kernel_time", 10 * i, 9000 if i < WARMUP else 200 + 100 * (i % 2)) for i in range(WARMUP + 4)]
    events += [event("conv_fence_before", 1, 50), event("model_run", 1, 99, "Session")]
    assert mean_node_ms(reversed(events), 4) == {"conv": pytest.approx(0.25)}


def test_a_node_is_told_with_its_operator() -> None:
    events = [
        {**event("_kernel_time", 1, 3), "args": {"op_name": "Add", "node_index": "7"}},
        {**event("out_nchwc_kernel_time", 2, 3), "args": {"op_name": "Conv", "node_index": "8"}},
        {**event("ReorderOutput_kernel_time", 3, 3), "args": {"op_name": "ReorderOutput", "node_index": "9"}},
    ]
    assert list(mean_node_ms(events, 1)) == ["Add 7", "out_nchwc (Conv)", "ReorderOutput"]


def test_a_node_in_a_loop_counts_each_time_it_ran() -> None:
    events = [event("add_kernel_time", i, 100) for i in range(3 * (WARMUP + 2))]
    assert mean_node_ms(events, 2) == {"add": pytest.approx(0.3)}


@pytest.mark.parametrize("shape", [("batch", 3, 32, 32), (-1, 3, 32, 32), (None, 3)])
def test_an_engine_without_a_fixed_shape_is_refused(shape: tuple[Any, ...]) -> None:
    with pytest.raises(TrtGateError, match="images has no fixed shape"):
        fixed("images", shape)


def test_layers_that_lost_time_are_named_with_the_worst_first() -> None:
    then = [LayerTime(name="a", ms=1.0), LayerTime(name="b", ms=1.0), LayerTime(name="c", ms=1.0)]
    now = [LayerTime(name="a", ms=1.5), LayerTime(name="b", ms=3.0), LayerTime(name="new", ms=9.0)]
    assert [change.name for change in slower_layers(now, then)] == ["b", "a"]
    assert slowest_change(now, then) == "its layer b lost most time (1 -> 3 ms)"
    assert slowest_change(then, then) == ""


# TensorRT


class FakeTorch:
    """As much of torch as allocates buffers."""

    float32 = SimpleNamespace(is_floating_point=True)
    float16 = SimpleNamespace(is_floating_point=True)

    def __init__(self) -> None:
        self.cuda = SimpleNamespace(
            synchronize=lambda device: None, Stream=lambda device: SimpleNamespace(cuda_stream=STREAM)
        )

    def zeros(self, shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
        return SimpleNamespace(data_ptr=lambda: shape, uniform_=lambda: None, is_floating_point=lambda: True)


def fake_tensorrt(loads: bool = True, runs: bool = True) -> tuple[ModuleType, list[dict[str, Any]]]:
    """Return a module with those names of TensorRT that the job uses, and the addresses that it is run on."""
    ran: list[dict[str, Any]] = []

    class Context:
        profiler: Any = None

        def __init__(self) -> None:
            self.addresses: dict[str, Any] = {}

        def set_tensor_address(self, name: str, address: Any) -> bool:
            self.addresses[name] = address
            return True

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == STREAM
            ran.append(dict(self.addresses))
            for name, ms in (("conv", 0.5), ("conv", 0.25), ("sigmoid", 0.125)):
                self.profiler.report_layer_time(name, ms if len(ran) > WARMUP else 99.0)
            return runs

    class Engine:
        num_io_tensors = 2

        def create_execution_context(self) -> Context:
            return Context()

        def get_tensor_name(self, index: int) -> str:
            return ("output0", "images")[index]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return {"images": (1, 3, 32, 32), "output0": (1, 7, 21)}[name]

        def get_tensor_dtype(self, name: str) -> Any:
            return SimpleNamespace(name="HALF" if name == "images" else "FLOAT")

        def get_tensor_mode(self, name: str) -> str:
            return "INPUT" if name == "images" else "OUTPUT"

    class Runtime:
        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            return Engine() if loads else None

    module = ModuleType("tensorrt")
    vars(module).update(
        __version__="10.3.0",
        IProfiler=type("IProfiler", (), {}),
        Logger=type("Logger", (), {"WARNING": 2, "__init__": lambda self, severity: None}),
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="INPUT"),
    )
    return module, ran


def request(runs: int = 4, artifact: str = "engine.engine") -> ProfileRequest:
    return ProfileRequest(arm="fp16", artifact=artifact, device="0", threads=1, runs=runs)


def test_layers_of_tensorrt_are_means_over_the_runs_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    module, ran = fake_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert tensorrt_layers(b"plan", request(), FakeTorch(), None) == {"conv": 0.75, "sigmoid": 0.125}
    assert len(ran) == WARMUP + 4


def test_every_buffer_is_bound_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module, ran = fake_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    tensorrt_layers(b"plan", request(), FakeTorch(), None)
    assert ran[0] == {"images": (1, 3, 32, 32), "output0": (1, 7, 21)}


@pytest.mark.parametrize(("loads", "runs", "sentence"), [(False, True, "cannot load"), (True, False, "refused to run")])
def test_an_engine_that_tensorrt_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, loads: bool, runs: bool, sentence: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(loads, runs)[0])
    with pytest.raises(TrtGateError, match=f"^fp16: TensorRT .*{sentence}"):
        tensorrt_layers(b"plan", request(), FakeTorch(), None)


# The gate


def test_without_the_option_no_layer_is_timed(project: Project) -> None:
    project.run(FP16)
    assert project.job_names("profile") == []
    assert project.record.profiles == {}


def test_the_layers_are_recorded_shown_and_kept_with_the_baseline(project: Project) -> None:
    many = {f"layer{n}": 0.01 for n in range(40)}
    project.weights(Behaviour(layers={"fp16": {**LAYERS, **many}}))
    project.run(FP16, "--trt-profile", "--trt-baselines=add").assert_outcomes(passed=2)
    (profile,) = project.record.profiles.values()
    assert len(profile.layers) == 43
    stored = load(project.baseline("fp16"), Baseline).layers
    assert len(stored) == 15
    page = project.page
    assert "10 slowest of 43 layers" in page
    # A run that profiles nothing leaves what is stored.
    project.run(FP16, "--trt-baselines=update").assert_outcomes(passed=2)
    assert load(project.baseline("fp16"), Baseline).layers == stored


def test_a_slower_engine_is_explained_by_its_layer(project: Project) -> None:
    project.weights(Behaviour(layers={"fp16": LAYERS}))
    project.run(FP16, "--trt-profile", "--trt-baselines=add").assert_outcomes(passed=2)
    slow = Behaviour(p50_ms={"pt": 8.0, "fp16": 6.0}, layers={"fp16": {**LAYERS, "head": 4.2}})
    project.weights(slow)
    project.run(FP16, "--trt-profile").assert_outcomes(passed=1, failed=1)
    assert "its layer head lost most time (2.4 -> 4.2 ms)" in project.verdict("fp16", "latency").summary
    page = project.page
    assert "Layers that lost most time since the baseline" in page


def test_a_profile_that_fails_is_a_note_and_no_verdict(project: Project) -> None:
    project.weights(Behaviour(faults={"profile-fp16": "refuse"}))
    project.run(FP16, "--trt-profile").assert_outcomes(passed=2)
    assert [note for note in project.record.notes if "not profiled" in note]


@pytest.mark.real
def test_onnxruntime_tells_the_time_of_each_node(tmp_path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "weight")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "weight"], ["features"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("ReduceMax", ["features"], ["output0"], "reduce", keepdims=0),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 64, 64))],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, None)],
        [weight],
    )
    artifact = tmp_path / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), artifact)
    folder = tmp_path / "job"
    folder.mkdir()
    save(folder / "request.json", request(artifact=str(artifact)).model_copy(update={"device": "cpu"}))
    command = [sys.executable, "-m", "pytest_trtgate.workers.timing.profile", str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    layers = load(folder / "response.json", ProfileResponse).layers
    assert any("(Conv)" in layer.name for layer in layers)
    assert all(layer.ms > 0 for layer in layers)
    assert [layer.ms for layer in layers] == sorted((layer.ms for layer in layers), reverse=True)
