"""Verdicts on latency against a replayed baseline, with the numbers that decided them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ...records import Outcome
from ...text import plural
from .design import LOOKS, SCREEN
from .wording import would_have_caught


@dataclass(frozen=True)
class Placebo:
    """Second copy of the baseline engine against the first: ``change`` as a ratio, ``p`` two-sided."""

    change: float
    p: float
    differs: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """How much slower an engine is than its baseline. Ratios: 0.021 is 2.1 % slower, -0.021 faster.

    Attributes:
        outcome: None where more launches are needed.
        threshold: The smallest slow-down worth failing for, as a ratio.
        change: The slow-down, as a ratio.
        lower: One-sided lower limit of it: of 99 % beside a replayed baseline, of 95 % since stored sessions. It is -1
            from a single launch or session.
        upper: The upper limit likewise; infinite from a single launch or session.
        p: One-sided p of a slow-down above 0; 1 from a single launch or session.
        detectable: Where it passed and the spread is known: the smallest slow-down, as a ratio, that would fail with
            probability 0.9.
        improved: Whether it is faster by at least the threshold, and certainly faster.
    """

    outcome: Outcome | None
    threshold: float
    change: float
    lower: float
    upper: float
    p: float
    detectable: float | None = None
    improved: bool = False

    @property
    def moved(self) -> str:
        """What it did: ``is 3.1 % slower``."""
        if math.isnan(self.change):
            return "was not measured"
        if abs(self.change) < 5e-5:
            return "is unchanged"
        return f"is {abs(self.change) * 100:.3g} % {'slower' if self.change > 0 else 'faster'}"


@dataclass(frozen=True, kw_only=True)
class Quantity(Change):
    """What is known of one gated quantity from paired t-tests over launches.

    Attributes:
        launches: How many decided it, or were seen where it is undecided.
        reason: Why it neither passed nor failed, where there is more to say than that it is undecided.
    """

    name: str
    launches: int
    reason: str = ""

    @property
    def evidence(self) -> str:
        """How that is known: ``5 launches, one-sided 99 % limits 2.2 % and 4.0 %, p 0.0004``."""
        count = plural(self.launches, "launch")
        if self.launches < 2 or math.isnan(self.p):
            return count
        limits = f"{self.lower * 100:.1f} % and {self.upper * 100:.1f} %"
        return f"{count}, one-sided 99 % limits {limits}, p {self.p:.2g}"

    @property
    def span(self) -> str:
        """Its limits in words: ``from 1.0 % faster to 9.1 % slower``; empty from a single launch."""
        if self.launches < 2 or not math.isfinite(self.upper):
            return ""
        low, high = ("slower" if ratio > 0 else "faster" for ratio in (self.lower, self.upper))
        first = f"{abs(self.lower) * 100:.1f} %" + ("" if low == high else f" {low}")
        return f"from {first} to {abs(self.upper) * 100:.1f} % {high}"

    @property
    def points_to_failure(self) -> bool:
        """Whether it is open, with both limits over what is allowed."""
        return self.outcome is None and self.lower > self.threshold

    @property
    def undecided(self) -> str:
        """Why it is open: ``p50 is 4.1 % slower (from 1.0 % faster to 9.1 % slower by 3 launches, 5 % allowed)``."""
        seen = f"{self.span} by {plural(self.launches, 'launch')}, " if self.span else ""
        return f"{self.name} {self.moved} ({seen}{self.threshold * 100:.3g} % allowed)"

    @property
    def _open(self) -> str:
        """Why launches that give limits of it do not decide it."""
        by = f"{plural(self.launches, 'launch')} (one-sided 99 % limits, p {self.p:.2g})"
        if self.lower <= self.threshold <= self.upper:
            return f"by {by} anything {self.span} is possible"
        *some, last = looks = [look.launches for look in LOOKS]
        why = ""
        if self.launches not in looks:
            why = f", it takes {', '.join(map(str, some))} or {last} launches to tell"
        elif self.lower > self.threshold:
            why = ", which is not sure enough to fail"
        return f"it is {self.span} by {by}{why}"

    @property
    def sentence(self) -> str:
        """What a check says of it, with what to do where it is undecided."""
        allowed = f"{self.threshold * 100:.3g} % allowed"
        if self.outcome is Outcome.FAIL:
            return f"{self.name} {self.moved}, more than {allowed}; {self.evidence}"
        if self.outcome is Outcome.INCONCLUSIVE and self.span:
            over = "more than " if self.lower > self.threshold else ""
            said = f"{self.name} {self.moved}, {over}{allowed}, but {self._open}"
            return "; ".join(filter(None, (said, self.reason)))
        parts = [f"{self.name} {self.moved}, {allowed}", self.evidence]
        if self.outcome is Outcome.PASS and self.detectable is not None:
            parts.append(would_have_caught(self.detectable))
        return "; ".join([*parts, self.reason] if self.reason else parts)


@dataclass(frozen=True)
class ReplayDecision:
    """Where a cell's comparison stands.

    Attributes:
        outcome: None where more launches are needed.
        needs_launches: How many launches in all are needed before the next look, or None where it is decided.
        quantities: By name.
    """

    outcome: Outcome | None
    needs_launches: int | None
    quantities: Mapping[str, Quantity]

    @property
    def needs_placebo(self) -> bool:
        """Whether the launches still needed must time a second copy of the baseline engine."""
        return self.needs_launches is not None and self.needs_launches > SCREEN
