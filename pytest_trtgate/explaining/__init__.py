"""Why an engine's accuracy differs from its checkpoint's: the metric, the layers, the ranges, and what blocks cost."""

from __future__ import annotations

from .explain import explain
from .lines import lines
from .of_run import explained, to_explain, with_explanations
