"""``trtgate init``: the settings and the tests that gate a checkpoint, from what it and its data say."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import text as fmt
from ..data import Dataset, load_dataset
from ..errors import DataError, JobError, SettingsError, TrtGateError
from ..jobs import CheckpointFacts, Job, Launcher, LocalLauncher, SurveyRequest, SurveyResponse
from ..machine import Machine, resolve_backend
from ..measuring import check_weights
from ..records import GATED, TASKS, read_text, write_whole
from ..settings import FINDING_KINDS, Settings, build, find_table
from .doctor import check_up

SETTINGS, TESTS = "trtgate.toml", "test_gate.py"
_TESTS = '''\
def test_accuracy(trtgate):
    """The engine is as accurate as the .pt, within the tolerance. Runs once per model and precision."""
    trtgate.check_accuracy()


def test_latency(trtgate):
    """The engine is as fast as its baseline, once there is one."""
    trtgate.check_latency()
'''
_COMMENTS = {
    "split": "accuracy is measured on these images",
    "imgsz": "pixels: the size that the checkpoint was trained at",
    "precisions": "INT8 needs other images to be calibrated on: a split 'train' or 'val'",
    "accuracy": "largest allowed drop from the .pt, from 0 to 1",
    "calibration": "on these images, INT8 is calibrated",
    "latency": "for so long each arm is timed in each launch: more is surer",
}
INT8_TOLERANCE = 0.03
"""Of each gated metric: small networks lose more than the default allows, and what is too much, only the user knows."""
CPU_SECONDS = 1.0
"""Of timing per arm and launch on a CPU, so that the first verdict takes minutes."""
EVALUATED = ("test", "val")
"""Splits to evaluate on, the best first: the training did not see ``test``."""
_DEFAULT_IMGSZ = 640
_LEAST_SAMPLES = 30
"""Inferences that a launch times of each arm, however long they take."""
_LOOK_S = 120.0


def write_project(
    model: Path, data: Path, say: Callable[[str], None], machine: Machine, launcher: Launcher | None = None
) -> int:
    """Write settings and tests into the working folder, say what they are about and what comes next.

    Args:
        model: The checkpoint.
        data: Its data YAML, or the folder of a classification dataset.
        say: Prints a line.
        machine: What is to run the gate.
        launcher: Runs the jobs that look at images and checkpoint, by default here.

    Returns:
        The exit status: 1 where the preflight finds what would fail the run; nothing is written then.

    Raises:
        TrtGateError: The folder has settings or the tests already, checkpoint or data cannot be used, or nothing here
            can run them.
    """
    folder = Path.cwd()
    _refuse_to_overwrite(folder)
    check_weights(model)
    dataset = load_dataset(data)
    launcher = launcher or LocalLauncher(locks=machine.device_locks(), ahead=False)
    facts = _facts(model, dataset, launcher)
    images = _counted(dataset)
    backend, device, _ = resolve_backend(Settings(), machine)
    table = _table(facts, images, data, on_cpu=device == "cpu")
    table = {"models": [_place(model, folder)], "data": _place(data, folder), **table}
    settings = build(table, folder / SETTINGS, {}, folder)
    say(_about(model, facts))
    say(f"{data}: {', '.join(f'{split} {count}' for split, count in images.items())} images; {_used(settings)}")
    if check_up(settings, backend, device, say, machine, launcher):
        say("nothing written: the first run would fail; mend what the lines with FAIL name, and run this again")
        return 1
    _write(folder / TESTS, _TESTS)
    _write(folder / SETTINGS, _toml(table))
    cores = machine.usable_cores()
    minutes = estimated_minutes(model.stat().st_size, settings, images, cores if device == "cpu" else 0)
    where = f"with {backend} on {fmt.plural(cores, 'core')}" if device == "cpu" else f"with {backend}"
    say(f"{SETTINGS} and {TESTS} written; next, the first time about {fmt.plural(minutes, 'minute')} {where}:")
    # Else pytest may take the settings of a project around this one.
    own = "--rootdir=. " if any(map(_has_settings, folder.parents)) else ""
    say(f"  pytest {own}{TESTS}")
    return 0


def _has_settings(folder: Path) -> bool:
    try:
        return find_table(folder) is not None
    except SettingsError:  # that of pytest, if it takes that folder for the project's
        return True


def _refuse_to_overwrite(folder: Path) -> None:
    there = [path for path in (folder / SETTINGS, folder / TESTS) if path.is_symlink() or path.exists()]
    if folder / SETTINGS not in there and (found := find_table(folder)):
        there = [found[0], *there]
    if there == [folder / TESTS] and _is_ours(there[0]):
        return  # of an attempt that was interrupted: the settings come last
    if there:
        raise TrtGateError(
            f"{' and '.join(map(str, dict.fromkeys(there)))}: there already, and left as it is; move it, or edit it"
        )


def _is_ours(tests: Path) -> bool:
    with suppress(OSError):
        return not tests.is_symlink() and read_text(tests) == _TESTS
    return False


def _facts(model: Path, dataset: Dataset, launcher: Launcher) -> CheckpointFacts:
    """Return what a checkpoint says of its training, without running anything in it."""
    request = SurveyRequest(
        threads=1, classes=len(dataset.names), sample=0, checkpoints={model.stem: str(model.resolve())}
    )
    with tempfile.TemporaryDirectory(prefix="trtgate-") as folder:
        answer = launcher.run(Job("init", request, "", _LOOK_S), Path(folder), lambda text: None)
    if not isinstance(answer, SurveyResponse):
        raise JobError("init", f"the launcher answered with a {type(answer).__name__}")
    facts = answer.checkpoints[model.stem]
    if facts.unusable:
        raise DataError(f"{facts.problem}; {FINDING_KINDS['not-a-checkpoint'].remedy}")
    return facts


def _counted(dataset: Dataset) -> dict[str, int]:
    """Return how many images each split has; those that are empty or not there are left out."""
    found = {}
    for split in dataset.splits:
        try:
            found[split] = len(dataset.images(split))
        except DataError:
            continue
    return found


def _table(facts: CheckpointFacts, images: Mapping[str, int], data: Path, *, on_cpu: bool) -> dict[str, Any]:
    """Return the settings, but for model and data."""
    split = next((split for split in EVALUATED if split in images), None)
    if split is None:
        has = ", ".join(images) or "none"
        raise DataError(f"{data}: no split 'test' or 'val' with images to evaluate on; with images it has: {has}")
    calibrated_on = next((other for other in ("train", "val") if other in images and other != split), None)
    size = -(-(facts.imgsz or _DEFAULT_IMGSZ) // 32) * 32
    table: dict[str, Any] = {"split": split, "imgsz": size}
    if calibrated_on is None:
        return table | {"precisions": ["fp32", "fp16"]}
    if task := next((task for task in TASKS if task == facts.task), None):
        table["accuracy"] = {"int8": dict.fromkeys(GATED[task], INT8_TOLERANCE)}
    if calibrated_on != "train":
        table["calibration"] = {"split": calibrated_on}
    return table | ({"latency": {"max_seconds": CPU_SECONDS}} if on_cpu else {})


def _place(path: Path, folder: Path) -> str:
    """Return how the settings name a path: from their folder where it is below that."""
    absolute = folder / path
    return (absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute).as_posix()


def _toml(table: Mapping[str, Any]) -> str:
    """Return the settings as TOML, with what they mean."""
    lines = [
        "# What the gate compares, and what is still fine. Every key: docs/reference/settings.md of pytest-trtgate."
    ]
    for key, value in table.items():
        said = f"  # {_COMMENTS[key]}" if key in _COMMENTS else ""
        if not isinstance(value, dict):
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}{said}")
            continue
        inner = next((name for name, item in value.items() if isinstance(item, dict)), "")
        lines += ["", f"[{key}.{inner}]{said}" if inner else f"[{key}]{said}"]
        lines += [
            f"{json.dumps(name) if ' ' in name or '-' in name else name} = {json.dumps(item)}"
            for name, item in (value[inner] if inner else value).items()
        ]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except (OSError, UnicodeEncodeError) as error:
        raise TrtGateError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error


def _about(model: Path, facts: CheckpointFacts) -> str:
    if facts.problem:
        return f"{model}: says nothing of its training ({facts.problem}); imgsz = {_DEFAULT_IMGSZ} is a guess"
    classes = fmt.plural(len(facts.names), "class") if facts.names else "classes not told"
    size = f"trained at {facts.imgsz} pixels" if facts.imgsz else f"size not told, imgsz = {_DEFAULT_IMGSZ} is a guess"
    return f"{model}: {facts.task or 'task not told'}, {classes}, {size}"


def _used(settings: Settings) -> str:
    calibrated = f", INT8 calibrated on '{settings.calibration.split}'" if "int8" in settings.precisions else ""
    return f"accuracy is measured on '{settings.split}'{calibrated}"


def estimated_minutes(size_bytes: int, settings: Settings, images: Mapping[str, int], cores: int) -> int:
    """Return about how long a first run takes, in minutes; often right within a factor of two on a quiet machine.

    Args:
        size_bytes: Of the checkpoint: two bytes a parameter.
        settings: They say what is built and measured.
        images: How many each split has.
        cores: Of the CPU that runs it; 0 for a GPU, where building takes nearly all of the time.
    """
    precisions, latency = settings.precisions, settings.latency
    if not cores:
        return max(1, math.ceil(2 * len(precisions) + size_bytes / 50e6))
    # YOLO models compute some three operations per parameter and pixel of a 640th; a core, 35 billion a second.
    inference_s = 0.01 + 3e3 * (size_bytes / 2) * (settings.imgsz / 640) ** 2 / (35e9 * cores)
    arms = len(precisions) + 1
    calibrated_on = images.get(settings.calibration.split, 0) if "int8" in precisions else 0
    building_s = 15 + calibrated_on * inference_s
    evaluating_s = 5 + arms * images[settings.split] * inference_s
    warming_s = 0.5 + min(latency.warmup_max_seconds, latency.warmup_min * inference_s)
    # All launches time the gated context; the first times the other one too, for a quarter of that.
    timed_s = max(_LEAST_SAMPLES * inference_s, min(latency.samples * inference_s, latency.max_seconds))
    launching_s = latency.launches * (4 + arms * (warming_s + timed_s)) + arms * timed_s / 4
    return max(1, math.ceil((building_s + evaluating_s + launching_s) / 60))
