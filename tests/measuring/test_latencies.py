"""What a cell's launches are judged with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from judge_example import CELL, launches

from pytest_trtgate.measuring.latencies import candidate_of
from pytest_trtgate.settings.latency import Latency

GATED = {"p50": {"regression": 0.05}, "p95": {"regression": 0.1}}


@pytest.mark.parametrize(("cells", "rules", "family"), [(1, GATED, 2), (9, GATED, 18), (9, {}, 18)])
def test_all_percentiles_that_a_run_gates_share_its_level(cells: int, rules: dict[str, Any], family: int) -> None:
    planned = tuple(CELL.model_copy(update={"model": f"m{i}"}) for i in range(cells))
    settings = SimpleNamespace(latency=Latency.model_validate(rules))
    context: Any = SimpleNamespace(settings=settings, plan=SimpleNamespace(cells=planned))
    candidate = candidate_of(context, launches(int8=[1.0]), planned[0])
    assert (candidate.arm, candidate.family) == ("int8", family)
