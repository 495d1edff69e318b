"""One cell judged, and one run recorded."""

from __future__ import annotations

from .amend import Judged, Softening
from .recording import record_run
from .run import GateRun, measured
