"""What a build keeps for those of other precisions: whatever is in the way of that, the engine is as it would be."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_trtgate.workers.building.tracing import _Simplified, _Traced


def test_a_graph_that_cannot_be_kept_is_simplified_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(graph: str, path: Path) -> None:
        path.write_text(graph[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    # Ultralytics takes whatever is raised here for a graph that cannot be simplified, and goes on with it as it is.
    monkeypatch.setitem(sys.modules, "onnx", SimpleNamespace(save=full))
    simplified = _Simplified(lambda graph: f"simplified {graph}", tmp_path / "simplified.onnx")
    assert simplified("graph") == "simplified graph"
    assert list(tmp_path.iterdir()) == []


def test_a_trace_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    traced = _Traced(lambda model, im, file: Path(file).write_text(f"{model} of {im}"), tmp_path / "gone" / "kept.onnx")
    assert traced("trace", "image", tmp_path / "mine.onnx") == str(tmp_path / "mine.onnx")
    assert (tmp_path / "mine.onnx").read_text() == "trace of image"


def test_a_trace_that_is_kept_is_not_made_again(tmp_path: Path) -> None:
    kept = tmp_path / "kept.onnx"
    _Traced(lambda model, im, file: Path(file).write_text(model), kept)("first", None, tmp_path / "one.onnx")
    _Traced(lambda model, im, file: Path(file).write_text(model), kept)("second", None, tmp_path / "two.onnx")
    assert (tmp_path / "two.onnx").read_text() == "first"
    assert {path.name for path in tmp_path.iterdir()} == {"kept.onnx", "one.onnx", "two.onnx"}
