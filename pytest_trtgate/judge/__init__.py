"""The judge: measurements and limits in, checks out. Pure: no files, no clock, no randomness."""

from __future__ import annotations

from collections.abc import Iterable

from ..records import Check, Outcome


def worst(checks: Iterable[Check]) -> Outcome:
    """Return the worst outcome of some checks; PASS of none."""
    return max((check.outcome for check in checks), key=lambda outcome: outcome.rank, default=Outcome.PASS)
