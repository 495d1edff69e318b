"""A repair of an INT8 engine that lost accuracy: candidates built, evaluated and timed for real."""

from __future__ import annotations

from .recommending import Repair, Row, repair
from .table import lines
from .trials import CHECKPOINT, EVALUATED, Given, TimeIsUpError, Trials
