"""What takes part in a build or an evaluation is in the key of what it makes, or there is a reason why not."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from material import Material, accuracy_request, build_request, run_job

from pytest_trtgate.cache.key import CALIBRATION_VERSIONS, KEY_VERSIONS
from pytest_trtgate.jobs.contract import JobKind
from pytest_trtgate.measuring.accuracies import VERSIONS

pytestmark = pytest.mark.real

TELL = """
import os, sys
_exit = os._exit
def _tell(status):
    found = {name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}
    with open(sys.argv[-1] + "/imported.txt", "w") as file:
        file.write(" ".join(sorted(found)))
    _exit(status)
os._exit = _tell
"""
"""Leaves the names of the packages that a job has imported in its folder."""
REASONS: dict[str, str] = {
    "pytest-trtgate": "the keys have versions of the builder and of the evaluator",
    **dict.fromkeys(
        ("annotated-types", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection"),
        "they read the request and write the answer",
    ),
    "filelock": "it makes jobs wait for a device",
    **dict.fromkeys(("packaging", "setuptools"), "they compare versions"),
    "pyyaml": "what it reads of the data YAML is in the key",
    "nvidia-ml-py": "it tells which GPUs there are",
    **dict.fromkeys(
        ("cuda-bindings", "cuda-pathfinder"), "they find the libraries of the CUDA that torch is built for"
    ),
    **dict.fromkeys(("mpmath", "sympy"), "they reckon with shapes of any size, and those of engines are fixed"),
    "ml-dtypes": "it has types of numbers that no engine is built with",
    "protobuf": "it writes the graph in a format that is fixed",
    "ultralytics-thop": "it counts operations for the log",
}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("kind", "in_key"),
    [("build", {*KEY_VERSIONS, *CALIBRATION_VERSIONS, "onnxruntime"}), ("accuracy", {*VERSIONS, "onnxruntime"})],
)
def test_each_distribution_that_a_job_imports_is_in_the_key_or_has_a_reason(
    material: Material, fp32: Path, tmp_path: Path, kind: JobKind, in_key: set[str]
) -> None:
    request: dict[str, Any] = build_request(material.weights, tmp_path / "engine", "int8", data=str(material.data))
    if kind == "accuracy":
        request = accuracy_request({"pt": material.weights, "fp32": fp32}, material.data, tmp_path)
    done = run_job(kind, request, tmp_path / kind, before=TELL)
    assert done.response["read"]
    distributions, imported = metadata.packages_distributions(), (tmp_path / kind / "imported.txt").read_text().split()
    assert {"ultralytics", "torch", "onnxruntime"} <= set(imported)
    took_part = {normalized(name) for package in imported for name in distributions.get(package, ())}
    assert took_part - {normalized(name) for name in in_key} - REASONS.keys() == set()
