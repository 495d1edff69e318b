"""Layouts of outputs, told apart by their shapes."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_trtgate.workers.given.layouts import Expected, recognise
from pytest_trtgate.workers.given.runtimes import why_refused

COCO: dict[str, Any] = {"task": "detect", "classes": 80, "kpt_shape": (), "imgsz": 640, "batch": 1}


@pytest.mark.parametrize(
    ("more", "outputs", "layout", "order"),
    [
        ({}, {"output0": (1, 84, 8400)}, "raw", ("output0",)),
        ({"batch": 4}, {"output0": (4, 84, 8400), "of_no_image": (1, 84, 8400)}, "raw", ("output0",)),
        ({}, {"output0": (1, 300, 6)}, "end2end", ("output0",)),
        ({}, {"output": (1, 8400, 6)}, "deepstream", ("output",)),
        ({"classes": 2}, {"output": (1, 6, 8400)}, "raw", ("output",)),
        ({}, {"output": (1, 8400, 84)}, "transposed", ("output",)),
        ({"classes": 2}, {"output": (1, 300, 6)}, "end2end", ("output",)),
        ({"classes": 2, "said": "transposed"}, {"output": (1, 8400, 6)}, "transposed", ("output",)),
        ({"classes": 2, "said": "deepstream"}, {"output": (1, 8400, 6)}, "deepstream", ("output",)),
        ({"task": "obb", "classes": 1}, {"output": (1, 8400, 6)}, "transposed", ("output",)),
        (
            {},
            {"classes": (1, 8400, 1), "boxes": (1, 8400, 4), "scores": (1, 8400, 1)},
            "deepstream",
            ("boxes", "scores", "classes"),
        ),
        (
            {},
            {
                "detection_classes": (1, 100),
                "num_detections": (1, 1),
                "detection_boxes": (1, 100, 4),
                "detection_scores": (1, 100),
            },
            "efficientnms",
            ("num_detections", "detection_boxes", "detection_scores", "detection_classes"),
        ),
        ({"task": "segment"}, {"protos": (1, 32, 160, 160), "a": (1, 116, 8400)}, "raw", ("a", "protos")),
        ({"task": "segment"}, {"a": (1, 300, 38), "protos": (1, 32, 160, 160)}, "end2end", ("a", "protos")),
        ({"task": "pose", "classes": 1, "kpt_shape": (17, 3)}, {"a": (1, 56, 8400)}, "raw", ("a",)),
        ({"task": "pose", "classes": 1, "kpt_shape": (17, 3)}, {"a": (1, 300, 57)}, "end2end", ("a",)),
        ({"task": "obb", "classes": 15}, {"a": (1, 20, 8400)}, "raw", ("a",)),
        ({"task": "obb", "classes": 15}, {"a": (1, 300, 7)}, "end2end", ("a",)),
        ({"decodes": True}, {"a": (1, 300, 84)}, "raw", ("a",)),
        ({"task": "classify", "classes": 1000}, {"a": (1, 1000)}, "classes", ("a",)),
    ],
)
def test_a_layout_is_known(more: dict[str, Any], outputs: Any, layout: str, order: tuple[str, ...]) -> None:
    assert recognise(outputs, Expected(**{**COCO, **more})) == (layout, order)


@pytest.mark.parametrize(
    ("more", "outputs", "said"),
    [
        ({}, {"output0": (1, 24, 8400)}, "its output output0 has 20 classes (1x24x8400), not 80"),
        ({}, {"output0": (1, 84, 2100)}, "its outputs (output0 1x84x2100) are of no known layout"),
        (
            {"classes": 2},
            {"output0": (1, 8400, 6)},
            "its output output0 (1x8400x6) may be a raw head of two classes that is transposed, or DeepStream-Yolo's "
            "boxes: say which by layout = 'transposed' or 'deepstream'",
        ),
        ({"task": "segment"}, {"output0": (1, 116, 8400)}, "masks need a second output"),
        ({"task": "classify", "classes": 10}, {"a": (1, 1000)}, "a classifier of 10 classes has 1x10"),
        ({"batch": 2}, {"output0": (1, 84, 8400)}, "are of no known layout"),
        ({}, {"boxes": (1, 100, 4), "count": (1, 1)}, "are of no known layout"),
    ],
)
def test_others_are_a_sentence(more: dict[str, Any], outputs: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r"output|masks|classifier") as error:
        recognise(outputs, Expected(**{**COCO, **more}))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "IRuntime::deserializeCudaEngine: Error Code 6: (The engine plan file is not compatible with "
            "this version of TensorRT, expecting library version 10.3.0.26 got 8.6.1.6, please rebuild.)",
            "it was built with TensorRT 8.6.1.6, and this is 10.3.0.26",
        ),
        (
            "IPluginRegistry::getCreator: Error Code 4: (Cannot find plugin: EfficientNMS_TRT, version: 1)",
            "it needs the plugin EfficientNMS_TRT, which this TensorRT does not have",
        ),
        (
            "The plan file is generated on an incompatible device, expecting compute 9.0 got compute 8.6, please",
            "it was built for a GPU of compute capability 8.6, this has 9.0",
        ),
        ("Magic tag does not match", "it is truncated, or no plan"),
        ("something\n else", "something else"),
    ],
)
def test_what_tensorrt_refuses_is_a_few_words(said: str, why: str) -> None:
    assert why_refused([said]) == why
