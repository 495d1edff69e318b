"""One arm of a launch, loaded through Ultralytics' predictor and run step by step.

Import it only after :func:`pytest_trtgate.workers.worker.prepare`: this module imports torch and Ultralytics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ...errors import DataError, TrtGateError
from ...jobs import ArmRequest, LatencyRequest
from .. import yolo
from ..reading import noting
from ..verifying import read_image
from .runtime_arms import RuntimeCall

yolo.load_torchvision()
Batch = list[Any]
"""Images as the model takes them, each height x width x channels, uint8; BGR where it takes three channels."""


class Arm:
    """A checkpoint or an engine with the pre- and postprocessing that it is deployed with.

    Attributes:
        spare: Whether it is loaded only to take the place of the first.
        takes: What its input is like: arms of which this is equal take the same.
        cuda_graph: Whether Ultralytics replays it from a CUDA graph; None on a CPU.
        enqueues: Whether it needs :meth:`bind` and :meth:`enqueue` to run on a stream of our choice.

    Raises:
        TrtGateError: The artifact does not fit the request, or cannot be loaded.
    """

    _call: RuntimeCall | None = None

    def __init__(self, arm: ArmRequest, request: LatencyRequest, folder: Path) -> None:
        artifact = Path(arm.artifact)
        self.name, self.spare = arm.arm, arm.spare
        yolo.check_shape(arm.arm, yolo.read_metadata(artifact), request.how.imgsz, request.how.batch)
        model = yolo.load_model(artifact)
        self._predictor = model.task_map[model.task]["predictor"](
            overrides={
                "task": model.task,
                "mode": "predict",
                "imgsz": request.how.imgsz,
                "batch": request.how.batch,
                "conf": request.how.conf,
                "iou": request.how.iou,
                "max_det": request.how.max_det,
                "rect": False,
                "nms": request.how.nms,
                "device": request.device,
                "save": False,
                "verbose": False,
                "project": str(folder / "runs"),
            }
        )
        with yolo.refusals(f"{arm.arm}: {artifact.name} could not be loaded", artifact):
            self._predictor.setup_model(str(yolo.as_it_is(artifact)), verbose=False)
        self.backend = self._predictor.model
        if artifact.suffix == ".pt" and hasattr(self.backend.model, "set_head_attr") and self.backend.end2end:
            # As the predictor's own loop does: filter candidates before taking the best.
            self.backend.model.set_head_attr(max_det=max(request.how.max_det, 300), agnostic_nms=False)
        given = getattr(self.backend, "backend", None)
        self._given = given if hasattr(given, "feed") else None
        if self._given is not None:
            self._given.fed = True
        self.takes = f"{self.backend.fp16} {self._given.about.feed if self._given else ''}"
        self._on_gpu = self.backend.device.type == "cuda"
        # Ultralytics has a graph, or None in its place, for engines only.
        self.cuda_graph = getattr(self.backend, "graph", None) is not None if self._on_gpu else None
        self.enqueues = artifact.suffix == ".engine" and not self.cuda_graph
        if artifact.suffix == ".onnx" and not self._on_gpu and not (self._given and self._given.about.feed.nhwc):
            # As where the runtime is all that a launch imports.
            self._call = RuntimeCall(self.backend.session)
        self._context: Any = self.backend.context if self.enqueues else None

    @property
    def plain(self) -> bool:
        """Whether it is fed as Ultralytics feeds what it builds."""
        return self._given is None

    def aim(self, images: Batch) -> None:
        """Tell the predictor that its source is pictures in memory, of any size."""
        self._predictor.setup_source(images)

    def preprocess(self, images: Batch) -> Any:
        """Return the letterboxed input of a batch: batch x channels x imgsz x imgsz, 0 to 1; RGB where three."""
        tensor = self._predictor.preprocess(images)
        if self._given is None:
            return tensor
        if self._given.needs_pads:
            from ..given.backend import pads_of

            self._given.pads = pads_of([image.shape[:2] for image in images], tensor.shape[-1])
            self._given.pictures = list(images)
        return self._given.feed(tensor)

    def run(self, given: Any) -> Any:
        """Return the raw output for an input from the engine alone, once the device has it."""
        if self._call is not None:
            return self._call(given.numpy())
        output = self.backend(given)
        self.synchronize()
        return output

    def infer(self, tensor: Any) -> Any:
        """Return the raw output for an input through the predictor, once the device has it."""
        output = self._predictor.inference(tensor)
        self.synchronize()
        return output

    def bind(self, tensor: Any) -> None:
        """Tell the engine the addresses of its input and of the outputs that Ultralytics allocated."""
        outputs = self.backend.output_names
        for name, binding in self.backend.bindings.items():
            place = binding.data if name in outputs else tensor
            self._context.set_tensor_address(name, place.data_ptr())

    def enqueue(self, stream: int) -> None:
        """Put the bound engine on a CUDA stream without waiting for it.

        Raises:
            TrtGateError: TensorRT refuses.
        """
        if not self._context.execute_async_v3(stream):
            raise TrtGateError(f"{self.name}: TensorRT refused to run the engine; the log says why")

    def postprocess(self, output: Any, tensor: Any, images: Batch) -> Any:
        """Return one ``Results`` for each image of a batch, in pixels of the image."""
        self._predictor.batch = ([""] * len(images), images, [""] * len(images))
        return self._predictor.postprocess(output, tensor, images)

    def detect(self, images: Batch) -> tuple[Any, tuple[int, int, int, int]]:
        """Take a batch through all stages; return its results, and the clock in nanoseconds before and after each."""
        clock = time.perf_counter_ns
        start = clock()
        tensor = self.preprocess(images)
        self.synchronize()
        ready = clock()
        output = self.infer(tensor)
        inferred = clock()
        results = self.postprocess(output, tensor, images)
        self.synchronize()
        return results, (start, ready, inferred, clock())

    def synchronize(self) -> None:
        """Wait for a GPU to finish its work."""
        if self._on_gpu:
            torch.cuda.synchronize(self.backend.device)

    def rehearse(self, images: Batch, imgsz: int) -> None:
        """Run a batch once and check input and output.

        Raises:
            TrtGateError: The input is not of the size asked for, or the output holds NaN or infinite values.
        """
        with yolo.refusals(f"{self.name}: its first inference failed"):
            tensor = self.preprocess(images)
            shape, wanted = tuple(tensor.shape), (len(images), images[0].shape[2], imgsz, imgsz)
            if shape != wanted:
                raise TrtGateError(f"{self.name}: its input has the shape {shape}, not {wanted}")
            output = self.infer(tensor)
            if yolo.broken_rows(output, len(images)):
                raise TrtGateError(
                    f"{self.name}: it returned NaN or infinite values in warm-up; such an engine cannot be shipped, "
                    f"try a wider precision"
                )
            self.postprocess(output, tensor, images)


def load_arms(
    request: LatencyRequest, order: Sequence[ArmRequest], folder: Path, charge: Callable[[str, Callable[[], Arm]], Arm]
) -> list[Arm]:
    """Load the arms of a launch in this order; ``charge`` gets the name of each, none of a spare, and what loads it."""
    if any(arm.artifact.endswith(".onnx") for arm in order):
        yolo.pin_onnxruntime(request.threads)
    arms = []
    for arm in order:
        with noting(arm.artifact):
            arms.append(charge("" if arm.spare else arm.arm, partial(Arm, arm, request, folder)))
    torch.set_num_threads(request.threads)
    return arms


def channels_of(request: LatencyRequest) -> int:
    """Return how many channels the images have that a launch's models take: as its engines say, else three."""
    engines = (Path(arm.artifact) for arm in request.arms if not arm.artifact.endswith(".pt"))
    return next((int(yolo.read_metadata(engine).get("channels", 3)) for engine in engines), 3)


def decode(request: LatencyRequest) -> list[Batch]:
    """Decode the images of a launch in groups of ``batch``; images from the front fill up the last group.

    What Ultralytics would leave out of an evaluation is left out here.

    Raises:
        DataError: There are no images, or none can be read.
    """
    channels = channels_of(request)
    readable = (image for path in request.images if (image := read_image(path, channels)) is not None)
    images = list(islice(readable, request.rules.images))
    if not images:
        first = f"; none of {len(request.images)} can be read, first {request.images[0]}" if request.images else ""
        raise DataError(f"no images to time inference on{first or '; the split is empty'}")
    batch = request.how.batch
    groups = -(-len(images) // batch)
    return [[images[(g * batch + i) % len(images)] for i in range(batch)] for g in range(groups)]
