"""Ready-made tests: ``pytest --pyargs pytest_trtgate.gate --trt-model best.pt --trt-data data.yaml``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plugin.fixtures import Gate


def test_accuracy(trtgate: Gate) -> None:
    """The engine is as accurate as its checkpoint, within the tolerance of its precision."""
    trtgate.check_accuracy()


def test_latency(trtgate: Gate) -> None:
    """The engine is within its budgets and as fast as its baseline."""
    trtgate.check_latency()
