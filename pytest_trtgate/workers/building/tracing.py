"""Trace and simplify the ONNX graph once for all precisions of a model and shape.

Ultralytics, on a CPU, traces and simplifies the same FP32 graph for each precision, then converts or quantizes it.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ...records import write_whole


@contextmanager
def traced_once(folder: Path | None) -> Iterator[None]:
    """Keep the traced and the simplified graph in a folder, or reuse what another export left there.

    The folder is for one model, shape and set of arguments, whatever the precision; None shares nothing.
    """
    if folder is None:
        yield
        return
    import onnxslim
    from ultralytics.utils.export import engine

    folder.mkdir(parents=True, exist_ok=True)
    trace, slim = engine.torch2onnx, onnxslim.slim
    engine.torch2onnx = partial(trace_once, trace, folder / "traced.onnx")
    onnxslim.slim = partial(simplify_once, slim, folder / "simplified.onnx")
    try:
        yield
    finally:
        engine.torch2onnx, onnxslim.slim = trace, slim


def trace_once(
    trace: Callable[..., Any], kept: Path, model: Any, im: Any, output_file: Path | str, *args: Any, **kwargs: Any
) -> str:
    """Write the kept trace to ``output_file``, or trace the model and keep that."""
    if kept.is_file():
        shutil.copyfile(kept, output_file)
    else:
        trace(model, im, output_file, *args, **kwargs)
        _keep(kept, Path(output_file).read_bytes)
    return str(output_file)


def simplify_once(slim: Callable[..., Any], kept: Path, graph: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the kept simplified graph, or simplify the graph and keep that."""
    import onnx

    if kept.is_file():
        return onnx.load(kept)
    simple = slim(graph, *args, **kwargs)
    _keep(kept, simple.SerializeToString)
    return simple


def _keep(path: Path, content: Callable[[], bytes]) -> None:
    """Write a file, whole or not at all; without it, the next build makes its own.

    Errors are only logged: Ultralytics would take one for a graph that cannot be simplified.
    """
    try:
        write_whole(path, content())
    except Exception:
        traceback.print_exc()
