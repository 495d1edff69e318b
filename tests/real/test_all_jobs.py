"""What holds for every job, with the real torch, Ultralytics and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from material import (
    Done,
    Material,
    digests,
    home_of,
    run_python,
)

from pytest_trtgate.records.latency import Launch

pytestmark = pytest.mark.real


def test_threads_are_what_was_asked_for_everywhere(material: Material, fp32: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from pytest_trtgate.workers.worker import prepare
prepare(Path.cwd(), 2)
from pytest_trtgate.workers import yolo
from pytest_trtgate.jobs import SurveyRequest
yolo.isolate(SurveyRequest(classes=1, sample=1, threads=2))
yolo.pin_onnxruntime(2)
import torch, onnxruntime
from ultralytics.utils.torch_utils import select_device
select_device("cpu")
print("torch", torch.get_num_threads(), torch.get_num_interop_threads())
from ultralytics.nn.autobackend import AutoBackend
for name, session in dict(
    plain=onnxruntime.InferenceSession({str(fp32)!r}),
    options=onnxruntime.InferenceSession({str(fp32)!r}, onnxruntime.SessionOptions()),
    keyword=onnxruntime.InferenceSession({str(fp32)!r}, sess_options=onnxruntime.SessionOptions()),
    backend=AutoBackend({str(fp32)!r}).backend.session,
).items():
    options = session.get_session_options()
    spinning = options.get_session_config_entry("session.force_spinning_stop")
    print(name, options.intra_op_num_threads, options.inter_op_num_threads, spinning)
from pytest_trtgate.workers.timing import arms
import torchvision
boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])
print("nms", *torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5).tolist(), "")
print("compiler", "torch._dynamo" in sys.modules, "")
import torch._dynamo.utils
print("compiler-itself", torch._dynamo.utils.is_compile_supported("cpu"), hasattr(torch._dynamo, "optimize"))
"""
    done = run_python(code, folder=tmp_path)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.count(" ") in {2, 3})
    expected = {"torch": "2 1", **dict.fromkeys(("plain", "options", "keyword", "backend"), "2 1 1")}
    # What torchvision brings along is left out, works where it is imported after all, and the operator is there.
    expected |= {"nms": "1 2 ", "compiler": "False ", "compiler-itself": "True True"}
    assert {name: found.get(name) for name in expected} == expected, done.stdout + done.stderr


@pytest.fixture
def folders(
    builds: dict[str, tuple[Done, Path]],
    evaluations: tuple[Done, dict[str, dict[str, np.ndarray]]],
    launch: tuple[Done, Launch, Path],
) -> list[Path]:
    """Return the folder of each job that ran undisturbed."""
    return [done.folder for done, *_ in (*builds.values(), evaluations, launch)]


def test_no_job_tries_the_network(folders: list[Path]) -> None:
    assert [(folder / "network.txt") for folder in folders if (folder / "network.txt").exists()] == []


def test_no_job_writes_into_the_home_of_the_user(folders: list[Path]) -> None:
    assert [path for folder in folders for path in home_of(folder).rglob("*")] == []


def test_no_job_touches_the_dataset(folders: list[Path], untouched: dict[str, str], material: Material) -> None:
    assert digests(material.data.parent) == untouched


def test_no_job_writes_beside_the_weights(folders: list[Path], material: Material) -> None:
    assert {path.name for path in material.weights.parent.glob("tiny*")} == {"tiny.pt"}
