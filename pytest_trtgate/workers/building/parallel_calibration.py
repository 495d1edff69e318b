"""INT8 calibration by ONNX Runtime of only the ranges that are read, and of several images at a time.

The calibrator asks for the range of every tensor, and for all of them after the last operator, when none is in a cache
of the processor any more. The quantizer reads the ranges beside the operators that it quantizes, about half of them.
One image after another leaves cores idle: decoding takes one, and so do many operators of a small model. Least and
greatest values do not depend on the order of images, and each image gets as many threads as alone: ranges and engine
are the same to the bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

AT_A_TIME = 4
"""The most images that are run at a time: while one waits, the others work. More would only take memory."""


@contextmanager
def calibrating(unquantized: Collection[str], threads: int) -> Iterator[None]:
    """Make ONNX Runtime's calibrators find the ranges that are read, of as many images at a time as there are threads.

    Histograms are made of one image after another, or every tensor of all of them would be in memory at once.
    ``unquantized`` are the names of nodes that stay as they are.
    """
    import onnxruntime
    from onnxruntime.quantization.calibrate import CalibraterBase, HistogramCalibrater, MinMaxCalibrater

    select: Callable[[Any, Any], tuple[set[str], Any]] = CalibraterBase.select_tensors_to_calibrate
    create: Callable[[Any], None] = CalibraterBase.create_inference_session
    collect: Callable[[Any, Any], None] = MinMaxCalibrater.collect_data
    collect_histograms: Callable[[Any, Any], None] = HistogramCalibrater.collect_data

    def select_read(self: Any, model: Any) -> tuple[set[str], Any]:
        tensors, infos = select(self, model)
        return tensors & read_tensors(model.graph, unquantized), infos

    def create_in_order(self: Any) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # As in the file, where the range of a tensor is asked for beside it; otherwise, once all else is done.
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        # Threads that spin for the next operator of one image would keep another image's from the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path, providers = self.augmented_model_path, self.execution_providers
        self.infer_session = onnxruntime.InferenceSession(path, sess_options=options, providers=providers)

    def collect_extremes(self: Any, data_reader: Any) -> None:
        session = self.infer_session
        self.infer_session = one = Extremes(session, data_reader, self.num_model_outputs, min(threads, AT_A_TIME))
        try:
            collect(self, one)
        finally:
            self.infer_session = session

    def collect_one_by_one(self: Any, data_reader: Any) -> None:
        while inputs := data_reader.get_next():
            collect_histograms(self, OneInput(inputs))

    CalibraterBase.select_tensors_to_calibrate = select_read
    CalibraterBase.create_inference_session = create_in_order
    MinMaxCalibrater.collect_data = collect_extremes
    HistogramCalibrater.collect_data = collect_one_by_one
    try:
        yield
    finally:
        CalibraterBase.select_tensors_to_calibrate, CalibraterBase.create_inference_session = select, create
        MinMaxCalibrater.collect_data, HistogramCalibrater.collect_data = collect, collect_histograms


def read_tensors(graph: Any, unquantized: Collection[str]) -> set[str]:
    """Return the tensors of a graph that nodes read or give which are to be quantized, and what softmaxes give.

    ONNX Runtime replaces the range of a softmax, and some releases fail where they find none.
    """
    quantized = {name for n in graph.node if n.name not in unquantized for name in (*n.input, *n.output)}
    return quantized | {name for n in graph.node if n.op_type == "Softmax" for name in n.output}


class OneInput:
    """A reader of one input."""

    def __init__(self, inputs: Any) -> None:
        self._left = [inputs]

    def get_next(self) -> Any:
        """Return the inputs, then None."""
        return self._left.pop() if self._left else None


class Extremes:
    """Stands for a session, and for the reader of its inputs, as if there were one image, with the extremes of all.

    The session's outputs are ``others`` that nobody reads, then in turns the least and the greatest value of a tensor.
    """

    def __init__(self, session: Any, reader: Any, others: int, at_a_time: int) -> None:
        self._session = session
        self._reader = reader
        self._others = others
        self._at_a_time = at_a_time
        self._found: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_next(self) -> bool:
        """Return whether there is an image to run: once, where there is any, after all of them were run."""
        if self._found is not None:
            return False
        import numpy as np

        for values in self._each():
            if self._found is None:
                self._found = values
            np.fmin(self._found[0::2], values[0::2], out=self._found[0::2])
            np.fmax(self._found[1::2], values[1::2], out=self._found[1::2])
        return self._found is not None

    def _each(self) -> Iterator[Any]:
        """Yield the least and greatest values in each image."""
        import numpy as np

        names = [output.name for output in self._session.get_outputs()][self._others :]
        begun: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(self._at_a_time) as pool:
            while inputs := self._reader.get_next():
                begun.append(pool.submit(self._session.run, names, inputs))
                if len(begun) == 2 * self._at_a_time:
                    yield np.concatenate(begun.popleft().result())
            while begun:
                yield np.concatenate(begun.popleft().result())

    def run(self, names: None, inputs: bool) -> list[Any]:
        """Return the outputs for the one image."""
        return [None] * self._others + list(self._found.reshape(-1, 1))
