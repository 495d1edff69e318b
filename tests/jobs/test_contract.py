"""Requests that jobs read: what is asked of the whole counts for its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from records_example import cell

from pytest_trtgate.jobs import BuildRequest, ExplainRequest, LayersRequest
from pytest_trtgate.records.files import load, save


@pytest.mark.parametrize(("kind", "further"), [(LayersRequest, {}), (ExplainRequest, {"images": ()})])
def test_a_request_with_a_build_in_it_loads_that_as_safely(kind: Any, further: dict[str, Any], tmp_path: Path) -> None:
    build = BuildRequest(weights="best.pt", cell=cell("fp32"), output="")
    asked = kind(build=build, **further)
    assert not asked.build.safe_weights
    asked = asked.model_copy(update={"safe_weights": True, "max_pixels": 7})  # as a run asks for it
    save(tmp_path / "request.json", asked)
    read = load(tmp_path / "request.json", kind, own=True)
    assert (read.build.safe_weights, read.build.max_pixels) == (True, 7)
    assert kind(build=build, safe_weights=True, **further).build.safe_weights
