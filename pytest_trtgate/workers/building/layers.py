"""Job: name the layers of a checkpoint that INT8 quantizes."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...jobs import LayersRequest, LayersResponse
from ...settings import Int8
from ..graph import read_layers
from ..worker import leave, main
from .build import export_onnx, load
from .quantization import Choice


def work(request: LayersRequest, folder: Path) -> LayersResponse:
    """Export the checkpoint to ONNX in FP32, and read the graph.

    Raises:
        DataError: The weights cannot be used.
        TrtGateError: The exporter refused.
    """
    build, model, subject = load(request.build, folder)
    graph, _ = export_onnx(build, model, subject, Choice(Int8(), build.cell.backend, subject))
    layers = read_layers(graph)
    shutil.rmtree(folder / "export")
    return LayersResponse(layers=layers)


if __name__ == "__main__":
    leave(main(LayersRequest, work))
