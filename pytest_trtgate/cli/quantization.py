"""``trtgate layers`` and ``trtgate repair``: what INT8 quantizes, and a search for an INT8 that passes."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import text as fmt
from ..errors import SettingsError, TrtGateError
from .baseline import RECORD, add_command, given_path, or_usage
from .saying import say

if TYPE_CHECKING:
    from ..jobs import Launcher
    from ..machine import Machine
    from ..measuring import Caller
    from ..records import Cell, Layer, RunRecord
    from ..repairing import Given
    from ..settings import Settings

_REPAIR = (
    "Search for the cheapest INT8 that passes a cell's own limits: calibrators, weights per channel, a reduced range, "
    "other calibration images, and layers that stay out of INT8. Each candidate is built into the cache and evaluated "
    "as in a run; the best are timed side by side. Prints a table and the settings to paste. Ctrl-C ends the search "
    "and keeps what was found. What failed leaves its log in a folder beside the record. Exit status 0 where a "
    "candidate passes, 1 where none does."
)
_LAYERS = (
    "Print the layers of a checkpoint that INT8 quantizes, by the names that quantization.int8.keep takes. A part of a "
    "name up to a dot names all layers in that block."
)


def add_layers(commands: Any) -> None:
    """Add ``trtgate layers`` to the subcommands of a parser."""
    about = "Print the layers that INT8 quantizes, by name"
    parser = add_command(commands, "layers", or_usage(_layers), about, _LAYERS)
    parser.add_argument("weights", type=given_path, metavar="BEST.pt", help="The checkpoint")
    nodes = "Print the ONNX node of each layer too"
    parser.add_argument("--nodes", action="store_true", help=nodes)


def add_repair(commands: Any) -> None:
    """Add ``trtgate repair`` to the subcommands of a parser."""
    about = "Search for an INT8 that passes"
    parser = add_command(commands, "repair", or_usage(_repair), about, _REPAIR)
    parser.add_argument("record", type=given_path, metavar="RUN.json", help=RECORD)
    parser.add_argument("--only", metavar="KEY", help="The cell to repair (default: the only INT8 cell that failed)")
    parser.add_argument("--minutes", type=minutes, default=20.0, metavar="N", help="Time to search (default: 20)")


def minutes(text: str) -> float:
    """Return an argument that is a number of minutes."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of minutes, more than 0")
    return found


def _layers(arguments: argparse.Namespace) -> int:
    for line in _layer_lines(_layers_of(arguments), nodes=arguments.nodes):
        say(line)
    return 0


def _layers_of(arguments: argparse.Namespace) -> tuple[Layer, ...]:
    from ..jobs import BuildRequest, Job, LayersRequest, LayersResponse, LocalLauncher
    from ..machine import threads_of
    from ..measuring import check_weights
    from ..records import Cell, why_no_name
    from ..settings import project_settings

    weights = Path(os.path.realpath(arguments.weights))
    settings = project_settings(Path.cwd())[0]
    if why := why_no_name(weights.stem):
        raise SettingsError(f"{weights}: its name {why}; give it another")
    check_weights(weights, settings.inputs.max_weights_gb)
    machine = _machine(arguments)
    settings = settings.of(weights.stem)
    cell = Cell(
        model=weights.stem, precision="fp32", imgsz=settings.imgsz, batch=1, backend="onnxruntime", device="cpu"
    )
    threads = threads_of(settings, machine)
    build = BuildRequest(
        weights=str(weights),
        cell=cell,
        threads=threads,
        export_args=settings.export_arguments(cell.backend),
        output="",
    )
    request = LayersRequest(build=build, threads=threads, safe_weights=settings.weights == "safe")
    with tempfile.TemporaryDirectory(prefix="trtgate-") as folder:
        job = Job("layers", request, "", settings.timeouts.build_s)
        answer = LocalLauncher(locks=machine.device_locks()).run(job, Path(folder), lambda _: None)
    assert isinstance(answer, LayersResponse)
    return answer.layers


def _layer_lines(layers: tuple[Layer, ...], *, nodes: bool) -> list[str]:
    total = sum(layer.multiplications for layer in layers) or 1
    heads = ("name", "weights", "work", "place", *(["node"] if nodes else []))
    rows = [
        (
            layer.name,
            f"{layer.weights:,}" if layer.weights else "-",
            f"{100 * layer.multiplications / total:.1f} %",
            layer.words,
            *([layer.node] if nodes else []),
        )
        for layer in layers
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in (heads, *rows)
    ]


def _machine(arguments: argparse.Namespace) -> Machine:
    from ..machine import Machine

    given: Machine | None = arguments.machine
    return given or Machine()


def _repair(arguments: argparse.Namespace) -> int:
    from ..records import load_run
    from ..repairing import lines, repair
    from ..settings import FILE_NAME, project_settings

    run = load_run(arguments.record)
    cell = _cell(run, arguments)
    given = given_of(run, cell, arguments)
    if ready := given.settings.given(cell.model).get(cell.precision):
        raise SettingsError(f"{cell.label}: {ready} was given, and only what the gate builds can be built otherwise")
    folder = arguments.record.resolve().parent / f"repair-{cell.key}"
    limit = fmt.plain(fmt.duration(60 * arguments.minutes))
    say(f"{cell.label}: searching for {limit} at most; Ctrl-C ends that and keeps what was found")
    found = repair(given, folder, 60 * arguments.minutes, say)
    try:
        source = project_settings(Path.cwd())[1]
    except SettingsError:  # the record has those that count
        source = None
    for line in lines(found, given, "" if source is not None and source.name == FILE_NAME else "tool.trtgate."):
        say(line)
    return 0 if found.recommended else 1


def _cell(run: RunRecord, arguments: argparse.Namespace) -> Cell:
    """Return the cell that is meant."""
    cells = {cell.key: cell for cell in run.cells if cell.precision == "int8"}
    listed = ", ".join(cells) or "none"
    if arguments.only is not None:
        if arguments.only not in cells:
            raise SettingsError(f"{arguments.record}: no INT8 cell '{arguments.only}'; it has: {listed}")
        return cells[arguments.only]
    failed = {v.cell.key for v in run.verdicts if v.subject == "accuracy" and v.failed} & cells.keys()
    if len(failed) != 1:
        raise SettingsError(f"{arguments.record}: name the cell with --only; INT8 cells are: {listed}")
    return cells[failed.pop()]


def given_of(run: RunRecord, cell: Cell, arguments: argparse.Namespace) -> Given:
    """Return what trials for a cell work with: the settings of its run, and this machine, or one of the run's fleet.

    Raises:
        TrtGateError: The machine is of another kind than that of the run, or something is no longer there.
    """
    from ..jobs import LocalLauncher
    from ..machine import gpu_of_worker, resolve_backend
    from ..measuring import check_inputs, make_plan
    from ..repairing import CHECKPOINT, EVALUATED, Given
    from ..settings import recorded_settings

    settings = _for_one(recorded_settings(run.settings, arguments.record), cell)
    settings = settings.on(cell.machine) if cell.machine else settings
    launcher, machine = _elsewhere(settings) if settings.fleet.address else (None, _machine(arguments))
    backend, device, _ = resolve_backend(settings, machine)
    if (backend, device == "cpu") != (cell.backend, cell.device == "cpu"):
        raise TrtGateError(
            f"{arguments.record}: {cell.key} is of {cell.backend} on {cell.device}, and here is {backend} on {device}; "
            f"work on it on a machine like that of the run"
        )
    plan = make_plan(settings, backend, device)
    datasets = check_inputs(settings, plan)
    gpu, only_gpu = gpu_of_worker(settings, backend, device, "", machine)
    engine, accuracy = run.engines.get(cell.key), run.accuracy(cell.model, cell.precision)
    return Given(
        cell=plan.cells[0].on(cell.machine),
        settings=settings,
        weights=plan.weights[cell.model],
        dataset=datasets[cell.model],
        environment=machine.environment(backend, device, Path.cwd()),
        caller=_caller(launcher or LocalLauncher(locks=machine.device_locks(), gpu=gpu, only_gpu=only_gpu), machine),
        judged={
            CHECKPOINT: str(engine.key_parts.get("weights", "")) if engine else "",
            EVALUATED: accuracy.data_digest if accuracy else "",
        },
    )


def _elsewhere(settings: Settings) -> tuple[Launcher, Machine]:
    """Return the launcher to a machine of the run's fleet, of the run's kind, and that machine."""
    from ..fleet import WorkersMachine, launcher_of

    launcher = launcher_of(settings, say)
    return launcher, WorkersMachine(ask=launcher.ask)


def _for_one(settings: Settings, cell: Cell) -> Settings:
    models = tuple(model for model in settings.models if model.name == cell.model)
    return settings.model_copy(update={"models": models, "precisions": (cell.precision,), "backend": cell.backend})


def _caller(launcher: Launcher, machine: Machine) -> Caller:
    from ..measuring import Caller

    said = [""]

    def progress(text: str) -> None:
        """Say that a job waits for its device, once while it does."""
        waits = text.startswith("waiting for device")
        if waits and not said[0]:
            say(text)
        said[0] = text if waits else ""

    return Caller(launcher=launcher, machine=machine, milestone=lambda _: None, progress=progress)
