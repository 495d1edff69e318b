"""What a run's record notes beside its numbers."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from records_example import accuracy

from pytest_trtgate.verdicts.recording import _notes


@pytest.mark.parametrize(
    ("hours", "when"), [((8, 8), "8 hours ago"), ((8, 0), "8 hours ago or later"), ((0, 0), "less than a minute ago")]
)
def test_what_was_reused_is_noted_with_its_age(hours: tuple[int, int], when: str) -> None:
    now = datetime.now(timezone.utc)
    reused = [
        accuracy(arm, 0.8).model_copy(update={"reused": True, "measured_at": (now - timedelta(hours=h)).isoformat()})
        for arm, h in zip(("pt", "int8"), hours, strict=True)
    ]
    [said] = _notes(reused, (), ())
    assert said == f"shapes: accuracy of pt, int8 was measured {when} on the same bytes; again with --trt-fresh"
