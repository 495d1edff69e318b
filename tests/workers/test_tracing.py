"""What a build keeps for those of other precisions: whatever is in the way of that, the engine is as it would be."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from pytest_trtgate.workers.building.tracing import simplify_once, trace_once


def write(model: str, im: str | None, file: Path) -> None:
    """Trace a model."""
    file.write_text(f"{model} of {im}")


def test_a_graph_that_cannot_be_kept_is_simplified_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large() -> bytes:
        raise ValueError("exceeds maximum protobuf size of 2GB")

    # Ultralytics takes whatever is raised here for a graph that cannot be simplified, and goes on with it as it is.
    monkeypatch.setitem(sys.modules, "onnx", ModuleType("onnx"))
    simple = SimpleNamespace(SerializeToString=too_large)
    assert simplify_once(lambda graph: simple, tmp_path / "simplified.onnx", "graph") is simple
    assert list(tmp_path.iterdir()) == []


def test_a_trace_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    mine = tmp_path / "mine.onnx"
    assert trace_once(write, tmp_path / "file" / "kept.onnx", "trace", "image", mine) == str(mine)
    assert mine.read_text() == "trace of image"


def test_a_trace_that_is_kept_is_not_made_again(tmp_path: Path) -> None:
    kept = tmp_path / "kept.onnx"
    trace_once(write, kept, "first", None, tmp_path / "one.onnx")
    trace_once(write, kept, "second", None, tmp_path / "two.onnx")
    assert (tmp_path / "two.onnx").read_text() == "first of None"
    assert {path.name for path in tmp_path.iterdir()} == {"kept.onnx", "one.onnx", "two.onnx"}
