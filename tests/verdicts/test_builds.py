"""Several builds of one engine: how far they differ is shown, and a drop fails only where all of them have it."""

from __future__ import annotations

import json

import pytest
from fake_jobs import Behaviour
from project import ACCURACY_TEST, TESTS, Project

from pytest_trtgate.cli import main

FP16 = "--trt-precision=fp16"
THREE = "[accuracy]\nbuilds = 3\n"
ONE_IS_WORSE = Behaviour(drop={"fp16": 0.02, "fp16-2": 0.001})


@pytest.fixture
def project(project: Project) -> Project:
    """A project on a GPU with one test, of its accuracy."""
    project.tests(ACCURACY_TEST)
    project.settings(THREE)
    return project.use_gpu()


def test_further_builds_are_made_of_kernels_that_are_measured_anew(project: Project) -> None:
    project.run(FP16).assert_outcomes(passed=1)
    asked = [json.loads(x.read_text()) for x in (project.run_folders()[-1] / "jobs").glob("build-*/request.json")]
    assert sorted(bool(request["timing_cache"]) for request in asked) == [False, False, True]
    assert len({request["output"] for request in asked}) == 3
    assert {a.arm for a in project.record.accuracies} == {"pt", "fp16", "fp16-2", "fp16-3"}
    # The report and the baseline are of the first.
    assert [e.cache_key for e in project.record.engines.values()] == [project.engine("fp16").cache_key]
    project.run(FP16).assert_outcomes(passed=1)
    assert not project.job_names("build")


def test_the_builds_are_said_to_differ_where_the_engine_passes(project: Project) -> None:
    project.weights(Behaviour(drop={"fp16": 0.001, "fp16-2": 0.02}))
    project.run(FP16).assert_outcomes(passed=1)
    [_, check, _] = project.verdict("fp16", "accuracy").checks
    assert str(check.outcome) == "PASS"
    assert check.sentence.endswith(
        "; 3 builds differ by 0.0200 (0.7300 to 0.7500), 1 of them lost more than is allowed"
    )


def test_a_drop_that_not_all_builds_have_is_inconclusive(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.tests(TESTS)
    project.weights(ONE_IS_WORSE)
    project.run(FP16).assert_outcomes(passed=2)
    assert {str(c.outcome) for c in project.verdict("fp16", "accuracy").checks} == {"INCONCLUSIVE", "NO_BASELINE"}
    assert "1 of them lost more than is allowed: allow for" in project.verdict("fp16", "accuracy").summary
    # The record of the run is judged by the same rule under other tolerances.
    project.settings(f'{THREE}[accuracy.fp16]\n"mAP50" = 0.01\n"mAP50-95" = 0.01\n')
    capsys.readouterr()
    assert main(["baseline", "accept", "reports/run.json"]) == 0


def test_a_drop_that_all_builds_have_fails(project: Project) -> None:
    project.weights(Behaviour(drop=dict.fromkeys(("fp16", "fp16-2", "fp16-3"), 0.02)))
    project.run(FP16).assert_outcomes(failed=1)
    assert "3 of them lost more than is allowed" in project.verdict("fp16", "accuracy").summary


def test_a_drop_since_the_baseline_that_not_all_builds_have_is_inconclusive(project: Project) -> None:
    project.tests(TESTS)
    project.run(FP16, "--trt-baselines=update").assert_outcomes(passed=2)
    project.weights(Behaviour(map50_95=0.74, drop={"fp16-3": -0.01}))
    project.run(FP16, "-k", "accuracy")
    since = [c for c in project.verdict("fp16", "accuracy").checks if c.against == "baseline" and c.name == "mAP50-95"]
    assert [str(c.outcome) for c in since] == ["INCONCLUSIVE"]


def test_builds_of_onnx_runtime_are_all_the_same(project: Project) -> None:
    project.pretend()
    result = project.run("--trt-backend=onnxruntime", "--trt-device=cpu", FP16, "-v")
    assert project.job_names("build") == ["build-shapes-fp16-320-b1-onnxruntime-cpu"]
    assert any("built once, since all builds of ONNX Runtime are the same" in line for line in result.outlines)
