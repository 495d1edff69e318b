"""The ladder of fixtures, each rung alone and overridden, and the checks that a test can call."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import cast

import pytest
from fake_jobs import REFUSAL, Behaviour
from project import Project

from pytest_trtgate import gate
from pytest_trtgate.plugin.options import rerun_command

INT8 = "--trt-precision=int8"


# Each rung


def test_the_precision_costs_nothing(project: Project) -> None:
    project.tests("def test_precision(trt_precision, trt_cell): assert trt_precision == trt_cell.precision")
    project.run("-v").stdout.fnmatch_lines(
        [
            "*::test_precision?shapes-fp32? PASSED*",
            "*::test_precision?shapes-fp16? PASSED*",
            "*::test_precision?shapes-int8? PASSED*",
        ]
    )
    assert not (project.path / "cache").exists()


def test_the_engine_is_a_file_with_a_size(project: Project) -> None:
    project.tests(
        """
        def test_engine(trt_engine):
            assert trt_engine.path.name == "engine.onnx"
            assert trt_engine.size_bytes == trt_engine.path.stat().st_size
            assert trt_engine.record.sha256 == trt_engine.sha256
            assert trt_engine.cell.precision == "int8"
        """
    )
    project.run(INT8).assert_outcomes(passed=1)


def test_the_accuracy_has_metrics_overall_and_per_class(project: Project) -> None:
    project.tests(
        """
        def test_accuracy(trt_accuracy):
            assert trt_accuracy.metrics["mAP50-95"] == 0.745
            assert [c.name for c in trt_accuracy.classes] == ["circle", "square"]
        """
    )
    project.run(INT8).assert_outcomes(passed=1)
    assert project.job_names("accuracy") == ["accuracy-shapes-int8"]


def test_the_latency_has_percentiles_and_every_sample(project: Project) -> None:
    project.tests(
        """
        def test_latency(trt_latency):
            assert 2.9 < trt_latency.p50_ms < trt_latency.p95_ms <= trt_latency.p99_ms < 3.2
            assert 4.3 < trt_latency.percentile_ms(50, "end-to-end") < 4.7
            assert trt_latency.images_per_second > 200
            samples = trt_latency.samples_s()
            assert len(samples) == 3 * 60
            assert min(samples) < trt_latency.p50_ms / 1000 < max(samples)
        """
    )
    project.run(INT8).assert_outcomes(passed=1)


def test_the_gate_gives_the_same_things_as_the_rungs(project: Project) -> None:
    project.tests(
        """
        def test_gate(trtgate, trt_cell, trt_engine, trt_accuracy, trt_latency):
            assert trtgate.cell is trt_cell
            assert trtgate.engine is trt_engine
            assert trtgate.accuracy is trt_accuracy
            assert trtgate.latency is trt_latency
        """
    )
    project.run(INT8).assert_outcomes(passed=1)


def test_a_check_returns_its_verdict(project: Project) -> None:
    project.tests(
        """
        def test_verdict(trtgate):
            verdict = trtgate.check_accuracy()
            assert str(verdict.outcome) == "PASS"
            assert not verdict.failed
        """
    )
    project.run(INT8, "--trt-baselines=add").assert_outcomes(passed=1)


def test_a_test_that_takes_no_fixture_of_ours_runs_once(project: Project) -> None:
    project.tests("def test_mine(): pass", "test_mine.py")
    project.run("test_mine.py").assert_outcomes(passed=1)


@pytest.mark.parametrize("fixture", ["trt_engine", "trt_accuracy", "trt_latency"])
def test_a_failing_build_fails_each_rung_with_one_sentence(project: Project, fixture: str) -> None:
    project.weights(Behaviour(faults={"build-int8": "refuse"}))
    project.tests(f"def test_mine({fixture}): pass")
    result = project.run(INT8)
    result.assert_outcomes(errors=1)
    assert result.stdout.lines.count(f"build-shapes-int8-320-b1-onnxruntime-cpu: {REFUSAL}") == 1
    assert "Traceback" not in result.stdout.str()


def test_a_rung_may_be_overridden(project: Project) -> None:
    project.tests(
        """
        import pytest

        @pytest.fixture(scope="session")
        def trt_engine(trt_engine):
            return {"mine": trt_engine}

        def test_mine(trt_engine):
            assert trt_engine["mine"].size_bytes
        """
    )
    project.run(INT8).assert_outcomes(passed=1)


def test_cells_may_be_reduced_to_those_that_a_test_names(project: Project) -> None:
    project.run("-k", "int8").assert_outcomes(passed=2, deselected=4)
    assert [v.cell.precision for v in project.record.verdicts] == ["int8", "int8"]


# Selection


def test_one_precision_on_the_command_line_is_all_that_is_built(project: Project) -> None:
    project.run(INT8).assert_outcomes(passed=2)
    assert project.job_names("build") == ["build-shapes-int8-320-b1-onnxruntime-cpu"]
    assert [cell.precision for cell in project.record.cells] == ["int8"]


def test_every_model_gets_cells_of_its_own(project: Project) -> None:
    project.weights(Behaviour(map50_95=0.5), "other.pt")
    project.run("--trt-model=shapes.pt", "--trt-model=other.pt", INT8).assert_outcomes(passed=4)
    assert [v.cell.model for v in project.record.verdicts] == ["shapes", "shapes", "other", "other"]


def test_tests_of_one_cell_run_together(project: Project) -> None:
    result = project.run("--collect-only", "-q")
    cells = [line.partition("[")[2] for line in result.outlines if "::" in line]
    assert cells == ["shapes-fp32]", "shapes-fp32]", "shapes-fp16]", "shapes-fp16]", "shapes-int8]", "shapes-int8]"]


GATE = (
    "--pyargs",
    "pytest_trtgate.gate",
    "--trt-model",
    "shapes.pt",
    "--trt-data",
    "data/data.yaml",
    "--trt-imgsz=320",
)


def test_the_gate_works_without_a_test_file_and_without_settings(project: Project) -> None:
    (project.path / "test_gate.py").unlink()
    (project.path / "trtgate.toml").unlink()
    project.run(*GATE, "--trt-cache-dir=cache").assert_outcomes(passed=6)
    assert len(project.record.verdicts) == 6


# The command that runs a test again


def rerun(project: Project, command: str) -> pytest.RunResult:
    """Run a command that the gate printed, as a user pastes it."""
    program, *arguments = shlex.split(command)
    assert program == "pytest"
    return project.run(*arguments)


def test_the_command_to_run_a_test_again_works(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.2}))
    result = project.run("--trt-batch", "2", "--trt-baselines=add", "-x", INT8)
    command = project.verdict("int8", "accuracy").rerun
    assert "baselines" not in command
    result.stdout.fnmatch_lines([f"Run again: {command.replace('[', '?').replace(']', '?')}"])
    rerun(project, command).assert_outcomes(failed=1)
    assert project.verdict("int8", "accuracy").cell.batch == 2


def test_the_command_works_for_the_ready_made_tests(project: Project) -> None:
    (project.path / "trtgate.toml").unlink()
    project.weights(Behaviour(drop={"int8": 0.2}))
    project.run(*GATE, "--trt-cache-dir=cache", "-k", "accuracy").assert_outcomes(passed=2, failed=1, deselected=3)
    rerun(project, project.verdict("int8", "accuracy").rerun).assert_outcomes(failed=1)


def test_the_ready_made_tests_are_not_named_by_their_file_in_an_environment_below_the_project() -> None:
    root = Path(gate.__file__).parents[1]
    config = SimpleNamespace(
        rootpath=root,
        invocation_params=SimpleNamespace(dir=root, args=()),
        getoption=lambda name, default=None: default,
    )
    module = SimpleNamespace(obj=gate)
    nodeid = "pytest_trtgate/gate.py::test_accuracy[best-int8]"
    item = SimpleNamespace(config=config, nodeid=nodeid, path=Path(gate.__file__), getparent=lambda kind: module)
    command = rerun_command(cast("pytest.Item", item))
    assert command == "pytest --pyargs 'pytest_trtgate.gate::test_accuracy[best-int8]'"


def test_the_command_works_in_the_folder_in_which_the_run_was_started(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "pytest.ini").write_text("[pytest]\n")
    (project.path / "sub").mkdir()
    monkeypatch.chdir(project.path / "sub")
    project.weights(Behaviour(drop={"int8": 0.2}))
    project.run("..", INT8, "-k", "accuracy").assert_outcomes(failed=1, deselected=1)
    rerun(project, project.verdict("int8", "accuracy").rerun).assert_outcomes(failed=1)


def test_an_option_without_a_value_takes_no_other_argument_along(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.2}))
    project.run("--trt-fresh", "--trt-precision", "int8", "--trt-profile", "test_gate.py")
    command = project.verdict("int8", "accuracy").rerun
    assert command.endswith(" --trt-fresh --trt-precision int8 --trt-profile")
    rerun(project, command).assert_outcomes(failed=1)


def test_the_command_that_accepts_works_from_the_folder_of_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path.parent)
    project.run(project.path.name, INT8, "-k", "latency")
    rerun(project, project.verdict("int8", "latency").accept).assert_outcomes(passed=2)
    assert project.baseline("int8").exists()


def test_the_command_that_accepts_runs_whole_files(project: Project) -> None:
    project.run("test_gate.py::test_latency", INT8)
    command = project.verdict("int8", "latency").accept
    assert " test_gate.py --trt" in command
    rerun(project, command).assert_outcomes(passed=2)


# Numbers for machines


def junit(project: Project, *arguments: str) -> dict[str, dict[str, str]]:
    """Return the properties that a run gives to each test in JUnit XML."""
    project.run(INT8, "--junit-xml=junit.xml", *arguments)
    return {
        str(case.get("name")): {str(p.get("name")): str(p.get("value")) for p in case.iter("property")}
        for case in ET.parse(project.path / "junit.xml").iter("testcase")
    }


def test_junit_carries_the_numbers_with_their_units(project: Project) -> None:
    project.settings("p95 = { budget_ms = 100.0 }")
    properties = junit(project, "--trt-baselines=add")
    found = properties["test_accuracy[shapes-int8]"]
    assert found["trtgate_cell"] == "shapes-int8-320-b1-onnxruntime-cpu"
    assert found["trtgate_accuracy"] == "PASS"
    numbers = {
        name: float(found[f"trtgate_mAP50-95_{name}"])
        for name in ("points", "of_pt_points", "drop_from_pt_points", "drop_from_pt_allowed_points")
    }
    assert (numbers["points"], numbers["of_pt_points"]) == (0.745, 0.75)
    assert numbers["drop_from_pt_points"] == pytest.approx(0.005)
    assert numbers["drop_from_pt_allowed_points"] > 0.005
    timed = properties["test_latency[shapes-int8]"]
    assert timed["trtgate_latency"] == "PASS"
    p95_ms = float(timed["trtgate_p95_ms"])
    assert p95_ms == median(project.record.latencies["shapes"].per_launch_ms("int8", "engine", 95))
    assert float(timed["trtgate_p95_over_budget_ms"]) == pytest.approx(p95_ms - 100)


def test_junit_carries_the_numbers_of_an_identical_engine_too(project: Project) -> None:
    first = junit(project, "--trt-baselines=add")["test_latency[shapes-int8]"]
    again = junit(project)["test_latency[shapes-int8]"]
    assert again["trtgate_engine_of_baseline"] == "identical"
    rate = {"trtgate_images_per_second"}  # end to end, which only the first run timed
    assert {"trtgate_p50_ms", "trtgate_p99_ms"} | rate <= set(first) <= set(again) | rate
    assert not rate & set(again)


def test_junit_carries_how_much_slower_than_the_baseline(project: Project) -> None:
    project.run(INT8, "--trt-baselines=add")
    project.weights(Behaviour(p50_ms={"pt": 8.0, "int8": 4.5}))
    found = junit(project)["test_latency[shapes-int8]"]
    slow_down = float(found["trtgate_p50_slow_down_from_baseline_ratio"])
    assert slow_down == pytest.approx(0.5, abs=0.2)


# What a failed assertion shows


def test_what_fixtures_give_prints_its_numbers(project: Project) -> None:
    project.run(INT8, "--trt-baselines=add")
    project.tests(
        """
        def test_numbers(trtgate, trt_engine, trt_accuracy, trt_latency):
            print([trtgate, trt_engine, trt_accuracy, trt_latency, trtgate.check_accuracy()])
            assert trt_latency.p50_ms < 0
        """
    )
    result = project.run(INT8)
    shown = result.stdout.str()
    for said in (
        "<Gate shapes-int8-320-b1-onnxruntime-cpu>",
        "<Engine shapes-int8-320-b1-onnxruntime-cpu: ",
        "<AccuracyRecord shapes int8: mAP50 0.8450, mAP50-95 0.7450, precision 0.8450, "
        "recall 0.7950; 4 images of 'test'>",
        "<Verdict shapes-int8-320-b1-onnxruntime-cpu accuracy: PASS; ",
    ):
        assert said in shown
    figures = r"<CellLatency shapes-int8-320-b1-onnxruntime-cpu: p50 [\d.]+ ms, p95 [\d.]+ ms, \d launch(?:es)?; "
    assert re.search(figures + "identical to the baseline's engine>", shown)
    project.weights(Behaviour(p50_ms={"pt": 8.0, "int8": 4.5}))
    slower = r"p50 \+[45]\d\.\d % since the baseline \(3.* ms -> 4.* ms\); p95 .*>"
    assert re.search(figures + slower, project.run(INT8).stdout.str())
