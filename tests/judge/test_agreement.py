"""Guard rails of accuracy: leaks, collapsed confidences, and detections that the engine lacks."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_jobs import Behaviour
from hypothesis import given
from hypothesis import strategies as st
from project import ACCURACY_TEST, Project
from records_example import cell, engine

from pytest_trtgate.data.dataset import shared_contents
from pytest_trtgate.errors import DataError
from pytest_trtgate.findings.after import calibration_leak, confidence_collapse, low_agreement
from pytest_trtgate.judge.accuracy import agreement as module
from pytest_trtgate.judge.accuracy.agreement import Detections, agreement
from pytest_trtgate.records.engine import Calibration, EngineRecord
from pytest_trtgate.records.files import files_sha256
from pytest_trtgate.verdicts.evidence import calibrated_on

INT8 = "--trt-precision=int8"
CONF = 0.25
SURE = {"pt": {"score": 0.9}, "int8": {"score": 0.9}}
BOX = (0.0, 0.0, 10.0, 10.0)


@pytest.fixture
def project(project: Project) -> Project:
    """A project with one test, of its accuracy."""
    project.tests(ACCURACY_TEST)
    return project


def detections(*rows: tuple[int, int, float, tuple[float, float, float, float]]) -> Detections:
    """Return detections given as image, class, confidence and box."""
    image, cls, conf, box = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Detections(np.array(image, int), np.array(cls, int), np.array(conf, float), np.array(box).reshape(-1, 4))


def shared(engine: tuple[int, int, float, tuple[float, float, float, float]]) -> int:
    """Return whether one detection of an engine counts as that of the checkpoint."""
    return agreement([(detections((0, 0, 0.9, BOX)), detections(engine))], CONF).shared


# On arrays


def test_an_arm_agrees_with_itself() -> None:
    arm = detections((0, 0, 0.9, BOX), (0, 1, 0.5, BOX), (1, 0, 0.26, BOX), (1, 0, 0.1, BOX))
    found = agreement([(arm, arm)], CONF)
    assert (found.detections, found.shared, found.score_before, found.score_after) == (3, 3, 0.5, 0.5)


def test_a_detection_is_shared_in_the_same_image_class_and_place_only() -> None:
    assert shared((0, 0, 0.3, BOX)) == 1
    assert shared((1, 0, 0.3, BOX)) == 0
    assert shared((0, 1, 0.3, BOX)) == 0
    assert shared((0, 0, 0.3, (20.0, 0.0, 30.0, 10.0))) == 0


def test_a_detection_is_shared_from_half_an_overlap_on() -> None:
    assert shared((0, 0, 0.9, (0.0, 0.0, 10.0, 5.0))) == 1
    assert shared((0, 0, 0.9, (0.0, 0.0, 10.0, 4.9))) == 0


def test_a_detection_under_the_deployment_confidence_is_not_shared_though_it_counts_for_the_scores() -> None:
    found = agreement([(detections((0, 0, 0.9, BOX)), detections((0, 0, 0.2, BOX)))], CONF)
    assert (found.detections, found.shared, found.score_before, found.score_after) == (1, 0, 0.9, 0.2)


def test_what_the_checkpoint_would_not_show_when_deployed_does_not_count() -> None:
    assert agreement([(detections((0, 0, 0.24, BOX)), detections())], CONF).detections == 0


def test_one_detection_of_the_engine_stands_for_one_of_the_checkpoint() -> None:
    near = (1.0, 0.0, 11.0, 10.0)
    found = agreement([(detections((0, 0, 0.9, BOX), (0, 0, 0.8, near)), detections((0, 0, 0.9, BOX)))], CONF)
    assert (found.detections, found.shared) == (2, 1)


def test_the_surest_detection_of_the_engine_is_paired_not_a_weak_one_with_a_better_fit() -> None:
    loose = (0.0, 0.0, 10.0, 8.0)
    found = agreement([(detections((0, 0, 0.9, BOX)), detections((0, 0, 0.1, BOX), (0, 0, 0.88, loose)))], CONF)
    assert (found.shared, found.score_after) == (1, 0.88)


def test_boxes_without_area_overlap_with_nothing() -> None:
    assert agreement([(detections((0, 0, 0.9, (5, 5, 5, 5))), detections((0, 0, 0.9, (5, 5, 5, 5))))], CONF).shared == 0


def test_without_detections_there_is_nothing_to_agree_about() -> None:
    found = agreement([(detections(), detections())], CONF)
    assert (found.detections, found.shared) == (0, 0)
    assert math.isnan(found.score_before)
    assert low_agreement("int8", found.shared, found.detections, CONF) == []
    assert confidence_collapse("int8", found.score_before, found.score_after) == []


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        Detections(np.zeros(2, int), np.zeros(2, int), np.zeros(3), np.zeros((3, 4)))


@given(st.integers(0, 1000), st.integers(0, 60))
def test_how_many_pairs_are_compared_at_once_changes_nothing(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)

    def some() -> Detections:
        corner = rng.integers(0, 8, (count, 2))
        box = np.concatenate([corner, corner + rng.integers(4, 9, (count, 2))], axis=1)
        return Detections(rng.integers(0, 3, count), rng.integers(0, 2, count), rng.random(count), box)

    one, other = some(), some()
    at_once = agreement([(one, other)], CONF)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAIRS", 3)
        assert repr(agreement([(one, other)], CONF)) == repr(at_once)
    assert at_once.shared <= at_once.detections


# The rules


def test_less_than_nine_in_ten_is_low_agreement() -> None:
    assert low_agreement("int8", 90, 100, CONF) == []
    [found] = low_agreement("int8", 89, 100, CONF)
    assert found.id == "low-agreement"
    assert "has 89.0 % of the 100 detections of the .pt at confidence 0.25, less than 90 %" in found.sentence


def test_a_median_that_falls_by_more_than_a_tenth_is_a_collapse() -> None:
    assert confidence_collapse("int8", 0.8, 0.71) == []
    assert confidence_collapse("int8", 0.6, 0.8) == []
    [found] = confidence_collapse("int8", 0.8, 0.69)
    assert found.id == "confidence-collapse"
    assert "fell from 0.80 to 0.69" in found.sentence


def test_a_leak_says_how_many_images_and_the_first() -> None:
    assert calibration_leak([], 10, "test") == []
    [found] = calibration_leak([Path("some/a.png"), Path("b.png")], 10, "test")
    assert found.sentence == "2 of 10 images of split 'test' are calibrated on, first a.png"


def test_images_are_shared_by_content_whatever_their_names(tmp_path: Path) -> None:
    for name, content in {"a": "xx", "b": "yy", "c": "zzz", "A": "yy", "B": "xy", "C": "long"}.items():
        (tmp_path / name).write_text(content)
    one, other = [[tmp_path / name for name in names] for names in ("abc", "ABC")]
    assert shared_contents(one, other) == (tmp_path / "b",)
    assert shared_contents(one, []) == ()
    (tmp_path / "a").unlink()
    with pytest.raises(DataError, match=r"/a: cannot be read \(No such file or directory\)"):
        shared_contents(one, other)


def test_an_engine_tells_which_images_it_was_calibrated_on(tmp_path: Path) -> None:
    split = (tmp_path / "a.png", tmp_path / "b.png")
    for image in split:
        image.write_text(image.name)
    whole = calibrated(tmp_path, split, fraction=1.0)
    assert calibrated_on(whole, split) == split
    assert calibrated_on(calibrated(tmp_path, split[1:], fraction=0.5), split) == split[1:]
    assert calibrated_on(whole.model_copy(update={"calibration": None}), split) == ()


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_images_that_an_engine_was_not_surely_calibrated_on_are_no_leak(tmp_path: Path, fraction: float) -> None:
    split = (tmp_path / "a.png", tmp_path / "b.png")
    for image in split:
        image.write_text(image.name)
    # Even of a whole split the exporter may have taken fewer images.
    record = calibrated(tmp_path, split[1:], fraction)
    split[1].write_text("that checkout holds another image now")
    assert calibrated_on(record, split) == ()
    split[1].unlink()
    assert calibrated_on(record, split) == ()
    (tmp_path / "calibration.txt").unlink()
    assert calibrated_on(record, split) == ()


def calibrated(entry: Path, images: Sequence[Path], fraction: float) -> EngineRecord:
    """Return an engine whose entry lists the images that it was calibrated on."""
    (entry / "calibration.txt").write_text("".join(f"{image}\n" for image in images))
    known = Calibration(split="train", fraction=fraction, images=len(images), digest=files_sha256(images))
    return engine(cell("int8")).model_copy(update={"entry": str(entry), "calibration": known})


# Through the gate


def findings(project: Project) -> set[str]:
    return {finding.id for finding in project.verdict("int8", "accuracy").findings} - {"few-images"}


def test_an_engine_that_sees_what_its_checkpoint_sees_has_no_finding(project: Project) -> None:
    project.weights(Behaviour(seen=SURE))
    project.run(INT8).assert_outcomes(passed=1)
    assert findings(project) == set()


def test_an_engine_that_is_less_sure_has_collapsed(project: Project) -> None:
    project.weights(Behaviour(seen={**SURE, "int8": {"score": 0.6}}))
    result = project.run(INT8)
    result.assert_outcomes(passed=1)
    assert findings(project) == {"confidence-collapse"}
    result.stdout.fnmatch_lines(["WARNING  int8: the median confidence of boxes shared with the .pt fell from*"])


def test_a_collapse_is_no_news_where_the_accuracy_fell_too(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.2}, seen={**SURE, "int8": {"score": 0.6}}))
    project.run(INT8).assert_outcomes(failed=1)
    assert findings(project) == set()
    # Once another tolerance is set, the same record may be accepted: what fails by itself has to be in it.
    project.settings('[findings]\nconfidence-collapse = "fail"\n')
    project.run(INT8).assert_outcomes(failed=1)
    verdict = project.verdict("int8", "accuracy")
    assert {c.name for c in verdict.checks if str(c.outcome) == "FAIL"} >= {"mAP50-95", "confidence-collapse"}


def test_an_engine_that_lacks_detections_agrees_too_little(project: Project) -> None:
    project.weights(Behaviour(seen={**SURE, "int8": {"score": 0.9, "missed": 1}}))
    project.run(INT8).assert_outcomes(passed=1)
    assert findings(project) == {"low-agreement"}


def test_calibrating_on_what_is_evaluated_is_found_for_int8_only(project: Project) -> None:
    images = project.path / "data" / "images"
    shutil.copy(images / "train" / "2.png", images / "test" / "1.png")
    project.run("--trt-precision=fp16,int8").assert_outcomes(passed=2)
    assert "calibration-leak" in findings(project)
    sentences = [f.sentence for f in project.verdict("int8", "accuracy").findings]
    assert "1 of 4 images of split 'test' are calibrated on, first 1.png" in sentences
    assert "calibration-leak" not in {f.id for f in project.verdict("fp16", "accuracy").findings}


def test_a_guard_rail_fails_the_run_where_the_settings_say_so(project: Project) -> None:
    project.weights(Behaviour(seen={**SURE, "int8": {"score": 0.9, "missed": 2}}))
    project.settings('[findings]\nlow-agreement = "fail"\n')
    project.run(INT8).assert_outcomes(failed=1)
    verdict = project.verdict("int8", "accuracy")
    assert verdict.accept == ""  # to look away makes no engine whole
    assert verdict.advice.startswith("no tolerance is offered, since low-agreement says that the engine is broken: ")


def test_detections_that_cannot_be_compared_are_said(project: Project) -> None:
    project.run(INT8).assert_outcomes(passed=1)
    assert findings(project) == {"detections-not-compared"}
    (sentence,) = (f.sentence for f in project.verdict("int8", "accuracy").findings if f.id != "few-images")
    assert sentence.startswith("int8: the detections were not compared with those of the .pt: ")
    assert "per_image.npz: no per-image records to be used" in sentence


@pytest.mark.parametrize("name", ["low-agreement", "confidence-collapse"])
def test_a_guard_rail_that_would_fail_the_run_is_an_error_where_it_cannot_be_judged(
    project: Project, name: str
) -> None:
    project.settings(f'[findings]\n{name} = "fail"\n')
    project.run(INT8).assert_outcomes(failed=1)
    verdict = project.verdict("int8", "accuracy")
    assert str(verdict.outcome) == "ERROR"
    assert verdict.summary.startswith(f"int8: findings.{name} = 'fail' cannot be judged: ")
