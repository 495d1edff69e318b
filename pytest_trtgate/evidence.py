"""What an accuracy verdict rests on beside the metrics: what each image contributed to them, read and compared."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .digest import files_sha256
from .errors import RecordError
from .records import AccuracyRecord, EngineRecord
from .tasks import KINDS, Task, true_positives

if TYPE_CHECKING:
    from .judge.agreement import Agreement
    from .judge.average_precision import Array
    from .judge.bootstrap import Comparison, Drop

REPLICATES = 1000
FEWEST_REPLICATES = 200
SHOWN_WORK, DECIDING_WORK = 20_000_000, 1_000_000_000
"""Detections of both arms times replicates: fewer replicates are drawn of more detections, so that an interval that is
only shown takes a fraction of a second, and one that decides takes seconds."""


@dataclass(frozen=True)
class Evidence:
    """Two arms on the same images: their drops with intervals, how far their detections agree, and their curves.

    ``curves`` are of the checkpoint and the engine: precision (10 x 51) by IoU and recall; none of what has no boxes.
    """

    comparison: Comparison
    agreement: Agreement
    curves: tuple[Array, ...] = ()


def gather(folder: Path, reference: AccuracyRecord, engine: AccuracyRecord, conf: float, *, decides: bool) -> Evidence:
    """Read the per-image records of two arms and compare them.

    Args:
        folder: The run's folder, at which the records' paths start.
        reference: The checkpoint's accuracy.
        engine: The engine's.
        conf: Confidence from which a detection counts when deployed.
        decides: Whether the verdict hangs on the intervals.

    Raises:
        RecordError: The arrays of an arm are missing or unusable, or the arms saw other images or objects.
    """
    task = engine.task
    ranked, others = _fields(task)
    arms = [read_arrays(folder / record.per_image, ranked, others) for record in (reference, engine)]
    where = f"{folder / engine.per_image}"
    if arms[0]["images"].tolist() != arms[1]["images"].tolist():
        raise RecordError(f"{where}: not of the same images as those of the .pt")
    try:
        if task == "classify":
            return _of_classes(arms)
        return _of_detections(arms, task, conf, DECIDING_WORK if decides else SHOWN_WORK)
    except ValueError as error:
        raise RecordError(f"{where}: the per-image records cannot be compared ({error})") from error


def _fields(task: Task) -> tuple[list[str], list[str]]:
    """Return the names of the arrays that are read: those of detections, to be ranked, and the others."""
    if task == "classify":
        return [], ["top", "top_conf", "target", "images"]
    box = ["pred_rbox"] if task == "obb" else ["pred_box"]
    ranked = [*map(true_positives, KINDS[task]), "conf", "pred_cls", "pred_image", *box]
    return ranked, ["target_cls", "target_image", "images"]


def _of_classes(arms: list[dict[str, Any]]) -> Evidence:
    from .judge.classification import Classified, classified_agreement, compare_classified

    reference, engine = (Classified(arm["top"], arm["top_conf"], arm["target"]) for arm in arms)
    return Evidence(compare_classified(reference, engine), classified_agreement(reference, engine))


def _of_detections(arms: list[dict[str, Any]], task: Task, conf: float, work: int) -> Evidence:
    from .judge.agreement import Detections, agreement
    from .judge.average_precision import ImageRecords
    from .judge.bootstrap import paired_bootstrap
    from .judge.curves import precision_recall

    affordable = work // max(1, len(KINDS[task]) * sum(len(arm["conf"]) for arm in arms))
    replicates = min(REPLICATES, max(FEWEST_REPLICATES, affordable))
    metrics: dict[str, Drop] = {}
    for kind in KINDS[task]:
        names = (true_positives(kind), "conf", "pred_cls", "pred_image", "target_cls", "target_image")
        records = [ImageRecords(*(arm[name] for name in names)) for arm in arms]
        comparison = paired_bootstrap(records[0], records[1], len(arms[0]["images"]), replicates=replicates)
        metrics |= {kind + name: drop for name, drop in comparison.metrics.items()}
    # The last kind is what the task is about, and so are its classes and curves.
    box = "pred_rbox" if task == "obb" else "pred_box"
    detections = [Detections(arm["pred_image"], arm["pred_cls"], arm["conf"], arm[box]) for arm in arms]
    curves = tuple(map(precision_recall, records))
    return Evidence(replace(comparison, metrics=metrics), agreement(detections[0], detections[1], conf), curves)


def calibrated_on(engine: EngineRecord, split: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the images that an engine was calibrated on; none where they can no longer be told.

    Args:
        engine: The engine.
        split: The images of the split that it was calibrated on, whose content is part of the engine's key.
    """
    calibration = engine.calibration
    if calibration is None:
        return ()
    if calibration.images == len(split):
        return split
    try:
        listed = (Path(engine.entry) / "calibration.txt").read_text(encoding="utf-8").splitlines()
        images = tuple(map(Path, listed))
        # The paths are those of the checkout that built the engine, which may be gone or hold other files now.
        return images if files_sha256(images) == calibration.digest else ()
    except OSError:
        return ()


def read_arrays(
    path: Path, ranked: Sequence[str], others: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """Return per-image arrays of an arm by their names.

    Args:
        path: The ``.npz``.
        ranked: Those of detections to be put in order, the surest first.
        others: Those wanted as they are.
        optional: Those wanted as they are where they are there.

    Raises:
        RecordError: They are missing or unusable.
    """
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file) as archive:
            there = [name for name in optional if name in archive]
            arrays = {name: archive[name] for name in (*ranked, *others, *there)}
        # Quantized engines give many detections one confidence. Ultralytics ranks those as this sort happens to.
        order = np.argsort(-arrays["conf"]) if ranked else None
        return arrays | {name: arrays[name][order] for name in ranked}
    except (OSError, EOFError, KeyError, IndexError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path}: no per-image records to be used ({type(error).__name__}: {error})") from error
