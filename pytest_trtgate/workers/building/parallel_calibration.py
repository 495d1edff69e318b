"""INT8 calibration by ONNX Runtime, of several images at a time, and with few of them in memory.

One image after another keeps two cores busy for two thirds of the time: decoding takes one core, and so do many
operators of a small model. Results keep the order of the images, and each image the number of threads, so that the
ranges and the engine are the same to the bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

AT_A_TIME = 3
"""Images run at a time: while one waits, the others work. More would only take memory."""


@cache
def calibrate_several() -> None:
    """Make calibrations of this process run several images at a time; once, since two in one would mix up images."""
    from onnxruntime.quantization.calibrate import HistogramCalibrater, MinMaxCalibrater

    collect: Callable[[Any, Any], None] = MinMaxCalibrater.collect_data

    def collect_data(self: Any, data_reader: Any) -> None:
        session = self.infer_session
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            self.infer_session = ahead = RunAhead(session, data_reader, pool)
            try:
                collect(self, ahead)
            finally:
                self.infer_session = session

    MinMaxCalibrater.collect_data = collect_data
    collect_histograms: Callable[[Any, Any], None] = HistogramCalibrater.collect_data

    def collect_one_by_one(self: Any, data_reader: Any) -> None:
        # It would hold every tensor of every image at once.
        while inputs := data_reader.get_next():
            collect_histograms(self, OneInput(inputs))

    HistogramCalibrater.collect_data = collect_one_by_one


class OneInput:
    """A reader of one input."""

    def __init__(self, inputs: Any) -> None:
        self._left = [inputs]

    def get_next(self) -> Any:
        """Return the inputs, then None."""
        return self._left.pop() if self._left else None


class RunAhead:
    """Stands for both a session and the reader of its inputs: runs inputs in a pool before they are asked for."""

    def __init__(self, session: Any, reader: Any, pool: ThreadPoolExecutor) -> None:
        self._session = session
        self._reader = reader
        self._pool = pool
        self._begun: deque[tuple[Any, Future[Any]]] = deque()
        self._present: Future[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_next(self) -> Any:
        """Return the next inputs; None after the last."""
        while len(self._begun) < 2 * AT_A_TIME and (inputs := self._reader.get_next()):
            self._begun.append((inputs, self._pool.submit(self._session.run, None, inputs)))
        if not self._begun:
            return None
        inputs, self._present = self._begun.popleft()
        return inputs

    def run(self, names: None, inputs: Any) -> Any:
        """Return the outputs for the inputs that were returned last."""
        assert self._present is not None
        return self._present.result()
