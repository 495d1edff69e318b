"""Job: compare an engine with its FP32 graph, layer by layer, and its calibrated ranges with what images have."""

from __future__ import annotations

import base64
import math
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DataError
from ...jobs import BuildRequest, ExplainRequest, ExplainResponse, Marking
from ...records import Layer, LayerNoise, OutlierImage, RangeUse
from ...settings import Int8
from ..building.build import export_onnx, load
from ..building.exporting import prepare_calibration
from ..building.quantization import Choice
from ..building.tensorrt_build import export_tensorrt
from ..engine_file import read_engine, read_metadata
from ..graph import read_layers
from ..reading import noting
from ..worker import PHASES, leave, main, progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .beside import Joint

    Array = NDArray[Any]

CLEAN_DB = 200.0
"""Stands for a layer without any noise."""
OUTLIER_TIMES = 1.5
"""An image is an outlier in a layer where it gets so many times as far from zero as the next one."""
MOST_OUTLIERS = 6
MOST_BYTES = 256_000_000
"""Memory for tensors that TensorRT tells at a time."""
PICTURE_PX = 160
"""Longest side of the small copy of an outlier."""


def work(request: ExplainRequest, folder: Path) -> ExplainResponse:
    """Export the checkpoint in FP32, put the engine's layers beside it, and run both on the images.

    Without an engine that is an ONNX graph, one is exported that is quantized alike. Where the build is TensorRT's, an
    engine is built that tells its tensors.

    Raises:
        DataError: The weights cannot be used, or no image can be read.
        TrtGateError: The exporter refused, or TensorRT.
    """
    import onnx

    cell = request.build.cell
    compared = (_by_tensorrt if cell.backend == "tensorrt" else _by_onnxruntime)(request, folder)
    from .beside import farthest

    joint, graph, task = compared.joint, compared.graph, compared.task
    channels = int(read_metadata(graph).get("channels", 3))
    images = list(_inputs(request.images, task, cell.imgsz, channels))
    if not images:
        raise DataError(f"none of {len(request.images)} images to compare layers on can be read")
    PHASES.begin("work")
    numbers = compared.run([image for _, image in images])
    by_layer = numbers.reshape(len(images), len(joint.layers), -1)
    at = [place for place, limits in enumerate(joint.ranges) if limits is not None]
    ranged = [joint.layers[place] for place in at]
    calibrated = list(_inputs(request.calibration, task, cell.imgsz, channels)) if ranged else []
    outliers: tuple[OutlierImage, ...] = ()
    if len(calibrated) > 1:
        ends = farthest(onnx.load(graph), [joint.tensors[place] for place in at])
        far = _run(ends, [image for _, image in calibrated], cell.batch, "looking for outliers")
        outliers = outliers_of([path for path, _ in calibrated], far, [layer.words for layer in ranged])
    shutil.rmtree(folder / "export", ignore_errors=True)
    for name in ("fp32.onnx", "engine.onnx"):
        (folder / name).unlink(missing_ok=True)
    return ExplainResponse(
        network=compared.network,
        marked=compared.marked,
        layers=noise_of(joint, by_layer, [path in request.images[: request.worst] for path, _ in images]),
        ranges=ranges_of(joint, by_layer),
        outliers=tuple(map(_pictured, outliers)),
        images=len(images),
        calibration_images=len(calibrated),
        peak_bytes=_peak_bytes(),
    )


@dataclass(frozen=True)
class _Compared:
    """What compares an engine with an FP32 graph: ``run`` returns the numbers of images (images x numbers)."""

    task: str
    graph: Path
    network: tuple[Layer, ...]
    joint: Joint
    run: Callable[[list[Array]], Array]
    marked: Marking | None = None


def _by_onnxruntime(request: ExplainRequest, folder: Path) -> _Compared:
    """Put an engine that is an ONNX graph beside that of FP32."""
    import onnx

    exact = request.build.model_copy(update={"cell": request.build.cell.model_copy(update={"precision": "fp32"})})
    task, graph = _exported(exact, folder, "fp32.onnx")
    path = Path(request.engine) if request.engine else _exported(request.build, folder, "engine.onnx")[1]
    network = read_layers(graph)
    from .beside import Beside

    progress("putting the engine's graph beside that of FP32")
    with noting(path):
        joint = Beside(onnx.load(graph), onnx.load(path), network)

    def run(images: list[Array]) -> Array:
        return _run(joint.model, images, request.build.cell.batch, "comparing layers")

    return _Compared(task, graph, network, joint, run)


def _by_tensorrt(request: ExplainRequest, folder: Path) -> _Compared:
    """Build an engine that tells its tensors, as the engine was built, and put those beside the graph it came from."""
    build, model, subject = load(request.build, folder)
    images = prepare_calibration(build)
    asked = build.quantization if build.cell.precision == "int8" else Int8()
    choice = Choice(asked, "tensorrt", subject, images)
    import numpy as np
    import onnx
    import torch

    from ..timing.cuda_timing import open_device
    from .beside import ENGINE, Marked
    from .marking import Marks, TellingEngine

    graph = folder / "fp32.onnx"
    marks = Marks(graph)
    built, _ = export_tensorrt(build, model, subject, choice, marks.mark)
    kept = () if choice.made is None else choice.made.kept
    joint = Marked(onnx.load(graph), marks.layers, marks.tensors, marks.ranges, kept)
    _, plan = read_engine(built)
    engine = TellingEngine(plan, marks.tensors, marks.debug, torch, open_device(build.cell.device))

    def told(names: Sequence[str], whole: Array) -> dict[str, Array]:
        return {ENGINE + name: value for name, value in engine.values(whole, names).items()}

    def run(images: list[Array]) -> Array:
        found = []
        for number, (part, names) in enumerate(joint.parts(MOST_BYTES)):
            what = f"comparing layers, part {number + 1}"
            found.append(_run(part, images, build.cell.batch, what, partial(told, names)))
        return np.concatenate(found, axis=1)

    return _Compared(model.task, graph, marks.layers, joint, run, "debug tensors" if marks.debug else "outputs")


def _exported(build: BuildRequest, folder: Path, name: str) -> tuple[str, Path]:
    """Return the task of a checkpoint, and the ONNX graph that was exported from it."""
    build, model, subject = load(build, folder)
    images = prepare_calibration(build) if build.cell.precision == "int8" else []
    asked = build.quantization if build.cell.precision == "int8" else Int8()
    graph, _ = export_onnx(build, model, subject, Choice(asked, build.cell.backend, subject, images))
    return model.task, Path(shutil.move(graph, folder / name))


def _inputs(paths: Sequence[str], task: str, imgsz: int, channels: int) -> Iterator[tuple[str, Array]]:
    """Yield each image that can be read as the network takes it in an evaluation: channels x imgsz x imgsz."""
    import numpy as np
    from PIL import Image
    from ultralytics.data.augment import LetterBox, classify_transforms

    from ..verifying import read_image

    letterbox, classify = LetterBox((imgsz, imgsz), auto=False, scaleup=False), classify_transforms(imgsz)
    for path in paths:
        image = read_image(path, channels)
        if image is None:
            continue
        if task == "classify":
            yield path, classify(Image.fromarray(image[..., ::-1])).numpy()
            continue
        placed = letterbox(image=image).reshape(imgsz, imgsz, channels)
        placed = placed[..., ::-1] if channels == 3 else placed
        yield path, np.ascontiguousarray(placed.transpose(2, 0, 1), dtype=np.float32) / 255


def _run(
    model: Any,
    images: Sequence[Array],
    batch: int,
    what: str,
    told: Callable[[Array], dict[str, Array]] | None = None,
) -> Array:
    """Return the numbers of all images (images x numbers); the last batch is filled up with its last image.

    ``told`` returns the other inputs of a batch.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of every constant that it folds away
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given, rows = session.get_inputs()[0], []
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        whole = np.stack([*some, *[some[-1]] * (batch - len(some))])
        rows.append(
            session.run(None, {given.name: whole, **(told(whole) if told else {})})[0][: len(some)].astype(np.float64)
        )
        progress(f"{what}: {start + len(some)}/{len(images)} images")
    return np.concatenate(rows)


def decibels(signal: float, noise: float) -> float:
    """Return a signal-to-noise ratio of two energies, in decibels."""
    if not math.isfinite(noise):
        return -CLEAN_DB
    if noise <= 0:
        return CLEAN_DB
    return round(10 * math.log10(max(signal, 1e-30) / noise), 2)


def noise_of(joint: Joint, numbers: Array, worst: Sequence[bool]) -> tuple[LayerNoise, ...]:
    """Return how well each layer keeps to FP32, those that add most noise first.

    Args:
        joint: The graphs.
        numbers: Images x layers x the statistics of :mod:`.beside`.
        worst: Whether each image is one of worst disagreement.
    """
    found = []
    for at, layer in enumerate(joint.layers):
        signal, arriving, local = numbers[:, at, :3].sum(axis=0)
        own = numbers[[*worst], at, :2].sum(axis=0) if any(worst) else None
        found.append(
            LayerNoise(
                name=layer.name,
                words=layer.words,
                local_db=decibels(signal, local),
                arriving_db=decibels(signal, arriving),
                worst_db=None if own is None else decibels(*own),
                lower=joint.lower[at],
            )
        )
    return tuple(sorted(found, key=lambda layer: layer.local_db))


def ranges_of(joint: Joint, numbers: Array) -> tuple[RangeUse, ...]:
    """Return how calibrated ranges are used, the most clipped first."""
    found = []
    for at, (layer, limits) in enumerate(zip(joint.layers, joint.ranges, strict=True)):
        if limits is None or limits.high <= limits.low:
            continue
        low, high, clipped = numbers[:, at, 3].min(), numbers[:, at, 4].max(), numbers[:, at, 5].mean()
        reached = max(0.0, min(high, limits.high) - max(low, limits.low))
        found.append(
            RangeUse(
                name=layer.name,
                words=layer.words,
                low=round(limits.low, 5),
                high=round(limits.high, 5),
                seen_low=round(float(low), 5),
                seen_high=round(float(high), 5),
                clipped=round(float(clipped), 6),
                unused=round(1 - reached / (limits.high - limits.low), 4),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.clipped, -one.unused)))


def outliers_of(paths: Sequence[str], far: Array, layers: Sequence[str]) -> tuple[OutlierImage, ...]:
    """Return the images that alone set ranges.

    Args:
        paths: The images.
        far: Images x layers: how far from zero each gets.
        layers: The layers in words.
    """
    import numpy as np

    first = far.argmax(axis=0)
    ordered = np.sort(far, axis=0)
    over = ordered[-1] / np.maximum(ordered[-2], 1e-12)
    times = ordered[-1] / np.maximum(np.median(far, axis=0), 1e-12)
    found = []
    for image in np.unique(first[over >= OUTLIER_TIMES]).tolist():
        mine = np.flatnonzero((first == image) & (over >= OUTLIER_TIMES))
        most = mine[times[mine].argmax()]
        alone = {"layers": len(mine), "times": round(float(times[most]), 2), "layer": layers[most]}
        found.append(OutlierImage(image=paths[image], **alone))
    return tuple(sorted(found, key=lambda one: (-one.layers, -one.times))[:MOST_OUTLIERS])


def _pictured(outlier: OutlierImage) -> OutlierImage:
    """Return an outlier with a small copy of its image."""
    import cv2

    from ..verifying import read_image

    image = read_image(outlier.image)
    if image is None:
        return outlier
    factor = min(1.0, PICTURE_PX / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes()
    return outlier.model_copy(update={"picture": base64.b64encode(data).decode("ascii")})


def _peak_bytes() -> int:
    """Return the most memory that this process has taken."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    leave(main(ExplainRequest, work))
