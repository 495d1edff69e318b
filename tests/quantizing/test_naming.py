"""Names of layers in the network's own terms, from the paths that Ultralytics gives its nodes."""

from __future__ import annotations

from typing import get_args

import pytest
from network_example import BACKBONE, NECK, head, named

from pytest_trtgate.quantizing import block_names, compressed, matching, unknown_names
from pytest_trtgate.records import Task

BRANCHES = {"pose": "keypoints", "segment": "masks", "obb": "angles"}


@pytest.mark.parametrize("task", [task for task in get_args(Task) if task != "classify"])
def test_blocks_are_stem_stages_neck_and_the_branches_of_the_task(task: Task) -> None:
    own = BRANCHES.get(task)
    layers = named(BACKBONE | NECK | head(2, 3, *([4] if own else [])), task).values()
    branches = ["head.boxes", "head.classes", *([f"head.{own}"] if own else [])]
    assert block_names(layers) == ("stem", "stage3", "stage4", "neck", *branches)


def test_a_classifier_has_no_neck() -> None:
    layers = named({**BACKBONE, "/model.6/conv/conv/Conv": 16, "/model.6/linear/Gemm": 16}, "classify")
    assert block_names(layers.values()) == ("stem", "stage3", "stage4", "head")
    assert [layers[f"/model.6/{node}"].name for node in ("conv/conv/Conv", "linear/Gemm")] == ["head.conv", "head.last"]


@pytest.mark.parametrize(
    ("node", "name", "words"),
    [
        ("/model.0/conv/Conv", "stem.0", "stem, module 0"),
        ("/model.2/m.0/cv1/conv/Conv", "stem.2.m.0.cv1", "stem, module 2, m.0.cv1"),
        (
            "/model.4/m/m.0/attn/MatMul_1",
            "stage3.4.m.0.attn.matmul_1",
            "stage at stride 8, module 4, m.0.attn.matmul_1",
        ),
        ("/model.4/m/m.0/ffn/ffn.0/conv/Conv", "stage3.4.m.0.ffn.0", "stage at stride 8, module 4, m.0.ffn.0"),
        ("/model.8/conv/Conv", "neck.8", "neck, module 8"),
        ("/model.9/cv4.0/cv4.0.2/Conv", "head.keypoints.8.last", "keypoint branch, last convolution, scale 8"),
        (
            "/model.9/cv3.1/cv3.1.1/cv3.1.1.0/conv/Conv",
            "head.classes.16.1.0",
            "class branch, convolution 1.0, scale 16",
        ),
    ],
)
def test_a_node_has_a_name_and_words(node: str, name: str, words: str) -> None:
    layer = named(BACKBONE | NECK | head(2, 3, 4), "pose")[node]
    assert (layer.name, layer.words) == (name, words)


def test_the_head_of_one_box_per_object_has_the_same_names() -> None:
    one = {node.replace("/cv", "/one2one_cv"): stride for node, stride in head(2, 3).items()}
    keys = {node.replace(".9/one2one_cv2.0/", ".9/x/"): stride for node, stride in one.items()}
    assert len(keys) == 12
    names = [layer.name for layer in named(BACKBONE | NECK | one, "detect").values()]
    assert names == [layer.name for layer in named(BACKBONE | NECK | head(2, 3), "detect").values()]


def test_suppression_around_the_network_changes_no_name() -> None:
    wrapped = {f"/model{node}": stride for node, stride in (BACKBONE | NECK | head(2, 3)).items()}
    names = [layer.name for layer in named(wrapped, "detect").values()]
    assert names == [layer.name for layer in named(BACKBONE | NECK | head(2, 3), "detect").values()]


def test_the_key_points_of_yolo26_come_from_a_convolution_beside_their_branch() -> None:
    own = {"/model.9/cv4.0/cv4.0.0/conv/Conv": 8, "/model.9/cv4_kpts.0/Conv": 8}
    layers = named(BACKBONE | NECK | head(2, 3) | own, "pose")
    assert [layers[node].name for node in own] == ["head.keypoints.8.0", "head.keypoints.8.last"]


def test_a_graph_of_another_maker_has_names_too() -> None:
    layers = named({"/backbone/layer1/Conv": 2, "/head/Gemm": 4}, None)
    assert [layer.name for layer in layers.values()] == ["other.backbone.layer1", "other.head"]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("head", 18),
        ("head.keypoints", 6),
        ("head.keypoints.8", 3),
        ("head.keypoints.*.last", 2),
        ("head.*.last", 6),
        ("stem.2.cv1", 1),
        ("/model.9/cv4*", 6),
        ("/model.0/conv/Conv", 1),
        ("head.keypoint", 0),
        ("keypoints", 0),
    ],
)
def test_a_pattern_names_layers_blocks_and_nodes(pattern: str, count: int) -> None:
    layers = named(BACKBONE | NECK | head(2, 3, 4), "pose").values()
    assert len(matching(layers, [pattern])) == count


def test_a_name_that_matches_nothing_comes_with_the_nearest() -> None:
    layers = list(named(BACKBONE | NECK | head(2, 3, 4), "pose").values())
    found = unknown_names(layers, ["head.keypoint", "head", "/model.9/cv4.0/cv4.0.3/Conv"])
    assert list(found) == ["head.keypoint", "/model.9/cv4.0/cv4.0.3/Conv"]
    assert found["head.keypoint"][0] == "head.keypoints"
    assert found["/model.9/cv4.0/cv4.0.3/Conv"][0] == "/model.9/cv4.0/cv4.0.2/Conv"


@pytest.mark.parametrize(
    "patterns",
    [
        ("stem", "head.boxes.8", "head.keypoints.16.last"),
        ("head.classes.*.last",),
        ("head.*.last",),
        ("head", "neck.8"),
        ("head.boxes", "head.classes.*.last"),
        ("stem.2.cv1", "stage3.4.m.0.attn"),
    ],
)
def test_a_few_names_stand_for_many_layers(patterns: tuple[str, ...]) -> None:
    layers = list(named(BACKBONE | NECK | head(2, 3, 4), "pose").values())
    names = [layer.name for layer in matching(layers, patterns)]
    assert sorted(compressed(layers, names)) == sorted(patterns)
    assert matching(layers, compressed(layers, names)) == matching(layers, patterns)
