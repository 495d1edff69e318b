"""What is kept of an arm's evaluation, task by task."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, TrtGateError
from ..records import REFERENCE, ClassAccuracy
from .contract import AccuracyRequest, ArmAccuracy
from .worker import plain, progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .turns import ArmBatches, Batches


class Collector:
    """Watches the evaluation of one arm: checks what Ultralytics would let pass, and keeps what each image contributed.

    Args:
        arm: The arm.
        request: What was asked for.
        batches: The images, which it shares with the other arms of the request.
    """

    def __init__(self, arm: str, request: AccuracyRequest, batches: Batches) -> None:
        self.arm = arm
        self.request = request
        self.batches = batches
        self._validator: Any = None
        self._stats: dict[str, list[Any]] = {}
        self._boxes: dict[str, list[Any]] = {"pred": [], "target": []}
        self._broken: list[str] = []
        self._files: list[str] = []

    def validator(self, args: Any, _callbacks: Any) -> Any:
        """Make the validator that Ultralytics runs, with our hands around some of its methods."""
        from ultralytics.models.yolo.detect import DetectionValidator

        self._validator = validator = DetectionValidator(args=args, _callbacks=_callbacks)
        hands: dict[str, Callable[..., Any]] = {
            "get_dataloader": self._get_dataloader,
            "build_dataset": self._build_dataset,
            "init_metrics": self._init_metrics,
            "preprocess": self._preprocess,
            "postprocess": self._postprocess,
            "_process_batch": self._process_batch,
            "get_stats": self._get_stats,
        }
        for name, hand in hands.items():
            setattr(validator, name, partial(hand, getattr(validator, name)))
        return validator

    def _get_dataloader(self, make: Callable[..., Any], *args: Any, **kwargs: Any) -> ArmBatches:
        if self.batches.loader is None:
            self.batches.loader = make(*args, **kwargs)
        return self.batches.of(self.arm, whole=self.arm == REFERENCE)

    def _build_dataset(self, build: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        from .yolo import ignore_cached_images

        split = self.request.settings.split
        try:
            dataset = build(*args, **kwargs)
        except Exception as error:
            raise DataError(f"{self.request.data}: split '{split}' has no usable images ({plain(error)})") from error
        ignore_cached_images(dataset)
        self.batches.unreadable = tuple(sorted(set(dataset.get_img_files(dataset.img_path)) - set(dataset.im_files)))
        if not any(len(label["cls"]) for label in dataset.labels):
            raise DataError(f"{self.request.data}: split '{split}' has no labelled objects, so there is no accuracy")
        return dataset

    def _init_metrics(self, init: Callable[..., None], model: Any) -> None:
        init(model)
        arm, validator, settings = self.arm, self._validator, self.request.settings
        in_model, in_data = len(model.names), validator.data["nc"]
        if in_model != in_data:
            raise DataError(f"{arm}: the model has {in_model} classes, but {self.request.data} has {in_data}")
        if validator.args.max_det != settings.max_det:
            raise DataError(
                f"{arm}: an image of split '{settings.split}' holds {validator.args.max_det} objects, more than "
                f"max_det = {settings.max_det}; set max_det to at least {validator.args.max_det}"
            )

    def _preprocess(self, preprocess: Callable[..., Any], batch: Any) -> Any:
        settings = self.request.settings
        self._files = batch["im_file"]
        shape = tuple(batch["img"].shape[2:])
        if not settings.rect and shape != (settings.imgsz, settings.imgsz):
            raise TrtGateError(
                f"{self.arm}: Ultralytics evaluates images of {shape[1]}x{shape[0]} pixels, not the "
                f"{settings.imgsz}x{settings.imgsz} asked for; take a multiple of the model's stride"
            )
        return preprocess(batch)

    def _postprocess(self, postprocess: Callable[..., Any], output: Any) -> Any:
        from .yolo import broken_rows, tensors

        broken = broken_rows(output)
        if broken:
            self._broken += [self._files[row] for row in broken]
            # What such numbers do further on is undefined: let the evaluation end, then report them all.
            for tensor in tensors(output):
                tensor[broken] = 0
        return postprocess(output)

    def _process_batch(self, process: Callable[..., Any], predictions: Any, batch: Any) -> Any:
        scale = self._validator.scale_preds
        for kind, boxes in (("pred", predictions["bboxes"]), ("target", batch["bboxes"])):
            self._boxes[kind].append(scale({"bboxes": boxes}, batch)["bboxes"].cpu().numpy().reshape(-1, 4))
        done, total = len(self._boxes["pred"]), len(self._validator.dataloader.dataset)
        progress(f"evaluating {', '.join(arm.arm for arm in self.request.arms)}: {done}/{total} images")
        return process(predictions, batch)

    def _get_stats(self, get_stats: Callable[[], Any]) -> Any:
        # Ultralytics empties them when it has its metrics.
        self._stats = {key: list(values) for key, values in self._validator.metrics.stats.items()}
        if self._broken:
            first, total = self._relative(self._broken[0]), len(self._stats["tp"])
            raise TrtGateError(
                f"{self.arm}: the engine returned NaN or infinite values for {len(self._broken)} of {total} "
                f"images, first {first}; such an engine cannot be shipped, try a wider precision"
            )
        return get_stats()

    def records(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the ``.npz``; see :func:`pytest_trtgate.jobs.accuracy.work`."""
        import numpy as np

        stats = self._stats
        files = self._validator.dataloader.dataset.im_files
        indices = np.arange(len(files), dtype=np.int32)
        return {
            "tp": np.concatenate(stats["tp"]).astype(bool),
            "conf": np.concatenate(stats["conf"]),
            "pred_cls": np.concatenate(stats["pred_cls"]).astype(np.int32),
            "pred_image": np.repeat(indices, [len(tp) for tp in stats["tp"]]),
            "pred_box": np.concatenate(self._boxes["pred"]).astype(np.float32),
            "target_cls": np.concatenate(stats["target_cls"]).astype(np.int32),
            "target_image": np.repeat(indices, [len(cls) for cls in stats["target_cls"]]),
            "target_box": np.concatenate(self._boxes["target"]).astype(np.float32),
            "images": np.array([self._relative(file) for file in files]),
            "names": np.array([self._validator.names[i] for i in sorted(self._validator.names)]),
        }

    def answer(self, metrics: Any, records: dict[str, Any]) -> ArmAccuracy:
        """Return what was found: the metrics as Ultralytics returned them, overall and per class."""
        import numpy as np

        box = metrics.box
        rows = {int(c): _metrics(box.p[i], box.r[i], box.ap50[i], box.ap[i]) for i, c in enumerate(box.ap_class_index)}
        classes = []
        for index, name in enumerate(records["names"].tolist()):
            mine = records["target_cls"] == index
            images = len(np.unique(records["target_image"][mine]))
            classes.append(
                ClassAccuracy(name=name, images=images, instances=int(mine.sum()), metrics=rows.get(index, {}))
            )
        return ArmAccuracy(
            images=len(records["images"]),
            instances=len(records["target_cls"]),
            metrics=_metrics(box.mp, box.mr, box.map50, box.map),
            classes=tuple(classes),
            unreadable=self.batches.unreadable,
        )

    def _relative(self, file: str) -> str:
        path, root = Path(file), Path(self._validator.data["path"])
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


COLLECTORS: dict[str, type[Collector]] = {"detect": Collector}
"""Who watches the evaluation of a model, by its task."""


def _metrics(precision: float, recall: float, map50: float, map50_95: float) -> dict[str, float]:
    values = {"mAP50": map50, "mAP50-95": map50_95, "precision": precision, "recall": recall}
    if not all(math.isfinite(value) for value in values.values()):
        raise TrtGateError(f"Ultralytics returned metrics that are no numbers ({values})")
    return {name: float(value) for name, value in values.items()}
