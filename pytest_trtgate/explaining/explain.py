"""The explanation of one cell: what its records tell, a job that compares layers, and trials of its blocks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import JobError, reason_of
from ..jobs import ExplainRequest, ExplainResponse
from ..measuring import Engines, Evaluations
from ..records import AccuracyRecord, Explanation, Layer, reworded
from ..repairing import Given, Trials
from ..text import of_reference, plural
from ..verdicts import calibrated_on
from .arms import chosen_images, of_metric
from .blocks import guilty, of_blocks

MOST_CALIBRATION = 96
"""Calibration images that are searched for outliers, evenly spread."""


def explain(given: Given, folder: Path, seconds: float, say: Callable[[str], None]) -> Explanation:
    """Explain a cell, whose accuracy is taken from the cache or measured.

    Args:
        given: The cell, the settings of its run, and this machine.
        folder: Where jobs work; it is made anew, and only logs of what failed stay.
        seconds: How long it may take; blocks are tried for what the rest of it leaves.
        say: Told in one sentence what comes next.

    Raises:
        TrtGateError: The cell cannot be built or evaluated.
    """
    started = time.monotonic()
    found = Explanation(cell=given.cell)
    with Trials(given, folder, math.inf, say) as trials:
        trials.look()
        context = trials.set_up(given.start, 1.0)
        try:
            engines = Engines(context)
            arms = Evaluations(engines, [given.cell]).pair(given.cell)
            found = of_metric(found, context.workspace.path, *arms)
            say(f"{given.cell.label}: comparing layers with FP32")
            found, network = _of_layers(found, engines, arms)
            trials.ends_at = started + seconds
            found = of_blocks(found, trials, network, arms[1].images)
        finally:
            context.workspace.close()
    found = found.model_copy(update={"seconds": round(time.monotonic() - started, 1)})
    found = found.model_copy(update={"sentence": _sentence(found)})
    return reworded(found, of_reference) if given.weights.suffix == ".onnx" else found


def _of_layers(
    found: Explanation, engines: Engines, arms: tuple[AccuracyRecord, AccuracyRecord]
) -> tuple[Explanation, tuple[Layer, ...]]:
    """Return the explanation with layers, ranges and outliers, and the layers of the network; none where it failed."""
    context, cell = engines.context, found.cell
    if cell in context.plan.given:
        return found.model_copy(update={"layers_note": "not compared: the engine was not built here"}), ()
    record, data = engines.of(cell), context.data[cell.model]
    images, worst = chosen_images(context.workspace.path, *arms, data)
    listed = calibrated_on(record, data.calibration_images)
    some = listed[:: max(1, -(-len(listed) // MOST_CALIBRATION))]
    own = cell.backend == "onnxruntime"
    request = ExplainRequest(
        threads=context.threads,
        build=engines.request(cell, ""),
        engine=str(record.path) if own else "",
        images=images,
        worst=worst,
        calibration=tuple(map(str, some)),
    )
    try:
        answer, why = _answer(engines, found, request)
    except JobError as error:
        return found.model_copy(update={"layers_note": f"not compared: {reason_of(error)}"}), ()
    compared = f"{plural(worst, 'image')} of worst disagreement and {answer.images - worst} others"
    update = {
        "layers": answer.layers,
        "layers_note": f"{_graph(answer, why)} beside that of FP32, on {compared}{why}",
        "images": answer.images,
        "ranges": answer.ranges,
        "outliers": answer.outliers,
        "peak_bytes": answer.peak_bytes,
    }
    if answer.ranges:
        searched = f"{answer.calibration_images} of {len(listed)}" if listed else "no"
        update["ranges_note"] = (
            f"values of {plural(answer.images, 'evaluated image')}; {searched} calibration images were searched for "
            f"outliers"
        )
    return found.model_copy(update=update), answer.network


def _answer(engines: Engines, found: Explanation, request: ExplainRequest) -> tuple[ExplainResponse, str]:
    """Return what the job answers; where TensorRT tells no layers, of an ONNX graph, and why that is.

    Raises:
        JobError: The job failed.
    """
    context, cell = engines.context, found.cell
    try:
        return context.job(f"explain-{cell.key}", request), ""
    except JobError as error:
        if cell.backend == "onnxruntime":
            raise
        stand_in = cell.model_copy(update={"backend": "onnxruntime", "device": "cpu"})
        request = request.model_copy(update={"build": engines.request(stand_in, "")})
        answer = context.job(f"explain-{cell.key}-by-onnx", request)
        return answer, f"; TensorRT's own layers were not told: {reason_of(error)}"


def _graph(answer: ExplainResponse, why: str) -> str:
    """Return what was compared in place of the engine."""
    if answer.marked is None:
        return "an ONNX graph that ONNX Runtime quantized alike" if why else "the engine's own graph"
    told = f"{len(answer.layers)} of {plural(len(answer.network), 'layer')}"
    return f"a TensorRT build with {told} marked as {answer.marked}, behind which it fuses nothing,"


def _sentence(found: Explanation) -> str:
    """Return the most telling of an explanation: what the metric says, then the block or the layer to blame."""
    said = [found.sentence] if found.sentence else []
    if block := guilty(found):
        said.append(block)
    elif lower := [layer for layer in found.layers if layer.lower]:
        worst = lower[0]
        said.append(f"most noise comes from {worst.words} ({worst.name}, {worst.local_db:.0f} dB of signal to noise)")
    return "; ".join(said)
