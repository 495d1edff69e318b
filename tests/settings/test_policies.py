"""What the settings make of a verdict: tolerances, budgets, rules and policies, from the file to the exit code."""

from __future__ import annotations

import re
import shutil

import pytest
from fake_jobs import Behaviour
from project import Project

FP16 = "--trt-precision=fp16"
INT8 = "--trt-precision=int8"


def test_a_drop_over_the_tolerance_fails_and_says_how_to_accept_it(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.02}))
    result = project.run(INT8)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "int8: mAP50 fell 0.0200 (0.8500 -> 0.8300), more than 0.0100 allowed; *",
            'Accept: set "mAP50" = 0.0200 and "mAP50-95" = 0.0200 under ?accuracy.int8? in trtgate.toml',
        ]
    )


def test_the_tolerance_that_is_offered_lets_the_drop_pass(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.0234567}))
    project.run(INT8)
    line = project.verdict("int8", "accuracy").accept
    tolerance = line.split(" = ")[1].split()[0]
    project.settings(f'[accuracy.int8]\n"mAP50" = {tolerance}\n"mAP50-95" = {tolerance}\n')
    project.run(INT8).assert_outcomes(passed=2)


def test_a_metric_that_is_not_gated_by_default_is_gated_on_request(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.009}))
    project.run(INT8).assert_outcomes(passed=2)
    project.settings("[accuracy]\nrecall = 0.001\n")
    project.run(INT8).assert_outcomes(passed=1, failed=1)


def test_a_checkpoint_that_finds_nothing_fails_and_offers_nothing_to_accept(project: Project) -> None:
    project.weights(Behaviour(map50_95=0.0, drop={}))
    project.run(FP16).assert_outcomes(passed=1, failed=1)
    verdict = project.verdict("fp16", "accuracy")
    assert str(verdict.outcome) == "FAIL"
    assert verdict.accept == ""


def test_an_accuracy_that_is_no_number_is_an_error(project: Project) -> None:
    project.weights(Behaviour(map50_95=float("nan")))
    project.run(FP16).assert_outcomes(passed=1, failed=1)
    assert project.outcomes("accuracy") == {"fp16": "ERROR"}


def test_a_budget_fails_without_any_baseline(project: Project) -> None:
    project.settings("p95 = { budget_ms = 3.5 }\n")
    result = project.run("--trt-precision=fp16,int8")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.re_match_lines([r"fp16: p95 4\.\d+ ms \(median of launches\) is over its budget of 3\.5 ms"])
    accept = project.verdict("fp16", "latency").accept
    assert re.fullmatch(r"set p95\.budget_ms = 4\.\d\d under \[latency\.fp16\] in trtgate\.toml", accept)


def test_a_budget_may_be_for_the_whole_way_of_an_image(project: Project) -> None:
    project.settings('context = "end-to-end"\np50 = { budget_ms = 5 }\n')
    project.run(FP16).assert_outcomes(passed=1, failed=1)
    project.settings('context = "engine"\np50 = { budget_ms = 5 }\n')
    project.run(FP16).assert_outcomes(passed=2)


def test_an_engine_that_is_not_faster_fails_its_speed_up_rule(project: Project) -> None:
    project.settings('[latency.int8]\nspeedup = { over = "fp16", at_least = 2 }\n')
    result = project.run("--trt-precision=fp16,int8")
    result.assert_outcomes(passed=3, failed=1)
    said = r"int8: 1\.\d\d x as fast as fp16 at p50 \(median of launches\), less than 2 x asked for"
    result.stdout.re_match_lines([said])


def test_a_speed_up_over_the_checkpoint_needs_no_other_precision(project: Project) -> None:
    project.settings('[latency]\nspeedup = { over = "pt", at_least = 1.5 }\n'.replace("[latency]\n", ""))
    project.run(FP16).assert_outcomes(passed=2)


def test_a_speed_up_over_the_checkpoint_is_accepted_where_it_is_set(project: Project) -> None:
    project.settings('speedup = { over = "pt", at_least = 3 }\n')
    project.run(FP16).assert_outcomes(passed=1, failed=1)
    accept = project.verdict("fp16", "latency").accept
    told = re.fullmatch(r"set (speedup = .*) under \[latency.fp16\] in trtgate.toml", accept)
    assert told
    # As told, with a tenth to spare.
    project.settings(f"[latency.fp16]\n{told[1]}\n")
    project.run(FP16).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("budget", "outcome", "said"),
    [
        ("energy_mj = 5", "PASS", ""),
        ("energy_mj = 4", "FAIL", "energy 4.2 mJ per inference is over its budget of 4 mJ"),
        ("memory_mb = 300", "PASS", ""),
        ("memory_mb = 200", "FAIL", "memory 250 MB is over its budget of 200 MB"),
    ],
)
def test_energy_and_memory_have_budgets(project: Project, budget: str, outcome: str, said: str) -> None:
    project.weights(Behaviour(gpu={"fp16": {"energy_mj": 4.2, "memory_peak_bytes": 250_000_000}}))
    project.settings(f"[latency.fp16]\n{budget}\n")
    project.run(FP16)
    verdict = project.verdict("fp16", "latency")
    assert str(verdict.outcome) == ("NO_BASELINE" if outcome == "PASS" else outcome)
    assert {str(c.outcome) for c in verdict.checks if c.against == "budget"} == {outcome}
    assert said in verdict.summary
    if outcome == "FAIL":
        more = "4.62" if budget.startswith("energy") else "275.00"
        assert verdict.accept == f"set {budget.split()[0]} = {more} under [latency.fp16] in trtgate.toml"


def test_a_budget_of_what_was_not_measured_is_inconclusive(project: Project) -> None:
    project.settings("[latency.fp16]\nenergy_mj = 5\n")
    project.run(FP16, "--trt-baselines=add")
    verdict = project.verdict("fp16", "latency")
    assert str(verdict.outcome) == "INCONCLUSIVE"
    assert "energy was not measured in 3 of 3 launches here" in verdict.summary


@pytest.mark.parametrize(("policy", "failed"), [("warn", 0), ("fail", 1)])
def test_the_policy_decides_about_what_is_inconclusive(accepted: Project, policy: str, failed: int) -> None:
    slower = {"pt": 8.0, "fp16": 4.2 * 1.07}
    shutil.rmtree(accepted.path / "cache" / "engines")  # so that one stored session is all there is to compare with
    accepted.weights(Behaviour(p50_ms=slower))
    accepted.settings(top=f'inconclusive = "{policy}"')
    accepted.run(FP16).assert_outcomes(passed=2 - failed, failed=failed)
    assert accepted.outcomes("latency") == {"fp16": "INCONCLUSIVE"}


def test_what_fails_by_policy_is_not_hidden_by_a_note(project: Project) -> None:
    project.settings('[latency.int8]\nspeedup = { over = "fp16" }\n', top='inconclusive = "fail"')
    project.run(INT8).assert_outcomes(passed=1, failed=1)
    verdict = project.verdict("int8", "latency")
    assert str(verdict.outcome) == "INCONCLUSIVE"
    assert verdict.summary == "int8: the speed-up over fp16 was not judged, since fp16 is not in this run"
