"""pytest-benchmark: its reports, files and comparisons work on the durations that the gate measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
import pytest_benchmark.plugin
import pytest_benchmark.utils
from fake_jobs import Behaviour
from project import Project

INT8 = "--trt-precision=int8"
TEST = """
def test_latency(trtgate, benchmark):
    trtgate.check_latency()
"""


class BenchmarkedProject(Project):
    """A project whose runs have pytest-benchmark."""

    def run(self, *arguments: str, plugins: Sequence[ModuleType] = ()) -> pytest.RunResult:
        with pytest.MonkeyPatch.context() as patch:
            # Git and Mercurial, which it would ask several times for a name of the project.
            patch.setattr(pytest_benchmark.utils, "check_output", Mock(side_effect=OSError))
            return super().run(*arguments, plugins=[pytest_benchmark.plugin, *plugins])


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    """A project with pytest-benchmark and one test, which takes ``benchmark`` too."""
    project = BenchmarkedProject(pytester.path, pytester)
    project.tests(TEST)
    return project


def benchmarks(project: Project, *arguments: str) -> list[dict[str, Any]]:
    """Run the test and return what pytest-benchmark wrote."""
    project.run("--benchmark-json=b.json", *arguments)
    found: list[dict[str, Any]] = json.loads((project.path / "b.json").read_text())["benchmarks"]
    return found


def measured(project: Project, context: str = "engine") -> list[float]:
    """Return the durations of the last run's INT8 engine, in seconds."""
    import numpy as np

    durations: list[float] = []
    for launch in project.record.latencies["shapes"].launches:
        with np.load(project.run_folders()[-1] / launch.samples) as arrays:
            durations += (arrays[f"int8/{context}"] / 1e9).tolist()
    return durations


def test_its_file_holds_exactly_the_measured_durations(project: Project) -> None:
    [found] = benchmarks(project, INT8, "--benchmark-save-data")
    assert found["stats"]["data"] == pytest.approx(measured(project), rel=1e-12)
    assert found["stats"]["rounds"] == 3 * 60


def test_its_file_names_the_cell(project: Project) -> None:
    [found] = benchmarks(project, INT8)
    assert found["extra_info"] == {"cell": "shapes-int8-320-b1-onnxruntime-cpu", "arm": "int8", "launches": 3}


def test_each_cell_is_a_benchmark_of_its_own(project: Project) -> None:
    found = benchmarks(project)
    medians = {b["extra_info"]["arm"]: round(b["stats"]["median"] * 1000, 1) for b in found}
    assert medians == {"fp32": 4.0, "fp16": 4.2, "int8": 3.0}


def test_its_table_is_shown(project: Project) -> None:
    result = project.run(INT8)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["Name (time in ms)*", "test_latency?shapes-int8?*"])


def test_its_comparison_works_over_two_runs(project: Project) -> None:
    store = "--benchmark-storage=benchmarks"
    project.run(INT8, store, "--benchmark-autosave").assert_outcomes(passed=1)
    project.weights(Behaviour(p50_ms={"pt": 8.0, "int8": 4.0}))
    result = project.run(INT8, store, "--benchmark-compare=0001", "--benchmark-compare-fail=median:20%")
    result.stdout.fnmatch_lines(["test_latency?shapes-int8? (0001*", "test_latency?shapes-int8? (NOW)*"])
    result.stderr.fnmatch_lines(["*Performance has regressed:*"])


def test_the_options_of_the_users_marker_are_kept(project: Project) -> None:
    project.tests("import pytest\n" + TEST.replace("def", '@pytest.mark.benchmark(group="engines")\ndef', 1))
    [found] = benchmarks(project, INT8)
    assert found["group"] == "engines"
    assert found["stats"]["rounds"] == 3 * 60


def test_the_fixture_may_come_through_a_rung_of_the_ladder(project: Project) -> None:
    project.tests("def test_mine(benchmark, trtgate, trt_latency): trtgate.check_latency()")
    [found] = benchmarks(project, INT8)
    assert found["stats"]["rounds"] == 3 * 60


def test_two_checks_in_one_test_are_one_benchmark(project: Project) -> None:
    project.tests(TEST + "    trtgate.check_latency()\n")
    [found] = benchmarks(project, INT8)
    assert found["stats"]["rounds"] == 3 * 60


def test_other_benchmarks_are_timed_as_ever(project: Project) -> None:
    project.tests("def test_mine(benchmark): benchmark(sum, range(10))", "test_mine.py")
    found = {b["name"]: b for b in benchmarks(project, INT8, "--benchmark-max-time=0.01")}
    assert found["test_mine"]["stats"]["median"] < 1e-4
    assert found["test_mine"]["options"]["timer"] == "perf_counter"


def test_a_failing_verdict_still_gives_its_durations(project: Project) -> None:
    project.settings("p50 = { budget_ms = 1 }\n")
    [found] = benchmarks(project, INT8)
    assert found["stats"]["rounds"] == 3 * 60


def test_an_engine_that_could_not_be_timed_gives_none(project: Project) -> None:
    project.weights(Behaviour(faults={"build-int8": "refuse"}))
    result = project.run(INT8, "-W", "ignore:Benchmark fixture was not used")
    result.assert_outcomes(failed=1)
    assert "Name (time in" not in result.stdout.str()


@pytest.mark.parametrize("switch", ["--benchmark-disable", "--benchmark-skip"])
def test_a_run_without_benchmarks_is_none_of_ours_to_force(project: Project, switch: str) -> None:
    result = project.run(INT8, switch)
    assert "Name (time in" not in result.stdout.str()
    assert sum(result.parseoutcomes().get(k, 0) for k in ("passed", "skipped")) == 1
