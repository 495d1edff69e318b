"""What reports call that which engines are compared with: the ``.pt``, or where no model has one, the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import text as fmt
from ..records import RunRecord


def in_words_of(runs: Sequence[RunRecord]) -> Callable[[str], str]:
    """Return what puts a report's text into the words of its runs."""
    return str if not runs or any(run.has_checkpoint for run in runs) else fmt.of_reference
