"""Jobs that go wrong on a real GPU: which arms, and how, is in ``TRTGATE_TEST_FAULTS``. Also a pytest plugin.

``kill``: the process is killed in the middle of its inferences. ``illegal-address``: the engine is given an input that
is nowhere, which CUDA finds out in a kernel and never forgives the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

NOWHERE = 1 << 20
CALLS_BEFORE = 3


def pytest_trtgate_launcher(config: Any) -> Any:
    from pytest_trtgate.jobs.launcher import JOB_MODULES, LocalLauncher

    # Locks of its own: what it times is of no interest.
    return LocalLauncher(
        {**JOB_MODULES, "accuracy": __name__, "latency": __name__}, Path(os.environ["TRTGATE_TEST_LOCKS"])
    )


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
    from pytest_trtgate.jobs import worker

    request = json.loads((Path(sys.argv[1]) / "request.json").read_text(encoding="utf-8"))
    faults = json.loads(os.environ["TRTGATE_TEST_FAULTS"])
    harmed = {Path(arm["artifact"]): faults[arm["arm"]] for arm in request["arms"] if arm["arm"] in faults}

    def after(harm_first: Any) -> Any:
        def work(request: Any, folder: Path) -> Any:
            harm(harmed)
            return harm_first(request, folder)

        return work

    if "samples_file" in request:
        from pytest_trtgate.jobs import latency

        return worker.main(latency.LatencyRequest, after(latency.work))
    from pytest_trtgate.jobs import accuracy

    return worker.main(accuracy.AccuracyRequest, after(accuracy.work))


if __name__ == "__main__":
    sys.exit(main())
