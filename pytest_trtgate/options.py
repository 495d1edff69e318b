"""pytest's command line for the gate, and the settings that it and the configuration file add up to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pytest

    from .settings import Settings


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
    Option("--trt-data", "data", "YAML", "Data YAML of the dataset, as Ultralytics reads it"),
    Option("--trt-split", "split", "NAME", "Split to evaluate on (default: test)"),
    Option("--trt-precision", "precisions", "LIST", "Precisions to gate: fp32, fp16, int8, comma-separated", True),
    Option("--trt-imgsz", "imgsz", "N", "Image size of the engines, a multiple of 32 (default: 640)"),
    Option("--trt-batch", "batch", "N", "Batch size of the engines (default: 1)"),
    Option("--trt-device", "device", "DEVICE", "Device to run on: auto, cpu or a GPU number (default: auto)"),
    Option("--trt-backend", "backend", "NAME", "Backend: auto, tensorrt or onnxruntime (default: auto)"),
    Option("--trt-cache-dir", "cache_dir", "DIR", "Folder of the engine cache (default: in the user's cache folder)"),
    Option("--trt-baselines", "baselines", "MODE", "Baselines: check, add missing ones, or update (default: check)"),
    Option("--trt-baseline-dir", "baseline_dir", "DIR", "Folder of the baselines (default: baselines)"),
    Option("--trt-report", "report", "HTML", "Path of the HTML report (default: reports/trtgate.html)"),
)
_QUIET = ("cache_dir", "baseline_dir", "report")
"""Settings that say where things are; giving one does not ask for a gate run."""


def add_options(parser: pytest.Parser) -> None:
    """Register the ``trtgate`` group."""
    group = parser.getgroup("trtgate", "regression gate for inference engines (trtgate)")
    for option in OPTIONS:
        action = "append" if option.repeatable else "store"
        group.addoption(option.flag, dest=option.dest, action=action, metavar=option.metavar, help=option.help)


def given(config: pytest.Config) -> dict[str, Any]:
    """Return the settings that the command line or ``addopts`` set."""
    values = {option.key: config.getoption(option.dest) for option in OPTIONS}
    return {key: value for key, value in values.items() if value is not None}


def asked_for(config: pytest.Config) -> bool:
    """Return whether this invocation, not ``addopts``, names an option that asks for a gate run."""
    loud = [option.flag for option in OPTIONS if option.key not in _QUIET]
    return any(str(a).split("=")[0] in loud for a in config.invocation_params.args)


def has_file(rootpath: Path) -> bool:
    """Return whether a project may hold settings of ours; cheap, and never wrong about one that does."""
    if (rootpath / "trtgate.toml").is_file():
        return True
    try:
        return b"trtgate" in (rootpath / "pyproject.toml").read_bytes()
    except OSError:
        return False


def read_settings(config: pytest.Config) -> Settings:
    """Return the settings of a pytest run.

    Raises:
        SettingsError: A file or an option holds something that is not allowed.
    """
    from .config import build, find_table

    found = find_table(config.rootpath)
    path, table = found if found else (None, {})
    return build(table, path, given(config), config.invocation_params.dir, config.rootpath)
