"""Make an ONNX engine that gives the same results and takes longer, to see whether a gate notices.

python bench/slow_engine.py ENGINE OUTPUT --layers 10
python bench/slow_engine.py ENGINE OUTPUT --larger WEIGHTS
python bench/slow_engine.py ENGINE OUTPUT --threads 1

``--layers`` puts that many convolutions that change nothing in front of the graph. ``--larger`` exports the checkpoint
for an image size that is larger by 32 pixels, and pads the input of the old size: both then fit into one launch.
``--threads`` has the engine itself ask ONNX Runtime for fewer threads, which ``record_traces.py`` lets it.
"""

from __future__ import annotations

import argparse
import ast
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pytest_trtgate.jobs.contract import BuildRequest, BuildResponse
from pytest_trtgate.jobs.launcher import Job, LocalLauncher
from pytest_trtgate.machine.environment import threads_of
from pytest_trtgate.records.cell import Cell
from pytest_trtgate.settings.settings import Settings


def with_layers(model: onnx.ModelProto, layers: int) -> onnx.ModelProto:
    """Put convolutions with the unit matrix first, clipped in between, so that none is fused into its neighbour."""
    kernel = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    names = [f"delay{i}" for i in range(layers)]
    nodes = []
    for source, out in zip([_redirect(model.graph, names[-1]), *names], names, strict=False):
        nodes.append(helper.make_node("Conv", [source, "unit"], [f"{out}-conv"]))
        nodes.append(helper.make_node("Relu", [f"{out}-conv"], [out]))
    _put_first(model.graph, nodes, numpy_helper.from_array(kernel, "unit"))
    return model


def padded(model: onnx.ModelProto, wide: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``wide`` with the input and the metadata of ``model``, its input padded at the bottom and the right."""
    more = _side(wide) - _side(model)
    pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, more, more], dtype=np.int64), "more")
    source = _redirect(wide.graph, "padded")
    _put_first(wide.graph, [helper.make_node("Pad", [source, "more"], ["padded"])], pads)
    wide.graph.input[0].CopyFrom(model.graph.input[0])
    del wide.metadata_props[:]
    wide.metadata_props.extend(model.metadata_props)
    return wide


def with_threads(model: onnx.ModelProto, threads: int) -> onnx.ModelProto:
    """Put ONNX Runtime's own settings into the metadata; they count where ORT_LOAD_CONFIG_FROM_MODEL is 1."""
    config = {"session_options": {"intra_op_num_threads": threads, "inter_op_num_threads": 1}}
    model.metadata_props.add(key="ort_config", value=json.dumps(config))
    return model


def _redirect(graph: onnx.GraphProto, name: str) -> str:
    """Make all that reads the input read ``name``; return the name of the input."""
    source = graph.input[0].name
    for node in graph.node:
        node.input[:] = [name if i == source else i for i in node.input]
    return source


def _put_first(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], constant: onnx.TensorProto) -> None:
    graph.initializer.append(constant)
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _side(model: onnx.ModelProto) -> int:
    metadata = {p.key: p.value for p in model.metadata_props}
    return int(ast.literal_eval(metadata["imgsz"])[0])


def exported(weights: Path, imgsz: int, folder: Path) -> onnx.ModelProto:
    """Export a checkpoint as the gate does, in FP32."""
    request = BuildRequest(
        weights=str(weights.resolve()),
        cell=Cell(model=weights.stem, precision="fp32", imgsz=imgsz, batch=1, backend="onnxruntime", device="cpu"),
        threads=threads_of(Settings()),
        output=str(folder / "engine"),
    )
    answer = LocalLauncher(ahead=False).run(Job("wide", request, "cpu", 600), folder, print)
    assert isinstance(answer, BuildResponse)
    return onnx.load(folder / "engine" / answer.artifact)


def main() -> None:
    """Write the slower engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path)
    parser.add_argument("output", type=Path)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--layers", type=int)
    how.add_argument("--larger", type=Path, metavar="WEIGHTS")
    how.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    model = onnx.load(arguments.engine)
    if arguments.layers:
        slow = with_layers(model, arguments.layers)
    elif arguments.threads:
        slow = with_threads(model, arguments.threads)
    else:
        with tempfile.TemporaryDirectory() as name:
            slow = padded(model, exported(arguments.larger, _side(model) + 32, Path(name)))
    onnx.save(slow, arguments.output)


if __name__ == "__main__":
    main()
