"""Hooks of a conftest: the examples of the documentation do what it says, and wrong answers get one sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate.plugin.hooks import with_models
from pytest_trtgate.records.verdict import Outcome
from pytest_trtgate.settings.load import project_settings

DOCS = (Path(__file__).parents[2] / "docs" / "how-to" / "hooks.md").read_text(encoding="utf-8")
FP16 = "--trt-precision=fp16"


def example(words: str) -> str:
    """Return the example of the documentation that has some words in it."""
    (found,) = (code for code in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL) if words in code)
    return str(found)


def add(project: Project, code: str) -> None:
    project.hooks(code)


def page(project: Project) -> str:
    return project.page


def test_every_hook_is_documented() -> None:
    from pytest_trtgate.plugin import hookspecs

    hooks = {name for name in vars(hookspecs) if name.startswith("pytest_trtgate_")}
    assert set(re.findall(r"^## `(\w+)\(", DOCS, re.MULTILINE)) == hooks


# The machine


def test_a_hook_gives_the_machine(project: Project) -> None:
    project.pretend(busy=("the machine runs on its battery",))
    project.run(FP16)
    assert [one.finding.id for one in project.record.preflight.findings].count("machine-busy") == 1
    add(project, example("class Reserved(Machine)").replace("(Machine)", "(PretendedMachine)"))
    project.run(FP16)
    assert "machine-busy" not in [one.finding.id for one in project.record.preflight.findings]


# Models


def test_a_hook_chooses_the_models(project: Project) -> None:
    for number, name in enumerate(("old", "new")):
        (project.path / "runs" / name).mkdir(parents=True)
        weights = project.weights(Behaviour(map50_95=0.5 + 0.1 * number), f"runs/{name}/best.pt")
        os.utime(weights, (number, number))
    add(project, example("newest checkpoint"))
    project.run(FP16, "-k", "accuracy").assert_outcomes(passed=1)
    (cell,) = project.record.cells
    assert cell.model == "best"
    assert project.record.settings["models"] == [str(project.path / "runs" / "new" / "best.pt")]


def test_a_hook_may_leave_the_models_as_they_are(project: Project) -> None:
    add(project, "def pytest_trtgate_models(models):\n    assert models[0].name == 'shapes.pt'\n")
    project.run(FP16, "-k", "accuracy").assert_outcomes(passed=1)


def test_who_chooses_the_models_sets_nothing_else(project: Project) -> None:
    project.settings('[findings]\nno-labels = "warn"\n[accuracy.int8]\n"mAP50-95" = 0.02\n')
    settings = project_settings(project.path)[0]
    answer = SimpleNamespace(pytest_trtgate_models=lambda **_: ["shapes.pt"])
    config: Any = SimpleNamespace(hook=answer, rootpath=project.path)
    chosen = with_models(config, settings)
    assert chosen == settings
    # A finding that fails by default is not one that the project has said to fail.
    assert chosen.findings.model_fields_set == {"no_labels"}
    assert chosen.findings.of("preflight-incomplete") == "warn"


@pytest.mark.parametrize("answer", ["'best.pt'", "[1]", "1", "(m for m in ['best.pt'])"])
def test_models_that_are_no_list_of_paths_are_refused(project: Project, answer: str) -> None:
    add(project, f"def pytest_trtgate_models():\n    return {answer}\n")
    result = project.run(FP16)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "allowed: a list of paths of .pt files" in result.stderr.str()


# Export arguments


def test_export_arguments_are_for_one_model_and_part_of_its_engines_key(project: Project) -> None:
    project.weights(Behaviour(map50_95=0.7), "other.pt")
    project.settings(
        base=(project.path / "trtgate.toml").read_text().replace('["shapes.pt"]', '["shapes.pt", "other.pt"]')
    )
    project.run(FP16, "-k", "accuracy").assert_outcomes(passed=2)
    before = {e.cell.model: e for e in project.record.engines.values()}
    add(project, example("older opset"))
    project.run(FP16, "-k", "accuracy").assert_outcomes(passed=2)
    after = {e.cell.model: e for e in project.record.engines.values()}
    assert after["shapes"].cache_key != before["shapes"].cache_key
    assert after["shapes"].key_parts["export"]["opset"] == 17
    assert after["other"].cache_key == before["other"].cache_key
    assert after["other"].from_cache
    assert [name for name in project.job_names("build") if "other" in name] == []


def test_the_exporter_is_told_the_arguments(project: Project) -> None:
    add(project, example("older opset"))
    project.run(FP16, "-k", "accuracy")
    (run,) = project.run_folders()
    request = (run / "jobs" / "build-shapes-fp16-320-b1-onnxruntime-cpu" / "request.json").read_text()
    assert '"opset": 17' in request


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("{'imgsz': 640}", "sets 'imgsz', which pytest-trtgate itself decides"),
        ("{'half': True}", "sets 'half', which pytest-trtgate itself decides"),
        ("{'opset': object}", "sets opset = <class 'object'>; allowed: texts, numbers"),
        ("[17]", "returned a list; allowed: a dictionary"),
    ],
)
def test_wrong_export_arguments_are_an_error_that_says_so(project: Project, answer: str, sentence: str) -> None:
    add(project, f"def pytest_trtgate_export_args():\n    return {answer}\n")
    project.run(FP16, "-k", "accuracy").assert_outcomes(failed=1)
    verdict = project.verdict("fp16", "accuracy")
    assert verdict.outcome is Outcome.ERROR
    assert sentence in verdict.summary


# Environment


def test_a_field_of_the_environment_is_recorded_and_shown(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNER_NAME", "bench-7")
    add(project, example("which runner"))
    project.run(FP16, "--trt-baselines=add").assert_outcomes(passed=2)
    assert project.record.environment.extra == {"Runner": "bench-7"}
    assert re.search(r"Runner</th>\s*<td[^>]*>\s*bench-7", page(project))
    # Another runner is no other kind of machine.
    monkeypatch.setenv("RUNNER_NAME", "bench-8")
    project.run(FP16, "-k", "latency").assert_outcomes(passed=1)
    assert project.outcomes("latency") == {"fp16": "PASS"}


def test_an_environment_that_is_no_map_is_refused(project: Project) -> None:
    add(project, "def pytest_trtgate_environment():\n    return 'bench'\n")
    result = project.run(FP16, "-k", "accuracy")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*pytest_trtgate_environment returned a str; allowed: a dictionary, or None*"])


# Verdicts


def test_a_custom_metric_fails_the_verdict_and_passes_within_its_limit(project: Project) -> None:
    add(project, example("class that matters most"))
    project.run("--trt-precision=fp16,int8", "-k", "accuracy").assert_outcomes(passed=1, failed=1)
    assert project.outcomes("accuracy") == {"fp16": "NO_BASELINE", "int8": "FAIL"}
    check = project.verdict("int8", "accuracy").checks[-1]
    assert (check.name, check.against, check.limit) == ("recall of circle", "hook", 0.002)
    assert check.change == pytest.approx(0.005)
    assert project.verdict("int8", "accuracy").accept == ""
    assert project.verdict("fp16", "accuracy").checks[-1].outcome is Outcome.PASS
    assert "recall of circle fell 0.0050" in page(project)


def test_a_softened_verdict_stays_a_failure_with_its_reason_everywhere(project: Project) -> None:
    project.weights(Behaviour(drop={"fp16": 0.1, "int8": 0.1}))
    add(project, example("Bear a drop"))
    result = project.run("--trt-precision=fp16,int8", "-k", "accuracy")
    result.assert_outcomes(passed=1, failed=1)
    verdict = project.verdict("int8", "accuracy")
    assert (verdict.outcome, verdict.failed) == (Outcome.FAIL, False)
    assert verdict.waived == "softened: recalibration is under way"
    result.stdout.fnmatch_lines(["FAIL* shapes int8 accuracy: mAP50 fell*"])
    assert "recalibration is under way" in result.stdout.str()
    assert "recalibration is under way" in page(project)
    assert project.verdict("fp16", "accuracy").failed


def test_only_the_checks_that_are_named_are_softened(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.1}))
    add(project, example("Bear a drop").replace('("mAP50", "mAP50-95")', '("mAP50",)'))
    project.run("--trt-precision=int8", "-k", "accuracy").assert_outcomes(failed=1)
    verdict = project.verdict("int8", "accuracy")
    assert (verdict.failed, verdict.waived) == (True, "")
    assert "softened: recalibration" in verdict.summary


def test_what_was_not_decided_or_has_no_baseline_cannot_be_softened(project: Project) -> None:
    project.settings(top='missing_baseline = "fail"')
    add(project, example("Bear a drop").replace(', checks=("mAP50", "mAP50-95")', ""))
    project.run("--trt-precision=int8", "-k", "latency").assert_outcomes(failed=1)
    verdict = project.verdict("int8", "latency")
    assert (verdict.outcome, verdict.waived) == (Outcome.NO_BASELINE, "")


def test_an_error_cannot_be_softened(project: Project) -> None:
    project.weights(Behaviour(faults={"build-int8": "refuse"}))
    add(project, example("Bear a drop").replace(', checks=("mAP50", "mAP50-95")', ""))
    project.run("--trt-precision=int8", "-k", "accuracy").assert_outcomes(failed=1)
    assert project.outcomes("accuracy") == {"int8": "ERROR"}


@pytest.mark.parametrize(
    ("answer", "what"), [("Softening(reason=' ')", "a Softening without a reason"), ("'it is fine'", "a str")]
)
def test_a_verdict_hook_that_answers_nonsense_softens_nothing(project: Project, answer: str, what: str) -> None:
    project.weights(Behaviour(drop={"fp16": 0.1}))
    code = "from pytest_trtgate.verdicts.amend import Softening\ndef pytest_trtgate_verdict():\n    return "
    add(project, f"{code}{answer}\n")
    project.run(FP16, "-k", "accuracy").assert_outcomes(failed=1)
    verdict = project.verdict("fp16", "accuracy")
    assert verdict.outcome is Outcome.ERROR
    assert f"pytest_trtgate_verdict returned {what}; allowed: Check, Softening" in verdict.summary


def test_a_latency_verdict_tells_its_hook_of_the_launches(project: Project) -> None:
    add(
        project,
        "def pytest_trtgate_verdict(judged):\n"
        "    assert judged.subject == 'latency' and len(judged.latency.launches) == 3 and judged.engine\n"
        "    assert judged.accuracy is None and any(check.name == 'baseline' for check in judged.checks)\n",
    )
    project.run(FP16, "-k", "latency").assert_outcomes(passed=1)
