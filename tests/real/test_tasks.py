"""Every task and family through the whole gate, in one run of several models, with the real torch and ONNX Runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forking_launcher import ForkingLauncher
from material import build_request, job_environment
from task_material import KINDS, TaskMaterial, make_tasks

from pytest_trtgate.jobs.contract import JobKind
from pytest_trtgate.jobs.kinds import JOBS
from pytest_trtgate.records.cell import PRECISIONS
from pytest_trtgate.records.files import load
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.tasks import CURVE, GATED, METRICS, PRIMARY, head_of
from pytest_trtgate.records.tasks import KINDS as TASK_KINDS
from pytest_trtgate.records.verdict import Outcome
from pytest_trtgate.verdicts.evidence import gather

pytestmark = pytest.mark.real
NAMES = list(KINDS)
HEADS = {"classify": None, "rtdetr": "nms-free"}
"""How the boxes of some kinds are thinned out; of the others by suppression after the model."""
CONFTEST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "support")!r})

def pytest_trtgate_launcher(config):
    from forking_launcher import ForkingLauncher
    return ForkingLauncher()
"""
TESTS = """
def test_gate(trtgate):
    trtgate.check_accuracy()
    trtgate.check_latency()
"""
SETTINGS = """
cache_dir = "cache"
batch = 1
threads = 1

[export]
simplify = false

[latency]
launches = 1
max_launches = 1
samples = 30
max_seconds = 0.1
warmup_min = 20
warmup_max_seconds = 0.1
images = 2

[accuracy]
"""


@dataclass(frozen=True)
class Gated:
    """A run of the gate over one model of each kind: its folder, what it printed, its record, and what it was about."""

    folder: Path
    output: str
    run: RunRecord
    made: dict[str, TaskMaterial]

    @property
    def workspace(self) -> Path:
        """The folder of the run, at which the paths of its records start."""
        return self.folder / "reports" / "trtgate-runs" / self.run.run_id


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    folder = tmp_path_factory.mktemp("tasks")
    made = make_tasks(folder / "made")
    entries = []
    for name, material in made.items():
        shutil.copy(material.weights, folder / f"{name}.pt")
        entries.append(f'  {{ path = "{name}.pt", data = "{material.data}", imgsz = {material.kind.imgsz} }},\n')
    # What so small a model loses in another precision says nothing: the tests look at what was measured.
    gates = dict.fromkeys(f'"{metric}" = 1.0\n' for metrics in METRICS.values() for metric in metrics)
    (folder / "trtgate.toml").write_text(f"models = [\n{''.join(entries)}]\n{SETTINGS}{''.join(gates)}")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_gate.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_trtgate.plugin", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={**job_environment(folder / "home"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert (folder / "reports" / "run.json").exists(), done.stdout + done.stderr
    return Gated(folder, done.stdout, load(folder / "reports" / "run.json", RunRecord), made)


@pytest.fixture(scope="module")
def plain(gated: Gated, launcher: ForkingLauncher) -> dict[str, dict[str, float]]:
    """Return what Ultralytics itself says of each checkpoint and of its FP32 engine."""
    asked = []
    for name, material in gated.made.items():
        engine = next(e for e in gated.run.engines.values() if e.cell.label == f"{name} fp32")
        for arm, file in (("pt", material.weights), ("fp32", engine.path)):
            asked.append((f"{name} {arm}", material.kind.task, str(file), str(material.data), material.kind.imgsz))
    folder = gated.folder / "plain"
    folder.mkdir()
    (folder / "asked.json").write_text(json.dumps(asked))
    assert launcher.fork("plain_metrics", folder) == 0, (folder / "log.txt").read_text()[-2000:]
    found: dict[str, dict[str, float]] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_every_task_and_family_goes_through_the_gate(
    gated: Gated, plain: dict[str, dict[str, float]], name: str
) -> None:
    run, task = gated.run, KINDS[name].task
    cells = [cell for cell in run.cells if cell.model == name]
    assert [cell.precision for cell in cells] == list(PRECISIONS)
    verdicts = [verdict for verdict in run.verdicts if verdict.cell.model == name]
    assert {verdict.subject: verdict.log_tail for verdict in verdicts} == {"accuracy": "", "latency": ""}
    assert {v.outcome for v in verdicts} <= {Outcome.PASS, Outcome.NO_BASELINE}, [v.summary for v in verdicts]
    for cell in cells:
        engine = run.engines[cell.key]
        assert (engine.metadata["task"], engine.head) == (task, HEADS.get(name, "nms"))

    # Metrics are those of Ultralytics, and the bootstrap's are the same again, from the records of single images.
    for arm in ("pt", "fp32"):
        accuracy = run.accuracy(name, arm)
        assert accuracy is not None
        assert set(accuracy.metrics) == set(METRICS[task])
        assert accuracy.metrics == pytest.approx(named(task, plain[f"{name} {arm}"]), abs=1e-6)
        assert accuracy.metrics[PRIMARY[task]] > 0
    for precision in PRECISIONS:
        reference, engine_accuracy = run.accuracy(name, "pt"), run.accuracy(name, precision)
        assert reference is not None
        assert engine_accuracy is not None
        evidence = gather(gated.workspace, reference, engine_accuracy, 0.25, decides=False)
        assert set(evidence.comparison.metrics) == set(GATED[task])
        for metric, drop in evidence.comparison.metrics.items():
            assert drop.reference == pytest.approx(reference.metrics[metric], abs=1e-6)
            assert drop.engine == pytest.approx(engine_accuracy.metrics[metric], abs=1e-6)

    (launch,) = run.latencies[name].launches
    for timed in launch.arms.values():
        assert set(timed.timings) == {"engine", "end-to-end", "preprocess", "inference", "postprocess"}


def named(task: str, found: dict[str, float]) -> dict[str, float]:
    """Return metrics of Ultralytics by the gate's names."""
    if task == "classify":
        return {"top1": found["metrics/accuracy_top1"], "top5": found["metrics/accuracy_top5"]}
    ends = {"": "(B)", "mask ": "(M)", "pose ": "(P)"}
    return {kind + name: found[f"metrics/{name}{ends[kind]}"] for kind in TASK_KINDS[task] for name in CURVE}


def test_one_report_has_every_model_with_the_metrics_of_its_task(gated: Gated) -> None:
    page = (gated.folder / "reports" / "trtgate.html").read_text(encoding="utf-8")
    for name in NAMES:
        assert name in page
        for metric in METRICS[KINDS[name].task]:
            assert f">{metric}<" in page
    # Where models differ in what stands for their accuracy, each number says which it is.
    lines = [line.split() for line in gated.output.splitlines()]
    assert any(line[:2] == ["classify", "int8"] and "top1" in line for line in lines), gated.output
    assert any(line[:2] == ["segment", "int8"] and "mask" in line for line in lines), gated.output


@pytest.mark.parametrize(("nms", "head"), [(False, "nms-free"), (True, "nms-in-engine")])
def test_engines_for_other_heads_are_built_and_evaluated_as_asked(
    gated: Gated, launcher: ForkingLauncher, tmp_path: Path, nms: bool, head: str
) -> None:
    def job(kind: JobKind, request: dict[str, Any]) -> dict[str, Any]:
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "request.json").write_text(json.dumps({"schema_version": 1, **request}))
        assert launcher.fork(JOBS[kind].module, folder) == 0, (folder / "log.txt").read_text()[-2000:]
        answer: dict[str, Any] = json.loads((folder / "response.json").read_text())
        return answer

    material = gated.made["obb"]
    conf = 0.25 if nms else 0.001
    arguments = {"nms": True, "conf": conf, "iou": 0.7, "max_det": 300} if nms else {"nms": False}
    request = build_request(material.weights, tmp_path / "cache", imgsz=material.kind.imgsz, export_args=arguments)
    built = job("build", request)
    assert head_of(built["metadata"]) == head
    artifacts = {"pt": material.weights, "fp32": tmp_path / "cache" / built["artifact"]}
    arms = [
        {"arm": arm, "artifact": str(path), "per_image": str(tmp_path / f"{arm}.npz")}
        for arm, path in artifacts.items()
    ]
    settings = {"split": "test", "imgsz": material.kind.imgsz, "batch": 1, "conf": conf, "iou": 0.7, "max_det": 300}
    asked = {"arms": arms, "data": str(material.data), "device": "cpu", "threads": 1, "settings": settings}
    asked["settings"] = {**settings, "nms": nms}
    found = job("accuracy", asked)["arms"]
    # A checkpoint has no suppression inside, but its own is as good a reference.
    assert {arm: answer["head"] for arm, answer in found.items()} == {"pt": "nms" if nms else head, "fp32": head}
    # The other head finds other boxes.
    usual = gated.run.accuracy("obb", "pt")
    assert usual is not None
    assert found["pt"]["metrics"] != pytest.approx(usual.metrics, abs=1e-3)
    for arm in artifacts:
        confidences = np.load(tmp_path / f"{arm}.npz")["conf"]
        assert len(confidences)
        assert confidences.min() >= conf


def test_records_hold_what_pictures_of_each_task_need(gated: Gated) -> None:
    records = {name: np.load(gated.workspace / gated.run.accuracy(name, "fp32").per_image) for name in NAMES}  # type: ignore[union-attr]
    found = records["obb"]
    corners = np.loadtxt(next((gated.made["obb"].data.parent / "labels" / "test").glob("*-00.txt")), ndmin=2)[:, 1:]
    width, height = 72, 96
    mine = found["target_image"] == 0
    centres = corners.reshape(-1, 4, 2).mean(axis=1) * (width, height)
    assert found["target_rbox"][mine][:, :2] == pytest.approx(centres, abs=0.5)
    assert found["pred_rbox"].shape == (len(found["conf"]), 5)
    # A rotated box touches each side of the box around it.
    x1, y1, x2, y2 = found["target_box"][mine].T
    reach = np.abs(corners.reshape(-1, 4, 2) * (width, height) - centres[:, None]).max(axis=1)
    assert np.stack([x2 - x1, y2 - y1]) / 2 == pytest.approx(reach.T, abs=1.0)

    found = records["pose"]
    rows = np.loadtxt(next((gated.made["pose"].data.parent / "labels" / "test").glob("*-00.txt")), ndmin=2)
    points = rows[:, 5:].reshape(-1, 5, 3)
    assert found["target_keypoints"][found["target_image"] == 0] == pytest.approx(points * (width, height, 1), abs=0.5)
    assert found["pred_keypoints"].shape == (len(found["conf"]), 5, 3)

    found = records["segment"]
    points_of = found["pred_outline_points"]
    assert points_of.sum() == len(found["pred_outline"])
    assert (points_of[found["conf"] < 0.25] == 0).all()
    assert (found["target_outline_points"] > 2).any()
    inside = found["target_outline"]
    assert inside.min() >= -1
    assert inside.max() <= 97
