"""A regression gate for inference engines. Importing this package loads nothing heavy: each name does so when used.

The names in ``__all__`` are public and stay. Modules are private, but for the plugin ``pytest_trtgate.plugin``, the
program ``pytest_trtgate.cli`` and the ready-made tests in ``pytest_trtgate.gate``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import (
    BaselineError,
    CacheError,
    DataError,
    JobError,
    JobTimeoutError,
    RecordError,
    SettingsError,
    TrtGateError,
)

if TYPE_CHECKING:
    from .jobs import EarlyLauncher, Job, Launcher
    from .machine import Machine
    from .plugin.fixtures import Gate
    from .plugin.handles import CellLatency, Engine
    from .records import (
        AccuracyRecord,
        Baseline,
        Cell,
        Check,
        EngineRecord,
        Environment,
        LatencyRecord,
        Outcome,
        RunRecord,
        Verdict,
        load_run,
    )
    from .verdicts import Judged, Softening

__version__ = "0.1.0"
__all__ = [
    "AccuracyRecord",
    "Baseline",
    "BaselineError",
    "CacheError",
    "Cell",
    "CellLatency",
    "Check",
    "DataError",
    "EarlyLauncher",
    "Engine",
    "EngineRecord",
    "Environment",
    "Gate",
    "Job",
    "JobError",
    "JobTimeoutError",
    "Judged",
    "LatencyRecord",
    "Launcher",
    "Machine",
    "Outcome",
    "RecordError",
    "RunRecord",
    "SettingsError",
    "Softening",
    "TrtGateError",
    "Verdict",
    "__version__",
    "load_run",
]
_HOMES = {
    "jobs": ("EarlyLauncher", "Job", "Launcher"),
    "machine": ("Machine",),
    "plugin.fixtures": ("Gate",),
    "plugin.handles": ("CellLatency", "Engine"),
    "verdicts": ("Judged", "Softening"),
}
"""Where the public names are defined that are neither errors nor records."""

if not TYPE_CHECKING:  # type checkers see the imports above, and no other name

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = next((home for home, names in _HOMES.items() if name in names), "records")
        return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__
