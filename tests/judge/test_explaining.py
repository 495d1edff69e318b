"""The metric taken apart, and symptoms: on arms in which one thing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pytest_trtgate.judge.accuracy.agreement import Detections
from pytest_trtgate.judge.accuracy.apart import Arm, classified_parts, take_apart
from pytest_trtgate.judge.accuracy.average_precision import ImageRecords
from pytest_trtgate.judge.accuracy.classification import Classified
from pytest_trtgate.judge.accuracy.symptoms import classified_symptoms, in_a_sentence, symptoms
from pytest_trtgate.records import MetricPart, PartKind

CONF = 0.25
NAMES = {0: "bolt", 1: "nut", 2: "disc"}
PER_IMAGE, IMAGES = 6, 20
SIDES = (8.0, 40.0, 200.0)
N = PER_IMAGE * IMAGES
CLS = np.arange(N) // 2 % 3
IMAGE = np.arange(N) // PER_IMAGE
SIDE = np.array(SIDES)[np.arange(N) % 3]


def arm(change: Callable[[dict[str, np.ndarray]], None] = lambda _: None) -> Arm:
    """Return an arm that finds every object exactly, but for what a change makes of it."""
    x = 300.0 * (np.arange(N) % PER_IMAGE)
    box = np.stack([x, x * 0, x + SIDE, SIDE], axis=1)
    points = np.stack([box[:, :2], box[:, 2:]], axis=1)
    a = {
        "conf": np.full(N, 0.9), "cls": CLS.copy(), "box": box.copy(), "tp": np.ones((N, 10), bool),
        "boxed": np.ones(N, bool), "points": points.copy(), "there": np.ones(N, bool),
    }  # fmt: skip
    change(a)
    t = a["there"]
    records = ImageRecords(a["tp"][t], a["conf"][t], a["cls"][t], IMAGE[t], CLS, IMAGE)
    seen = Detections(IMAGE[t], a["cls"][t], a["conf"][t], a["box"][t])
    truth = Detections(IMAGE, CLS, np.ones(N), box)
    return Arm(records, a["boxed"][t], seen, truth, a["points"][t], np.concatenate([points, np.ones((N, 2, 1))], 2))


def found(change: Callable[[dict[str, np.ndarray]], None], branch: str = "") -> dict[str, str]:
    """Return the symptoms of an engine that differs in one thing, with their sentences."""
    told = symptoms(arm(), arm(change), NAMES, conf=CONF, branch=branch)
    return {symptom.kind: symptom.sentence for symptom in told if symptom.found}


def parts(change: Callable[[dict[str, np.ndarray]], None], kind: PartKind) -> dict[str, MetricPart]:
    apart = take_apart(arm(), arm(change), NAMES, threshold="OKS", conf=CONF)
    return {part.name: part for part in apart if part.kind == kind}


def halved(a: dict[str, np.ndarray]) -> None:
    a["conf"] = a["conf"] / 2


def shifted(a: dict[str, np.ndarray]) -> None:
    a["box"] = a["box"] + 0.1 * np.stack([SIDE, SIDE * 0] * 2, axis=1)


def no_discs(a: dict[str, np.ndarray]) -> None:
    a["there"] = CLS != 2


def no_small(a: dict[str, np.ndarray]) -> None:
    a["there"] = np.arange(N) % 3 > 0


def other_classes(a: dict[str, np.ndarray]) -> None:
    a["cls"] = (CLS + 1) % 3
    a["tp"] = a["tp"] & False


def no_keypoints(a: dict[str, np.ndarray]) -> None:
    a["tp"] = a["tp"] & False


def boxes_elsewhere(a: dict[str, np.ndarray]) -> None:
    a["box"] = a["box"] + 5000
    a["tp"] = a["tp"] & False
    a["boxed"] = a["boxed"] & False


def rotated(turn: float) -> Arm:
    """Return an arm that finds rotated boxes in the right places, turned by so many degrees."""
    upright = arm()
    box = upright.objects.box
    at, size = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) * (1.0, 0.25)
    angle = np.linspace(0, 1.5, N)[:, None]
    truth = np.concatenate([at, size, angle], axis=1)
    seen = np.concatenate([at, size, angle + np.radians(turn)], axis=1)
    return replace(
        upright,
        detections=replace(upright.detections, box=seen),
        objects=replace(upright.objects, box=truth),
    )


def imprecise(a: dict[str, np.ndarray]) -> None:
    a["tp"][:, 4:] = False
    a["points"][:, 1] += 0.1 * SIDE[:, None]


def test_an_engine_like_its_checkpoint_has_no_symptom() -> None:
    assert found(lambda _: None, "keypoint") == {}
    told = in_a_sentence("mAP50-95", take_apart(arm(), arm(), NAMES, threshold="IoU", conf=CONF), (), "boxes")
    assert told.startswith("mAP50-95 is unharmed: IoU 0.50 ")


@pytest.mark.parametrize(
    ("change", "kind", "evidence"),
    [
        (halved, "scores lower", "0.50 times those of the .pt (middle half 0.50 to 0.50, of 120 boxes"),
        (shifted, "boxes shifted", "+10.0 % of their size to the right and +0.0 % down"),
        (no_discs, "class gone", "of disc, 0 in place of 40 found (0 %); of all others 100 %"),
        (no_small, "scale gone", "of smallest third of objects"),
        (other_classes, "class branch lost", "a box on 120 of 120 objects, and its class right on 0 (the .pt on 120)"),
        (boxes_elsewhere, "box branch lost", "sure of 120 boxes (the .pt of 120), and has one on 0 of 120 objects"),
        (no_keypoints, "keypoint branch lost", "keypoints are right too in 0 % (the .pt 100 %)"),
    ],
)
def test_each_symptom_is_found_alone_with_its_evidence(
    change: Callable[[dict[str, np.ndarray]], None], kind: str, evidence: str
) -> None:
    told = found(change, "keypoint")
    told.pop("keypoint branch lost" if kind == "class branch lost" else "", None)
    assert list(told) == [kind]
    assert evidence in told[kind]


def test_masks_that_are_lost_in_boxes_that_are_right_are_a_branch_too() -> None:
    assert list(found(no_keypoints, "mask")) == ["mask branch lost"]
    assert "mask branch lost" not in found(shifted, "mask")


@pytest.mark.parametrize(("turn", "lost"), [(0, False), (4, False), (45, True), (90, False)])
def test_rotated_boxes_that_are_turned_have_lost_their_angles(turn: float, lost: bool) -> None:
    told = {one.kind: one for one in symptoms(rotated(0), rotated(turn), NAMES, conf=CONF)}
    assert told["angle branch lost"].found is lost
    assert told["angle branch lost"].sentence.startswith(f"the engine's boxes are turned by {turn % 90:.1f} degrees")
    assert next((one.kind for one in told.values() if one.found), "") == {
        45: "angle branch lost",
        90: "box branch lost",
    }.get(int(turn), "")


def test_imprecise_keypoints_are_told_by_their_thresholds_and_by_keypoint() -> None:
    at = parts(imprecise, "threshold")
    assert (at["OKS 0.50"].drop, at["OKS 0.75"].drop) == (0, pytest.approx(0.995))
    apart = take_apart(arm(), arm(imprecise), NAMES, threshold="OKS", conf=CONF)
    assert in_a_sentence("pose mAP50-95", apart, (), "keypoints").startswith(
        "keypoints are imprecise everywhere, and none is missed: OKS 0.50 -0.0000, OKS 0.75 -0.9950"
    )
    keypoints = parts(imprecise, "keypoint")
    assert keypoints["keypoint 0"].drop == 0
    assert keypoints["keypoint 1"].engine == pytest.approx(100 * np.hypot(0.1, 0.1), abs=0.01)


def test_the_metric_falls_where_objects_are_missed() -> None:
    sizes = parts(no_small, "size")
    assert [part.objects for part in sizes.values()] == [40, 40, 40]
    assert [round(part.drop, 3) for part in sizes.values()] == [0.995, 0, 0]
    classes = parts(no_discs, "class")
    assert {name: round(part.drop, 3) for name, part in classes.items()} == {"bolt": 0, "nut": 0, "disc": 0.995}
    apart = take_apart(arm(), arm(no_small), NAMES, threshold="IoU", conf=CONF)
    assert in_a_sentence("mAP50-95", apart, (), "boxes").startswith("it falls on the smallest third of objects")


def test_lower_scores_show_where_detections_count_from_a_score_on() -> None:
    scores = parts(halved, "score")
    assert scores["any score"].drop == 0
    assert scores["score from 0.5"].engine == 0


def test_a_classifier_that_lost_a_class_says_so() -> None:
    target = np.repeat(np.arange(3), 10)
    right = Classified(target[:, None], np.full(30, 0.9), target)
    wrong = replace(right, top=np.where(target == 2, 0, target)[:, None], conf=np.full(30, 0.4))
    told = {symptom.kind: symptom.sentence for symptom in classified_symptoms(right, wrong, NAMES) if symptom.found}
    assert told["class gone"] == "of disc, 0 in place of 10 recognized (0 %); of all others 100 % of what the .pt has"
    assert told["scores lower"].startswith("the engine's scores are 0.44 times")
    by_class = [part for part in classified_parts(right, wrong, NAMES) if part.kind == "class"]
    assert [(part.name, part.drop) for part in by_class] == [("bolt", 0), ("nut", 0), ("disc", 1)]
