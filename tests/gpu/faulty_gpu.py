"""Jobs that go wrong on a real GPU: which arms, and how, is in ``TRTGATE_TEST_FAULTS``. Also a pytest plugin.

``kill``: the process is killed in the middle of its inferences. ``illegal-address``: the engine is given an input that
is nowhere, which CUDA finds out in a kernel and never forgives the process. ``little-memory``: a build gets a hundredth
of the device's memory.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

NOWHERE = 1 << 20
CALLS_BEFORE = 3


def pytest_trtgate_launcher(config: Any) -> Any:
    from pytest_trtgate.jobs.launcher import LocalLauncher

    # Locks of its own: what it times is of no interest.
    harmed = dict.fromkeys(("build", "accuracy", "latency"), __name__)
    return LocalLauncher(harmed, Path(os.environ["TRTGATE_TEST_LOCKS"]))


def harm(faults: dict[Path, str]) -> None:
    """Make engines fail after a few inferences; what goes wrong is said by artifact."""
    import torch
    from ultralytics.nn.backends.tensorrt import TensorRTBackend

    load_model, forward = TensorRTBackend.load_model, TensorRTBackend.forward

    def load(self: Any, weight: str | Path) -> None:
        load_model(self, weight)
        self.fault, self.calls = faults.get(Path(weight)), 0

    def run(self: Any, im: torch.Tensor) -> Any:
        self.calls += 1
        if self.fault is not None and self.calls > CALLS_BEFORE:
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            self.context.execute_v2([NOWHERE] + [self.bindings[name].data.data_ptr() for name in self.output_names])
            torch.cuda.synchronize()
        return forward(self, im)

    TensorRTBackend.load_model, TensorRTBackend.forward = load, run


def main() -> int:
    from pytest_trtgate.jobs.contract import AccuracyRequest, BuildRequest, LatencyRequest
    from pytest_trtgate.workers import worker

    asked = json.loads((Path(sys.argv[1]) / "request.json").read_text(encoding="utf-8"))
    faults = json.loads(os.environ["TRTGATE_TEST_FAULTS"])
    if "weights" in asked:
        return worker.main(
            BuildRequest, build if faults.get(asked["cell"]["precision"]) == "little-memory" else jobs("build")
        )
    harmed = {Path(arm["artifact"]): faults[arm["arm"]] for arm in asked["arms"] if arm["arm"] in faults}
    kind = "latency" if "samples_file" in asked else "accuracy"

    def work(request: Any, folder: Path) -> Any:
        harm(harmed)
        return jobs(kind)(request, folder)

    return worker.main(LatencyRequest if kind == "latency" else AccuracyRequest, work)


def jobs(kind: Any) -> Any:
    """Return what does a job of a kind."""
    from pytest_trtgate.jobs.kinds import JOBS

    return importlib.import_module(JOBS[kind].module).work


def build(request: Any, folder: Path) -> Any:
    """Build with a hundredth of the memory."""
    import torch

    torch.cuda.set_per_process_memory_fraction(0.01)
    return jobs("build")(request, folder)


if __name__ == "__main__":
    sys.exit(main())
