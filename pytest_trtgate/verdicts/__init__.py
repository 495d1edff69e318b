"""One cell judged, and one run recorded."""

from __future__ import annotations

from .amend import Judged, Softening
from .deployed import compared_with
from .evidence import calibrated_on
from .lanes import Lanes
from .recording import record_run
from .run import GateRun, measured
