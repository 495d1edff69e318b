"""The plan: which cells a run has, and whether what they need is there."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import text as fmt
from ..cache import default_root, why_foreign
from ..data import Dataset, load_dataset, reading
from ..errors import CacheError, DataError
from ..records import ENGINE_BYTES, RECORD_NAME, Cell, open_regular, run_folder_of, why_no_name
from ..settings import BACKENDS, PREDICTIONS_BYTES, SIDECAR_BYTES, TIMES_BYTES, Settings, sidecar_path

NAMED = 'models = [{ path = "best.pt", name = "other" }] in the settings'


@dataclass(frozen=True)
class Plan:
    """The cells of a run, in the order of models and precisions, and the weights of each model.

    ``given``: the file that is gated for a cell, in place of an engine that would be built.
    """

    cells: tuple[Cell, ...]
    weights: dict[str, Path]
    given: dict[Cell, Path] = field(default_factory=dict)

    @property
    def calibrates(self) -> bool:
        """Whether an engine is calibrated on images."""
        return any(map(self.is_calibrated, self.cells))

    def is_calibrated(self, cell: Cell) -> bool:
        """Return whether the engine of a cell is calibrated on images here."""
        return cell.precision == "int8" and cell not in self.given

    def is_predicted(self, cell: Cell) -> bool:
        """Return whether a cell is judged by what was predicted elsewhere: there is nothing to run."""
        return cell in self.given and self.given[cell].suffix.lower() == ".json"

    def on(self, machine: str) -> Plan:
        """Return the same plan for a kind of machine."""
        given = {cell.on(machine): file for cell, file in self.given.items()}
        return Plan(tuple(cell.on(machine) for cell in self.cells), self.weights, given)

    def of_model(self, model: str) -> tuple[Cell, ...]:
        """Return the cells of one model."""
        return tuple(cell for cell in self.cells if cell.model == model)


def make_plan(settings: Settings, backend: str, device: str) -> Plan:
    """Return the matrix of models and precisions that the settings ask for.

    Raises:
        DataError: No model is named, one has a name that no other file can have, or two have the same.
    """
    if not settings.models:
        raise DataError('no model to gate: name one with --trt-model=best.pt or models = ["best.pt"] in the settings')
    weights: dict[str, Path] = {}
    for model in settings.models:
        if why := why_no_name(model.name):
            raise DataError(f"{model.path}: the name of the model, '{model.name}', {why}; give it another: {NAMED}")
        if model.name in weights:
            both = f"{weights[model.name]} and {model.path}"
            raise DataError(f"models {both} have the same name '{model.name}'; give one another: {NAMED}")
        weights[model.name] = model.path
    cells = tuple(
        Cell(
            model=name,
            precision=precision,
            imgsz=settings.of(name).imgsz,
            batch=settings.batch,
            backend=backend,
            device=device,
        )
        for name, path in weights.items()
        for precision in settings.precisions
        if path.suffix != ".onnx" or precision in settings.given(name)
    )
    files = {cell: file for cell in cells if (file := settings.given(cell.model).get(cell.precision))}
    return Plan(cells, weights, files)


@reading()
def check_inputs(settings: Settings, plan: Plan) -> dict[str, Dataset]:
    """Check that all that the plan needs is there, and return the dataset of each model; models may share one.

    Raises:
        DataError: Weights or a dataset are missing or of the wrong kind, or a place to write to is no folder.
    """
    for model, path in plan.weights.items():
        if path.suffix == ".onnx":
            check_file(path)
        else:
            check_weights(path, settings.inputs.max_weights_gb)
        if not plan.of_model(model):
            raise DataError(
                f"{path}: nothing can be built of an ONNX file, and no engine is given for "
                f"{', '.join(settings.precisions)}; name one with --trt-engine int8=FILE or engines in the settings"
            )
    for cell, file in plan.given.items():
        _check_given(cell, file)
    if settings.deployment.compared and plan.cells:
        _check_given(plan.cells[0], settings.deployment.compared)
    for times in (file for model in settings.models for files in model.times.values() for file in files):
        check_file(times, TIMES_BYTES)
    _check_places(settings)
    datasets: dict[Path, Dataset] = {}
    found = {}
    for model in plan.weights:
        source = settings.of(model).data
        if source is None:
            of_model = f" for model '{model}'" if len(plan.weights) > 1 else ""
            raise DataError(
                f'no dataset{of_model}: name one with --trt-data=data.yaml or data = "data.yaml" in the settings'
            )
        if source not in datasets:
            datasets[source] = dataset = load_dataset(source)
            dataset.images(settings.split)
        found[model] = datasets[source]
        if any(map(plan.is_calibrated, plan.of_model(model))):
            found[model].images(settings.calibration.split)
    check_clips(settings.videos)
    return found


def _check_given(cell: Cell, file: Path) -> None:
    check_file(file, PREDICTIONS_BYTES if file.suffix.lower() == ".json" else ENGINE_BYTES)
    if (beside := sidecar_path(file)).exists():
        check_file(beside, SIDECAR_BYTES)
    needs = BACKENDS.get(file.suffix.lower(), cell.backend)
    if needs != cell.backend:
        remedy = "set backend = 'onnxruntime'" if needs == "onnxruntime" else "it takes TensorRT and a GPU"
        raise DataError(f"{file}: an engine of {needs}, but this run is with {cell.backend} on {cell.device}; {remedy}")


def check_file(path: Path, most_bytes: int = ENGINE_BYTES) -> None:
    """Raise :class:`DataError` where a path is of no regular file, of an empty one, or of one of more bytes."""
    try:
        with open_regular(path) as file:
            length = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if not length:
        raise DataError(f"{path}: an empty file")
    if length > most_bytes:
        raise DataError(f"{path}: {fmt.plain(fmt.size(length))}, more than {fmt.plain(fmt.size(most_bytes))}")


def check_clips(clips: Sequence[Path]) -> None:
    """Raise :class:`DataError` where a clip is no file, or an empty one; only a job can tell whether it is a video."""
    for clip in clips:
        if not clip.is_file():
            raise DataError(f"{clip}: no such video file")
        if not clip.stat().st_size:
            raise DataError(f"{clip}: an empty file, not a video")


def _check_places(settings: Settings) -> None:
    """Raise :class:`DataError` where something is in the way of what a run writes."""
    try:
        if why := why_foreign(settings.cache_dir or default_root()):
            raise DataError(f"cache_dir: {why}")
    except CacheError as error:
        raise DataError(str(error)) from error
    report = settings.report
    if report.is_dir():
        raise DataError(f"report = {report} is a folder; name an .html file")
    for file in (report, report.with_suffix(".csv"), report.parent / RECORD_NAME):
        which = "it" if file == report else f"{file} beside it"
        if file.is_dir():
            raise DataError(f"report = {report} cannot be written: {which} is a folder")
        if not _is_own(file):
            raise DataError(
                f"report = {report} cannot be written: {which} is no file of a run, and would be replaced; "
                f"name a folder of its own, or move that file"
            )
    to_write = [("report", report.parent), ("report", run_folder_of(report))]
    to_write += [("baseline_dir", settings.baseline_dir)] if settings.baselines != "check" else []
    to_write += [("promote", settings.promote)] if settings.promote else []
    folders = [("cache_dir", settings.cache_dir), ("baseline_dir", settings.baseline_dir), *to_write]
    for key, folder in folders:
        # A folder that is not there yet will be made, inside the nearest one above it that is.
        there = next((p for p in (folder, *folder.parents) if p.is_symlink() or p.exists()), None) if folder else None
        if there is None:
            continue
        why = "" if there.is_dir() else f"{there} is not a folder" if there.exists() else f"{there} links to nothing"
        if why or ((key, folder) in to_write and (why := _why_read_only(there))):
            raise DataError(f"{key} = {getattr(settings, key)} cannot be written: {why}")


def _is_own(file: Path) -> bool:
    """Return whether a file may be replaced by what a run writes in its place: there is none, or an earlier run's."""
    try:
        with open_regular(file) as opened:
            beginning = opened.read(2000)
    except OSError:  # none, or one that is refused when it is written
        return True
    return not beginning.strip() or any(mark in beginning for mark in _MARKS)


_MARKS = (b'"schema_version"', b"run_id,model,", b"| trtgate</title>")
"""What a record, a table and a page of ours have near their beginning."""


def _why_read_only(folder: Path) -> str:
    """Return why nothing can be put into a folder; empty where something can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder}: {error.strerror}"


def check_weights(path: Path, max_gb: float | None = None) -> None:
    """Raise :class:`DataError` unless ``path`` looks like a PyTorch checkpoint (a ZIP archive, or a legacy pickle).

    ``max_gb``: to how much it may unpack; None for ten times its own size, since torch does not compress.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder, not a weights file")
    if not path.is_file():
        raise DataError(f"{path}: no such weights file")
    if path.suffix != ".pt":
        raise DataError(f"{path}: not a .pt checkpoint, nor an .onnx file to compare given engines with")
    try:
        with path.open("rb") as file:
            pickled = file.read(1) == b"\x80"
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if pickled:
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            scripted = any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{path}: not a PyTorch checkpoint, or a truncated one") from error
    if scripted:
        raise DataError(f"{path}: a TorchScript archive, not a checkpoint; name the .pt that it was exported from")
    size = path.stat().st_size
    most = max(10 * size, 100_000_000) if max_gb is None else max_gb * 1e9
    if unpacked > most:
        raise DataError(
            f"{path}: {fmt.plain(fmt.size(size))} that unpack to {fmt.plain(fmt.size(unpacked))}, more than "
            f"{fmt.plain(fmt.size(most))}; a checkpoint that is meant to is allowed by inputs.max_weights_gb"
        )
