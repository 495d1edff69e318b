"""Explanations of engines with a planted fault, in each task, and of INT8 that is as the exporter makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from material import Done, Material, build_request, run_job
from task_material import TaskMaterial, make_tasks

from pytest_trtgate.jobs.contract import ExplainResponse
from pytest_trtgate.workers.graph import read_layers

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.real

FAULT = 64


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TaskMaterial]:
    return make_tasks(tmp_path_factory.mktemp("tasks"), ("segment", "pose", "obb", "classify"))


def scaled(graph: Path, output: Path) -> str:
    """Copy an FP32 graph with the weights of one layer scaled, in the middle of it; return the layer's node."""
    model = onnx.load(graph)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in constants]
    chosen = layers[len(layers) // 2]
    tensor = constants[chosen.input[1]]
    tensor.CopyFrom(onnx.numpy_helper.from_array(FAULT * onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, output)
    name: str = chosen.name
    return name


def quantized(graph: Path, output: Path, shape: tuple[int, ...]) -> None:
    """Quantize a graph as the exporter does, on random images."""
    import numpy as np
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    model = onnx.load(graph)

    class Images(CalibrationDataReader):  # type: ignore[misc]
        left = 4

        def get_next(self) -> dict[str, Any] | None:
            if not self.left:
                return None
            self.left -= 1
            blocks = np.random.default_rng(self.left).random((1, 3, 6, 6)).repeat(12, 2).repeat(12, 3)
            image = blocks[:, :, : shape[2], : shape[3]].astype(np.float32)
            return {model.graph.input[0].name: image}

    others = [node.name for node in model.graph.node if node.op_type not in ("Conv", "Gemm", "MatMul")]
    quantize_static(graph, output, Images(), nodes_to_exclude=others)


def explained(weights: Path, engine: str | Path, images: list[Path], folder: Path, **more: Any) -> Done:
    build = build_request(weights, folder / "output", **{"precision": "int8", **more})
    request = {
        "schema_version": 1, "build": build, "engine": str(engine), "images": list(map(str, images)), "worst": 2,
        "calibration": list(map(str, images)),
    }  # fmt: skip
    return run_job("explain", request, folder / "explain")


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb", "classify"])
def test_a_layer_whose_weights_are_scaled_is_ranked_first(
    task: str, material: Material, tasks: dict[str, TaskMaterial], tmp_path: Path
) -> None:
    weights, data = (material.weights, material.data) if task == "detect" else (tasks[task].weights, tasks[task].data)
    images = sorted((data.parent if data.is_file() else data).rglob("test-*.png"))[:4]
    assert images
    done = run_job("build", build_request(weights, tmp_path / "fp32"), tmp_path / "build")
    assert done.response
    node = scaled(tmp_path / "fp32" / "engine.onnx", tmp_path / "faulty.onnx")
    quantized(tmp_path / "faulty.onnx", tmp_path / "int8.onnx", (1, 3, 64, 64))
    answer = ExplainResponse.model_validate(explained(weights, tmp_path / "int8.onnx", images, tmp_path).response)
    worst = answer.layers[0]
    print(task, node, [(layer.name, layer.local_db, layer.arriving_db) for layer in answer.layers[:4]])
    assert worst.local_db < -30
    assert answer.layers[1].local_db > worst.local_db + 10
    named = {layer.node: layer.name for layer in read_layers(tmp_path / "fp32" / "engine.onnx")}
    assert worst.name == named[node]
    assert answer.images == 4


def test_fp16_keeps_closer_to_fp32_than_int8_which_is_quantized_alike_where_no_graph_is_given(
    material: Material, tmp_path: Path
) -> None:
    images = material.images()[:3]
    request = build_request(material.weights, tmp_path / "fp16", "fp16", batch=2)
    assert run_job("build", request, tmp_path / "build").response
    half = explained(
        material.weights, tmp_path / "fp16" / "engine.onnx", images, tmp_path / "a", precision="fp16", batch=2
    )
    of_half = ExplainResponse.model_validate(half.response)
    assert of_half.ranges == of_half.outliers == ()
    assert of_half.images == 3
    assert all(layer.lower for layer in of_half.layers)
    whole = explained(material.weights, "", images, tmp_path / "b", data=str(material.data))
    of_int8 = ExplainResponse.model_validate(whole.response)
    assert len(of_int8.layers) == len(of_int8.network) == len(of_int8.ranges) == len(of_half.layers)
    assert of_int8.calibration_images == 3
    worst = {layer.name: layer.local_db for layer in of_int8.layers}
    assert all(layer.local_db > worst[layer.name] for layer in of_half.layers)
    assert 30 < of_half.layers[0].local_db < 120
    assert all(0 <= one.clipped <= 1 and 0 <= one.unused <= 1 and one.low <= 0 <= one.high for one in of_int8.ranges)


def test_a_layer_of_an_engine_that_tells_its_tensors_is_ranked_first(material: Material, tmp_path: Path) -> None:
    import numpy as np
    import onnxruntime

    from pytest_trtgate.workers.explaining.beside import ENGINE, Marked
    from pytest_trtgate.workers.explaining.explain import noise_of

    assert run_job("build", build_request(material.weights, tmp_path / "fp32"), tmp_path / "build").response
    graph = tmp_path / "fp32" / "engine.onnx"
    node = scaled(graph, tmp_path / "faulty.onnx")
    layers, faulty = read_layers(graph), onnx.load(tmp_path / "faulty.onnx")
    there = {name for one in faulty.graph.node for name in one.output} - {one.name for one in faulty.graph.output}
    faulty.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in sorted(there))
    joint = Marked(onnx.load(graph), layers, there | {"output0"}, {}, ())

    def ran(model: Any, inputs: dict[str, Any], wanted: list[str]) -> list[Any]:
        found: list[Any] = onnxruntime.InferenceSession(model.SerializeToString()).run(wanted, inputs)
        return found

    images = {"images": np.random.default_rng(0).random((1, 3, 64, 64)).astype(np.float32)}
    numbers = []
    for part, names in joint.parts(100_000):
        told = dict(zip((ENGINE + name for name in names), ran(faulty, images, names), strict=True))
        numbers.append(ran(part, {**images, **told}, ["statistics"])[0])
    assert len(numbers) > 3
    whole = np.concatenate(numbers, axis=1).reshape(1, len(layers), -1).astype(np.float64)
    first, second = noise_of(joint, whole, [False])[:2]
    assert first.name == {layer.node: layer.name for layer in layers}[node]
    assert first.local_db < -20
    assert second.local_db > 80
