"""Which block INT8 harms, found by halving: on networks that say themselves what each of their blocks costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from network_example import BACKBONE, NECK, head, named

from pytest_trtgate.explaining.blocks import guilty, of_blocks
from pytest_trtgate.quantizing import Candidate, Trial, block_names, matching
from pytest_trtgate.records import BlockSensitivity, Cell, Explanation
from pytest_trtgate.repairing import TimeIsUpError

LAYERS = tuple(named(BACKBONE | NECK | head(2, 3, 4), "pose").values())
BLOCKS = block_names(LAYERS)
CELL = Cell(model="best", precision="int8", imgsz=320, batch=1, backend="onnxruntime", device="cpu")
METRIC = "mAP50-95"


@dataclass
class FakeTrials:
    """Stands for trials of a network of which each block costs accuracy: ``harm``, and ``noise`` more on 16 images.

    ``tried`` has the blocks in INT8 and the number of images of each trial; after ``most`` the time is up.
    """

    harm: dict[str, float]
    images: int = 200
    noise: dict[str, float] = field(default_factory=dict)
    most: int = 1000
    given: Any = field(default_factory=lambda: SimpleNamespace(start=Candidate()))
    tried: list[tuple[tuple[str, ...], int]] = field(default_factory=list)

    def images_of(self, share: float) -> int:
        return min(self.images, max(16, round(share * self.images)))

    def evaluate(self, candidate: Candidate, share: float, what: str, metric: str) -> Trial:
        if len(self.tried) == self.most:
            raise TimeIsUpError
        kept = {layer.name for layer in matching(LAYERS, candidate.asked.keep)}
        within = tuple(b for b in BLOCKS if not {layer.name for layer in matching(LAYERS, [b])} <= kept)
        images = self.images_of(share)
        self.tried.append((within, images))
        few = self.noise if images == 16 else {}
        drop = sum(self.harm.get(block, 0.0) + few.get(block, 0.0) for block in within)
        return Trial(candidate, share, drop, {metric: drop, "mAP50": 0.0})

    def explained(self) -> Explanation:
        return of_blocks(Explanation(cell=CELL, metric=METRIC), self, LAYERS, self.images)  # type: ignore[arg-type]


def of(found: Explanation, name: str) -> BlockSensitivity:
    return next(block for block in found.blocks if block.name == name)


def test_half_of_the_blocks_are_tried_on_twice_as_many_images_and_half_of_those_again() -> None:
    trials = FakeTrials({"neck": 0.1, "stem": 0.01})
    found = trials.explained()
    all_but_one = Counter(images for within, images in trials.tried if len(within) == len(BLOCKS) - 1)
    half = -(-len(BLOCKS) // 2)
    assert all_but_one == {16: len(BLOCKS), 32: half, 64: -(-half // 2)}
    assert Counter(images for within, images in trials.tried if len(within) == 1) == {32: half, 64: -(-half // 2)}
    assert Counter(images for within, images in trials.tried if within == BLOCKS) == {16: 1, 32: 1, 64: 1}
    assert len(set(trials.tried)) == len(trials.tried)
    neck = of(found, "neck")
    assert (neck.images, neck.without, neck.alone) == (64, pytest.approx(0.01), pytest.approx(0.1))
    assert guilty(found).startswith("INT8 harms neck most: with its ")
    assert guilty(found).endswith("mAP50-95 falls by 0.0100 in place of 0.1100")


def test_a_block_that_looks_guilty_on_few_images_is_not_blamed() -> None:
    found = FakeTrials({"neck": 0.1}, noise={"stem": 0.3}).explained()
    assert "INT8 harms neck most" in guilty(found)
    assert of(found, "stem").images == 64
    assert found.saved(of(found, "stem")) == pytest.approx(0.0)


def test_what_a_dropped_block_saves_is_told_of_its_own_images() -> None:
    found = FakeTrials({"neck": 0.1, "head.classes": 0.02}, noise={"stage3": 0.001, "head.classes": -0.02}).explained()
    dropped = [block for block in found.blocks if block.images == 16]
    assert len(dropped) == len(BLOCKS) // 2
    assert all(block.alone is None for block in dropped)
    assert all(block.drop == pytest.approx(0.101) for block in dropped)
    assert found.blocks_drop == pytest.approx(0.12)
    assert found.blocks_note == (
        "drops of mAP50-95, all blocks on 16 images, and the half of them that saves most on 32 and then 64"
    )


@pytest.mark.parametrize("spare", [0, 2])
def test_where_the_time_ends_the_best_of_the_last_round_is_blamed(spare: int) -> None:
    trials = FakeTrials({"neck": 0.1}, most=1 + len(BLOCKS) + spare)
    found = trials.explained()
    assert "INT8 harms neck most" in guilty(found)
    assert of(found, "neck").images == (32 if spare else 16)
    assert "in the time (explain.minutes)" in found.blocks_note


def test_where_there_are_few_images_all_blocks_are_tried_on_all_alone_too() -> None:
    found = FakeTrials({"neck": 0.1, "stem": 0.02}, images=12).explained()
    assert {block.images for block in found.blocks} == {12}
    assert of(found, "stem").alone == pytest.approx(0.02)
    assert found.blocks_note == "drops of mAP50-95, all blocks on 12 images"


def test_where_no_block_saves_half_of_the_drop_none_is_blamed() -> None:
    assert guilty(FakeTrials({"neck": 0.1, "stem": 0.1, "stage3": 0.1}).explained()) == ""
    assert guilty(FakeTrials({}).explained()) == ""
