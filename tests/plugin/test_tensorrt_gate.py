"""The gate on a machine with a GPU and TensorRT, both pretended: what is chosen, keyed, checked and found."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import H200, Project, wait_for

from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs.contract import BuildRequest
from pytest_trtgate.jobs.launcher import Job, LocalLauncher
from pytest_trtgate.machine.gpus import Gpu

SECOND = Gpu("NVIDIA H200", "GPU-3333", "9.0", "575.57")
L4 = Gpu("NVIDIA L4", "GPU-2222", "8.9", "575.57")
DETAILED = {"detailed": True, "layers": 4, "fused_layers": 1, "plan_bytes": 100, "device_memory_bytes": 30_000_000}


def inspections(**precisions: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Return what the fake builds find in their engines."""
    return {name: {**DETAILED, "precisions": counts} for name, counts in precisions.items()}


# Which backend


def test_tensorrt_is_taken_where_it_and_a_gpu_are(project: Project) -> None:
    result = project.use_gpu().run("--collect-only")
    result.stdout.fnmatch_lines(["trtgate: backend tensorrt on 0 (NVIDIA H200); fp32, fp16, int8 at 320, batch 1"])


def test_cpu_is_taken_where_it_is_asked_for(project: Project) -> None:
    result = project.use_gpu().run("--collect-only", "--trt-device=cpu")
    result.stdout.fnmatch_lines(["trtgate: backend onnxruntime on cpu (since device = 'cpu'); *"])


@pytest.mark.parametrize(
    ("version", "found", "option", "reason"),
    [
        ("8.6.0", [], "auto", "no NVIDIA GPU is visible"),
        ("10.2.0", [H200], "0", "TensorRT 10.2.0 gives wrong results, install another release"),
        ("10.2.0.post1", [H200], "auto", "TensorRT 10.2.0.post1 gives wrong results, install another release"),
        ("8.5.3.1", [H200], "auto", "TensorRT 8.5.3.1 is too old, 8.6 is the oldest that is supported"),
        ("8.6.0", [H200, L4], "2", "device = '2' is not there, visible are 0 (NVIDIA H200), 1 (NVIDIA L4)"),
        ("8.6.0", [H200], "cpu", "device = 'cpu'"),
    ],
)
def test_tensorrt_that_cannot_be_used_is_one_sentence(
    project: Project, version: str, found: list[Gpu], option: str, reason: str
) -> None:
    result = project.use_gpu(version, found).run("--trt-backend=tensorrt", f"--trt-device={option}")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: backend = 'tensorrt' cannot be used here: {reason}"])


def test_what_hides_the_gpus_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    result = project.use_gpu(gpus=()).run("--trt-backend=tensorrt")
    result.stderr.fnmatch_lines(["*no NVIDIA GPU is visible (CUDA_VISIBLE_DEVICES = '-1')"])


def test_tensorrt_and_gpu_are_both_missed(project: Project) -> None:
    result = project.run("--trt-backend=tensorrt")
    sentence = "TensorRT is not installed, and no NVIDIA GPU is visible"
    result.stderr.fnmatch_lines([f"ERROR: backend = 'tensorrt' cannot be used here: {sentence}"])


# The run


def test_a_run_records_the_gpu_and_how_engines_were_asked_for(project: Project) -> None:
    project.settings("[export]\noptimization_level = 0\nworkspace = 4\nopset = 17\n")
    project.use_gpu().run("--trt-precision=fp16", "--trt-device=0")
    machine = project.record.environment
    assert machine.machine == "nvidia-h200_tensorrt-8.6"
    assert (machine.gpu, machine.compute_capability, machine.driver) == ("NVIDIA H200", "9.0", "575.57")
    parts = project.engine("fp16").key_parts
    assert (parts["gpu"], parts["compute_capability"], parts["driver"]) == ("NVIDIA H200", "9.0", "575.57")
    assert (parts["device"], parts["versions"]["tensorrt"]) == ("gpu", "8.6.0")
    assert parts["export"] == {"simplify": True, "opset": 17, "workspace": 4.0, "optimization_level": 0}
    assert "timing" not in json.dumps(parts)
    (request,) = (project.run_folders()[-1] / "jobs").glob("build-*/request.json")
    asked = json.loads(request.read_text())
    assert (asked["cell"]["device"], asked["optimization_level"]) == ("0", 0)
    assert asked["export_args"] == {"simplify": True, "opset": 17, "workspace": 4.0}
    assert asked["timing_cache"] == str(project.path / "cache" / "timing" / "nvidia-h200_8.6.0.cache")


def test_the_other_backend_ignores_what_is_tensorrts(project: Project) -> None:
    project.settings("[export]\noptimization_level = 0\nworkspace = 4\n")
    project.run("--trt-precision=fp16")
    assert project.engine("fp16").key_parts["export"] == {"simplify": True}
    (request,) = (project.run_folders()[-1] / "jobs").glob("build-*/request.json")
    asked = json.loads(request.read_text())
    assert (asked["optimization_level"], asked["timing_cache"]) == (None, None)
    assert asked["export_args"] == {"simplify": True}


@pytest.mark.parametrize("level", ["6", "-1", "true", "1.5"])
def test_a_level_out_of_range_is_one_sentence(project: Project, level: str) -> None:
    project.settings(f"[export]\noptimization_level = {level}\n")
    result = project.run()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*export.optimization_level = * is not allowed; allowed: a whole number from 0 to 5"])


def edit_manifest(entry: Path, **parts: Any) -> None:
    """Change what the manifest of a cached engine says of how it was built."""
    manifest = json.loads((entry / "manifest.json").read_text())
    for name, value in parts.items():
        if name == "tensorrt":
            manifest["key_parts"]["versions"][name] = value
        else:
            manifest["key_parts"][name] = value
    (entry / "manifest.json").write_text(json.dumps(manifest))


def test_an_engine_of_another_version_and_gpu_costs_its_cell_and_says_why(project: Project) -> None:
    project.use_gpu().run()
    edit_manifest(project.entry("fp16"), tensorrt="10.3", gpu="NVIDIA L4", compute_capability="8.9")
    entry = project.entry("fp16")
    project.run()
    sentence = (
        f"fp16: built with TensorRT 10.3 on NVIDIA L4 (8.9), this is TensorRT 8.6.0 on NVIDIA H200 (9.0); "
        f"rebuild it: delete {entry} "
    )
    for subject in ("accuracy", "latency"):
        outcomes = project.outcomes(subject)
        assert outcomes.pop("fp16") == "ERROR"
        assert "ERROR" not in outcomes.values()
        assert project.verdict("fp16", subject).summary.startswith(sentence)


def test_engines_of_this_machine_are_cache_hits(project: Project) -> None:
    project.use_gpu().run()
    project.run()
    assert project.job_names("build") == []
    assert all(engine.from_cache for engine in project.record.engines.values())


def test_a_precision_that_was_not_taken_fails_the_cell(project: Project) -> None:
    project.weights(Behaviour(inspections=inspections(fp16={"FP32": 4}, int8={"INT8": 3, "FP16": 1})))
    result = project.use_gpu().run("-k", "accuracy")
    verdict = project.verdict("fp16", "accuracy")
    assert (str(verdict.outcome), "precision-not-taken" in [f.id for f in verdict.findings]) == ("FAIL", True)
    assert "shapes: fp16 requested: 100 % of layers FP32; no layer is FP16" in verdict.summary
    assert verdict.accept == 'set precision-not-taken = "warn" under [findings] in trtgate.toml'
    assert project.outcomes("accuracy")["int8"] == "NO_BASELINE"
    assert result.ret == 1


def test_a_precision_that_was_not_taken_may_be_a_warning(project: Project) -> None:
    project.weights(Behaviour(inspections=inspections(fp16={"FP32": 4})))
    project.settings('[findings]\nprecision-not-taken = "warn"\n')
    result = project.use_gpu().run("-k", "accuracy")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["WARNING*fp16 requested: 100 % of layers FP32*"])


def test_what_was_built_is_in_the_record_and_on_the_page(project: Project) -> None:
    project.weights(Behaviour(inspections=inspections(int8={"INT8": 3, "FP16": 1})))
    project.use_gpu().run("--trt-precision=int8")
    found = project.engine("int8").inspection
    assert found is not None
    assert found.precisions == {"INT8": 3, "FP16": 1}
    page = project.page
    assert "int8 requested: 75 % of layers INT8, 25 % FP16; 4 layers, 1 fused" in page


def test_a_budget_of_the_engine_is_judged_with_its_latency(project: Project) -> None:
    project.weights(Behaviour(inspections=inspections(fp16={"FP16": 4})))
    project.settings("[engine]\nmax_size_mb = 1000\n[engine.fp16]\nmax_device_memory_mb = 20\n")
    project.use_gpu().run("--trt-precision=fp16")
    verdict = project.verdict("fp16", "latency")
    assert "fp16: device memory 30.0 MB is over its budget of 20 MB" in verdict.summary
    assert verdict.accept == "set max_device_memory_mb = 33.00 under [engine.fp16] in trtgate.toml"
    assert [(c.outcome.value, c.unit) for c in verdict.checks if c.name == "engine size"] == [("PASS", "MB")]


def test_the_size_budget_holds_on_the_cpu_too(project: Project) -> None:
    project.settings("[engine]\nmax_size_mb = 0.00001\nmax_device_memory_mb = 1\n")
    project.run("--trt-precision=fp16")
    verdict = project.verdict("fp16", "latency")
    assert (str(verdict.outcome), "engine size" in verdict.summary) == ("FAIL", True)
    assert not any(c.name == "device memory" for c in verdict.checks)


# Several GPUs


def test_a_baseline_of_one_gpu_is_that_of_every_gpu_of_its_kind(project: Project) -> None:
    project.use_gpu(gpus=[H200, SECOND])
    project.run("--trt-precision=fp16", "--trt-device=0", "--trt-baselines=add").assert_outcomes(passed=2)
    project.run("--trt-precision=fp16", "--trt-device=1").assert_outcomes(passed=2)
    assert (project.outcomes("accuracy"), project.outcomes("latency")) == ({"fp16": "PASS"}, {"fp16": "PASS"})


def test_jobs_of_one_gpu_share_its_lock_whatever_its_number(tmp_path: Path) -> None:
    said: list[str] = []
    first, second = (LocalLauncher(locks=tmp_path, gpu="GPU-1111") for _ in range(2))
    with first.hold_device("0", said.append):
        assert [p.name for p in tmp_path.iterdir()] == ["device-GPU-1111.lock"]
        thread = threading.Thread(target=lambda: second.hold_device("1", said.append).__enter__(), daemon=True)
        thread.start()
        wait_for(lambda: said)
    thread.join(10)
    [waits] = said
    assert waits.startswith(f"waiting for device 1, which another job is using (process {os.getpid()} in ")
    with LocalLauncher(locks=tmp_path, gpu="GPU-1111").hold_device("cpu", said.append):
        assert (tmp_path / "device-cpu.lock").exists()
    assert len(said) == 1


def test_jobs_see_only_the_gpu_of_their_worker(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        "import json, os, sys, pathlib\n"
        "seen = [os.environ['CUDA_VISIBLE_DEVICES'], os.environ['CUDA_DEVICE_ORDER']]\n"
        "pathlib.Path(sys.argv[1], 'seen.json').write_text(json.dumps(seen))\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        launcher = LocalLauncher({"build": "job"}, tmp_path / "locks", gpu="GPU-3333", only_gpu=True)
        job = Job("build-x", BuildRequest.model_construct(threads=1), "0", 60)
        with pytest.raises(JobError, match="no usable answer"):
            launcher.run(job, tmp_path / "folder", print)
    assert json.loads((tmp_path / "folder" / "seen.json").read_text()) == ["GPU-3333", "PCI_BUS_ID"]


def test_a_baseline_of_int8_alone_says_that_it_was_not_compared_with_fp16(project: Project) -> None:
    project.use_gpu().run("--trt-precision=int8", "--trt-baselines=update").assert_outcomes(passed=2)
    [said] = [note for note in project.record.notes if "baseline written" in note]
    assert said.endswith("; not judged was its speed-up over fp16, which is not in this run")
    project.settings('[latency.int8]\nspeedup = { over = "fp16", at_least = 0 }\n')
    project.run("--trt-precision=int8", "--trt-baselines=update").assert_outcomes(passed=2)
    assert not any("speed-up" in note for note in project.record.notes)


def test_another_power_mode_than_the_baselines_is_incompatible(project: Project) -> None:
    project.use_gpu().pretend(fingerprint={"power": "governor schedutil, nvpmodel MAXN, clocks fixed"})
    project.run("--trt-precision=fp16", "--trt-baselines=add").assert_outcomes(passed=2)
    project.pretend(fingerprint={"power": "governor schedutil, nvpmodel MODE_30W, clocks fixed"})
    project.run("--trt-precision=fp16")
    assert (project.outcomes("latency"), project.outcomes("accuracy")) == ({"fp16": "INCOMPATIBLE"}, {"fp16": "PASS"})
    assert "power mode MODE_30W, baseline MAXN" in project.verdict("fp16", "latency").summary
