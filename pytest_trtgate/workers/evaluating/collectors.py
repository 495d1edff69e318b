"""What an evaluation keeps of each image, for detection-like tasks and for classification."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data import is_image
from ...errors import DataError
from ...jobs import AccuracyRequest
from ...records import KINDS, Head, Task, true_positives
from .answers import STATS
from .collecting import Collector
from .memory import Spool, counting_in_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .turns import Batches

OUTLINED_CONF = 0.25
"""Masks with a lower confidence are not kept: no picture shows them."""


class DetectionCollector(Collector):
    """Watches the evaluation of boxes, rotated boxes, and boxes with masks or keypoints."""

    WRAPPED = (*Collector.WRAPPED, "_process_batch")

    def __init__(self, arm: str, request: AccuracyRequest, batches: Batches, task: Task, make: Any) -> None:
        super().__init__(arm, request, batches, task, make)
        self._stats: dict[str, Spool] = {}
        self._shapes: dict[str, Spool] = {}
        self._folder = next(Path(one.per_image).parent for one in request.arms if one.arm == arm)

    @property
    def head(self) -> Head | None:
        """How a checkpoint suppresses boxes."""
        from ultralytics.models.rtdetr import RTDETRValidator

        validator = self._validator
        return "nms-free" if validator.end2end or isinstance(validator, RTDETRValidator) else "nms"

    def _check_dataset(self, dataset: Any) -> None:
        if not any(len(label["cls"]) for label in dataset.labels):
            data, split = self.request.data, self.request.settings.split
            raise DataError(f"{data}: split '{split}' has no labelled objects, so there is no accuracy")

    def _init_metrics(self, init: Callable[..., None], model: Any) -> None:
        super()._init_metrics(init, model)
        settings, found = self.request.settings, self._validator.args.max_det
        if found != settings.max_det:
            raise DataError(
                f"{self.arm}: an image of split '{settings.split}' holds {found} objects, more than "
                f"max_det = {settings.max_det}; set max_det to at least {found}"
            )
        metrics = self._validator.metrics
        metrics.stats = self._stats = {key: Spool(self._folder) for key in metrics.stats}

    def _process_batch(self, process: Callable[..., Any], predictions: Any, batch: Any) -> Any:
        import numpy as np

        sure = predictions["conf"].cpu().numpy() >= OUTLINED_CONF
        for side, found, wanted in (("pred", predictions, sure), ("target", batch, np.ones(len(batch["cls"]), bool))):
            for name, shape in self._in_pixels(found, batch, wanted).items():
                self._shapes.setdefault(f"{side}_{name}", Spool(self._folder)).append(shape)
        self._progress(1)
        return process(predictions, batch)

    def _in_pixels(self, found: Any, batch: Any, wanted: NDArray[Any]) -> dict[str, Any]:
        """Return the shapes of an image's detections or objects in pixels of the original image."""
        import numpy as np
        from ultralytics.models.yolo.detect import DetectionValidator
        from ultralytics.utils import ops

        from .shapes import around, outlines

        boxes = {"bboxes": found["bboxes"]}
        if self.task == "obb":
            rotated = self._validator.scale_preds(boxes, batch)["bboxes"].cpu().numpy().reshape(-1, 5)
            return {"box": around(rotated), "rbox": rotated}
        scaled = DetectionValidator.scale_preds(self._validator, boxes, batch)["bboxes"]
        shapes: dict[str, Any] = {"box": scaled.cpu().numpy().reshape(-1, 4)}

        def placed(points: Any, size: Any) -> Any:
            return ops.scale_coords(size, points, batch["ori_shape"], ratio_pad=batch["ratio_pad"])

        if self.task == "pose":
            shapes["keypoints"] = placed(found["keypoints"].clone(), batch["imgsz"]).cpu().numpy()
        if self.task == "segment":
            masks = found["masks"]
            per_pixel = np.array(batch["imgsz"][::-1], dtype=np.float32) / masks.shape[:0:-1]
            lines = [placed((line + 0.5) * per_pixel, batch["imgsz"]) for line in outlines(masks, wanted)]
            shapes["outline_points"] = np.array([len(line) for line in lines], dtype=np.int32)
            shapes["outline"] = np.concatenate([np.zeros((0, 2)), *lines])
        return shapes

    def _get_stats(self, get_stats: Callable[[], Any]) -> Any:
        if self._is_whole:
            self._validator.metrics.stats = {key: [spool.whole()] for key, spool in self._stats.items()}
        with counting_in_parts():
            return super()._get_stats(get_stats)

    def records(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the ``.npz``; see :func:`pytest_trtgate.workers.evaluating.accuracy.work`."""
        import numpy as np

        stats = self._stats
        files = self._validator.dataloader.dataset.im_files[self.batches.images]
        indices = np.arange(len(files), dtype=np.int32)
        arrays = {true_positives(kind): stats[STATS[kind]].whole().astype(bool) for kind in KINDS[self.task]}
        for name, shapes in self._shapes.items():
            arrays[name] = shapes.whole().astype(np.int32 if name.endswith("_points") else np.float32)
        arrays |= {
            "conf": stats["conf"].whole(),
            "pred_cls": stats["pred_cls"].whole().astype(np.int32),
            "pred_image": np.repeat(indices, stats["tp"].rows),
            "target_cls": stats["target_cls"].whole().astype(np.int32),
            "target_image": np.repeat(indices, stats["target_cls"].rows),
            "images": np.array([self._relative(file) for file in files]),
            "names": self._names,
        }
        for spool in (*stats.values(), *self._shapes.values()):
            spool.close()
        return arrays


class ClassCollector(Collector):
    """Watches the evaluation of a classifier."""

    WRAPPED = (*Collector.WRAPPED, "update_metrics")

    def __init__(self, arm: str, request: AccuracyRequest, batches: Batches, task: Task, make: Any) -> None:
        super().__init__(arm, request, batches, task, make)
        self._seen: list[str] = []
        self._conf: list[Any] = []

    def _check_dataset(self, dataset: Any) -> None:
        from ultralytics.nn.autobackend import check_class_names

        from .. import verifying

        def named(classes: list[str]) -> list[str]:
            return list(check_class_names(classes).values())

        every, folders, known = dataset.base.classes, named(dataset.base.classes), self._validator.names.values()
        images = {
            file: folders[index]
            for file, index in dataset.base.samples
            if not every[index].startswith(".") and is_image(Path(file))
        }
        for file in set(verifying.LEFT_OUT).difference(images):  # no images: hidden, or another tool's
            del verifying.LEFT_OUT[file]
        strange = sorted(set(images.values()).difference(known))
        where = f"{self.request.data}: split '{self.request.settings.split}'"
        if strange and set(images.values()).intersection(known):
            raise DataError(f"{where} has the class {strange[0]}, which the model does not know")
        if strange and folders != named(list(self._validator.data["names"].values())):
            # Classes are then counted, and would be counted differently.
            raise DataError(f"{where} has other classes than 'train', and the model knows them by other names")
        if strange and len(folders) != len(known):
            raise DataError(
                f"{self.arm}: the model has {len(known)} classes, but {self.request.data} has {len(folders)}"
            )

    def _init_metrics(self, init: Callable[..., None], model: Any) -> None:
        init(model)  # its classes are known by name: a split may lack some, and have folders that are none

    def _update_metrics(self, update: Callable[..., None], predictions: Any, batch: Any) -> None:
        update(predictions, batch)
        self._seen += batch["im_file"]
        self._conf.append(predictions.float().amax(1).cpu())
        self._progress(len(batch["im_file"]))

    def records(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the ``.npz``; see :func:`pytest_trtgate.workers.evaluating.accuracy.work`."""
        import numpy as np

        # The loader shuffles.
        order = np.argsort(self._seen)
        parts = {"top": self._validator.pred, "target": self._validator.targets, "top_conf": self._conf}
        arrays = {name: np.concatenate([part.numpy() for part in found])[order] for name, found in parts.items()}
        images = np.array([self._relative(file) for file in self._seen])[order]
        return {**arrays, "images": images, "names": self._names}


def collector_of(task: Task) -> type[Collector]:
    """Return the class that watches the evaluation of a task."""
    return ClassCollector if task == "classify" else DetectionCollector
