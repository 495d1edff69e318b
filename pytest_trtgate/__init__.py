"""pytest-trtgate: a regression gate for inference engines. Importing this package loads nothing heavy."""

from __future__ import annotations

from .errors import (
    BaselineError,
    CacheError,
    DataError,
    JobError,
    RecordError,
    SettingsError,
    TrtGateError,
)

__version__ = "0.1.0"
__all__ = [
    "BaselineError",
    "CacheError",
    "DataError",
    "JobError",
    "RecordError",
    "SettingsError",
    "TrtGateError",
    "__version__",
]
