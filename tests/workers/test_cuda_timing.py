"""Timing by CUDA events, with stand-ins for what needs a GPU: the order of what a stream is given, and units."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trtgate.errors import TrtGateError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real
STREAM = 77
IDLE, LEFT_BY_TORCH = 1000, 64


class Cuda:
    """Stands for ``torch.cuda``: one device, and a log of what its streams were given."""

    def __init__(self, count: int = 1) -> None:
        self.log: list[str] = []
        self.free = IDLE
        self.count = count

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Cuda:
        import torch

        cuda = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self, stream: Any) -> None:
                cuda.log.append(f"event on {stream.cuda_stream}")

            def synchronize(self) -> None:
                cuda.log.append("wait")

            def elapsed_time(self, end: Any) -> float:
                return 0.8945

        @contextmanager
        def stream(chosen: Any) -> Iterator[None]:
            cuda.log.append(f"enter {chosen.cuda_stream}")
            yield
            cuda.log.append("leave")

        stubs = {
            "Event": Event,
            "Stream": lambda device: SimpleNamespace(cuda_stream=STREAM),
            "stream": stream,
            "is_available": lambda: self.count > 0,
            "device_count": lambda: self.count,
            "synchronize": lambda device: None,
            "empty_cache": lambda: setattr(self, "free", self.free + LEFT_BY_TORCH),
            "mem_get_info": lambda device: (self.free, 2000),
        }
        for name, stub in stubs.items():
            monkeypatch.setattr(torch.cuda, name, stub)
        return self


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    return Cuda().install(monkeypatch)


def test_events_enclose_the_work_on_the_stream_and_give_nanoseconds(cuda: Cuda) -> None:
    from pytest_trtgate.workers.timing.cuda_timing import EventTimer

    spent = EventTimer("cuda:0").time(lambda: cuda.log.append("work"))
    assert spent == 894_500
    assert cuda.log == ["enter 77", "event on 77", "work", "event on 77", "leave", "wait"]


def test_memory_is_charged_to_the_arm_that_took_it(cuda: Cuda) -> None:
    from pytest_trtgate.workers.timing.cuda_timing import MemoryMeter

    def take(size: int) -> str:
        cuda.free -= size
        return "done"

    meter = MemoryMeter("cuda:0")
    assert meter.charge("fp16", lambda: take(300)) == "done"
    meter.charge("int8", lambda: take(100))
    meter.charge("fp16", lambda: take(50))
    assert meter.taken == {"fp16": 350, "int8": 100}
    cpu = MemoryMeter(None)
    cpu.charge("fp16", lambda: take(300))
    assert cpu.taken == {}


@pytest.mark.parametrize(("count", "seen"), [(0, "no GPU"), (1, "GPU 0 only"), (4, "GPUs 0 to 3")])
def test_a_gpu_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, count: int, seen: str) -> None:
    from pytest_trtgate.workers.timing.cuda_timing import open_device

    Cuda(count).install(monkeypatch)
    with pytest.raises(TrtGateError, match=f"^device 4: torch .* sees {seen}$"):
        open_device("4")
    assert open_device("cpu") is None


class Context:
    """An execution context of TensorRT that notes what it is told."""

    def __init__(self, cuda: Cuda, accepts: bool = True) -> None:
        self.cuda = cuda
        self.accepts = accepts
        self.addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.cuda.log.append(f"enqueue on {stream}")
        return self.accepts


def arm(cuda: Cuda, enqueues: bool, accepts: bool = True) -> Any:
    """Return an arm without a model behind it: an engine of TensorRT 8.6 where it enqueues, else a checkpoint."""
    import torch

    from pytest_trtgate.workers.timing.arms import Arm

    made = Arm.__new__(Arm)
    context = Context(cuda, accepts)
    bindings = {"images": SimpleNamespace(data=None), "output0": SimpleNamespace(data=torch.zeros(4))}

    class Backend:
        output_names = ("output0",)

        def __init__(self) -> None:
            self.bindings = bindings
            self.context = context

        def __call__(self, tensor: Any) -> Any:
            cuda.log.append("backend")
            return torch.zeros(1, 4), torch.zeros(1, 9)

    vars(made).update(
        name="fp16", half=False, cuda_graph=False, enqueues=enqueues, backend=Backend(), _context=context, _on_gpu=False
    )
    return made


def bench(timed: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a bench around an arm, in ordinary memory."""
    import torch

    from pytest_trtgate.workers.timing.cuda_timing import EventTimer, GpuBench

    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **k: empty(*a, **k))
    inputs = [torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)]
    return GpuBench(timed, inputs, inputs, EventTimer("cuda:0")), inputs


def test_an_engine_without_a_graph_is_enqueued_on_the_stream_of_the_events(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = arm(cuda, enqueues=True)
    engine, inputs = bench(timed, monkeypatch)
    cuda.log.clear()
    engine.time("engine", 1)
    assert cuda.log == ["enter 77", "event on 77", "enqueue on 77", "event on 77", "leave", "wait"]
    outputs = timed.backend.bindings["output0"].data
    assert timed._context.addresses == {"images": inputs[1].data_ptr(), "output0": outputs.data_ptr()}


def test_an_engine_that_tensorrt_refuses_to_enqueue_is_an_error(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = bench(arm(cuda, enqueues=True, accepts=False), monkeypatch)
    with pytest.raises(TrtGateError, match="fp16: TensorRT refused to run"):
        engine.time("engine", 0)


def test_a_checkpoint_runs_on_the_stream_of_the_events_and_only_its_predictions_are_copied(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, _ = bench(arm(cuda, enqueues=False), monkeypatch)
    cuda.log.clear()
    checkpoint.time("engine", 0)
    assert cuda.log == ["enter 77", "event on 77", "backend", "event on 77", "leave", "wait"]
    assert [tuple(result.shape) for result in checkpoint._results] == [(1, 4)]
    checkpoint.time("copy-out", 0)
    checkpoint.time("copy-in", 1)
    assert cuda.log.count("backend") == 1


@pytest.mark.parametrize(("suffix", "sentence"), [(".engine", "TensorRT cannot load fp16.engine"), (".onnx", "'None")])
def test_an_engine_that_tensorrt_gives_as_none_is_one_sentence(suffix: str, sentence: str) -> None:
    from pytest_trtgate.workers.yolo import refusals

    expected = pytest.raises(TrtGateError, match=rf"^fp16: it could not be loaded \({sentence}")
    with expected, refusals("fp16: it could not be loaded", Path(f"fp16{suffix}")):
        raise AttributeError("'NoneType' object has no attribute 'create_execution_context'")


def test_a_fault_of_the_gpu_keeps_its_own_sentence() -> None:
    from pytest_trtgate.workers.worker import sentence
    from pytest_trtgate.workers.yolo import refusals

    with pytest.raises(RuntimeError) as caught, refusals("fp16: it could not be evaluated"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    assert sentence(caught.value, Path()).startswith("the GPU reported an error after which its process cannot go on")
