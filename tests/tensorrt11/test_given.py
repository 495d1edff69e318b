"""A plan that was built by hand, without Ultralytics, as far as it can be read where there is no GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from material import CELL, ROOT, THREADS, run_job, run_python, write_data

pytestmark = [pytest.mark.real, pytest.mark.tensorrt11]
SHIM = Path(__file__).with_name("shim")
BUILD = """
import sys
import onnx
import tensorrt as trt
from onnx import TensorProto, helper, numpy_helper
import numpy as np

weights = numpy_helper.from_array(np.zeros((10, 3, 8, 8), dtype=np.float32), "weights")
shape = numpy_helper.from_array(np.array([1, 10, 64]), "shape")
nodes = [
    helper.make_node("Conv", ["pictures", "weights"], ["found"], strides=[8, 8]),
    helper.make_node("Reshape", ["found", "shape"], ["boxes"]),
]
given = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, [1, 3, 64, 64])
boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 10, 64])
graph = helper.make_graph(nodes, "graph", [given], [boxes], [weights, shape])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
logger = trt.Logger(trt.Logger.WARNING)
builder = trt.Builder(logger)
network = builder.create_network(0)
parser = trt.OnnxParser(network, logger)
assert parser.parse(model.SerializeToString())
plan = builder.build_serialized_network(network, builder.create_builder_config())
open("bare.plan", "wb").write(plan)
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    done = run_python(BUILD, folder=folder, PYTHONPATH=os.pathsep.join([str(SHIM), os.environ.get("PYTHONPATH", "")]))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bare.plan"


def sentence(file: Path, folder: Path) -> str:
    """Return why the job that looks into a file gave up."""
    weights = ROOT / "examples" / "shapes" / "shapes.pt"
    (folder / "images" / "test").mkdir(parents=True)
    cell = {"model": "shapes", "precision": "fp16", "imgsz": 64, **CELL, "backend": "tensorrt"}
    names = ("circle", "square", "triangle", "star", "cross", "ring")
    request: dict[str, Any] = {"file": str(file), "weights": str(weights), "cell": cell, "sidecar": {}, "device": "0"}
    request |= {"data": str(write_data(folder / "data.yaml", names=names)), "data_split": "val", "threads": THREADS}
    before = f"import sys; sys.path.append({str(SHIM)!r})"
    return run_job("given", {**request, "output": str(folder / "out")}, folder / "job", before=before).sentence


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="it is read whole where there is a GPU")
def test_a_whole_plan_is_read_up_to_where_it_takes_a_gpu(plan: Path, tmp_path: Path) -> None:
    said = sentence(plan, tmp_path)
    assert said.startswith(f"{plan}: TensorRT 11.4.0 cannot load it: the GPU cannot be used (")


def test_a_truncated_plan_is_a_sentence(plan: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.plan").write_bytes(plan.read_bytes()[:500])
    assert "cannot load it: it is truncated, or no plan" in sentence(tmp_path / "cut.plan", tmp_path)
