"""Predictions in COCO's form, read and checked without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from project import png

from pytest_trtgate.errors import DataError
from pytest_trtgate.records import Description
from pytest_trtgate.workers.evaluating.predictions import Predictions, _pixels, read_predictions

ROW = {"image_id": "a", "category_id": 0, "bbox": [2.0, 3.0, 10.0, 8.0], "score": 0.5}
OTHER = {**ROW, "image_id": "7.png"}


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    pytest.importorskip("PIL", reason="sizes of images are read by it")
    for name in ("a.png", "7.png"):
        png(tmp_path / name, 9)
    return [str(tmp_path / "a.png"), str(tmp_path / "7.png")]


def read(folder: Path, content: Any, images: list[str] | None, task: str = "detect", **more: Any) -> Predictions:
    file = folder / "results.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    metadata = {"task": task, "names": {"0": "circle", "1": "square"}, "kpt_shape": [2, 2]}
    description = Description(metadata=metadata, layout="predictions", **more)
    return read_predictions(file, description, images or [], folder, whole=images is not None)


@pytest.mark.parametrize("name", ["7", 7, "7.png"])
def test_an_image_goes_by_its_name_or_number(tmp_path: Path, images: list[str], name: Any) -> None:
    found = read(tmp_path, [ROW, {**OTHER, "image_id": name}], images)
    assert [one.score for one in found.of(images[1])] == [0.5]


def test_an_image_goes_by_its_path_on_another_machine(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="sizes of images are read by it")
    here = [tmp_path / "images" / "test" / name for name in ("a.png", "7.png")]
    here[0].parent.mkdir(parents=True)
    for image in here:
        png(image, 9)
    images = list(map(str, here))

    def rows(*folders: str) -> list[dict[str, Any]]:
        return [{**ROW, "image_id": f"{folder}/{image.name}"} for folder, image in zip(folders, here, strict=True)]

    for folder in ("/data/images/test", "data/images/test"):
        found = read(tmp_path, rows(folder, folder), images)
        assert [len(found.of(image)) for image in images] == [1, 1]
    for folders in (("/data/images/train",) * 2, ("/data/images/test", "/more/images/test"), ("/data",) * 2):
        with pytest.raises(DataError, match="2 of its images are not evaluated, first '/"):
            read(tmp_path, rows(*folders), images)


def test_an_image_goes_by_an_id_that_the_file_lists(tmp_path: Path, images: list[str]) -> None:
    listed = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "7.png"}]
    found = read(tmp_path, {"images": listed, "annotations": [{**ROW, "image_id": 2}]}, images)
    assert (len(found.of(images[0])), len(found.of(images[1]))) == (0, 1)


def test_the_surest_come_first(tmp_path: Path, images: list[str]) -> None:
    found = read(tmp_path, [ROW, {**ROW, "score": 0.75}, OTHER], images)
    assert [one.score for one in found.of(images[0])] == [0.75, 0.5]


def test_a_class_goes_by_its_number_or_name(tmp_path: Path, images: list[str]) -> None:
    rows = [{**ROW, "category_id": "square"}, {**OTHER, "category_id": 1}]
    found = read(tmp_path, rows, images)
    assert [found.of(image)[0].cls for image in images] == [1, 1]
    found = read(tmp_path, [{**ROW, "category_id": 2}, {**OTHER, "category_id": 1}], images, first_category=1)
    assert [found.of(image)[0].cls for image in images] == [1, 0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([ROW], "1 of 2 evaluated images are not in it, first"),
        (
            [ROW, OTHER, {**ROW, "image_id": "b"}, {**ROW, "image_id": "c"}],
            "2 of its images are not evaluated, first 'b'",
        ),
        ([ROW, ROW, OTHER], "1 of the detections of image 'a' are there twice"),
        ([ROW, OTHER, {**ROW, "image_id": "a.png", "score": 0.75}], "a.png goes by 2 names: 'a' and 'a.png'"),
        ([{**ROW, "bbox": [0.1, 0.2, 0.3, 0.3]}, {**OTHER, "bbox": [0.5, 0.5, 0.2, 0.2]}], "shares of the image"),
        ([{**ROW, "bbox": [20, 20, 31, 31]}, OTHER], "1 of 2 boxes reach beyond their images"),
        ([{**ROW, "score": 50}, OTHER], "detection 1 of 2 has the score 50, not one from 0 to 1"),
        (
            [ROW, {**OTHER, "category_id": 2}],
            "detection 2 of 2 has the category 2, and classes are 0 to 1, from 0 on; where",
        ),
        ([ROW, {**OTHER, "category_id": "star"}], "has the category 'star'"),
        ([ROW, {"image_id": "7", "score": 0.5, "category_id": 0}], "detection 2 of 2 has no 'bbox'"),
        ([{**ROW, "bbox": [1, 2, 3]}], "has the bbox [1, 2, 3], not four numbers"),
        ([{**ROW, "bbox": [1, 2, 3, float("nan")]}], "has the bbox [1, 2, 3, nan], not four numbers"),
        ([{**ROW, "score": 10**400}], "detection 1 of 1 int too large"),
        ([{**ROW, "category_id": 0.7}], "has the category 0.7, and classes are 0 to 1"),
        (
            {"images": [{"id": 0, "file_name": "a.png"}, {"id": 0, "file_name": "7.png"}], "annotations": []},
            "several of its images have the id 0",
        ),
        ({"images": [{"id": 1}]}, "each of its images needs an id and a file_name"),
        ({"images": []}, "not a list of detections"),
        ("{", "not JSON"),
        (["a"], "detection 1 of 1"),
    ],
)
def test_what_is_wrong_is_a_sentence(tmp_path: Path, images: list[str], content: Any, said: str) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, content, images)
    assert said in str(error.value)


def test_key_points_need_as_many_numbers_as_the_model_has(tmp_path: Path, images: list[str]) -> None:
    with pytest.raises(DataError, match="5 numbers of key points, not 2 x 2"):
        read(tmp_path, [{**ROW, "keypoints": [1, 2, 3, 4, 5]}], images, task="pose")
    found = read(tmp_path, [{**row, "keypoints": [1, 2, 0.9, 3, 4, 0.8]} for row in (ROW, OTHER)], images, task="pose")
    assert found.of(images[0])[0].keypoints == (1, 2, 3, 4)


def test_key_points_are_numbers(tmp_path: Path, images: list[str]) -> None:
    with pytest.raises(DataError, match="detection 1 of 1 has key points that are no numbers"):
        read(tmp_path, [{**ROW, "keypoints": [1, 2, 3, float("nan")]}], images, task="pose")


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ([[1, 1, 3]], "has a polygon that is no list of x and y"),
        ([[1, 1, 3, float("inf")]], "has a polygon that is no list of x and y"),
        ({"size": [9, 9], "counts": [80, 2]}, "has a mask whose run lengths are not of its size, [9, 9]"),
        ({"size": [9, 9], "counts": [-1, 82]}, "has a mask whose run lengths are not of its size, [9, 9]"),
        ({"size": [9, 9], "counts": "o" * 1_300_000}, "has a mask whose run lengths are not of its size, [9, 9]"),
        ({"size": [9, 9], "counts": "P"}, "has a mask whose run lengths end in the midst of one"),
        ({"size": [9, 9]}, "has no 'counts'"),
    ],
)
def test_what_is_wrong_with_a_mask_is_told_before_it_is_evaluated(
    tmp_path: Path, images: list[str], mask: Any, said: str
) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, [{**ROW, "segmentation": mask}, OTHER], images, task="segment")
    assert f"detection 1 of 2 {said}" in str(error.value)


def test_a_name_of_two_classes_tells_of_none(tmp_path: Path) -> None:
    description = Description(metadata={"task": "detect", "names": {"0": "a", "1": "a"}}, layout="predictions")
    (tmp_path / "results.json").write_text(json.dumps([{**ROW, "category_id": "a"}]))
    with pytest.raises(DataError, match="has the category 'a', and classes are 0 to 1"):
        read_predictions(tmp_path / "results.json", description, [], tmp_path, whole=False)


@pytest.mark.parametrize("task", ["obb", "classify"])
def test_tasks_without_such_a_form_are_refused(tmp_path: Path, task: str) -> None:
    with pytest.raises(DataError, match=f"no form for the task {task}"):
        read(tmp_path, [], None, task=task)


def test_masks_are_read_in_all_three_forms() -> None:
    pytest.importorskip("cv2")
    expected = np.zeros((4, 5), dtype=np.uint8)
    expected[1:3, 1:4] = 1
    counts = [5, 2, 2, 2, 2, 2, 5]
    for form in ({"size": [4, 5], "counts": counts}, {"size": [4, 5], "counts": "5220003"}):
        assert (_pixels(form, (4, 5)) == expected).all()
    assert (_pixels([[1, 1, 3, 1, 3, 2, 1, 2]], (4, 5)) == expected).all()
    with pytest.raises(DataError, match="a mask has the size"):
        _pixels({"size": [5, 4], "counts": counts}, (4, 5))
