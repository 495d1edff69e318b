"""Job: look into a file that is gated as it is, and say how it is run, or in a sentence why it cannot be.

The file is read; a copy of it, and its description, go to the output folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...data import keypoints_of, load_dataset
from ...errors import DataError, TrtGateError
from ...jobs import CheckpointFacts, GivenRequest, GivenResponse
from ...records import DESCRIPTION, TASKS, Description, EngineInspection, save
from ...settings import sidecar_path
from ...text import clip
from .. import engine_file
from ..reading import noting
from ..survey.checkpoint_file import by_index, facts_of
from ..worker import PHASES, leave, main, plain, progress
from .layouts import Expected, Shape, recognise

TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
TYPES |= {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}
"""Types of inputs that are known, as ONNX Runtime and TensorRT call them."""


@dataclass(frozen=True)
class Tensors:
    """The inputs and outputs of a file: types of inputs as its runtime calls them; a side of any length is -1."""

    inputs: dict[str, tuple[str, Shape]]
    outputs: dict[str, Shape]
    inspection: EngineInspection | None = None


@dataclass(frozen=True)
class Looked:
    """The copy of a file, and what is known of it before it is loaded."""

    request: GivenRequest
    file: Path
    metadata: dict[str, Any] = field(default_factory=dict)

    def refuse(self, why: str) -> TrtGateError:
        """Return the error that says why it is not gated; raised ``from None``, since no traceback says more."""
        return TrtGateError(f"{self.request.file}: {clip(why, 1000)}")


def work(request: GivenRequest, folder: Path) -> GivenResponse:
    """Look into the file.

    Raises:
        TrtGateError: It cannot be run here, or does not fit the checkpoint, the cell or what lies beside it.
    """
    source = Path(request.file)
    PHASES.begin("work")
    progress(f"looking into {source.name}")
    suffix = source.suffix.lower()
    copy = Path(request.output) / f"engine{suffix if suffix in ('.onnx', '.json') else '.engine'}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    with noting(source):
        shutil.copyfile(source, copy)
    looked = Looked(request, copy)
    looked = Looked(request, copy, _metadata(looked))
    description, inspection = _predictions(looked) if suffix == ".json" else _engine(looked)
    save(copy.with_name(DESCRIPTION), description)
    return GivenResponse(
        artifact=copy.name,
        metadata=description.metadata,
        layout=description.layout,
        inspection=inspection,
    )


def _engine(looked: Looked) -> tuple[Description, EngineInspection | None]:
    from . import runtimes

    beside, cell = looked.request.sidecar, looked.request.cell
    load = runtimes.onnx_tensors if looked.file.suffix == ".onnx" else runtimes.tensorrt_tensors
    found: Tensors = load(looked)
    name, (kind, shape) = _input(looked, found)
    dtype = TYPES.get(kind)
    if dtype is None:
        raise looked.refuse(f"its input {name} is of type {kind}; known are float32, float16 and uint8")
    if beside.dtype not in (None, dtype):
        raise looked.refuse(f"its input {name} is of type {dtype}, and {beside_name(looked)} says {beside.dtype}")
    metadata = looked.metadata
    expected = Expected(
        task=metadata["task"],
        classes=len(metadata["names"]),
        kpt_shape=tuple(metadata.get("kpt_shape") or ()),
        imgsz=cell.imgsz,
        batch=cell.batch,
        decodes=metadata.get("head") == "RTDETRDecoder",
        said=beside.layout,
    )
    try:
        layout, outputs = recognise(found.outputs, expected)
    except ValueError as error:
        said = str(error)
        raise looked.refuse(f"{said} in {beside_name(looked)}" if "layout = " in said else said) from None
    if beside.layout not in (None, layout):
        raise looked.refuse(f"its outputs look like {layout}, and {beside_name(looked)} says {beside.layout}")
    if beside.letterbox != "centre" and metadata["task"] != "detect":
        how = str(beside.letterbox).lower()
        raise looked.refuse(f"letterbox = {how} is known of upright boxes only, and its task is {metadata['task']}")
    final = layout in ("end2end", "efficientnms")
    arguments = metadata.get("args") if isinstance(metadata.get("args"), dict) else {}
    inside = beside.nms if beside.nms is not None else (arguments or {}).get("nms")
    if not isinstance(inside, bool | None):
        raise looked.refuse(f"its metadata says args: nms = {inside!r}, which is neither true nor false")
    if inside is None or layout == "efficientnms":
        inside = final and not metadata.get("end2end")
    metadata |= {"end2end": final and not inside, "args": {**(arguments or {}), "nms": inside, "dynamic": False}}
    feed = beside.feed(dtype, nhwc=shape[1] == shape[2])
    description = Description(metadata=metadata, layout=layout, outputs=outputs, feed=feed)
    return description, found.inspection


def _input(looked: Looked, found: Tensors) -> tuple[str, tuple[str, Shape]]:
    """Return the name, type and shape of the input for images."""
    cell, asked = looked.request.cell, looked.request.sidecar.input
    names = [asked] if asked else list(found.inputs)
    if len(names) != 1 or names[0] not in found.inputs or len(found.inputs) > 1:
        has = ", ".join(found.inputs)
        raise looked.refuse(f"its inputs are {has}, not one for images{f' called {asked}' if asked else ''}")
    kind, shape = found.inputs[names[0]]
    order = looked.request.sidecar.order
    channels = looked.metadata.get("channels", 3)
    for key, numbers in (("mean", looked.request.sidecar.mean), ("std", looked.request.sidecar.std)):
        if len(numbers) not in (0, 1, channels):
            raise looked.refuse(f"{beside_name(looked)} says {key} by {len(numbers)} numbers, for {channels} channels")
    last = shape[-1] == channels if order is None else order == "nhwc"
    sides = (cell.imgsz, cell.imgsz)
    wanted = (cell.batch, *sides, channels) if last else (cell.batch, channels, *sides)
    if len(shape) != 4 or any(side not in (-1, wants) for side, wants in zip(shape, wanted, strict=False)):
        has = "x".join("any" if side < 0 else str(side) for side in shape)
        raise looked.refuse(
            f"its input {names[0]} is {has}, and this run's imgsz = {cell.imgsz} and batch = {cell.batch} make "
            f"{'x'.join(map(str, wanted))}"
        )
    return names[0], (kind, wanted)


def _metadata(looked: Looked) -> dict[str, Any]:
    """Return the metadata of the file: its own, then the checkpoint's, what lies beside it over both.

    Raises:
        TrtGateError: They do not agree.
    """
    request, beside = looked.request, looked.request.sidecar
    own, facts = _own(looked), _facts(request)
    dataset = load_dataset(Path(request.data))
    task = beside.task or own.get("task") or facts.task
    if task not in TASKS:
        raise looked.refuse(f"its task is {task or 'told by nothing'}; say which in {beside_name(looked)}: {TASKS}")
    names = dict(enumerate(beside.names)) if beside.names else by_index(own.get("names")) or facts.names
    _agree(looked, task, names, facts)
    names = names or dict(dataset.names)
    kpt_shape = beside.kpt_shape or keypoints_of(own.get("kpt_shape")) or facts.kpt_shape
    if task == "pose" and not (kpt_shape := kpt_shape or keypoints_of(dataset.extra.get("kpt_shape"))):
        raise looked.refuse(f"nothing tells the shape of its key points; say kpt_shape in {beside_name(looked)}")
    size = [request.cell.imgsz] * 2
    return {
        **own,
        "task": task,
        "names": {str(index): name for index, name in names.items()},
        "stride": beside.stride or own.get("stride") or 32,
        "imgsz": size,
        "batch": request.cell.batch,
        **({"kpt_shape": list(kpt_shape)} if kpt_shape else {}),
    }


def _agree(looked: Looked, task: str, names: Mapping[int, str] | None, facts: CheckpointFacts) -> None:
    """Check that a file is of the same task and classes as the checkpoint."""
    weights = Path(looked.request.weights).name
    if facts.task and facts.task != task:
        raise looked.refuse(f"its task is {task}, and that of {weights} is {facts.task}")
    if not names or not facts.names:
        return
    if len(names) != len(facts.names):
        raise looked.refuse(f"it has {len(names)} classes, and {weights} has {len(facts.names)}")
    moved = next((index for index in facts.names if names.get(index) != facts.names[index]), None)
    if moved is not None:
        same = set(names.values()) == set(facts.names.values())
        raise looked.refuse(
            f"its class {moved} is '{names.get(moved)}', and that of {weights} is '{facts.names[moved]}'; "
            f"{'the same classes in another order' if same else 'other classes'} cannot be compared"
        )


def _own(looked: Looked) -> dict[str, Any]:
    """Return the metadata in the file itself; empty where it has none."""
    if looked.file.suffix == ".json":
        return {}
    try:
        return engine_file.read_metadata(looked.file)
    except Exception as error:
        if looked.file.suffix == ".onnx":
            raise looked.refuse(f"not a whole ONNX file, or its metadata cannot be read ({plain(error)})") from None
        return {}  # a bare plan


def _facts(request: GivenRequest) -> CheckpointFacts:
    if not request.weights:
        return CheckpointFacts()
    try:
        with noting(request.weights):
            return facts_of(Path(request.weights))
    except (ValueError, OSError) as error:
        return CheckpointFacts(problem=plain(error))


def _predictions(looked: Looked) -> tuple[Description, None]:
    from ..evaluating.predictions import read_predictions

    # Whoever predicted has suppressed what was to be suppressed.
    metadata = looked.metadata | {"end2end": False, "args": {"nms": True, "dynamic": False}}
    description = Description(
        metadata=metadata, layout="predictions", first_category=looked.request.sidecar.first_category
    )
    try:
        root = load_dataset(Path(looked.request.data)).root
        read_predictions(looked.file, description, looked.request.images, root)
    except DataError as error:
        raise looked.refuse(str(error)) from None
    return description, None


def beside_name(looked: Looked) -> str:
    """Return what sentences call the file that describes another."""
    return sidecar_path(Path(looked.request.file)).name


if __name__ == "__main__":
    leave(main(GivenRequest, work))
