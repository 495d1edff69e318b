"""Plans that are looked into, with a stand-in for TensorRT."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_trtgate.errors import TrtGateError
from pytest_trtgate.jobs import GivenRequest
from pytest_trtgate.records import Cell
from pytest_trtgate.settings import Sidecar
from pytest_trtgate.workers.given.look import Looked
from pytest_trtgate.workers.given.runtimes import tensorrt_tensors

PLAN = b"ftrt\0\0\0\0plan"
TENSORS = {"data": ("HALF", (1, 3, 64, 64)), "found": ("FLOAT", (1, 84, 84))}


class FakeEngine:
    """An engine with some tensors, of which the first is the input."""

    def __init__(self, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> None:
        self.tensors = tensors
        self.num_io_tensors = len(tensors)
        self.device_memory_size = 5
        self.shape: tuple[int, ...] = ()

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (
            self.shape + self.tensors[name][1][len(self.shape) :]
            if name != self.get_tensor_name(0)
            else self.tensors[name][1]
        )

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.tensors[name][0])

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == self.get_tensor_name(0) else "out"

    def create_execution_context(self) -> FakeEngine:
        return self

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape[:1]
        return shape[2] <= 64

    def create_engine_inspector(self) -> Any:
        layers = [{"Name": "conv", "Inputs": [{"Format/Datatype": "Half"}]}]
        return SimpleNamespace(get_engine_information=lambda how: json.dumps({"Layers": layers}))


def pretend(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine | None, says: str = "") -> list[bytes]:
    """Put a stand-in in the place of TensorRT, and return what it will have been asked to load."""
    seen: list[bytes] = []

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, VERBOSE = range(4)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine | None:
            seen.append(plan)
            if says:
                self.logger.log(ILogger.ERROR, says)
            return engine

    module = ModuleType("tensorrt")
    module.__dict__.update(
        __version__="10.3.0",
        ILogger=ILogger,
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="in"),
        LayerInformationFormat=SimpleNamespace(JSON="json"),
        init_libnvinfer_plugins=lambda logger, namespace: True,
    )
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return seen


def looked(folder: Path, content: bytes = PLAN) -> Looked:
    file = folder / "engine.engine"
    file.write_bytes(content)
    cell = Cell(model="best", precision="fp16", imgsz=64, batch=1, backend="tensorrt", device="0")
    request = GivenRequest(
        file="best.plan", cell=cell, sidecar=Sidecar(), data="", data_split="test", device="0", output=""
    )
    return Looked(request, file)


def test_inputs_outputs_and_layers_of_a_bare_plan_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = pretend(monkeypatch, FakeEngine(TENSORS))
    found = tensorrt_tensors(looked(tmp_path))
    assert seen == [PLAN]
    assert found.inputs == {"data": ("HALF", (1, 3, 64, 64))}
    assert found.outputs == {"found": (1, 84, 84)}
    assert found.inspection is not None
    assert (found.inspection.precisions, found.inspection.device_memory_bytes) == ({"FP16": 1}, 5)


def test_the_header_of_ultralytics_is_no_part_of_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = pretend(monkeypatch, FakeEngine(TENSORS))
    header = json.dumps({"task": "detect"}).encode()
    tensorrt_tensors(looked(tmp_path, len(header).to_bytes(4, "little") + header + PLAN))
    assert seen == [PLAN]


def test_a_plan_of_any_shape_is_asked_for_that_of_the_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tensors = {"images": ("FLOAT", (-1, 3, -1, -1)), "found": ("FLOAT", (-1, 84, 84))}
    pretend(monkeypatch, FakeEngine(tensors))
    assert tensorrt_tensors(looked(tmp_path)).outputs == {"found": (1, 84, 84)}
    pretend(monkeypatch, FakeEngine({"data": tensors["images"], "found": tensors["found"]}))
    with pytest.raises(TrtGateError, match=r"^best\.plan: its input data has no fixed shape"):
        tensorrt_tensors(looked(tmp_path))


def test_what_tensorrt_says_is_why_a_plan_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, None, "not compatible, expecting library version 10.3.0.26 got 8.6.1.6, please rebuild.")
    with pytest.raises(TrtGateError) as error:
        tensorrt_tensors(looked(tmp_path))
    why = "it was built with TensorRT 8.6.1.6, and this is 10.3.0.26"
    assert str(error.value) == f"best.plan: TensorRT 10.3.0 cannot load it: {why}"


def test_another_shape_is_told_before_it_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, FakeEngine({**TENSORS, "data": ("HALF", (1, 3, 640, 640))}))
    with pytest.raises(TrtGateError, match="its input data is 1x3x640x640, and this run's imgsz = 64"):
        tensorrt_tensors(looked(tmp_path))
