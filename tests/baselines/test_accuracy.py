"""The accepted accuracy: a baseline of its own, without which no accuracy passes where it must not."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import VERSIONS, Project

from pytest_trtgate.cli import main
from pytest_trtgate.records.baseline import AccuracyBaseline
from pytest_trtgate.records.files import load

ONE = "--trt-precision=fp16"
FALLEN = Behaviour(map50_95=0.58)
"""A checkpoint that is worse, and an engine that is as good as it: parity sees nothing."""


def as_older(project: Project) -> None:
    """Store the accuracy as older versions did: beside the latency of the machine."""
    path = project.accepted_accuracy("fp16")
    accuracy = json.loads(path.read_text())
    path.unlink()
    moved = ("accuracy", "reference_accuracy", "accuracy_settings", "images", "data_digest")
    latency = json.loads(project.baseline("fp16").read_text())
    project.baseline("fp16").write_text(json.dumps(latency | {name: accuracy[name] for name in moved}))


# None yet


def test_accuracy_without_a_baseline_is_no_baseline_and_passes_at_the_desk(project: Project) -> None:
    project.run(ONE).assert_outcomes(passed=2)
    assert project.outcomes("accuracy") == {"fp16": "NO_BASELINE"}


@pytest.mark.parametrize(
    ("selected", "said"),
    [
        ("accuracy", "Accuracy has no baseline yet; to record one: trtgate baseline accept "),
        ("accuracy or latency", "Accuracy has no baseline yet, nor has latency on this machine ("),
    ],
)
def test_what_has_no_baseline_at_all_is_one_line_that_records_one(project: Project, selected: str, said: str) -> None:
    result = project.run("--trt-precision=fp16,int8", "-k", selected)
    [line] = [line for line in result.outlines if line.startswith(said)]
    assert "NO BASELINE" not in result.stdout.str()
    assert main(shlex.split(line.partition("to record one: ")[2])[1:]) == 0
    project.run("--trt-precision=fp16,int8", "-k", selected)
    assert {str(verdict.outcome) for verdict in project.record.verdicts} == {"PASS"}


def test_latency_without_a_baseline_offers_no_tolerance_of_the_accuracy_that_failed(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.03}))
    result = project.run("--trt-precision=int8")
    [line] = [line for line in result.outlines if "no baseline on this machine" in line]
    assert line.endswith("; to record one: let the rest of the cell pass, then run with --trt-baselines=add")


def test_accuracy_without_a_baseline_fails_where_ci_is_set(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = project.run(ONE, "-k", "accuracy", "--junitxml=junit.xml", "-o", "junit_family=xunit1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "fp16: accuracy was not compared with a baseline: no baseline yet",
            "shapes fp16 * no base*",
            "NO BASELINE  shapes fp16 accuracy: *",
        ]
    )
    assert '<property name="trtgate_accuracy" value="NO_BASELINE"' in (project.path / "junit.xml").read_text()
    said = summary.read_text()
    assert "Gate passed" not in said
    assert "No baseline: shapes fp16 accuracy" in said


@pytest.mark.parametrize("lost", ["all", "accuracy", "another size", "renamed"])
def test_a_worse_checkpoint_is_not_green_in_ci_whatever_became_of_its_baseline(
    accepted: Project, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    arguments = [ONE, "-k", "accuracy"]
    weights = accepted.weights(FALLEN)
    if lost == "all":
        shutil.rmtree(accepted.path / "baselines")
    elif lost == "accuracy":
        shutil.rmtree(accepted.path / "baselines" / "accuracy")
    elif lost == "another size":
        arguments.append("--trt-imgsz=640")
    else:
        arguments.append(f"--trt-model={weights.rename(weights.with_name('other.pt'))}")
    monkeypatch.setenv("CI", "true")
    accepted.run(*arguments).assert_outcomes(failed=1)
    [verdict] = accepted.record.verdicts
    assert str(verdict.outcome) == "NO_BASELINE"


# Without a latency


def test_a_job_that_measures_accuracy_only_stores_and_judges_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = (ONE, "-k", "accuracy")
    project.pretend(busy=("the load average is 9 on 2 cores",))  # of no account to an accuracy
    result = project.run(*only, "--trt-baselines=add")
    path = project.accepted_accuracy("fp16")
    result.stdout.fnmatch_lines([f"shapes fp16: baseline written to {path}"])
    assert not project.baseline("fp16").exists()
    monkeypatch.setenv("CI", "true")
    project.run(*only).assert_outcomes(passed=1)
    project.weights(FALLEN)
    project.run(*only).assert_outcomes(failed=1)
    assert "the .pt itself fell 0.1700" in project.verdict("fp16", "accuracy").summary
    assert main(["baseline", "accept", "reports/run.json"]) == 0
    project.run(*only).assert_outcomes(passed=1)
    stored = load(path, AccuracyBaseline)
    assert stored.accuracy["mAP50-95"] == pytest.approx(0.58)
    [_, said] = stored.accepted
    assert said.startswith("mAP50-95 fell 0.1700 since the baseline (0.7500 -> 0.5800), more than 0.0030 allowed")


def test_a_job_that_measures_latency_only_stores_and_judges_that(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = (ONE, "-k", "latency")
    project.run(*only, "--trt-baselines=add").assert_outcomes(passed=1)
    assert not project.accepted_accuracy("fp16").exists()
    monkeypatch.setenv("CI", "true")
    project.run(*only).assert_outcomes(passed=1)
    assert project.outcomes("latency") == {"fp16": "PASS"}


def test_add_leaves_an_accuracy_that_is_there_and_adds_the_latency_of_a_new_machine(accepted: Project) -> None:
    before = accepted.accepted_accuracy("fp16").read_bytes()
    accepted.pretend(installed={**VERSIONS, "onnxruntime": "1.32.0"})
    accepted.weights(FALLEN)
    accepted.run(ONE, "--trt-baselines=add").assert_outcomes(passed=1, failed=1)
    assert accepted.outcomes("accuracy") == {"fp16": "FAIL"}
    assert accepted.accepted_accuracy("fp16").read_bytes() == before


# On another machine, with another runtime


@pytest.mark.parametrize(("weights", "outcome"), [(Behaviour(), "PASS"), (FALLEN, "FAIL")])
def test_another_release_of_the_runtime_is_compared_and_named(
    accepted: Project, weights: Behaviour, outcome: str
) -> None:
    accepted.pretend(installed={**VERSIONS, "onnxruntime": "1.32.0"})
    accepted.weights(weights)
    accepted.run(ONE)
    assert accepted.outcomes("accuracy") == {"fp16": outcome}
    assert accepted.outcomes("latency") == {"fp16": "NO_BASELINE"}
    since = [c.sentence for c in accepted.verdict("fp16", "accuracy").checks if c.against == "baseline"]
    assert since
    assert all("; measured elsewhere: onnxruntime version 1.32, baseline 1.31" in sentence for sentence in since)


def test_another_backend_is_compared_until_it_has_an_accuracy_of_its_own(accepted: Project) -> None:
    accepted.use_gpu().weights(FALLEN)
    accepted.run(ONE)
    assert accepted.outcomes("accuracy") == {"fp16": "FAIL"}
    assert "measured elsewhere: backend tensorrt, baseline onnxruntime" in accepted.verdict("fp16", "accuracy").summary
    accepted.run(ONE, "--trt-baselines=add").assert_outcomes(passed=2)
    assert accepted.accepted_accuracy("fp16", "tensorrt").exists()
    accepted.run(ONE).assert_outcomes(passed=2)


# Files of older versions


@pytest.mark.parametrize(("weights", "outcome"), [(Behaviour(), "PASS"), (FALLEN, "FAIL")])
@pytest.mark.parametrize("version", ["1.31.0", "1.32.0"])
def test_an_accuracy_beside_a_latency_is_judged_too(
    accepted: Project, weights: Behaviour, outcome: str, version: str
) -> None:
    as_older(accepted)
    accepted.pretend(installed={**VERSIONS, "onnxruntime": version})
    accepted.weights(weights)
    accepted.run(ONE, "-k", "accuracy")
    assert accepted.outcomes("accuracy") == {"fp16": outcome}


def test_an_update_of_the_latency_alone_keeps_it(accepted: Project) -> None:
    as_older(accepted)
    accepted.run(ONE, "-k", "latency", "--trt-baselines=update").assert_outcomes(passed=1)
    assert "accuracy" not in json.loads(accepted.baseline("fp16").read_text())
    accepted.weights(FALLEN)
    accepted.run(ONE, "-k", "accuracy").assert_outcomes(failed=1)


def test_migrate_brings_it_along(
    accepted: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_trtgate.machine.Machine.versions", lambda _: VERSIONS)
    new = accepted.accepted_accuracy("fp16").read_text()
    as_older(accepted)
    assert main(["baseline", "migrate"]) == 0
    out = capsys.readouterr().out
    assert f"{accepted.accepted_accuracy('fp16')}: the accuracy of {accepted.record.environment.machine}\n" in out
    stored, before = json.loads(accepted.accepted_accuracy("fp16").read_text()), json.loads(new)
    assert {k: v for k, v in stored.items() if k != "accepted"} == {k: v for k, v in before.items() if k != "accepted"}
    assert "accuracy" not in json.loads(accepted.baseline("fp16").read_text())
    assert main(["baseline", "migrate"]) == 0
    assert capsys.readouterr().out.endswith(": all is as this version writes it\n")
    accepted.run(ONE).assert_outcomes(passed=2)
    assert accepted.outcomes("accuracy") == accepted.outcomes("latency") == {"fp16": "PASS"}


def test_migrate_says_which_latencies_a_new_runtime_needs(
    accepted: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_trtgate.machine.Machine.versions", lambda _: {"onnxruntime": "1.32.1"})
    assert main(["baseline", "migrate"]) == 0
    said = "onnxruntime 1.32.1 is installed here; accuracies stay comparable, and latencies need one session of it"
    assert f"{accepted.record.environment.machine}: {said}: pytest --trt-baselines=add\n" in capsys.readouterr().out
    accepted.pretend(installed={**VERSIONS, "onnxruntime": "1.32.0"})
    accepted.run(ONE, "-k", "latency", "--trt-baselines=add").assert_outcomes(passed=1)
    assert main(["baseline", "migrate"]) == 0
    assert "is installed here" not in capsys.readouterr().out.splitlines()[-1]


# Files that cannot be used


def spoiled(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_damaged_accuracy_is_an_error_of_accuracy_only_and_is_replaced_by_update(accepted: Project) -> None:
    path = accepted.accepted_accuracy("fp16")
    path.write_text("{")
    accepted.run(ONE).assert_outcomes(passed=1, failed=1)
    assert accepted.verdict("fp16", "accuracy").summary.startswith(f"fp16: {path}: not valid JSON")
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    assert load(path, AccuracyBaseline).accuracy["mAP50-95"] == 0.75


def test_an_accuracy_of_another_cell_is_not_taken(accepted: Project) -> None:
    path = accepted.accepted_accuracy("fp16")
    spoiled(path, cell={**json.loads(path.read_text())["cell"], "precision": "int8"})
    accepted.run(ONE, "-k", "accuracy").assert_outcomes(failed=1)
    assert "is the baseline of shapes-int8-320-b1-onnxruntime-cpu" in accepted.verdict("fp16", "accuracy").summary


def test_an_accuracy_on_other_images_is_not_comparable(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled(accepted.accepted_accuracy("fp16"), data_digest="0" * 64)
    monkeypatch.setenv("CI", "true")
    accepted.run(ONE, "-k", "accuracy").assert_outcomes(failed=1)
    assert accepted.outcomes("accuracy") == {"fp16": "INCOMPATIBLE"}


@pytest.mark.parametrize("stored", [{}, {"top1": 0.9}, {"mAP50": 0.85}])
def test_an_accuracy_that_lacks_a_gated_metric_is_not_comparable(
    accepted: Project, monkeypatch: pytest.MonkeyPatch, stored: dict[str, float]
) -> None:
    spoiled(accepted.accepted_accuracy("fp16"), accuracy=stored)
    monkeypatch.setenv("CI", "true")
    accepted.run(ONE, "-k", "accuracy").assert_outcomes(failed=1)
    assert accepted.outcomes("accuracy") == {"fp16": "INCOMPATIBLE"}
    lacks = ", ".join(metric for metric in ("mAP50", "mAP50-95") if metric not in stored)
    said = f"accuracy is incompatible with the baseline, which has no {lacks}"
    assert said in accepted.verdict("fp16", "accuracy").summary


@pytest.mark.parametrize("subject", ["accuracy", "latency"])
def test_one_subject_of_a_run_is_accepted_and_the_other_left_as_it_is(accepted: Project, subject: str) -> None:
    files = {"accuracy": accepted.accepted_accuracy("fp16"), "latency": accepted.baseline("fp16")}
    before = {name: file.read_bytes() for name, file in files.items()}
    accepted.weights(Behaviour(map50_95=0.7))
    accepted.run(ONE)
    assert main(["baseline", "accept", "reports/run.json", "--subject", subject]) == 0
    assert [name for name, file in files.items() if file.read_bytes() != before[name]] == [subject]
