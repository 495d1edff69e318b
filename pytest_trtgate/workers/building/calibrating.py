"""Calibration by ONNX Runtime, of several images at a time.

It would run one after another, which keeps two cores busy for no more than two thirds of the time: decoding takes one,
and so do many operators of a small model. What was observed of the images is handed on in their order, and each is run
on as many threads as before, so that the ranges, and the engine, are to the bit what they would be anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

AT_A_TIME = 3
"""So many images are run at a time: what each waits for, the others fill. More would only take memory."""


def calibrate_several() -> None:
    """Make calibrations of this process run several images at a time."""
    from onnxruntime.quantization.calibrate import MinMaxCalibrater

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


class RunAhead:
    """In the places of a session and of the reader of its inputs: runs inputs before they are asked for.

    Args:
        session: Runs them.
        reader: Gives one after the other.
        pool: Does so on its threads.
    """

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
        """Return what came of the inputs that were returned last."""
        assert self._present is not None
        return self._present.result()
