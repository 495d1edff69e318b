"""What can be found before anything is built: facts about dataset, checkpoint, settings and machine, as findings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from .. import text as fmt
from ..jobs import CheckpointFacts, SplitFacts, Trouble
from ..judge.latency.drift import unlike
from ..machine import saturates
from ..records import Cell, Environment
from ..settings import Settings
from .after import skewed_engine

FEW_CALIBRATION_IMAGES = 300
"""Below this many images, the ranges that INT8 is calibrated to hang on single images."""
MOSTLY_UNLABELLED = 0.5
"""A split with labels for fewer of its images than this has probably lost them; others have images without objects."""
SHORT_WARMUP_S = 1.0
VISIBLE_BRIGHTNESS = 0.05
"""Average shift of an image's mean grey level, of 1, that can be seen."""
VISIBLE_CONTRAST = 0.03
"""The same of the standard deviation of its grey levels."""
VISIBLE_SIZE = 1.25
"""How many times as large objects are on average that are visibly larger."""
NAMED = 4
"""How many classes a sentence names."""
RENAMED = "name the classes of the dataset as the model does, or gate the model on data of its own classes"


@dataclass(frozen=True)
class Early:
    """A finding and what it concerns; an empty ``models`` or ``precisions`` means all of them.

    ``remedy``: what to do about it, where that is not what there is to do about the others of its kind.
    """

    id: str
    sentence: str
    models: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    remedy: str = ""


INT8 = ("int8",)


def shapes(settings: Settings, cells: Iterable[Cell], checkpoints: Mapping[str, CheckpointFacts]) -> Iterator[Early]:
    """Yield where training, gate and deployment differ in image size or batch.

    Args:
        settings: The run's settings.
        cells: Its cells.
        checkpoints: What the checkpoints say, by model.
    """
    for model, imgsz, batch in dict.fromkeys((cell.model, cell.imgsz, cell.batch) for cell in cells):
        trained = checkpoints.get(model, CheckpointFacts()).imgsz
        if trained and trained != imgsz:
            yield Early("imgsz-mismatch", f"{model}: trained at {trained} pixels, gated at {imgsz}", (model,))
        deployed = settings.deployment
        if deployed.imgsz and deployed.imgsz != imgsz:
            yield Early("imgsz-mismatch", f"{model}: deployed at {deployed.imgsz} pixels, gated at {imgsz}", (model,))
        if deployed.batch and deployed.batch != batch:
            yield Early(
                "batch-mismatch", f"{model}: deployed with a batch of {deployed.batch}, gated with {batch}", (model,)
            )


def deployed_engine(
    settings: Settings, cells: Iterable[Cell], metadata: Mapping[str, Any], running: str | None
) -> Iterator[Early]:
    """Yield where the deployed engine is not what the gate builds.

    Args:
        settings: The run's settings.
        cells: Its cells.
        metadata: What Ultralytics wrote into the deployed engine; without a batch, nothing can be told.
        running: The version of Ultralytics that is installed.
    """
    engine = settings.deployment.engine
    if engine is None:
        return
    if not isinstance(metadata.get("batch"), int):
        why = metadata.get("problem", "it holds no metadata of Ultralytics")
        yield Early("preflight-incomplete", f"{engine}: the deployed engine could not be looked into ({why})")
        return
    for _, sentence in skewed_engine(f"{engine.name}, which is deployed,", metadata.get("version"), running):
        yield Early("version-skew", sentence)
    arguments = metadata.get("args")
    dynamic = metadata.get("dynamic") or (isinstance(arguments, Mapping) and arguments.get("dynamic"))
    if dynamic:
        yield Early(
            "dynamic-shapes", f"{engine.name}, which is deployed, has dynamic shapes, the gated engines have not"
        )
        return  # it takes any batch and size up to those
    size = metadata.get("imgsz")
    sides = tuple(size) if isinstance(size, list) else (size, size)
    for imgsz, batch in dict.fromkeys((cell.imgsz, cell.batch) for cell in cells):
        if set(sides) != {imgsz}:
            shape = "x".join(map(str, reversed(sides)))
            yield Early(
                "imgsz-mismatch", f"{engine.name}, which is deployed, takes {shape} pixels, gated is {imgsz}x{imgsz}"
            )
        if metadata["batch"] != batch:
            said = f"{engine.name}, which is deployed, takes a batch of {metadata['batch']}, gated is {batch}"
            yield Early("batch-mismatch", said)


def weak_calibration(
    settings: Settings,
    images: int,
    names: Mapping[int, str],
    calibration: SplitFacts | None,
    evaluated: SplitFacts | None,
) -> Iterator[Early]:
    """Yield what is wrong with the images that INT8 is calibrated on.

    Args:
        settings: The run's settings.
        images: How many images are calibrated on.
        names: The classes of the dataset.
        calibration: What was seen of them; None where it is not known.
        evaluated: What was seen of the evaluated split.
    """
    split, fraction = settings.calibration.split, settings.calibration.fraction
    if images < FEW_CALIBRATION_IMAGES:
        part = f" (fraction {fraction:g})" if fraction < 1 else ""
        said = f"INT8 is calibrated on {images} images of split '{split}'{part}, fewer than {FEW_CALIBRATION_IMAGES}"
        yield Early("weak-calibration", said, precisions=INT8)
    elif fraction < 1:
        said = f"INT8 is calibrated on {images} images, fraction {fraction:g} of split '{split}', the first by name"
        yield Early("weak-calibration", said, precisions=INT8)
    if calibration is None or evaluated is None or settings.split == split:
        return
    missing = [names.get(index, str(index)) for index in evaluated.classes if not calibration.classes.get(index)]
    if missing and calibration.classes:
        said = f"the calibration images of split '{split}' show no object of {_listed(missing)}"
        yield Early("weak-calibration", said, precisions=INT8)
    for what, mine, theirs, visible in (
        ("brightness", calibration.brightness, evaluated.brightness, VISIBLE_BRIGHTNESS),
        ("contrast", calibration.contrast, evaluated.contrast, VISIBLE_CONTRAST),
        ("object size", _logs(calibration.object_sizes), _logs(evaluated.object_sizes), math.log(VISIBLE_SIZE)),
    ):
        found = unlike(mine, theirs, visible)
        if found is not None:
            middles = [math.exp(median(x)) if what == "object size" else median(x) for x in (mine, theirs)]
            level = f"median {middles[0]:.2f} and {middles[1]:.2f}, Kolmogorov-Smirnov distance {found:.2f}"
            said = f"the calibration images are unlike those of split '{settings.split}' in {what} ({level})"
            yield Early("weak-calibration", said, precisions=INT8)


def _logs(sizes: Iterable[float]) -> list[float]:
    """Return logarithms of sizes: what counts is how many times as large objects are."""
    return [math.log(max(size, 1e-3)) for size in sizes]


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def dataset_trouble(split: str, facts: SplitFacts, *, labelled: bool, evaluated: bool) -> Iterator[Early]:
    """Yield what is wrong with the images and labels of a split.

    Args:
        split: Its name.
        facts: What was seen of it.
        labelled: Whether it is to have label files, as for every task but classification.
        evaluated: Whether it is the one that accuracy is of, which is nothing without objects.
    """

    def trouble(found: Trouble, what: str) -> Iterator[Early]:
        if found.count:
            yield Early("dataset-trouble", f"split '{split}' has {fmt.plural(found.count, what)}, first {found.first}")

    yield from trouble(facts.corrupt, "missing or damaged image")
    if not labelled:
        return
    yield from trouble(facts.bad_labels, "unusable label file")
    yield from trouble(facts.without_image, "orphaned label file")
    if evaluated and not facts.classes:
        files = "no image has a label file" if facts.unlabelled == facts.images else "no label file names an object"
        said = f"split '{split}': {files}, of {fmt.plural(facts.images, 'image')}"
        if facts.bad_labels.count:
            said += f"; of those that cannot be used, the first is {facts.bad_labels.first}"
        yield Early("no-labels", said)
    elif facts.unlabelled > MOSTLY_UNLABELLED * facts.images:
        said = f"split '{split}': {facts.unlabelled} of {facts.images} images have no label file"
        yield Early("dataset-trouble", said)


def unknown_checkpoints(checkpoints: Mapping[str, CheckpointFacts]) -> Iterator[Early]:
    """Yield the models of which nothing is known, since their checkpoints could not be looked into."""
    for model, facts in checkpoints.items():
        if facts.problem:
            yield Early("preflight-incomplete", f"{model}: nothing is known of its training: {facts.problem}", (model,))


def other_classes(
    checkpoints: Mapping[str, CheckpointFacts], names: Mapping[int, str], *, by_index: bool
) -> Iterator[Early]:
    """Yield where a model has other classes than the dataset.

    Args:
        checkpoints: What the checkpoints say, by model.
        names: The classes of the dataset, by index.
        by_index: Whether labels give the index of a class, so that the order of the names counts.
    """
    for model, facts in checkpoints.items():
        theirs = facts.names
        if theirs is None:
            continue
        if len(theirs) != len(names):
            said = f"{model}: the model has {fmt.plural(len(theirs), 'class')}, the dataset {len(names)}"
            yield Early("class-mismatch", said, (model,))
            continue
        # Names that differ in no more than that are told apart by it, such as "< 5" and "> 5".
        spelled = _folded if _tells_apart(names.values()) and _tells_apart(theirs.values()) else str
        known = set(map(spelled, theirs.values()))
        others = [i for i in names if by_index and i in theirs and spelled(names[i]) != spelled(theirs[i])]
        moved = [i for i in others if spelled(names[i]) in known]
        if moved:
            said = f"class {moved[0]} is '{theirs[moved[0]]}' to the model and '{names[moved[0]]}' to the dataset"
            yield Early("class-mismatch", f"{model}: {said}, which the model has elsewhere", (model,))
        elif others:
            said = f"class {others[0]} is '{theirs[others[0]]}' to the model and '{names[others[0]]}' to the dataset"
            many = f", and {len(others) - 1} more differ" if len(others) > 1 else ""
            unlike = "unless they mean the same, its accuracy cannot be trusted"
            yield Early("dataset-trouble", f"{model}: {said}{many}; {unlike}", (model,), remedy=RENAMED)


def _folded(name: str) -> str:
    """Return what is left of a name where neither case nor what parts words counts."""
    return "".join(character for character in name.casefold() if character.isalnum()) or name


def _tells_apart(names: Iterable[str]) -> bool:
    """Return whether names that differ do so in what is left of them."""
    different = set(names)
    return len(set(map(_folded, different))) == len(different)


def duplicates(split: str, other: str, count: int, first: str) -> Iterator[Early]:
    """Yield where images of the evaluated split are in another one too, by content."""
    if count:
        said = f"split '{split}' shares {fmt.plural(count, 'image')} with split '{other}', by content, first {first}"
        yield Early("dataset-trouble", said)


def exports(cells: Iterable[Cell], arguments: Mapping[Cell, Mapping[str, Any]]) -> Iterator[Early]:
    """Yield where an engine is exported such that its timing is not comparable.

    Args:
        cells: The run's cells.
        arguments: What the exporter is asked for, by cell.
    """
    for cell in cells:
        concerns = ((cell.model,), (cell.precision,))
        if arguments[cell].get("dynamic"):
            said = f"{cell.label} is exported with dynamic shapes, and its latency is gated"
            yield Early("dynamic-shapes", said, *concerns)
        if arguments[cell].get("nms"):
            said = f"{cell.label} is exported with NMS inside (nms = {arguments[cell]['nms']}), the .pt has none"
            yield Early("unfair-timing", said, *concerns)


def timing(settings: Settings, too_many: str, processes: int) -> Iterator[Early]:
    """Yield what would make the comparison of arms unfair.

    Args:
        settings: The run's settings.
        too_many: That there are more threads than cores, if so.
        processes: How many processes compute on the GPU already.
    """
    if too_many:
        yield Early("unfair-timing", too_many)
    latency = settings.latency
    if latency.warmup_max_seconds < SHORT_WARMUP_S:
        said = (
            f"latency.warmup_max_seconds = {latency.warmup_max_seconds:g} ends the warm-up before times can be stable"
        )
        yield Early("unfair-timing", said)
    if processes:
        many = "process computes" if processes == 1 else "processes compute"
        yield Early("unfair-timing", f"{processes} other {many} on the GPU before the start")


def saturating(cells: Iterable[Cell], environment: Environment) -> Iterator[Early]:
    """Yield that INT8 of ONNX Runtime may compute wrong sums on this processor.

    Args:
        cells: The run's cells.
        environment: The machine.
    """
    if saturates(environment) and any(c.precision == "int8" and c.backend == "onnxruntime" for c in cells):
        said = (
            f"{environment.cpu} has no VNNI, so ONNX Runtime adds up products of 8-bit numbers in 16 bits, which may "
            "overflow: INT8 may be less accurate here than on a processor with VNNI"
        )
        yield Early("int8-saturates", said, precisions=INT8)


def accepted_skew(cell: Cell, accepted: Mapping[str, str], running: Mapping[str, str]) -> Iterator[Early]:
    """Yield where a cell's accepted engine was exported or run by other versions.

    Args:
        cell: The cell.
        accepted: Versions that its baseline was measured with.
        running: Those that are installed.
    """
    then, now = accepted.get("ultralytics"), running.get("ultralytics")
    pairs = [("Ultralytics", then, now), (cell.backend, accepted.get(cell.backend), running.get(cell.backend))]
    moved = [f"{name} {a} (now {b})" for name, a, b in pairs if a and b and a != b]
    if moved:
        said = f"{cell.label}: the accepted engine is of {' and '.join(moved)}"
        yield Early("version-skew", said, (cell.model,), (cell.precision,))
