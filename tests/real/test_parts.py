"""A split that is evaluated in parts has the accuracy of one pass, in every task, with the real Ultralytics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forking_launcher import ForkingLauncher
from material import build_request
from task_material import TaskMaterial, make_tasks

from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs import AccuracyArm, AccuracyRequest, BuildRequest, Job, MergeArm, MergeRequest, Request
from pytest_trtgate.records import METRICS, AccuracySettings

pytestmark = pytest.mark.real
IMAGES = 16
"""Two turns of the arms: the first of three parts has no images."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TaskMaterial]:
    return make_tasks(tmp_path_factory.mktemp("parts") / "made", images=IMAGES)


class Evaluated:
    """Evaluates a checkpoint and its FP32 engine, in one pass or in parts."""

    def __init__(self, launcher: ForkingLauncher, material: TaskMaterial, folder: Path) -> None:
        self.launcher, self.material, self.folder = launcher, material, folder
        asked = build_request(material.weights, folder / "engine", imgsz=material.kind.imgsz)
        built = self.job("build", BuildRequest.model_validate(asked))
        self.arms = {"pt": material.weights, "fp32": folder / "engine" / built.artifact}

    def job(self, name: str, request: Request[Any]) -> Any:
        return self.launcher.run(Job(name, request, "cpu", 300.0), self.folder / name, lambda _: None)

    def part(self, part: int, parts: int, **how: Any) -> tuple[Any, dict[str, Path]]:
        """Return the answer of one part, and where its records are."""
        name = f"{part}-of-{parts}"
        places = {arm: self.folder / f"{arm}-{name}.npz" for arm in self.arms}
        usual = {"split": "test", "imgsz": self.material.kind.imgsz, "batch": 1, "conf": 0.001, "iou": 0.7}
        request = AccuracyRequest(
            arms=tuple(
                AccuracyArm(arm=arm, artifact=str(path), per_image=str(places[arm])) for arm, path in self.arms.items()
            ),
            data=str(self.material.data),
            device="cpu",
            settings=AccuracySettings.model_validate({**usual, "max_det": 300, **how}),
            sparing=bool(how),
            part=(part, parts),
        )
        return self.job(name, request), places

    def whole(self, **how: Any) -> dict[str, Any]:
        """Return the accuracy of one pass, and its arrays, by arm."""
        answer, places = self.part(1, 1, **how)
        assert not answer.failures
        return {arm: (found, dict(np.load(places[arm]))) for arm, found in answer.arms.items()}

    def in_parts(self, parts: int, **how: Any) -> dict[str, Any]:
        """Return the same of parts that were merged."""
        done = [self.part(number + 1, parts, **how) for number in range(parts)]
        images = [answer.arms["pt"].images for answer, _ in done]
        assert sum(images) == IMAGES
        assert max(images) < IMAGES or parts == 1
        assert all(places["pt"].exists() == bool(count) for count, (_, places) in zip(images, done, strict=True))
        merged = tuple(
            MergeArm(
                arm=arm,
                task=done[0][0].arms[arm].task,
                parts=tuple(str(places[arm]) for _, places in done if places[arm].exists()),
                per_image=str(self.folder / f"{arm}-merged.npz"),
            )
            for arm in self.arms
        )
        answer = self.job(f"merge-{parts}", MergeRequest(arms=merged))
        return {one.arm: (answer.arms[one.arm], dict(np.load(one.per_image))) for one in merged}


@pytest.mark.parametrize("name", ["segment", "pose", "obb", "classify", "rtdetr"])
def test_parts_that_are_merged_equal_one_pass_to_the_last_digit(
    made: dict[str, TaskMaterial], launcher: ForkingLauncher, tmp_path: Path, name: str
) -> None:
    evaluated = Evaluated(launcher, made[name], tmp_path)
    whole = evaluated.whole()
    for parts in (1, 2, 3):
        for arm, (found, arrays) in evaluated.in_parts(parts).items():
            one, its_arrays = whole[arm]
            assert (found.task, found.images, found.instances) == (one.task, IMAGES, one.instances)
            assert set(found.metrics) == set(METRICS[one.task])
            assert found.metrics == one.metrics
            assert found.classes == one.classes
            assert arrays.keys() == its_arrays.keys()
            for key, array in arrays.items():
                assert array.dtype == its_arrays[key].dtype, key
                assert np.array_equal(array, its_arrays[key]), key


def test_parts_of_batches_in_rectangles_equal_one_pass(
    made: dict[str, TaskMaterial], launcher: ForkingLauncher, tmp_path: Path
) -> None:
    evaluated = Evaluated(launcher, made["segment"], tmp_path)
    del evaluated.arms["fp32"]  # its shape is fixed
    how = {"rect": True, "batch": 3}
    (one, its_arrays), (found, arrays) = evaluated.whole(**how)["pt"], evaluated.in_parts(3, **how)["pt"]
    assert (found.metrics, found.classes) == (one.metrics, one.classes)
    assert list(arrays["images"]) == list(its_arrays["images"])
    assert list(arrays["images"]) != sorted(arrays["images"])


def test_parts_that_overlap_are_refused(
    made: dict[str, TaskMaterial], launcher: ForkingLauncher, tmp_path: Path
) -> None:
    evaluated = Evaluated(launcher, made["classify"], tmp_path)
    answer, places = evaluated.part(2, 2)
    arm = MergeArm(arm="pt", task="classify", parts=(str(places["pt"]),) * 2, per_image=str(tmp_path / "merged.npz"))
    assert answer.arms["pt"].metrics == {}
    with pytest.raises(JobError, match="evaluated in two parts of the split"):
        evaluated.job("merge", MergeRequest(arms=(arm,)))
