"""pytest-benchmark: a timer that replays measured durations, so that its reports work on the gate's numbers."""

from __future__ import annotations

from typing import Any

import pytest

from .handles import CellLatency

MARK = "benchmark"
_FIXTURES = frozenset(("trtgate", "trt_latency"))


class ReplayTimer:
    """A timer for pytest-benchmark: each pair of calls is as far apart as the next recorded duration.

    Attributes:
        durations_s: The durations to replay, in seconds.
    """

    __name__ = "ReplayTimer"

    def __init__(self) -> None:
        self.durations_s: list[float] = []
        self._calls = 0

    def __call__(self) -> float:
        """Return 0 when a round begins, and the round's recorded duration in seconds when it ends."""
        round_, ending = divmod(self._calls, 2)
        self._calls += 1
        return self.durations_s[round_] if ending else 0.0


def equip(item: pytest.Item) -> None:
    """Give a gate test that takes ``benchmark`` a replaying timer, on top of the options that it set itself."""
    names = getattr(item, "fixturenames", ())
    if MARK not in names or not _FIXTURES.intersection(names):
        return
    own = item.get_closest_marker(MARK)
    options = dict(own.kwargs) if own else {}
    item.add_marker(pytest.mark.benchmark(**{**options, "timer": ReplayTimer()}), append=False)


def replay(request: pytest.FixtureRequest, latency: CellLatency, cell: str) -> None:
    """Hand the engine's measured durations to the test's ``benchmark`` fixture as rounds, once."""
    marker = request.node.get_closest_marker(MARK)
    timer = marker.kwargs.get("timer") if marker else None
    if not isinstance(timer, ReplayTimer) or timer.durations_s:
        return
    benchmark: Any = request.getfixturevalue(MARK)
    if not benchmark.enabled:  # under xdist, or switched off
        return
    timer.durations_s = latency.samples_s()
    benchmark.extra_info.update(cell=cell, arm=latency.arm, launches=len(latency.record.of_arm(latency.arm)))
    benchmark.pedantic(_nothing, rounds=len(timer.durations_s))


def _nothing() -> None:
    """Take the place of the inference that was timed in another process."""
