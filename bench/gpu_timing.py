"""How the gate's timing of an engine on a GPU compares with a plain loop of CUDA events over the same engine.

python bench/gpu_timing.py ENGINE --images FOLDER --imgsz 320 [--device 0] [--as gpu_timing]

Both run in one process and take turns in blocks of ten, so that what the machine does meanwhile happens to both. The
plain loop has an execution context, a stream and events of its own, and none of the gate's code. Both load the engine
anew in each of some rounds, the one first that was last before. Also says how long the engine takes to load.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from machine import keep

BLOCK, BLOCKS, ROUNDS = 10, 100, 4


class PlainLoop:
    """TensorRT and CUDA events, by the book."""

    def __init__(self, plan: bytes, tensor: Any) -> None:
        import tensorrt
        import torch

        self.torch = torch
        self.logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        self.engine = tensorrt.Runtime(self.logger).deserialize_cuda_engine(plan)
        self.context = self.engine.create_execution_context()
        self.stream = torch.cuda.Stream()
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        self.outputs = []
        for number in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(number)
            if self.engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT:
                half = self.engine.get_tensor_dtype(name) == tensorrt.DataType.HALF
                self.input = tensor.half() if half else tensor.clone()
                self.context.set_tensor_address(name, self.input.data_ptr())
            else:
                self.outputs.append(torch.empty(tuple(self.engine.get_tensor_shape(name)), device=tensor.device))
                self.context.set_tensor_address(name, self.outputs[-1].data_ptr())
        torch.cuda.synchronize()

    def once_ms(self) -> float:
        """Return the milliseconds of one inference."""
        start, end = self.events
        start.record(self.stream)
        self.context.execute_async_v3(self.stream.cuda_stream)
        end.record(self.stream)
        end.synchronize()
        return float(start.elapsed_time(end))


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, required=True)
    parser.add_argument("--device", default="0")
    parser.add_argument("--as", dest="name", default="gpu_timing")
    arguments = parser.parse_args()
    engine = arguments.engine.resolve()
    images = tuple(str(p.resolve()) for p in sorted(arguments.images.iterdir())[:32])

    from pytest_trtgate.jobs.contract import ArmRequest, LatencyRequest
    from pytest_trtgate.records.accuracy import AccuracySettings
    from pytest_trtgate.settings.latency import Latency
    from pytest_trtgate.workers.worker import prepare

    with tempfile.TemporaryDirectory() as name:
        folder, home = Path(name), Path.cwd()
        prepare(folder, 8)
        request = LatencyRequest(
            index=0,
            arms=(ArmRequest(arm="engine", artifact=str(engine), sha256=""),),
            device=arguments.device,
            threads=8,
            images=images,
            how=AccuracySettings(split="test", imgsz=arguments.imgsz, batch=1, conf=0.25, iou=0.7, max_det=300),
            rules=Latency(block=BLOCK),
            samples_file=str(folder / "samples.npz"),
        )
        figures = measure(request, engine, folder)
        os.chdir(home)
    keep(arguments.name, figures)


def measure(request: Any, engine: Path, folder: Path) -> dict[str, Any]:
    """Return the figures of one engine."""
    import torch

    from pytest_trtgate.workers import yolo
    from pytest_trtgate.workers.timing import cuda_timing
    from pytest_trtgate.workers.timing.arms import decode

    yolo.isolate(request.threads)
    device = cuda_timing.open_device(request.device)
    assert device is not None
    batches = decode(request)
    rounds, loads_s = [], []
    for number in range(ROUNDS):
        arm, plain, load_s = load(request, engine, folder, batches, plain_first=bool(number % 2))
        loads_s.append(load_s)
        with torch.inference_mode():
            inputs = {arm.half: [arm.preprocess(batch) for batch in batches]}
            bench = cuda_timing.make_benches([arm], inputs, device)["engine"]
            rounds.append(turns(partial(bench.time, "engine", 0), plain.once_ms))
        del arm, plain, bench
    differences = [100 * (gate_ms / plain_ms - 1) for gate_ms, plain_ms in rounds]
    return {
        "engine_mb": round(engine.stat().st_size / 1e6, 1),
        "rounds": ROUNDS,
        "inferences_each": (BLOCK - 2) * BLOCKS,
        "gate_p50_ms": round(statistics.median(gate_ms for gate_ms, _ in rounds), 4),
        "plain_loop_p50_ms": round(statistics.median(plain_ms for _, plain_ms in rounds), 4),
        "differences_percent": [round(difference, 2) for difference in differences],
        "difference_percent": round(statistics.mean(differences), 2),
        "load_s": round(statistics.median(loads_s), 3),
    }


def load(request: Any, engine: Path, folder: Path, batches: Any, *, plain_first: bool) -> tuple[Any, PlainLoop, float]:
    """Return the gate's arm, the plain loop, and the seconds that the arm took to load."""
    import torch

    from pytest_trtgate.workers.engine_file import read_engine
    from pytest_trtgate.workers.timing.arms import load_arms

    tensor = torch.rand(request.how.batch, 3, request.how.imgsz, request.how.imgsz, device=f"cuda:{request.device}")
    early = PlainLoop(read_engine(engine)[1], tensor) if plain_first else None
    started = time.perf_counter()
    (arm,) = load_arms(request, request.arms, folder, lambda _, load: load())
    load_s = time.perf_counter() - started
    with torch.inference_mode():
        arm.aim(batches[0])
        arm.rehearse(batches[0], request.how.imgsz)
    return arm, early or PlainLoop(read_engine(engine)[1], tensor), load_s


def turns(gate_ns: Callable[[], int], plain_ms: Callable[[], float]) -> tuple[float, float]:
    """Return the median milliseconds of both, timed in turns."""
    times: dict[str, list[float]] = {"gate": [], "plain": []}
    for block in range(BLOCKS + 20):
        for which in ("gate", "plain") if block % 2 else ("plain", "gate"):
            found = [gate_ns() / 1e6 if which == "gate" else plain_ms() for _ in range(BLOCK)]
            if block >= 20:  # before that, both warm up
                times[which] += found[2:]
    return statistics.median(times["gate"]), statistics.median(times["plain"])


if __name__ == "__main__":
    main()
