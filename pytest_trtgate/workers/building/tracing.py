"""Trace and simplify the ONNX graph once for all precisions of a model and shape.

Ultralytics, on a CPU, traces and simplifies the same FP32 graph for each precision, then converts or quantizes it.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


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
    engine.torch2onnx = _Traced(trace, folder / "traced.onnx")
    onnxslim.slim = _Simplified(slim, folder / "simplified.onnx")
    try:
        yield
    finally:
        engine.torch2onnx, onnxslim.slim = trace, slim


class _Traced:
    """Traces a model into a file."""

    def __init__(self, trace: Callable[..., Any], kept: Path) -> None:
        self._trace = trace
        self._kept = kept

    def __call__(self, model: Any, im: Any, output_file: Path | str, *args: Any, **kwargs: Any) -> str:
        if self._kept.is_file():
            shutil.copyfile(self._kept, output_file)
        else:
            self._trace(model, im, output_file, *args, **kwargs)
            _keep(self._kept, lambda aside: shutil.copyfile(output_file, aside))
        return str(output_file)


class _Simplified:
    """Simplifies a graph."""

    def __init__(self, slim: Callable[..., Any], kept: Path) -> None:
        self._slim = slim
        self._kept = kept

    def __call__(self, graph: Any, *args: Any, **kwargs: Any) -> Any:
        import onnx

        if self._kept.is_file():
            return onnx.load(self._kept)
        simple = self._slim(graph, *args, **kwargs)
        _keep(self._kept, lambda aside: onnx.save(simple, aside))
        return simple


def _keep(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file, whole or not at all; without it, the next build makes its own.

    Errors are only logged: Ultralytics would take one for a graph that cannot be simplified.
    """
    aside = path.with_suffix(".part")
    try:
        write(aside)
        aside.replace(path)
    except Exception:
        traceback.print_exc()
        with suppress(OSError):
            aside.unlink(missing_ok=True)
