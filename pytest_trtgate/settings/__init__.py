"""What the user asked for: the tables of the settings, their defaults and how they are read."""

from __future__ import annotations

from .findings import OF_DETECTIONS, REMEDIES, VOID, Findings, graded, severity_of
from .latency import PERCENTILES, Latency, Limit, Speedup
from .load import build, find_table, project_settings, recorded_settings, table_name
from .settings import DEPLOYMENT_CONF, Calibration, EngineLimits, Settings, in_ci
from .types import Severity

__all__ = [
    "DEPLOYMENT_CONF",
    "OF_DETECTIONS",
    "PERCENTILES",
    "REMEDIES",
    "VOID",
    "Calibration",
    "EngineLimits",
    "Findings",
    "Latency",
    "Limit",
    "Settings",
    "Severity",
    "Speedup",
    "build",
    "find_table",
    "graded",
    "in_ci",
    "project_settings",
    "recorded_settings",
    "severity_of",
    "table_name",
]
