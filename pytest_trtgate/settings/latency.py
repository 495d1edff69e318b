"""Settings of latency: how launches run, limits by percentile and precision, and speed-up rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import model_validator

from ..records import PRECISIONS, Precision
from .types import (
    POSITIVE,
    SECONDS,
    Factor,
    PositiveFloat,
    PositiveInt,
    Section,
    Slowdown,
    Whole,
    field_allowing,
    own_or_general,
)

DEFAULT_REGRESSIONS: Mapping[str, Mapping[str, float]] = {
    "tensorrt": {"p50": 0.02, "p95": 0.05},
    "onnxruntime": {"p50": 0.05, "p95": 0.10},
}
DEFAULT_INT8_SPEEDUP = 0.97
"""How many times as fast as FP16 an INT8 engine of TensorRT must be at p50 by default.

Not 1: if layers fall back to FP16, both are nearly the same engine, and their ratio is 1 plus or minus noise.
"""
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99}


class Limit(Section):
    """Limits of one latency percentile. ``regression`` is the smallest relative slow-down worth failing for."""

    example = "{ regression = 0.05, budget_ms = 8.0 }"
    regression: Slowdown | None = field_allowing("a ratio over 0 up to 2, such as 0.05 for 5 %", default=None)
    budget_ms: PositiveFloat | None = field_allowing("milliseconds, more than 0", default=None)


class Speedup(Section):
    """How many times as fast as another arm an engine must be at p50; ``at_least = 0`` switches a rule off."""

    example = '{ over = "fp16", at_least = 1.0 }'
    over: Literal["pt", "fp32", "fp16", "int8"] = field_allowing("pt, fp32, fp16 or int8")
    at_least: Factor = field_allowing("a ratio from 0 upwards; 0 switches the rule off", default=1.0)


class Limits(Section):
    """Latency limits by percentile."""

    example = "{ p50 = { regression = 0.05 }, p95 = { budget_ms = 8.0 } }"
    p50: Limit = Limit()
    p95: Limit = Limit()
    p99: Limit = Limit()
    speedup: Speedup | None = None
    energy_mj: PositiveFloat | None = field_allowing("millijoules per inference, more than 0", default=None)
    memory_mb: PositiveFloat | None = field_allowing("megabytes, more than 0", default=None)

    def over(self, general: Limits, precision: str = "") -> Limits:
        """Return these limits, with what they leave open from ``general``; of one precision if one is named."""
        found = {name: own_or_general(getattr(self, name), getattr(general, name)) for name in PERCENTILES}
        rule = None if self.speedup and self.speedup.over == precision else self.speedup
        return Limits(
            **found,
            speedup=rule or general.speedup,
            energy_mj=self.energy_mj or general.energy_mj,
            memory_mb=self.memory_mb or general.memory_mb,
        )


class MachineLimits(Limits):
    """``[tool.trtgate.latency.machine.NAME]``: limits on one kind of machine, before all others."""

    example = "{ p50 = { budget_ms = 8.0 } }"
    fp32: Limits = Limits()
    fp16: Limits = Limits()
    int8: Limits = Limits()


class Latency(Limits):
    """``[tool.trtgate.latency]``: how launches are run, and limits for all precisions, then for one."""

    context: Literal["engine", "end-to-end"] = field_allowing("engine or end-to-end", default="engine")
    launches: PositiveInt = field_allowing(POSITIVE, default=3)
    max_launches: PositiveInt = field_allowing(POSITIVE, default=12)
    samples: PositiveInt = field_allowing(POSITIVE, default=500)
    max_seconds: PositiveFloat = field_allowing(SECONDS, default=5.0)
    block: PositiveInt = field_allowing(POSITIVE, default=10)
    warmup_min: PositiveInt = field_allowing(POSITIVE, default=20)
    warmup_max_seconds: PositiveFloat = field_allowing(SECONDS, default=5.0)
    images: PositiveInt = field_allowing(POSITIVE, default=32)
    seed: Whole = field_allowing("a whole number", default=0)
    fp32: Limits = Limits()
    fp16: Limits = Limits()
    int8: Limits = Limits()
    machine: dict[str, MachineLimits] = field_allowing(
        "a table such as { nvidia-l4 = { p50 = { budget_ms = 8.0 } } }", default={}
    )

    @model_validator(mode="after")
    def _enough_launches(self) -> Latency:
        if self.launches > self.max_launches:
            many = f"latency.launches = {self.launches} is more than latency.max_launches = {self.max_launches}"
            raise ValueError(f"{many}; lower the former or raise the latter")
        return self

    def on(self, machine: str) -> Latency:
        """Return the settings on a kind of machine: its own limits go before those of precisions and the general."""
        own = self.machine.get(machine)
        if own is None:
            return self
        general = own.over(self)
        changed: dict[str, Any] = {name: getattr(general, name) for name in Limits.model_fields}
        for name in PRECISIONS:
            changed[name] = getattr(own, name).over(own.over(getattr(self, name), name))
        return self.model_copy(update=changed)

    def limits(self, precision: Precision, backend: str) -> dict[str, Limit]:
        """Return the limits of every percentile, by its name."""
        return {name: self.limit(precision, name, backend) for name in PERCENTILES}

    def limit(self, precision: Precision, percentile: str, backend: str) -> Limit:
        """Return the limits of one percentile: the precision's, else the general, else the backend's defaults."""
        own: Limit = getattr(getattr(self, precision), percentile)
        default = Limit(regression=DEFAULT_REGRESSIONS.get(backend, {}).get(percentile))
        return own_or_general(own_or_general(own, getattr(self, percentile)), default)

    def speedup_rule(self, precision: Precision, backend: str, planned: Collection[str]) -> Speedup | None:
        """Return the speed-up rule of one precision, or None.

        With TensorRT, INT8 must not be slower than FP16 by default, if the run has both.
        """
        own: Limits = getattr(self, precision)
        rule = own.speedup or self.speedup
        if own.speedup is None and rule is not None and rule.over == precision:
            return None  # a general rule does not hold for the arm that it compares with
        if rule is None and (backend, precision) == ("tensorrt", "int8") and "fp16" in planned:
            rule = Speedup(over="fp16", at_least=DEFAULT_INT8_SPEEDUP)
        return rule if rule and rule.at_least else None

    def unasked_speedup(self, precision: Precision, backend: str, planned: Collection[str]) -> Speedup | None:
        """Return the default rule that is not judged because the run lacks the other arm."""
        judged = self.speedup_rule(precision, backend, planned)
        return None if judged else self.speedup_rule(precision, backend, PRECISIONS)

    def resources(self, precision: Precision) -> tuple[float | None, float | None]:
        """Return the budgets of energy (mJ) and memory (MB) of one precision."""
        limits = own_or_general(getattr(self, precision), self)
        return limits.energy_mj, limits.memory_mb
