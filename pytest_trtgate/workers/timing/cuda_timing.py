"""Timing on a GPU: engines and copies by CUDA events on a stream of their own, and the memory that an arm takes.

Import it only after :func:`pytest_trtgate.workers.worker.prepare`: this module imports torch.

With TensorRT 10 and later, Ultralytics copies the input to where a CUDA graph reads it and replays the graph, both on
torch's current stream, where a checkpoint runs too. With TensorRT 8.6, or if the engine cannot be captured, it calls
``execute_v2``, which works on the default stream and blocks the host: events around that would time the host as well.
In that case ``engine`` puts the engine on our stream through the same execution context, and ``host`` times it as
Ultralytics calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from ...errors import TrtGateError
from ...records import Context
from .. import yolo

if TYPE_CHECKING:
    from .arms import Arm

T = TypeVar("T")


def open_device(device: str) -> torch.device | None:
    """Return the GPU of a name such as ``0``, ready for use; None for the CPU.

    Raises:
        TrtGateError: torch sees no such GPU.
    """
    if not device.isdecimal():
        return None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device) >= count:
        seen = f"GPUs 0 to {count - 1}" if count > 1 else "GPU 0 only" if count else "no GPU"
        raise TrtGateError(f"device {device}: torch {torch.__version__} sees {seen}")
    place = torch.device("cuda", int(device))
    torch.cuda.set_device(place)
    # Make the context now: its memory is no arm's.
    torch.zeros(1, device=place)
    torch.cuda.synchronize(place)
    return place


class MemoryMeter:
    """Adds up the memory in bytes that each arm takes of a device, as ``taken``; empty on a CPU.

    It asks the device, so that memory of torch and of TensorRT both count. torch keeps what it has reserved, so what an
    arm has taken after its first batch is its peak.
    """

    def __init__(self, device: torch.device | None) -> None:
        self.taken: dict[str, int] = {}
        self._device = device

    def charge(self, arm: str, work: Callable[[], T]) -> T:
        """Do some work and charge its memory to an arm."""
        if self._device is None:
            return work()
        torch.cuda.synchronize(self._device)
        # Otherwise an arm would reuse what an earlier one reserved and freed.
        torch.cuda.empty_cache()
        free = torch.cuda.mem_get_info(self._device)[0]
        result = work()
        torch.cuda.synchronize(self._device)
        taken = free - torch.cuda.mem_get_info(self._device)[0]
        self.taken[arm] = self.taken.get(arm, 0) + max(0, taken)
        return result


class EventTimer:
    """Times work on a GPU by CUDA events, on a stream that nothing else uses."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        self._start = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)

    def time(self, work: Callable[[], Any]) -> int:
        """Return the nanoseconds between two events around what ``work`` puts on the stream."""
        with torch.cuda.stream(self.stream):
            self._start.record(self.stream)
            result = work()
            self._end.record(self.stream)
        self._end.synchronize()
        # Freed only now, when the device is done with it.
        del result
        return int(self._start.elapsed_time(self._end) * 1e6)


class GpuBench:
    """Times one arm on a GPU, and its copies, by events rather than by the clock of the host.

    The arm has been run once by :meth:`Arm.rehearse`; ``inputs`` are on the device, ``hosts`` the same in page-locked
    memory. All arms share ``timer``.
    """

    def __init__(self, arm: Arm, inputs: Sequence[Any], hosts: Sequence[Any], timer: EventTimer) -> None:
        self._arm = arm
        self._inputs = inputs
        self._hosts = hosts
        self._timer = timer
        self._input = torch.empty_like(inputs[0])
        found = list(yolo.tensors(arm.run(inputs[0])))
        # After its predictions, a checkpoint returns what training needs.
        outputs = found if arm.cuda_graph or arm.enqueues else found[:1]
        self._outputs = [tensor.clone() for tensor in outputs]
        self._results = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in outputs]
        torch.cuda.synchronize(self._input.device)

    def time(self, context: Context, index: int) -> int:
        """Return the nanoseconds of one inference, or of its copies, on the input of that number."""
        if context == "copy-in":
            return self._timer.time(lambda: self._input.copy_(self._hosts[index], non_blocking=True))
        if context == "copy-out":
            return self._timer.time(self._copy_out)
        if self._arm.enqueues:
            self._arm.bind(self._inputs[index])
            return self._timer.time(self._enqueue)
        return self._timer.time(lambda: self._arm.backend(self._inputs[index]))

    def _copy_out(self) -> None:
        for result, output in zip(self._results, self._outputs, strict=True):
            result.copy_(output, non_blocking=True)

    def _enqueue(self) -> None:
        self._arm.enqueue(self._timer.stream.cuda_stream)


def make_benches(arms: Sequence[Arm], inputs: dict[str, list[Any]], device: torch.device) -> dict[str, GpuBench]:
    """Return a bench for each arm by its name; ``inputs`` are by what they are like."""
    hosts = {takes: [tensor.cpu().pin_memory() for tensor in found] for takes, found in inputs.items()}
    timer = EventTimer(device)
    # The inputs were made on another stream.
    torch.cuda.synchronize(device)
    return {arm.name: GpuBench(arm, inputs[arm.takes], hosts[arm.takes], timer) for arm in arms}
