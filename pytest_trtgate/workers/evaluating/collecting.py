"""What an evaluation is watched for, whatever the task of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DataError, TrtGateError
from ...jobs import AccuracyRequest, ArmAccuracy
from ...records import REFERENCE, Head, Task
from ..engine_file import described
from ..worker import plain, progress
from .answers import accuracy_of
from .predictions import Predictions, read_predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .turns import ArmBatches, Batches


class Collector(ABC):
    """Watches the evaluation of one arm: checks what Ultralytics lets pass, and keeps per-image records.

    ``make`` is Ultralytics' class of validator for the task. The arms of a request share ``batches``.
    """

    WRAPPED: tuple[str, ...] = (
        *("get_dataloader", "build_dataset", "init_metrics", "preprocess", "postprocess", "get_stats"),
    )
    """Methods of the validator; a method of ours, with an underscore before the name, is called with the original."""

    def __init__(self, arm: str, request: AccuracyRequest, batches: Batches, task: Task, make: Any) -> None:
        self.arm = arm
        self._artifact = next(Path(one.artifact) for one in request.arms if one.arm == arm)
        self.request = request
        self.batches = batches
        self.task: Task = task
        self._make = make
        self._validator: Any = None
        self._broken: list[str] = []
        self._files: list[str] = []
        self._done = 0
        self._runs: Any = None
        self._predictions: Predictions | None = None
        self._batch: Any = None

    def validator(self, args: Any, _callbacks: Any) -> Any:
        """Make the validator that Ultralytics runs, with some of its methods wrapped."""
        self._validator = validator = self._make(args=args, _callbacks=_callbacks)
        for name in self.WRAPPED:
            wrapper = getattr(self, f"_{name.lstrip('_')}")
            setattr(validator, name, partial(wrapper, getattr(validator, name)))
        if not self._is_whole:
            validator.finalize_metrics = validator.print_results = lambda: None  # there are none
        return validator

    @property
    def _is_whole(self) -> bool:
        """Whether all images are evaluated: the metrics of a part are none."""
        return self.request.part == (1, 1)

    def _get_dataloader(self, make: Callable[..., Any], *args: Any, **kwargs: Any) -> ArmBatches:
        if self.batches.loader is None:
            self.batches.loader = make(*args, **kwargs)
        whole = self.arm == REFERENCE and self._artifact.suffix == ".pt"
        return self.batches.of(self.arm, whole=whole)

    def _build_dataset(self, build: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        from ..yolo import ignore_cached_images

        split = self.request.settings.split
        try:
            dataset = build(*args, **kwargs)
        except Exception as error:
            raise DataError(f"{self.request.data}: split '{split}' has no usable images ({plain(error)})") from error
        ignore_cached_images(dataset)
        self._check_dataset(dataset)
        return dataset

    @abstractmethod
    def _check_dataset(self, dataset: Any) -> None:
        """Raise if the images that are left cannot be evaluated."""

    def _init_metrics(self, init: Callable[..., None], model: Any) -> None:
        init(model)
        self._runs = getattr(model, "backend", None)
        about = described(self._artifact) if self._artifact.suffix == ".json" else None
        if about is not None:
            self._predictions = read_predictions(self._artifact, about)
        in_model, in_data = len(model.names), self._validator.data["nc"]
        if in_model != in_data and not self.request.settings.single_cls:
            raise DataError(f"{self.arm}: the model has {in_model} classes, but {self.request.data} has {in_data}")

    def _preprocess(self, preprocess: Callable[..., Any], batch: Any) -> Any:
        settings = self.request.settings
        self._batch, self._files = batch, batch["im_file"]
        shape = tuple(batch["img"].shape[2:])
        if not settings.rect and shape != (settings.imgsz, settings.imgsz):
            raise TrtGateError(
                f"{self.arm}: Ultralytics evaluates images of {shape[1]}x{shape[0]} pixels, not the "
                f"{settings.imgsz}x{settings.imgsz} asked for; take a multiple of the model's stride"
            )
        if getattr(self._runs, "needs_pads", False):
            self._runs.pads = [
                (left, top, shape[1] - left - round(width * gain_x), shape[0] - top - round(height * gain_y))
                for (height, width), ((gain_y, gain_x), (left, top)) in zip(
                    batch["ori_shape"], batch["ratio_pad"], strict=True
                )
            ]
        return preprocess(batch)

    def _postprocess(self, postprocess: Callable[..., Any], output: Any) -> Any:
        from ..yolo import broken_rows, tensors

        if self._predictions is not None:
            settings = self.request.settings
            return self._predictions.postprocessed(self._batch, settings.conf, settings.max_det)
        images = len(self._files)
        broken = broken_rows(output, images)
        if broken:
            self._broken += [self._files[row] for row in broken]
            # Later steps may do anything with such numbers: set them to 0 here, and report all at the end.
            for tensor in tensors(output):
                if tensor.shape[:1] == (images,):
                    tensor[broken] = 0
        return postprocess(output)

    def _progress(self, images: int) -> None:
        self._done += images
        total = len(range(len(self._validator.dataloader.dataset))[self.batches.images])
        progress(f"evaluating {', '.join(arm.arm for arm in self.request.arms)}: {self._done}/{total} images")

    def _get_stats(self, get_stats: Callable[[], Any]) -> Any:
        if self._broken:
            first = self._relative(self._broken[0])
            raise TrtGateError(
                f"{self.arm}: the engine returned NaN or infinite values for {len(self._broken)} of {self._done} "
                f"images, first {first}; such an engine cannot be shipped, try a wider precision"
            )
        return get_stats() if self._is_whole else {}

    @property
    def head(self) -> Head | None:
        """How a checkpoint suppresses boxes; None for a classifier."""
        return None

    @abstractmethod
    def records(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the ``.npz``; see :func:`pytest_trtgate.workers.evaluating.accuracy.work`."""

    def answer(self, metrics: Any, records: dict[str, Any]) -> ArmAccuracy:
        """Return the metrics as Ultralytics returned them, overall and per class, and the images left out."""
        from .. import verifying

        found = accuracy_of(self.task, metrics if self._is_whole else None, records)
        return found.model_copy(
            update={"unreadable": tuple(sorted(verifying.LEFT_OUT)), "left_out": verifying.left_out()}
        )

    @property
    def _names(self) -> NDArray[Any]:
        import numpy as np

        return np.array([self._validator.names[i] for i in sorted(self._validator.names)])

    def _relative(self, file: str) -> str:
        path, root = Path(file), Path(self._validator.data.get("path") or self.request.data)
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
