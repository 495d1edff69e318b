"""The settings: their tables, defaults, and how they are read from files and options."""

from __future__ import annotations

from .findings import FINDING_KINDS, LEFT_OUT, Findings
from .given import (
    BACKENDS,
    PREDICTIONS_BYTES,
    SIDECAR_BYTES,
    TIMES_BYTES,
    Sidecar,
    read_sidecar,
    sidecar_path,
)
from .latency import PERCENTILES, Latency, Limit, Speedup
from .load import FILE_NAME, build, find_table, project_settings, recorded_settings, table_name
from .quantization import EXPORTER, Int8, Quantization
from .settings import CACHE_KEY, DEPLOYMENT_CONF, SIGN_PASSWORD, Calibration, EngineLimits, Settings, in_ci
from .types import Severity
