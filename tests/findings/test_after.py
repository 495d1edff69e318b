"""Findings: named, graded by the settings, shown beside the verdicts, and failing the run where asked to."""

from __future__ import annotations

import pytest
from fake_jobs import Behaviour
from project import VERSIONS, Project

from pytest_trtgate.findings.after import FEW_IMAGES, few_images, images_left_out, skewed_engine, unstable_warmup
from pytest_trtgate.findings.found import Found
from pytest_trtgate.records.base import Trouble
from pytest_trtgate.settings.findings import FINDING_KINDS, Findings

FP16 = "--trt-precision=fp16"


def test_every_kind_of_finding_has_a_severity_and_a_remedy() -> None:
    assert {field.alias for field in Findings.model_fields.values()} == {*FINDING_KINDS, "left-out-share"}


def test_a_small_split_is_found_and_a_large_one_is_not() -> None:
    assert few_images(FEW_IMAGES, "test") == []
    [found] = few_images(FEW_IMAGES - 1, "test")
    assert found.id == "few-images"
    assert "99 images" in found.sentence


def test_a_finding_that_is_off_is_not_made() -> None:
    found = Found("few-images", "too few")
    assert found.graded(Findings.model_validate({"few-images": "off"})) == ()
    (finding,) = found.graded(Findings.model_validate({"few-images": "fail"}))
    assert (finding.severity, finding.sentence, finding.remedy) == (
        "fail",
        "too few",
        FINDING_KINDS["few-images"].remedy,
    )


def test_a_warning_is_said_once_and_changes_no_verdict(project: Project) -> None:
    result = project.run("--trt-precision=fp16,int8")
    result.assert_outcomes(passed=4)
    assert len([line for line in result.outlines if line.startswith("WARNING") and "has 4 images" in line]) == 1
    page = project.page
    assert "few-images" in page


def test_a_finding_fails_the_run_where_the_settings_say_so_and_says_how_to_accept_it(project: Project) -> None:
    project.settings('[findings]\nfew-images = "fail"\n')
    result = project.run(FP16)
    result.assert_outcomes(passed=1, failed=1)
    assert project.outcomes("accuracy") == {"fp16": "FAIL"}
    assert project.verdict("fp16", "accuracy").accept == 'set few-images = "warn" under [findings] in trtgate.toml'
    assert not [line for line in result.outlines if line.startswith("WARNING") and "has 4 images" in line]


@pytest.mark.parametrize(
    ("line", "hint"), [('few-imags = "warn"', "few-images"), ('few-images = "no"', "off, warn or fail")]
)
def test_a_wrong_setting_of_findings_is_one_sentence(project: Project, line: str, hint: str) -> None:
    project.settings(f"[findings]\n{line}\n")
    result = project.run(FP16)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert hint in result.stderr.str()


def test_an_engine_of_the_version_that_runs_is_not_skewed() -> None:
    assert skewed_engine("shapes fp16", "8.4.190", "8.4.190") == []
    assert skewed_engine("shapes fp16", None, "8.4.190") == skewed_engine("shapes fp16", "8.4.190", None) == []
    said = "shapes fp16 was exported by Ultralytics 8.3.0, 8.4.190 is running"
    assert skewed_engine("shapes fp16", "8.3.0", "8.4.190") == [Found("version-skew", said)]


def test_a_warm_up_that_is_cut_off_in_most_launches_is_unfair() -> None:
    assert unstable_warmup("shapes fp16", 0, 0) == unstable_warmup("shapes fp16", 1, 3) == []
    said = "shapes fp16: the warm-up ended before its times were stable in 2 of 3 launches"
    assert unstable_warmup("shapes fp16", 2, 3) == [Found("unfair-timing", said)]


def test_what_only_the_engine_and_its_launches_tell_is_found_after_them(project: Project) -> None:
    unstable = {"fp16": {"warmup_stable": False}}
    project.weights(Behaviour(metadata={"version": "8.3.0"}, gpu=unstable))
    project.run(FP16).assert_outcomes(passed=2)
    assert {f.id for f in project.verdict("fp16", "latency").findings} == {"version-skew", "unfair-timing"}
    project.weights(Behaviour(metadata={"version": VERSIONS["ultralytics"]}))
    project.run(FP16).assert_outcomes(passed=2)
    assert project.verdict("fp16", "latency").findings == ()


def test_images_that_are_left_out_fail_over_a_share_of_the_split() -> None:
    some = Trouble(count=1, first="a.jpg (not an image)")
    assert images_left_out("test", "evaluation", 12, Trouble(), 0.0) == []
    [told] = images_left_out("test", "evaluation", 19, some, 0.05)
    said = "Ultralytics left 1 of 20 images of split 'test' out of the evaluation, first a.jpg (not an image)"
    assert (told.id, told.sentence, told.fails) == ("images-left-out", said, False)
    [told] = images_left_out("train", "calibration", 18, some, 0.05, "int8")
    assert told.fails
    assert told.sentence.startswith("int8: Ultralytics left 1 of 19 images of split 'train' out of the calibration")
    assert told.sentence.endswith("; allowed are 5 %")


@pytest.mark.parametrize(("share", "failed"), [(0.25, False), (0.2, True)])
def test_images_that_are_left_out_are_said_whatever_the_verdict(project: Project, share: float, failed: bool) -> None:
    project.settings(f"[findings]\nleft-out-share = {share}\n")
    project.weights(Behaviour(left_out={"accuracy": 1, "build": 1}))
    result = project.run("--trt-precision=int8", "-k", "accuracy")
    assert (result.ret == 1) is failed
    said = " ".join(result.stdout.str().split())
    assert "Ultralytics left 1 of 4 images of split 'test' out of the evaluation, first 0.png (damaged)" in said
    assert "Ultralytics left 1 of 4 images of split 'train' out of the calibration" in said
    assert ("set left-out-share under" in said) is failed


def test_images_that_are_left_out_are_nobodys_concern_where_the_finding_is_off(project: Project) -> None:
    project.settings('[findings]\nimages-left-out = "off"\n')
    project.weights(Behaviour(left_out={"accuracy": 3}))
    result = project.run(FP16, "-k", "accuracy")
    result.assert_outcomes(passed=1)
    assert "out of the evaluation" not in result.stdout.str()
