"""What can be found before anything is built: facts about dataset, checkpoint, settings and machine, as findings."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .. import text as fmt
from ..data import KeypointShape, readable_names
from ..jobs import CheckpointFacts, SplitFacts
from ..judge.drift import unlike
from ..machine import saturates
from ..records import Cell, Environment, Trouble
from ..settings import Settings
from .after import skewed_engine
from .found import Found

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
SIZE_STEP = 32
"""Image sizes are multiples of it; training rounds others up."""
OUTLINED = ("segment", "obb")
"""Tasks for which Ultralytics refuses a split with a single label file of boxes."""
RENAMED = "name the classes of the dataset as the model does, or gate the model on data of its own classes"


def shapes(
    settings: Settings, cells: Iterable[Cell], checkpoints: Mapping[str, CheckpointFacts], accepted: Collection[str]
) -> Iterator[Found]:
    """Yield where training, gate and deployment differ in image size or batch.

    Args:
        settings: The run's settings.
        cells: The cells of the run.
        checkpoints: What is known of the checkpoint of each model.
        accepted: The models with a baseline at this size. Another size than the trained one fails the first use of the
            others, unless the settings say what it does: on a first use it is most often a size that was not given.
    """
    for model, imgsz, batch in dict.fromkeys((cell.model, cell.imgsz, cell.batch) for cell in cells):
        trained = checkpoints.get(model, CheckpointFacts()).imgsz
        if trained and trained != imgsz:
            size = -(-trained // SIZE_STEP) * SIZE_STEP
            remedy = f"gate the size that it was trained at: --trt-imgsz={size}, or imgsz = {size} in the settings"
            fails = model not in accepted and not settings.findings.says("imgsz-mismatch")
            said = f"{model}: trained at {trained} pixels, gated at {imgsz}"
            if size != imgsz:
                yield Found("imgsz-mismatch", said, (model,), remedy=remedy, fails=fails)
        deployed = settings.deployment
        if deployed.imgsz and deployed.imgsz != imgsz:
            yield Found("imgsz-mismatch", f"{model}: deployed at {deployed.imgsz} pixels, gated at {imgsz}", (model,))
        if deployed.batch and deployed.batch != batch:
            said = f"{model}: deployed with a batch of {deployed.batch}, gated with {batch}"
            yield Found("batch-mismatch", said, (model,))


def deployed_engine(
    settings: Settings, cells: Iterable[Cell], metadata: Mapping[str, Any], running: str | None
) -> Iterator[Found]:
    """Yield where the deployed engine is not what the gate builds, by what Ultralytics wrote into it."""
    engine = settings.deployment.engine
    if engine is None:
        return
    if not isinstance(metadata.get("batch"), int) and settings.deployment.compare:
        return  # a job looks into it before it is run
    if not isinstance(metadata.get("batch"), int):
        why = metadata.get("problem", "it holds no metadata of Ultralytics")
        yield Found("preflight-incomplete", f"{engine}: the deployed engine could not be looked into ({why})")
        return
    deployed = f"{engine.name}, which is deployed,"
    yield from skewed_engine(deployed, metadata.get("version"), running)
    arguments = metadata.get("args")
    dynamic = metadata.get("dynamic") or (isinstance(arguments, Mapping) and arguments.get("dynamic"))
    if dynamic:
        yield Found("dynamic-shapes", f"{deployed} has dynamic shapes, the gated engines have not")
        return  # it takes any batch and size up to those
    size = metadata.get("imgsz")
    sides = tuple(size) if isinstance(size, list) else (size, size)
    for imgsz, batch in dict.fromkeys((cell.imgsz, cell.batch) for cell in cells):
        if set(sides) != {imgsz}:
            shape = "x".join(map(str, reversed(sides)))
            yield Found("imgsz-mismatch", f"{deployed} takes {shape} pixels, gated is {imgsz}x{imgsz}")
        if metadata["batch"] != batch:
            yield Found("batch-mismatch", f"{deployed} takes a batch of {metadata['batch']}, gated is {batch}")


def weak_calibration(
    settings: Settings,
    images: int,
    names: Mapping[int, str],
    calibration: SplitFacts | None,
    evaluated: SplitFacts | None,
) -> Iterator[str]:
    """Yield what is wrong with the images that INT8 is calibrated on, in sentences.

    Args:
        settings: The run's settings.
        images: How many images are calibrated on.
        names: The classes of the dataset.
        calibration: What was seen of those images; None where it is not known.
        evaluated: The same of the evaluated split.
    """
    split, fraction = settings.calibration.split, settings.calibration.fraction
    if images < FEW_CALIBRATION_IMAGES:
        part = f" (fraction {fraction:g})" if fraction < 1 else ""
        yield f"INT8 is calibrated on {images} images of split '{split}'{part}, fewer than {FEW_CALIBRATION_IMAGES}"
    elif fraction < 1:
        yield f"INT8 is calibrated on {images} images, fraction {fraction:g} of split '{split}', the first by name"
    if calibration is None or evaluated is None or settings.split == split:
        return
    missing = [names.get(index, str(index)) for index in evaluated.classes if not calibration.classes.get(index)]
    if missing and calibration.classes:
        yield f"the calibration images of split '{split}' show no object of {_listed(missing)}"
    for what, mine, theirs, visible in (
        ("brightness", calibration.brightness, evaluated.brightness, VISIBLE_BRIGHTNESS),
        ("contrast", calibration.contrast, evaluated.contrast, VISIBLE_CONTRAST),
        ("object size", _logs(calibration.object_sizes), _logs(evaluated.object_sizes), math.log(VISIBLE_SIZE)),
    ):
        found = unlike(mine, theirs, visible)
        if found is not None:
            middles = [math.exp(median(x)) if what == "object size" else median(x) for x in (mine, theirs)]
            level = f"median {middles[0]:.2f} and {middles[1]:.2f}, Kolmogorov-Smirnov distance {found:.2f}"
            yield f"the calibration images are unlike those of split '{settings.split}' in {what} ({level})"


def _logs(sizes: Iterable[float]) -> list[float]:
    """Return logarithms of sizes: what counts is how many times as large objects are."""
    return [math.log(max(size, 1e-3)) for size in sizes]


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def unusable_labels(facts: SplitFacts, tasks: Collection[str | None]) -> Trouble:
    """Return the label files of a split for which models of some tasks leave out images."""
    return facts.bad_poses if set(tasks) == {"pose"} else facts.bad_labels


def dataset_trouble(
    split: str, facts: SplitFacts, tasks: Collection[str | None], *, labelled: bool, evaluated: bool
) -> Iterator[Found]:
    """Yield what is wrong with the images and labels of a split.

    ``tasks``: those of the models. ``labelled``: it is to have label files, as for every task but classification.
    ``evaluated``: accuracy is of it, and so is nothing without objects.
    """

    def trouble(found: Trouble, what: str, more: str = "") -> Iterator[Found]:
        if found.count:
            said = f"{fmt.plural(found.count, what)}{more}, first {found.first}"
            yield Found("dataset-trouble", f"split '{split}' has {said}")

    yield from trouble(facts.corrupt, "missing or damaged image")
    if not labelled:
        return
    unusable = unusable_labels(facts, tasks)
    yield from trouble(unusable, "unusable label file")
    yield from trouble(facts.repeated, "label file", " with rows that are there twice and count once")
    yield from trouble(facts.without_image, "orphaned label file")
    if evaluated and not facts.classes:
        files = "no image has a label file" if facts.unlabelled == facts.images else "no label file names an object"
        said = f"split '{split}': {files}, of {fmt.plural(facts.images, 'image')}"
        if unusable.count:
            said += f"; of those that cannot be used, the first is {unusable.first}"
        yield Found("no-labels", said)
    elif facts.unlabelled > MOSTLY_UNLABELLED * facts.images:
        said = f"split '{split}': {facts.unlabelled} of {facts.images} images have no label file"
        yield Found("dataset-trouble", said)


def unknown_checkpoints(checkpoints: Mapping[str, CheckpointFacts]) -> Iterator[Found]:
    """Yield the models of which nothing is known, since their checkpoints could not be looked into or are none."""
    for model, facts in checkpoints.items():
        if facts.unusable:
            yield Found("not-a-checkpoint", f"{model}: {facts.problem}", (model,))
        elif facts.problem:
            yield Found("preflight-incomplete", f"{model}: nothing is known of its training: {facts.problem}", (model,))


def other_kind(checkpoints: Mapping[str, CheckpointFacts], source: Path, *, folders: bool) -> Iterator[Found]:
    """Yield where a model's task needs another kind of data; ``folders``: the dataset has a folder per class."""
    for model, facts in checkpoints.items():
        if not facts.task or (facts.task == "classify") == folders:
            continue
        said = f"{model}: a classifier needs a folder per class, but {source} is a data YAML"
        remedy = "name as data the folder that holds the splits, each with a folder per class"
        if folders:
            said = f"{model}: its task is {facts.task}, which needs label files, but {source} has a folder per class"
            remedy = "name as data a data YAML whose images have label files"
        yield Found("class-mismatch", said, (model,), remedy=remedy)


def other_keypoints(checkpoints: Mapping[str, CheckpointFacts], labelled: KeypointShape | None) -> Iterator[Found]:
    """Yield where a model finds other key points than the dataset's labels have, or has none to compare with."""
    for model, facts in checkpoints.items():
        if facts.task == "pose" and facts.kpt_shape and facts.kpt_shape != labelled:
            theirs = "no kpt_shape that can be used" if labelled is None else f"{labelled[0]} of {labelled[1]}"
            said = f"{model}: the model finds {facts.kpt_shape[0]} key points of {facts.kpt_shape[1]} numbers each"
            remedy = "gate the model on data with its key points, named by kpt_shape in the data YAML"
            yield Found("class-mismatch", f"{said}, the dataset has {theirs}", (model,), remedy=remedy)


def other_classes(
    checkpoints: Mapping[str, CheckpointFacts], names: Mapping[int, str], *, by_index: bool
) -> Iterator[Found]:
    """Yield where a model has other classes than the dataset.

    ``by_index``: labels give the index of a class, so that the order of the names counts. Else folders are classes,
    which the model knows by their names, or all by their order.
    """
    for model, facts in checkpoints.items():
        if facts.names is None or (facts.single_cls and len(facts.names) == 1):
            continue
        theirs = readable_names(facts.names)
        strange = [name for name in names.values() if name not in theirs.values()]
        if not by_index and len(strange) < len(names):
            if strange:
                said = f"{model}: the model does not know the class {_listed(strange)} of the dataset"
                yield Found("class-mismatch", said, (model,))
            continue
        if len(theirs) != len(names):
            said = f"{model}: the model has {fmt.plural(len(theirs), 'class')}, the dataset {len(names)}"
            yield Found("class-mismatch", said, (model,))
            continue
        # Spelling counts only where folding would make different names equal, such as "< 5" and "> 5".
        spelled = _folded if _tells_apart(names.values()) and _tells_apart(theirs.values()) else str
        known = set(map(spelled, theirs.values()))
        others = [i for i in names if by_index and i in theirs and spelled(names[i]) != spelled(theirs[i])]
        moved = [i for i in others if spelled(names[i]) in known]
        if moved:
            said = f"class {moved[0]} is '{theirs[moved[0]]}' to the model and '{names[moved[0]]}' to the dataset"
            yield Found("class-mismatch", f"{model}: {said}, which the model has elsewhere", (model,))
        elif others:
            said = f"class {others[0]} is '{theirs[others[0]]}' to the model and '{names[others[0]]}' to the dataset"
            many = f", and {len(others) - 1} more differ" if len(others) > 1 else ""
            unlike = "unless they mean the same, its accuracy cannot be trusted"
            yield Found("dataset-trouble", f"{model}: {said}{many}; {unlike}", (model,), remedy=RENAMED)


def other_labels(checkpoints: Mapping[str, CheckpointFacts], splits: Mapping[str, SplitFacts]) -> Iterator[Found]:
    """Yield where the labels are for another task than a model's, so that Ultralytics would refuse them."""
    for model, facts in checkpoints.items():
        for split, seen in splits.items() if facts.task in OUTLINED else ():
            if seen.boxes.count:
                hold = f"{fmt.plural(seen.boxes.count, 'label file')} of split '{split}' without, first"
                said = f"{model}: {facts.task} models need outlines of all objects; {hold} {seen.boxes.first}"
                yield Found("task-mismatch", said, (model,))


def _folded(name: str) -> str:
    """Return a name in lower case, without spaces and punctuation."""
    return "".join(character for character in name.casefold() if character.isalnum()) or name


def _tells_apart(names: Iterable[str]) -> bool:
    """Return whether different names stay different when they are folded."""
    different = set(names)
    return len(set(map(_folded, different))) == len(different)


def passed_over(split: str, files: Sequence[Path]) -> Iterator[Found]:
    """Yield where files of a split look like images and do not count as such."""
    if files:
        why = f"{fmt.plural(len(files), 'picture')} that Ultralytics does not read, first {files[0].name}"
        remedy = (
            "convert these pictures, for example to PNG, or take them out; those of a classifier lie in class folders"
        )
        yield Found("dataset-trouble", f"split '{split}' has {why}", remedy=remedy)


def duplicates(split: str, other: str, same: Sequence[Path]) -> Iterator[Found]:
    """Yield where images of the evaluated split are in another one too."""
    if same:
        shared = f"{fmt.plural(len(same), 'image')} with split '{other}', by content, first {same[0].name}"
        yield Found("dataset-trouble", f"split '{split}' shares {shared}")


def exports(cells: Iterable[Cell], arguments: Mapping[Cell, Mapping[str, Any]]) -> Iterator[Found]:
    """Yield where the arguments of a cell's export make its timing incomparable."""
    for cell in cells:
        concerns = ((cell.model,), (cell.precision,))
        if arguments[cell].get("dynamic"):
            said = f"{cell.label} is exported with dynamic shapes, and its latency is gated"
            yield Found("dynamic-shapes", said, *concerns)
        if arguments[cell].get("nms"):
            said = f"{cell.label} is exported with NMS inside (nms = {arguments[cell]['nms']}), the .pt has none"
            yield Found("unfair-timing", said, *concerns)


def timing(settings: Settings, too_many: str, processes: int) -> Iterator[Found]:
    """Yield what would make the comparison of arms unfair.

    ``too_many``: the sentence that there are more threads than cores, if so. ``processes``: how many others compute on
    the GPU.
    """
    if too_many:
        yield Found("unfair-timing", too_many)
    latency = settings.latency
    if latency.warmup_max_seconds < SHORT_WARMUP_S:
        said = (
            f"latency.warmup_max_seconds = {latency.warmup_max_seconds:g} ends the warm-up before times can be stable"
        )
        yield Found("unfair-timing", said)
    if processes:
        many = "process computes" if processes == 1 else "processes compute"
        yield Found("unfair-timing", f"{processes} other {many} on the GPU before the start")


def saturating(cells: Iterable[Cell], environment: Environment, settings: Settings) -> Iterator[Found]:
    """Yield that INT8 of ONNX Runtime may compute wrong sums on this processor, unless its weights leave room."""
    concerned = (c.model for c in cells if c.precision == "int8" and c.backend == "onnxruntime")
    full = (model for model in concerned if not settings.of(model).quantization.int8.reduce_range)
    if saturates(environment) and any(True for _ in full):
        said = (
            f"{environment.cpu} has no VNNI, so ONNX Runtime adds up products of 8-bit numbers in 16 bits, which may "
            "overflow: INT8 may be less accurate here than on a processor with VNNI"
        )
        yield Found("int8-saturates", said, precisions=("int8",))


def accepted_skew(cell: Cell, accepted: Mapping[str, str], running: Mapping[str, str]) -> Iterator[Found]:
    """Yield where a cell's accepted engine was exported or run by other versions than are running."""
    then, now = accepted.get("ultralytics"), running.get("ultralytics")
    pairs = [("Ultralytics", then, now), (cell.backend, accepted.get(cell.backend), running.get(cell.backend))]
    moved = [f"{name} {a} (now {b})" for name, a, b in pairs if a and b and a != b]
    if moved:
        said = f"{cell.label}: the accepted engine is of {' and '.join(moved)}"
        yield Found("version-skew", said, (cell.model,), (cell.precision,))
