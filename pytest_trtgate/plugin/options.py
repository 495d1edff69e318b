"""pytest's command line for the gate, and the settings that it and the configuration file add up to."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ..errors import SettingsError

if TYPE_CHECKING:
    from ..settings import Settings


class Option(NamedTuple):
    """One command-line option and the setting that it stands for."""

    flag: str
    key: str
    metavar: str
    help: str
    repeatable: bool = False

    @property
    def dest(self) -> str:
        """Name of the option in pytest's namespace."""
        return self.flag.removeprefix("--").replace("-", "_")


OPTIONS = (
    Option("--trt-model", "models", "PATH", "Checkpoint (.pt) to gate; may be repeated", True),
    Option(
        "--trt-engine",
        "engines",
        "PRECISION=FILE",
        "Engine to gate as it is (.onnx, .engine, .plan); may be repeated",
        True,
    ),
    Option("--trt-data", "data", "DATA", "Data YAML as Ultralytics reads it, or folder of a classification dataset"),
    Option("--trt-split", "split", "NAME", "Split to evaluate on (default: test)"),
    Option("--trt-precision", "precisions", "LIST", "Some of fp32, fp16, int8, comma-separated (default: all)", True),
    Option("--trt-imgsz", "imgsz", "N", "Image size of the engines, a multiple of 32 (default: 640)"),
    Option("--trt-batch", "batch", "N", "Batch size of the engines (default: 1)"),
    Option("--trt-device", "device", "DEVICE", "Device to run on: auto, cpu or a GPU number (default: auto)"),
    Option("--trt-backend", "backend", "NAME", "Backend: auto, tensorrt or onnxruntime (default: auto)"),
    Option("--trt-machine", "machines", "NAME", "Kind of machine to gate on, of the fleet in the settings", True),
    Option("--trt-cache-dir", "cache_dir", "DIR", "Folder of the engine cache (default: in the user's cache folder)"),
    Option("--trt-baselines", "baselines", "MODE", "Baselines: check, add missing ones, or update (default: check)"),
    Option("--trt-baseline-dir", "baseline_dir", "DIR", "Folder of the baselines (default: baselines)"),
    Option("--trt-fresh", "fresh", "", "Measure accuracies again, even of bytes that were measured before"),
    Option("--trt-profile", "profile", "", "Time each layer of the engines too, in a job of its own"),
    Option(
        "--trt-explain", "explain_failed", "", "Explain each cell whose accuracy failed or looks broken, in minutes"
    ),
    Option("--trt-video", "videos", "CLIP", "Video to time the model on, end to end; may be repeated", True),
    Option("--trt-promote", "promote", "DIR", "Folder of release packs, written only if the whole run is green"),
    Option("--trt-report", "report", "HTML", "Path of the HTML report (default: reports/trtgate.html)"),
)
OWN_FILE = "trtgate.toml"
"""File of our own settings; named here too, since reading the other module costs what start-up must not."""
_QUIET = ("cache_dir", "baseline_dir", "report")
"""Settings that say where things are; giving one does not ask for a gate run."""


def add_options(parser: pytest.Parser) -> None:
    """Register the ``trtgate`` group."""
    group = parser.getgroup("trtgate", "regression gate for inference engines (trtgate)")
    for option in OPTIONS:
        if not option.metavar:
            group.addoption(option.flag, dest=option.dest, action="store_true", default=None, help=option.help)
            continue
        action = "append" if option.repeatable else "store"
        group.addoption(option.flag, dest=option.dest, action=action, metavar=option.metavar, help=option.help)


def given(config: pytest.Config) -> dict[str, Any]:
    """Return the settings that the command line or ``addopts`` set."""
    values = {option.key: config.getoption(option.dest) for option in OPTIONS}
    return {key: value for key, value in values.items() if value is not None}


def asked_for(config: pytest.Config) -> bool:
    """Return whether this invocation, not ``addopts``, names an option that asks for a gate run."""
    loud = [option.flag for option in OPTIONS if option.key not in _QUIET]
    return any(argument.split("=")[0] in loud for argument in _arguments(config))


def _arguments(config: pytest.Config) -> list[str]:
    """Return this invocation's arguments, those among them that ``@FILE`` stands for."""
    found: list[str] = []
    for argument in map(str, config.invocation_params.args):
        lines = [argument]
        if argument.startswith("@"):
            with suppress(OSError, ValueError):  # pytest has said so
                lines = (config.invocation_params.dir / argument[1:]).read_text().splitlines()
        found += lines
    return found


def rerun_command(item: pytest.Item) -> str:
    """Return the command that runs one test again, with this invocation's options of ours, from the same folder."""
    config = item.config
    # xdist may append @group to a node id; outside of the root folder, its path is not one that pytest takes.
    node, at, group = item.nodeid.rpartition("@")
    nodeid = node if at and hasattr(config, "workerinput") and "]" not in group else item.nodeid
    _, _, names = nodeid.partition("::")
    # Of the ready-made tests, the file lies wherever the environment does, even below the project.
    if item.path.is_relative_to(config.rootpath) and item.path.parent != Path(__file__).parents[1]:
        place = [os.path.relpath(item.path, config.invocation_params.dir)]
    else:
        module = item.getparent(pytest.Module)
        place = ["--pyargs", module.obj.__name__ if module else str(item.path)]
    place[-1] += f"::{names}"
    return shlex.join(["pytest", *_project(config), *place, *_repeated(config, "baselines", "promote")])


def accept_command(config: pytest.Config) -> str:
    """Return the command, but for its mode, that writes baselines for what this invocation gates."""
    # Of a selection of tests, the whole files: a baseline is of accuracy and latency.
    places = dict.fromkeys(str(place).partition("::")[0] for place in config.getoption("file_or_dir") or ())
    by_name = ["--pyargs"] if places and config.getoption("pyargs") else []
    return shlex.join(["pytest", *_project(config), *by_name, *places, *_repeated(config, "baselines", "promote")])


def accept_cells_command(config: pytest.Config, baseline_dir: Path, record: Path, keys: Iterable[str]) -> str:
    """Return the command that accepts the cells of some keys, by default all, from a run's record."""
    here = config.invocation_params.dir
    command = ["trtgate", "baseline", "accept", os.path.relpath(record, here)]
    command += [word for key in keys for word in ("--only", key)]
    # What that command takes by itself, in a folder that may have settings of its own, is the same only then.
    if "baseline_dir" in given(config) or baseline_dir != here / "baselines":
        command.append(f"--baseline-dir={os.path.relpath(baseline_dir, here)}")
    return shlex.join(command)


def _project(config: pytest.Config) -> list[str]:
    """Return the arguments that told this invocation where the project is."""
    given = {"-c": config.getoption("inifilename"), "--rootdir": config.getoption("rootdir")}
    return [f"{flag}={value}" if flag[1] == "-" else f"{flag}{value}" for flag, value in given.items() if value]


def _repeated(config: pytest.Config, *but: str) -> list[str]:
    """Return those of this invocation's arguments that set what is measured, but for some settings."""
    arguments = _arguments(config)
    takes_value = {option.flag: bool(option.metavar) for option in OPTIONS if option.key not in but}
    found = []
    for index, argument in enumerate(arguments):
        flag, equals, _ = argument.partition("=")
        if flag in takes_value:
            found += arguments[index : index + (2 if takes_value[flag] and not equals else 1)]
    return found


def home(config: pytest.Config) -> Path | None:
    """Return the folder that may hold settings of ours; cheap, and never wrong about one that does."""
    root = config.rootpath
    if is_there(root / OWN_FILE) or _mentions_us(root / "pyproject.toml"):
        return root
    # pytest takes a project of which it is given the path only for its root where it holds a file of pytest's.
    for argument in config.args:
        place = config.invocation_params.dir / argument.partition("::")[0]
        for folder in (place, *place.parents):
            if folder == root:
                break
            if is_there(folder / OWN_FILE):
                return folder
    return None


def is_there(path: Path) -> bool:
    """Return whether there is something of that name, be it a link to nothing."""
    return path.is_symlink() or path.exists()


def _mentions_us(pyproject: Path) -> bool:
    try:
        text = pyproject.read_bytes() if pyproject.is_file() else b""
    except OSError:
        return False
    # A project that merely depends on us has no settings of ours.
    return b"trtgate" in text.replace(b"pytest-trtgate", b"").replace(b"pytest_trtgate", b"")


def read_settings(config: pytest.Config) -> tuple[Settings, Path | None]:
    """Return the settings of a pytest run, and the file that holds them, if any.

    Raises:
        SettingsError: A file or an option holds something that is not allowed.
    """
    from ..settings import build, find_table

    found = find_table(home(config) or config.rootpath)
    path, table = found if found else (None, {})
    flags = {option.key: option.flag for option in OPTIONS}
    return build(table, path, given(config), config.invocation_params.dir, project_folder(config), flags), path


def of_another_project(config: pytest.Config, source: Path | None, test: Path) -> str:
    """Return in a sentence that a test's own project has other settings than ``source``, those of this run.

    Empty where it has not, and where this invocation says which project it means.
    """
    if _project(config) or test.parent == Path(__file__).parents[1]:
        return ""
    home = source.parent if source else None
    folder = next((folder for folder in test.parents if folder == home or _has_settings(folder)), home)
    if folder is None or folder == home:
        return ""
    here = config.invocation_params.dir
    place, own = (shlex.quote(os.path.relpath(path, here)) for path in (folder, test))
    return (
        f"{own} belongs to the settings in {place}, and this run has {f'those of {source}' if source else 'none'}; "
        f"gate each project by itself: pytest --rootdir={place} {place}"
    )


def _has_settings(folder: Path) -> bool:
    from ..settings import find_table

    if is_there(folder / OWN_FILE):
        return True
    with suppress(SettingsError):  # a broken one says nothing of us
        return _mentions_us(folder / "pyproject.toml") and find_table(folder) is not None
    return False


def project_folder(config: pytest.Config) -> Path:
    """Return pytest's root folder, or the working folder where nothing marks that root as a project's."""
    root = config.rootpath
    # Where no file says where the project is, pytest takes for its root what holds all paths of the command line, even
    # those that our options name: it looks at them before it knows the options.
    told = config.inipath is not None or config.getoption("rootdir") or (root / "setup.py").is_file()
    return root if told else config.invocation_params.dir


def python_path(config: pytest.Config) -> tuple[str, ...]:
    """Return the folders of pytest's setting ``pythonpath``, from which a project's own modules are imported."""
    return tuple(map(str, config.getini("pythonpath")))
