"""Job: build one engine from one checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import DataError, SettingsError, TrtGateError
from ...jobs import RESERVED, BuildRequest, BuildResponse
from ...records import Precision, head_of
from ..worker import PHASES, leave, main, progress
from .calibrating import calibrate_several
from .exporting import Calibration, Exported, arguments, watch_calibration, without_time_and_place
from .tensorrt_build import export_tensorrt
from .tracing import traced_once

Exporter = Callable[[BuildRequest, Path, Calibration], Exported]


def work(request: BuildRequest, folder: Path) -> BuildResponse:
    """Build the engine and move it into ``request.output``.

    Args:
        request: What to build.
        folder: The folder of the job; intermediate files stay in it.

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
    weights = Path(request.weights)
    if not weights.is_file():
        raise DataError(f"{weights}: no such file; it was there when the run was planned")
    progress(f"loading {weights.name}")

    from .. import yolo

    PHASES.begin("work")
    yolo.isolate(request.threads)
    # The exporter writes beside the weights, under the same name for every precision.
    copy = folder / "export" / f"engine{weights.suffix}"
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(weights, copy)
    images: Calibration = []
    exported = exporter(request, copy, images)
    PHASES.begin("write")
    built = exported.artifact
    metadata = yolo.read_metadata(built)
    yolo.check_shape(f"{weights.name} as {request.cell.precision}", metadata, request.cell.imgsz, request.cell.batch)
    _check_head(f"{weights.name} as {request.cell.precision}", metadata, request.export_args.get("nms"))
    output = Path(request.output)
    output.mkdir(parents=True, exist_ok=True)
    artifact = output / built.name
    shutil.move(built, artifact)
    # Runs are kept, and uploaded by CI: the weights need not be.
    shutil.rmtree(copy.parent)
    calibrated = tuple(sorted(set(images))) if images else None
    return BuildResponse(
        artifact=artifact.name,
        metadata=metadata,
        calibration_images=calibrated,
        inspection=exported.inspection,
    )


def export_onnx(request: BuildRequest, weights: Path, images: Calibration) -> Exported:
    """Export to ONNX on the CPU; INT8 is quantized statically by ONNX Runtime.

    Args:
        request: What to build.
        weights: A copy of the weights in a folder of its own.
        images: Gets the paths of the images that calibration reads.

    Returns:
        The ``.onnx`` file, beside ``weights``.

    Raises:
        TrtGateError: The exporter refused, or the graph is not in the precision that was asked for.
    """
    from .. import yolo

    yolo.pin_onnxruntime(request.threads)
    model = yolo.load_model(weights, shown=Path(request.weights))
    watch_calibration(request, images)
    if request.cell.precision == "int8":
        calibrate_several()
    progress("exporting to ONNX")
    subject = f"{Path(request.weights).name} as {request.cell.precision}: Ultralytics could not export it to ONNX"
    traced = None if request.traced is None else Path(request.traced)
    with yolo.refusals(subject), traced_once(traced), without_time_and_place():
        built = Path(model.export(format="onnx", device="cpu", **arguments(request)))
    final = weights.with_suffix(".onnx")
    built.replace(final)
    _check_precision(final, request.cell.precision)
    return Exported(final)


EXPORTERS: dict[str, Exporter] = {"onnxruntime": export_onnx, "tensorrt": export_tensorrt}


def _check_head(subject: str, metadata: dict[str, Any], nms: bool | None) -> None:
    """Check that boxes are thinned out as was asked for: an exporter may warn and go on with another head."""
    head = head_of(metadata)
    if nms and head != "nms-in-engine":
        raise TrtGateError(
            f"{subject}: Ultralytics was asked for suppression in the engine (nms = true) but left it out"
        )
    if nms is None and head == "nms-in-engine":
        raise TrtGateError(f"{subject}: Ultralytics put suppression into the engine, though it was not asked to")


def _check_precision(artifact: Path, precision: Precision) -> None:
    """Look into the graph: an exporter may warn and go on in another precision than it was asked for."""
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
