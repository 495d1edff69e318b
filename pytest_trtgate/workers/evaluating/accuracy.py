"""Job: evaluate arms on one split in one pass over its images, and keep per-image records."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ...jobs import ARM_NAME, AccuracyArm, AccuracyRequest, AccuracyResponse, ArmAccuracy
from ...records import head_of
from ..reading import noting
from ..worker import PHASES, explain, is_cuda_fault, is_out_of_memory, leave, main, progress
from .turns import Batches, Turns

TURN_IMAGES, TURN_PIXELS = 8, 8 * 640 * 640
"""The most images, and pixels of letterboxed images, that a checkpoint evaluates at a time."""
Ending = tuple[str, "ArmAccuracy | str | BaseException"]
"""An arm, and its accuracy, the sentence why it has none, or the error that ends the job."""


def work(request: AccuracyRequest, folder: Path) -> AccuracyResponse:
    """Evaluate the arms, and write per-image records to each arm's ``per_image``.

    The ``.npz`` holds, for N detections, M ground truth objects, I images and C classes:

    ============== =============== =====================================================================
    ``tp``         N x 10, bool    whether the detection is a true positive at IoU 0.50, 0.55, ..., 0.95
    ``tp_mask``, ``tp_pose``       the same by the overlap of masks, or the likeness of keypoints
    ``conf``       N, float        its confidence, as the engine gave it
    ``pred_cls``   N, int32        its class
    ``pred_image`` N, int32        the image it is in
    ``pred_box``   N x 4, float32  its box: x1, y1, x2, y2 in pixels of the original image
    ``target_cls``, ``target_image``, ``target_box``: the same of the M objects
    ``images``     I, str          image files, relative to the root of the dataset where they are below it
    ``names``      C, str          class names
    ============== =============== =====================================================================

    Of rotated boxes also ``pred_rbox`` (N x 5: x and y of the centre, width, height, radians; ``pred_box`` is the
    upright box around it), of keypoints ``pred_keypoints`` (N x K x 2 or 3: x, y and what else the model says), and of
    masks ``pred_outline`` with ``pred_outline_points`` (N: how many of its points, x and y, are of each detection, in
    their order; none of those with a confidence under 0.25); all in pixels of the original image, and the same of the
    objects with ``target_``.

    Of a classifier it holds ``top`` (I x K: the likeliest classes, at most 5), ``top_conf`` (I: its confidence in the
    first), ``target`` (I), ``images`` and ``names``.

    An arm fails alone if the split cannot be read or holds no objects, if the classes of model and dataset differ, or
    if the artifact does not fit the request, cannot be run, or returns NaN or infinite values. A GPU fault or memory
    that has run out may be another arm's doing, and ends the job.
    """
    from .. import yolo

    names = [arm.arm for arm in request.arms]
    progress(f"loading {', '.join(names)}")
    yolo.isolate(request)
    if any(arm.artifact.endswith(".onnx") for arm in request.arms):
        yolo.pin_onnxruntime(request.threads)
    PHASES.begin("load")
    with (folder / ARM_NAME).open("wb", buffering=0) as file:
        # Unbuffered and in place, so that the name is there even if this process dies.
        turns = Turns(names, lambda arm: os.pwrite(file.fileno(), arm.ljust(80).encode(), 0))
        threads = 1 if request.sparing else request.threads
        batches = Batches(turns, PHASES.begin, _group(request), threads, request.part)
        done: queue.SimpleQueue[Ending] = queue.SimpleQueue()
        for one in request.arms:
            evaluate = partial(_evaluate, request, one, folder, batches)
            how = (one, evaluate, folder, turns, done)
            threading.Thread(target=_take_turns, args=how, daemon=True).start()
        turns.begin()
        arms: dict[str, ArmAccuracy] = {}
        failures: dict[str, str] = {}
        for arm, found in (done.get() for _ in names):
            if isinstance(found, BaseException):
                raise found
            if isinstance(found, str):
                failures[arm] = found
            else:
                arms[arm] = found
    return AccuracyResponse(arms=arms, failures=failures)


def _group(request: AccuracyRequest) -> int:
    """Return how many batches an arm gets in a turn; the checkpoint evaluates them as one batch.

    On a CPU that takes half the time and changes scores by some 1e-6, for rounding. The number does not depend on the
    other arms, so that a stored accuracy is the same in any company. On a GPU another batch may use other kernels.
    """
    if request.device != "cpu" or request.sparing:
        return 1
    images = TURN_PIXELS // request.settings.imgsz**2
    return max(1, min(TURN_IMAGES, images) // request.settings.batch)


def _take_turns(
    asked: AccuracyArm, evaluate: Callable[[], ArmAccuracy], folder: Path, turns: Turns, done: queue.SimpleQueue[Ending]
) -> None:
    arm = asked.arm
    turns.wait(arm)
    found: ArmAccuracy | str
    try:
        with noting(asked.artifact):
            found = evaluate()
    except BaseException as error:
        if is_cuda_fault(error) or is_out_of_memory(error):
            done.put((arm, error))
            return  # the others get no more turns
        found = explain(error, folder)
    turns.leave(arm)
    if isinstance(found, ArmAccuracy):
        found = found.model_copy(update={"seconds": turns.seconds[arm]})
    done.put((arm, found))


def _evaluate(request: AccuracyRequest, arm: AccuracyArm, folder: Path, batches: Batches) -> ArmAccuracy:
    import numpy as np

    from .. import yolo
    from .collectors import collector_of

    settings = request.settings
    artifact = Path(arm.artifact)
    metadata = yolo.read_metadata(artifact)
    yolo.check_shape(arm.arm, metadata, settings.imgsz, settings.batch)
    model = yolo.load_model(artifact)
    yolo.check_data(arm.arm, model, metadata, request.data)
    make = model.task_map[model.task]["validator"]
    Path(arm.per_image).parent.mkdir(parents=True, exist_ok=True)
    collector = collector_of(model.task)(arm.arm, request, batches, model.task, make)
    subject = f"{arm.arm}: {artifact.name} could not be evaluated"
    with yolo.refusals(subject, artifact):
        metrics = model.val(
            validator=collector.validator,
            data=request.data,
            split=settings.split,
            imgsz=settings.imgsz,
            batch=settings.batch,
            conf=settings.conf,
            iou=settings.iou,
            max_det=settings.max_det,
            rect=settings.rect,
            nms=settings.nms,
            device=request.device,
            # A checkpoint may carry this from its training, an engine cannot.
            single_cls=settings.single_cls,
            plots=False,
            save_json=False,
            verbose=False,
            workers=0,
            project=str(folder / "runs"),
            name=arm.arm,
        )
    records: dict[str, Any] = {"images": (), "target_cls": ()}
    if batches.batches:
        records = dict(collector.records())
        np.savez_compressed(arm.per_image, **records)
    head = head_of(metadata) if metadata else collector.head
    return collector.answer(metrics, records).model_copy(update={"head": head})


if __name__ == "__main__":
    leave(main(AccuracyRequest, work))
