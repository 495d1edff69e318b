"""A gate that measured nothing is not green, and a run that is not about the gate is none of its business."""

from __future__ import annotations

import pytest
from fake_jobs import Behaviour
from pretended import VERSIONS
from project import Project, snapshot

from pytest_trtgate.plugin.run import GatePlugin

NOTHING = "trtgate: nothing was measured*"


def written(project: Project, before: dict[str, bytes]) -> list[str]:
    """Return the files that came since ``before``."""
    return sorted(set(snapshot(project.path)) - set(before))


# Nothing measured


def test_a_run_whose_gate_tests_are_all_skipped_fails(project: Project) -> None:
    project.tests("import pytest\npytestmark = pytest.mark.skip\ndef test_gate(trtgate): trtgate.check_accuracy()")
    result = project.run()
    result.assert_outcomes(skipped=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([NOTHING])


def test_a_run_whose_gate_tests_skip_themselves_fails(project: Project) -> None:
    project.tests("import pytest\ndef test_gate(trtgate): pytest.skip('no time')")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED


def test_a_run_that_asks_for_the_gate_and_deselects_it_fails(project: Project) -> None:
    project.tests("def test_unit(): pass", "test_unit.py")
    result = project.run("--trt-precision=int8", "-k", "unit")
    result.assert_outcomes(passed=1, deselected=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([NOTHING])


def test_a_run_that_deselects_everything_is_not_green(project: Project) -> None:
    assert project.run("-k", "nothing_of_that_name").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert project.run("--trt-imgsz=64", "-k", "nothing_of_that_name").ret == pytest.ExitCode.TESTS_FAILED


def test_options_in_a_file_of_arguments_ask_for_the_gate_too(project: Project) -> None:
    project.tests("def test_unit(): pass")
    (project.path / "arguments.txt").write_text("--trt-precision=int8\n")
    result = project.run("@arguments.txt")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([NOTHING])


@pytest.mark.parametrize("settings", [True, False], ids=["settings", "no-settings"])
def test_a_run_that_names_a_model_and_has_no_gate_test_fails(project: Project, settings: bool) -> None:
    if not settings:
        (project.path / "trtgate.toml").unlink()
    project.tests("def test_unit(): pass")
    result = project.run("--trt-model=shapes.pt", "--trt-data=data/data.yaml")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([NOTHING])


def test_a_run_of_the_checkpoint_alone_measured_nothing(project: Project) -> None:
    project.tests(
        """
        def test_reference(trt_cell, request):
            from pytest_trtgate.plugin.fixtures import plugin_of
            plugin_of(request.config).part_of(trt_cell).session.evaluations.reference(trt_cell.model)
        """
    )
    result = project.run("--trt-precision=int8")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_workers_that_measured_nothing_fail_the_run(project: Project) -> None:
    pytest.importorskip("xdist")
    project.tests("import pytest\npytestmark = pytest.mark.skip\ndef test_gate(trtgate): trtgate.check_accuracy()")
    result = project.run_apart("-n1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "nothing was measured; a gate that measures nothing fails" in result.output


def test_a_failing_test_keeps_its_exit_code(project: Project) -> None:
    project.tests("def test_unit(): assert False")
    result = project.run("--trt-precision=int8")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)


# Not about the gate


def test_unit_tests_in_a_project_with_settings_stay_green_and_write_nothing(project: Project) -> None:
    project.tests("def test_unit(): pass", "test_unit.py")
    before = snapshot(project.path)
    result = project.run("test_unit.py")
    assert result.ret == pytest.ExitCode.OK
    assert written(project, before) == []
    assert "nothing was measured" not in result.stdout.str()


def test_settings_in_addopts_do_not_ask_for_the_gate(project: Project) -> None:
    (project.path / "pytest.ini").write_text("[pytest]\naddopts = --trt-precision=int8\n")
    project.tests("def test_unit(): pass")
    assert project.run().ret == pytest.ExitCode.OK


def test_saying_where_things_are_does_not_ask_for_the_gate(project: Project) -> None:
    project.tests("def test_unit(): pass")
    assert project.run("--trt-cache-dir=x", "--trt-report=y.html", "--trt-baseline-dir=z").ret == pytest.ExitCode.OK


def test_collecting_writes_nothing(project: Project) -> None:
    before = snapshot(project.path)
    result = project.run("--collect-only", "--trt-precision=int8")
    assert result.ret == pytest.ExitCode.OK
    assert written(project, before) == []


@pytest.mark.parametrize("option", ["--fixtures", "--fixtures-per-test", "--setup-plan", "--cache-show"])
def test_an_option_that_runs_no_test_plans_says_so_and_passes(project: Project, option: str) -> None:
    before = snapshot(project.path)
    result = project.run_apart(option, "--trt-precision=int8,fp16", every_plugin=True)
    assert result.ret == pytest.ExitCode.OK
    assert [file for file in written(project, before) if "cache" not in file] == []
    said = [line for line in result.output.splitlines() if line.startswith("trtgate: ")]
    plan = f"trtgate: planned 4 tests of 2 cells, measured nothing: {option} runs no test"
    assert [line for line in said if "planned" in line] == ([] if option == "--cache-show" else [plan])


def test_fixtures_are_listed_where_there_is_nothing_to_gate(project: Project) -> None:
    (project.path / "trtgate.toml").unlink()
    assert project.run("--fixtures").ret == pytest.ExitCode.OK


def test_a_project_that_does_not_use_the_gate_sees_nothing_of_it(project: Project) -> None:
    (project.path / "trtgate.toml").unlink()
    (project.path / "conftest.py").unlink()
    project.tests("def test_unit(): pass")
    before = snapshot(project.path)
    result = project.run()
    assert result.ret == pytest.ExitCode.OK
    assert "trtgate:" not in result.stdout.str()
    assert written(project, before) == []


def test_the_plugin_can_be_switched_off(project: Project) -> None:
    (project.path / "conftest.py").unlink()
    project.tests("def test_unit(): pass\ndef test_gate(trtgate): pass")
    result = project.run_apart("-p", "no:trtgate", every_plugin=True)
    assert "1 passed, 1 error" in result.output
    assert "fixture 'trtgate' not found" in result.output


def test_fixtures_without_any_settings_end_the_run_with_the_reason(project: Project) -> None:
    (project.path / "trtgate.toml").unlink()
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: no model to gate: name one with --trt-model=best.pt*"])


def test_a_backend_that_is_not_there_ends_the_run_with_the_reason(project: Project) -> None:
    project.pretend(installed={name: version for name, version in VERSIONS.items() if name != "torch"})
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: backend 'onnxruntime' needs torch, missing here: python -m pip install torch"])


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--trt-backend=tensorrt", "ERROR: backend = 'tensorrt' cannot be used here: TensorRT is not installed*"),
        (
            "--trt-device=0",
            "ERROR: device = '0' is not usable by backend 'onnxruntime'; allowed: auto, cpu (no 'tensorrt' either: *)",
        ),
    ],
)
def test_a_backend_or_device_that_cannot_run_here_is_named(project: Project, argument: str, sentence: str) -> None:
    result = project.run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([sentence])


def test_looking_for_fixtures_makes_no_session() -> None:
    seen = dir(object.__new__(GatePlugin))
    assert "pytest_sessionfinish" in seen
    assert {"session", "plan", "datasets", "workspace"}.isdisjoint(seen)


# A failed verdict that pytest does not see

SWALLOWED = {
    "expected": "import pytest\n@pytest.mark.xfail\ndef test_gate(trtgate): trtgate.check_accuracy()",
    "caught": """
        def test_gate(trtgate):
            try: trtgate.check_accuracy()
            except BaseException: pass
        """,
    "skipped": """
        import pytest
        def test_gate(trtgate):
            try: trtgate.check_accuracy()
            finally: pytest.skip("flaky")
        """,
    "ended": """
        import pytest
        def test_gate(trtgate): trtgate.check_accuracy()
        def test_other(): pytest.exit("enough", returncode=0)
        """,
}


@pytest.mark.parametrize("how", SWALLOWED)
def test_a_failed_verdict_fails_the_run_whatever_the_test_makes_of_it(project: Project, how: str) -> None:
    project.weights(Behaviour(drop={"fp32": 0.3}))
    project.tests(SWALLOWED[how])
    result = project.run("--trt-precision=fp32")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["trtgate: failed, and pytest did not: shapes fp32 accuracy; a test expects, catches or skips the failure, *"]
    )


@pytest.mark.parametrize("strict", [True, False])
def test_a_plugin_that_calls_a_failed_run_green_afterwards_does_not_make_it_so(project: Project, strict: bool) -> None:
    project.weights(Behaviour(drop={"fp32": 0.3}))
    project.settings(top=f"strict = {str(strict).lower()}")
    project.hooks(
        "import pytest\n\n\n@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_sessionfinish(session):\n"
        "    yield\n    session.exitstatus = 0\n"
    )
    result = project.run_apart("--trt-precision=fp32", "-k", "accuracy")
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if strict else pytest.ExitCode.OK)
    assert ("set another exit code: shapes fp32 accuracy" in result.output) == strict


def test_without_strict_a_test_may_expect_a_failed_verdict(project: Project) -> None:
    project.weights(Behaviour(drop={"fp32": 0.3}))
    project.settings(top="strict = false")
    project.tests(SWALLOWED["expected"])
    result = project.run("--trt-precision=fp32")
    result.assert_outcomes(xfailed=1)
    assert result.ret == pytest.ExitCode.OK
    assert "pytest did not" not in result.stdout.str()
    result.stdout.fnmatch_lines(["passed all the same: shapes fp32 accuracy; *strict = false"])


ASKS = """
    def test_accuracy(trtgate): trtgate.check_accuracy
    def test_latency(trtgate): trtgate.check_latency()
"""


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_test_that_forgets_to_ask_the_gate_is_no_green_one(project: Project, workers: tuple[str, ...]) -> None:
    project.tests(ASKS)
    result = project.run_apart("--trt-precision=fp32", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = (
        "1 test took trtgate and asked it nothing, first test_gate.py::test_accuracy[shapes-fp32]: call trtgate.check_"
    )
    assert f"\ntrtgate: {said}" in result.output
    project.settings(top="strict = false")
    assert project.run_apart("--trt-precision=fp32", *workers).ret == pytest.ExitCode.OK


def test_a_test_that_asks_for_a_cell_or_what_was_measured_has_asked(project: Project) -> None:
    project.tests(
        """
        def test_cell(trtgate): assert trtgate.cell.precision == "fp32"
        def test_engine(trtgate): assert trtgate.engine.size_bytes
        def test_accuracy(trtgate): assert trtgate.accuracy.images
        def test_latency(trtgate): assert trtgate.latency.p50_ms
        def test_size(trtgate, trt_engine): assert trt_engine.size_bytes
        """
    )
    result = project.run("--trt-precision=fp32")
    result.assert_outcomes(passed=5)
    assert result.ret == pytest.ExitCode.OK


def test_a_verdict_whose_file_a_test_deletes_is_missed(project: Project) -> None:
    project.tests(
        """
        import pathlib
        def test_gate(trtgate): trtgate.check_accuracy()
        def test_tidy(): [path.unlink() for path in pathlib.Path("reports").rglob("verdict-*")]
        """
    )
    result = project.run("--trt-precision=fp32")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    gone = (
        "trtgate: the verdict on accuracy of shapes-fp32-320-b1-onnxruntime-cpu is gone from the folder of the run: *"
    )
    result.stdout.fnmatch_lines([gone])


@pytest.mark.parametrize("mark", ['skipif(True, reason="not here")', "xfail(run=False)"])
def test_what_a_skipped_test_leaves_unjudged_is_said(project: Project, mark: str) -> None:
    project.tests(
        f"""
        import pytest
        @pytest.mark.{mark}
        def test_latency(trtgate): trtgate.check_latency()
        def test_accuracy(trtgate): trtgate.check_accuracy()
        """
    )
    result = project.run("--trt-precision=fp32")
    result.assert_outcomes(passed=1, **{"xfailed" if "run" in mark else "skipped": 1})
    said = "not judged: skipped tests of the gate (1, first test_gate.py::test_latency[shapes-fp32])"
    assert said in result.stdout.str().splitlines()
    assert said in project.record.notes


def test_a_run_that_ends_before_some_of_its_gate_fails(project: Project) -> None:
    project.tests(
        "import pytest\ndef test_gate(trtgate):\n    trtgate.check_accuracy()\n    pytest.exit('x', returncode=0)"
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["trtgate: pytest ended before 2 tests of the gate, first test_gate.py::test_gate*"])


def test_what_an_early_end_or_the_last_failures_leave_out_is_said(project: Project) -> None:
    project.weights(Behaviour(drop={"fp16": 0.3}))
    project.tests("def test_gate(trtgate): trtgate.check_accuracy()")
    ended = project.run_apart("-x", every_plugin=True)
    assert "1 failed, 1 passed" in ended.output
    said = "not judged: pytest ended early (-x or --maxfail), before 1 test of the gate, first test_gate.py::test_gate["
    assert f"\n{said}shapes-int8]\n" in ended.output
    assert any(note.startswith(said) for note in project.record.notes)
    again = project.run_apart("--lf", every_plugin=True)
    assert "1 failed in" in again.output
    assert "\nnot judged: what did not fail last time (--last-failed); " in again.output
    assert "not judged: " not in project.run("-k", "fp16").stdout.str()


DIES = """
import os, pytest

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        os._exit(0)
"""


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("def test_gate(trtgate): trtgate.check_accuracy()", " died after the tests; run again"),
        ("import pytest\ndef test_gate(trtgate): pytest.skip('x')", NOTHING[:-1]),
    ],
    ids=["judged", "skipped"],
)
def test_a_worker_that_dies_after_its_tests_fails_the_run_which_leaves_what_was_judged(
    project: Project, test: str, said: str
) -> None:
    pytest.importorskip("xdist")
    project.tests(test)
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write(DIES)
    result = project.run_apart("-n1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED, result.output
    assert said in result.output
    assert ("report: " in result.output) is ("check" in test)


def test_tests_in_copies_of_the_process_are_refused_before_anything_is_built(project: Project) -> None:
    project.hooks("def pytest_addoption(parser): parser.addoption('--forked', action='store_true')\n")
    done = project.run("--forked")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "--forked runs each test in a copy of pytest" in done.stderr.str()
    assert not list(project.path.glob("cache/**/*.onnx"))
