"""Job: build one engine from one checkpoint, with ONNX Runtime or TensorRT."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import DataError, SettingsError, TrtGateError
from ...jobs import RESERVED, BuildRequest, BuildResponse
from ...records import EngineInspection, Precision, file_sha256, head_of
from ...settings import Int8
from ..reading import note
from ..worker import PHASES, leave, main, progress
from .exporting import arguments, prepare_calibration, without_time_and_place
from .quantization import Choice, quantized_by_onnxruntime
from .tensorrt_build import export_tensorrt
from .tracing import traced_once

ENGINE = "engine"
"""What the artifact is called, but for its suffix."""
ExportFunction = Callable[[BuildRequest, Any, str, Choice], tuple[Path, EngineInspection | None]]
"""Exports a loaded model, which messages name by the text; returns the artifact and, if known, what is in it."""


def work(request: BuildRequest, folder: Path) -> BuildResponse:
    """Build the engine and move it into ``request.output``.

    Raises:
        SettingsError: The backend is unknown, or ``export_args`` holds what the request decides.
        DataError: The weights or the calibration data cannot be used.
        TrtGateError: The exporter refused, or what it made is not what was asked for.
    """
    exporter = EXPORTERS.get(request.cell.backend)
    if exporter is None:
        known = ", ".join(EXPORTERS)
        raise SettingsError(f"backend '{request.cell.backend}' cannot build engines; it must be one of: {known}")
    taken = sorted(RESERVED & set(request.export_args))
    if taken:
        raise SettingsError(f"export_args: '{taken[0]}' is decided by pytest-trtgate itself; remove it")

    from .. import verifying, yolo

    request, model, subject = load(request, folder)
    images = prepare_calibration(request)
    asked = request.quantization if request.cell.precision == "int8" else Int8()
    choice = Choice(asked, request.cell.backend, Path(request.weights).name, images)
    built, inspection = exporter(request, model, subject, choice)
    if choice.changes and choice.made is None:
        raise TrtGateError(
            f"{subject}: quantization.int8 has no effect, since the exporter quantized nothing, as of a checkpoint "
            f"that brings its own ranges; remove it"
        )
    PHASES.begin("write")
    metadata = yolo.read_metadata(built)
    yolo.check_shape(subject, metadata, request.cell.imgsz, request.cell.batch)
    _check_head(subject, metadata, request.export_args.get("nms"))
    output = Path(request.output)
    output.mkdir(parents=True, exist_ok=True)
    artifact = output / f"{ENGINE}{built.suffix}"
    shutil.move(built, artifact)
    # Runs are kept, and uploaded by CI: the weights need not be.
    shutil.rmtree(folder / "export")
    return BuildResponse(
        artifact=artifact.name,
        metadata=metadata,
        calibration_images=tuple(sorted(set(images))) or None,
        left_out=verifying.left_out(),
        inspection=inspection,
        quantization=choice.made,
    )


def load(request: BuildRequest, folder: Path) -> tuple[BuildRequest, Any, str]:
    """Load a copy of the checkpoint, to be exported into a folder of its own below ``folder``.

    Returns:
        The request, with the folder of traced graphs for these very weights; the model; and what messages call it.

    Raises:
        DataError: The weights or the calibration data cannot be used.
    """
    weights = Path(request.weights)
    if not weights.is_file():
        raise DataError(f"{weights}: no such file; it was there when the run was planned")
    progress(f"loading {weights.name}")

    from .. import yolo

    PHASES.begin("work")
    yolo.isolate(request)
    # The exporter writes beside the weights, under the same name for every precision.
    copy = folder / "export" / f"{ENGINE}{weights.suffix}"
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(weights, copy)
    sha256 = file_sha256(copy)
    note(weights, sha256)
    if request.traced is not None:  # of these very bytes, whatever the file holds by the next build
        request = request.model_copy(update={"traced": str(Path(request.traced) / sha256)})
    subject = f"{weights.name} as {request.cell.precision}"
    model = yolo.load_model(copy, shown=weights)
    if request.data is not None:
        yolo.check_data(subject, model, {}, request.data)
    return request, model, subject


def export_onnx(request: BuildRequest, model: Any, subject: str, choice: Choice) -> tuple[Path, None]:
    """Export to ONNX on the CPU; ONNX Runtime quantizes INT8 statically, as chosen.

    Raises:
        TrtGateError: The exporter refused, or the graph is not in the requested precision.
    """
    from .. import yolo

    yolo.pin_onnxruntime(request.threads)
    progress("exporting to ONNX")
    traced = None if request.traced is None else Path(request.traced)
    ranges = None if request.ranges is None else Path(request.ranges)
    quantizing = quantized_by_onnxruntime(choice, ranges, request.threads)
    refused = f"{subject}: Ultralytics could not export it to ONNX"
    with yolo.refusals(refused), traced_once(traced), without_time_and_place(), quantizing:
        built = Path(model.export(format="onnx", device="cpu", **arguments(request)))
    _check_precision(built, request.cell.precision)
    return built, None


EXPORTERS: dict[str, ExportFunction] = {"onnxruntime": export_onnx, "tensorrt": export_tensorrt}


def _check_head(subject: str, metadata: dict[str, Any], nms: bool | None) -> None:
    """Check that the engine suppresses boxes as requested: an exporter may warn and use another head."""
    head = head_of(metadata)
    if nms and head != "nms-in-engine":
        raise TrtGateError(
            f"{subject}: Ultralytics was asked for suppression in the engine (nms = true) but left it out"
        )
    if nms is None and head == "nms-in-engine":
        raise TrtGateError(f"{subject}: Ultralytics put suppression into the engine, though it was not asked to")


def _check_precision(artifact: Path, precision: Precision) -> None:
    """Check the graph's precision: an exporter may warn and use another."""
    import onnx

    graph = onnx.load(artifact).graph
    quantized = any("QuantizeLinear" in node.op_type for node in graph.node)
    halves = sum(i.data_type == onnx.TensorProto.FLOAT16 for i in graph.initializer)
    singles = sum(i.data_type == onnx.TensorProto.FLOAT for i in graph.initializer)
    found = "int8" if quantized else "fp16" if halves > singles else "fp32"
    if found != precision:
        raise TrtGateError(f"Ultralytics was asked for {precision} but exported {found}; the log may say why")


if __name__ == "__main__":
    leave(main(BuildRequest, work))
