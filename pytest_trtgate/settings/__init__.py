"""What the user asked for: the tables of the settings, their defaults and how they are read."""

from __future__ import annotations

from .findings import FINDING_KINDS, Findings
from .latency import PERCENTILES, Limit, Speedup
from .load import build, find_table, project_settings, recorded_settings, table_name
from .settings import DEPLOYMENT_CONF, EngineLimits, Settings, in_ci
from .types import Severity

__all__ = [
    "DEPLOYMENT_CONF",
    "FINDING_KINDS",
    "PERCENTILES",
    "EngineLimits",
    "Findings",
    "Limit",
    "Settings",
    "Severity",
    "Speedup",
    "build",
    "find_table",
    "in_ci",
    "project_settings",
    "recorded_settings",
    "table_name",
]
