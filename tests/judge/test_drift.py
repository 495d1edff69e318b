"""Whether two sets of images look alike."""

from __future__ import annotations

import random

import pytest

from pytest_trtgate.judge.drift import distance, shift, unlike


def drawn(seed: int, count: int, mean: float, spread: float = 0.1) -> list[float]:
    dice = random.Random(seed)
    return [dice.gauss(mean, spread) for _ in range(count)]


def test_the_distance_is_the_largest_gap_of_shares() -> None:
    assert distance([1, 2, 3, 4], [1, 2, 3, 4]) == 0
    assert distance([1, 2], [3, 4]) == 1
    assert distance([1, 2, 3, 4], [3, 4, 5, 6]) == pytest.approx(0.5)
    assert distance([], [1]) == 0


def test_the_shift_is_in_the_unit_of_the_values() -> None:
    assert shift([1, 2, 3], [4, 5, 6]) == pytest.approx(3)
    assert shift([1, 1, 1], [1, 1]) == 0
    assert shift([0, 1], [0, 1, 0, 1]) == 0


def test_samples_of_one_population_are_alike() -> None:
    pairs = [(drawn(n, 256, 0.4), drawn(1000 + n, 100, 0.4)) for n in range(50)]
    assert [unlike(a, b, 0.01) for a, b in pairs] == [None] * 50


def test_a_shift_that_can_be_seen_is_found() -> None:
    assert unlike(drawn(1, 256, 0.4), drawn(2, 200, 0.5), 0.05) is not None
    assert unlike(drawn(1, 256, 0.4), drawn(2, 200, 0.43), 0.05) is None


def test_a_few_images_prove_nothing() -> None:
    assert unlike([0.1, 0.2], [0.8, 0.9], 0.05) is None
    assert unlike([], [0.8], 0.05) is None


def test_a_distance_that_nobody_sees_is_none() -> None:
    assert unlike(drawn(1, 256, 0.4, 0.001), drawn(2, 200, 0.41, 0.001), 0.05) is None
