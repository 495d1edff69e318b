"""The build job where there is no GPU, with TensorRT for RTX in the place of TensorRT: it needs none to build.

Only what insists on a GPU is stepped around. Exporter, ModelOpt, parser and builder are the real ones.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pytest_trtgate.jobs.contract import BuildRequest, BuildResponse
from pytest_trtgate.workers import worker
from pytest_trtgate.workers.building import build


def work(request: BuildRequest, folder: Path) -> BuildResponse:
    """Build the engine as the real job does."""
    sys.path.append(str(Path(__file__).with_name("shim")))
    step_around_gpu()
    return build.work(request, folder)


def step_around_gpu() -> None:
    """Let Ultralytics believe that the model is on the GPU while it checks just that, and work on the CPU."""
    import torch
    from ultralytics.engine import exporter

    made = exporter.Exporter
    export_engine, export_onnx = made.export_engine, made.export_onnx

    def believing(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.real_im, self.im = self.im, SimpleNamespace(device=torch.device("cuda"))
        return export_engine(self, *args, **kwargs)

    def on_cpu(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.im = self.real_im
        return export_onnx(self, *args, **kwargs)

    exporter.select_device = lambda *args, **kwargs: torch.device("cpu")
    made.export_engine, made.export_onnx = believing, on_cpu


if __name__ == "__main__":
    raise SystemExit(worker.main(BuildRequest, work))
