"""Models that take images of one channel, and models that were trained to take all objects for one class."""

from __future__ import annotations

from pathlib import Path

import pytest
from material import Material, accuracy_request, build_request, latency_request, run_job, run_python

pytestmark = pytest.mark.real
GREY = """
import sys, torch
from ultralytics.nn.tasks import DetectionModel
checkpoint = torch.load(sys.argv[1], map_location="cpu", weights_only=False)
colour = (checkpoint.get("ema") or checkpoint["model"]).float()
grey = DetectionModel(dict(colour.yaml, channels=1), ch=1, nc=len(colour.names), verbose=False)
weights = colour.state_dict()
first = next(name for name, tensor in weights.items() if tensor.ndim == 4 and tensor.shape[1] == 3)
weights[first] = weights[first].sum(1, keepdim=True)
grey.load_state_dict(weights)
grey.names, grey.args, grey.stride = colour.names, colour.args, colour.stride
checkpoint["model"], checkpoint["ema"] = grey, None
torch.save(checkpoint, sys.argv[2])
"""


def test_a_model_of_one_channel_is_timed_on_grey_images(material: Material, tmp_path: Path) -> None:
    weights = tmp_path / "grey.pt"
    made = run_python(GREY, str(material.weights), str(weights), folder=tmp_path / "make")
    assert weights.exists(), made.stderr
    built = run_job("build", build_request(weights, tmp_path / "engine"), tmp_path / "build")
    assert built.response["metadata"]["channels"] == 1
    arms = {"pt": weights, "fp32": tmp_path / "engine" / "engine.onnx"}
    request = latency_request(arms, material.images()[:2], tmp_path / "samples.npz")
    assert set(run_job("latency", request, tmp_path / "launch").response["launch"]["arms"]) == set(arms)


def test_objects_of_all_classes_are_one_class_where_the_checkpoint_was_trained_so(
    material: Material, tmp_path: Path
) -> None:
    asked = {"arms": {"pt": material.weights}, "data": material.data}
    request = accuracy_request(**asked, folder=tmp_path, single_cls=True)
    found = run_job("accuracy", request, tmp_path / "job").accuracy("pt")
    dark, bright = found.classes
    assert (dark.instances, bright.instances) == (found.instances, 0)
