"""One cell judged, and one run recorded."""

from __future__ import annotations

from .amend import Judged, Softening
from .run import GateRun, measured

__all__ = ["GateRun", "Judged", "Softening", "measured"]
