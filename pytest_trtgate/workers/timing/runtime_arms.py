"""Engines of ONNX Runtime in a launch that runs them alone: it needs neither torch nor Ultralytics.

The inputs are those of the model's first launch, which has left them in a file, or are made here of the same images.
What is timed is the same call of the runtime there and here (:class:`RuntimeCall`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, TrtGateError
from ...jobs import INPUTS, ArmRequest, LatencyRequest
from ..artifact import check_shape, pin_onnxruntime, read_metadata, refusals
from ..image_header import refusal
from ..reading import noting

FULL = 255
"""An image of 8 bits becomes an input by division by this."""
GREY = 114
"""What surrounds an image that is not square, as Ultralytics has it."""


class RuntimeCall:
    """An inference by a session of ONNX Runtime on the CPU, array in to arrays out."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, array: Any) -> list[Any]:
        """Return the raw outputs for an input."""
        outputs: list[Any] = self._session.run(self._outputs, {self._input: array})
        return outputs


class RuntimeArm:
    """An engine of ONNX Runtime, loaded by nothing else.

    Attributes:
        half: Whether its input is FP16.
        cuda_graph: None, as on every CPU.

    Raises:
        TrtGateError: It does not fit the request, or cannot be loaded.
    """

    cuda_graph = None

    def __init__(self, arm: ArmRequest, request: LatencyRequest) -> None:
        import onnxruntime

        artifact = Path(arm.artifact)
        self.name, self.spare = arm.arm, arm.spare
        check_shape(arm.arm, read_metadata(artifact), request.how.imgsz, request.how.batch)
        with refusals(f"{arm.arm}: {artifact.name} could not be loaded"):
            session = onnxruntime.InferenceSession(str(artifact), providers=["CPUExecutionProvider"])
        self.half = "float16" in session.get_inputs()[0].type
        self._call = RuntimeCall(session)

    def run(self, array: Any) -> Any:
        """Return the raw outputs for an input."""
        return self._call(array)

    def detect(self, images: Any) -> Any:
        """Refuse: there is nothing around the engine here."""
        raise TrtGateError(f"{self.name}: it cannot be timed end to end by ONNX Runtime alone")

    def rehearse(self, array: Any) -> None:
        """Run a batch once and check the output.

        Raises:
            TrtGateError: It fails, or holds NaN or infinite values.
        """
        with refusals(f"{self.name}: its first inference failed"):
            outputs = self.run(array)
            if not all(np.isfinite(x).all() for x in outputs if x.dtype.kind == "f" and x.shape[:1] == array.shape[:1]):
                raise TrtGateError(
                    f"{self.name}: it returned NaN or infinite values in warm-up; such an engine cannot be shipped, "
                    f"try a wider precision"
                )


def load_alone(request: LatencyRequest) -> tuple[list[RuntimeArm], dict[bool, list[Any]]]:
    """Load the arms of a launch, run each once, and return them with the inputs by whether they are FP16.

    Raises:
        TrtGateError: An arm does not fit the request, cannot be loaded or run, or returns NaN or infinite values.
        DataError: There is no image, or none can be read.
    """
    left = Path(request.inputs, INPUTS)
    images = np.load(left) if left.is_file() else make_inputs(request)
    inputs = {half: [_divided(batch, half) for batch in images] for half in (False, True)}
    pin_onnxruntime(request.threads)
    arms = []
    for asked in request.load_order:
        with noting(asked.artifact):
            arms.append(RuntimeArm(asked, request))
        arms[-1].rehearse(inputs[arms[-1].half][0])
    return arms, inputs


def takes_pictures(artifact: Path) -> bool:
    """Return whether an engine takes what :func:`make_inputs` makes: not a classifier, nor one of other channels."""
    metadata = read_metadata(artifact)
    return metadata.get("task") != "classify" and int(metadata.get("channels", 3)) == 3


def make_inputs(request: LatencyRequest) -> list[Any]:
    """Return the images of a launch in groups of ``batch`` as engines take them, but for the division by 255.

    Each is as Ultralytics would make it: in the middle of a grey square, RGB, channels first.

    Raises:
        DataError: There is no image, or none can be read.
    """
    images: list[Any] = []
    for path in request.images:
        if len(images) < request.rules.images and (image := _picture(path, request)) is not None:
            images.append(image)
    if not images:
        raise DataError(f"none of the {len(request.images)} images to time inference on can be read")
    batch = request.how.batch
    groups = -(-len(images) // batch)
    return [np.stack([images[(g * batch + i) % len(images)] for i in range(batch)]) for g in range(groups)]


def _picture(path: str, request: LatencyRequest) -> Any:
    """Return an image as an engine takes it, channels x imgsz x imgsz; None where it cannot be read."""
    import cv2

    if refusal(Path(path), request.max_pixels):
        return None
    with noting(path):
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    side = request.how.imgsz
    ratio = min(side / length for length in image.shape[:2])
    height, width = (round(length * ratio) for length in image.shape[:2])
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = (side - height) // 2, (side - width) // 2
    placed = np.full((side, side, 3), GREY, np.uint8)
    placed[top : top + height, left : left + width] = image
    return np.ascontiguousarray(placed[:, :, ::-1].transpose(2, 0, 1))


def leave_inputs(folder: Path, inputs: Sequence[Any]) -> None:
    """Leave inputs (batch x channels x height x width, 0 to 1) in a folder, as the images of 8 bits that they were.

    Nothing is left where one is no image of 8 bits, so that each launch makes its own, or where others are there.
    """
    if folder.exists():
        return
    images = [np.rint(array.astype(np.float32) * FULL).astype(np.uint8) for array in inputs]
    half = inputs[0].dtype == np.float16
    if all(np.array_equal(_divided(image, half), array) for image, array in zip(images, inputs, strict=True)):
        folder.mkdir(parents=True)
        np.save(folder / INPUTS, np.stack(images), allow_pickle=False)


def _divided(image: Any, half: bool) -> Any:
    kind = np.float16 if half else np.float32
    return image.astype(kind) / kind(FULL)
