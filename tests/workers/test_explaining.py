"""Numbers of an explanation out of those that the joint graph tells: decibels, ranges, and images that set them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_trtgate.records import Layer
from pytest_trtgate.workers.explaining.explain import CLEAN_DB, decibels, noise_of, outliers_of, ranges_of

LAYERS = [Layer(name=name, node=f"/{name}/Conv", words=f"the {name}") for name in ("stem", "neck")]


def joint(*limits: Any) -> Any:
    return SimpleNamespace(layers=LAYERS, ranges=list(limits), lower=[True, False])


def test_a_ratio_of_energies_is_ten_times_its_logarithm() -> None:
    assert decibels(1000.0, 1.0) == 30
    assert decibels(1.0, 63.0**2) == pytest.approx(-35.99)
    assert decibels(1.0, 0.0) == CLEAN_DB
    assert decibels(1.0, float("inf")) == decibels(1.0, float("nan")) == -CLEAN_DB


def test_layers_are_ranked_by_the_noise_that_they_add_and_not_by_what_arrives() -> None:
    #                    signal arriving local low high clipped
    one = [[100.0, 50.0, 1.0, 0, 0, 0], [100.0, 1.0, 10.0, 0, 0, 0]]
    other = [[100.0, 100.0, 1.0, 0, 0, 0], [100.0, 1.0, 10.0, 0, 0, 0]]
    first, second = noise_of(joint(None, None), np.array([one, other]), [False, True])
    assert (first.name, first.local_db, first.arriving_db, first.lower) == ("neck", 10, 20, False)
    assert (second.name, second.local_db, second.worst_db) == ("stem", 20, 0)
    assert noise_of(joint(None, None), np.array([one]), [False])[0].worst_db is None


def test_ranges_tell_what_is_clipped_and_what_no_value_reaches() -> None:
    limits = SimpleNamespace(low=-1.0, high=3.0)
    numbers = np.array([[[0, 0, 0, -0.5, 0.5, 0.0]] * 2, [[0, 0, 0, 0.0, 1.5, 0.5]] * 2], dtype=float)
    (found,) = ranges_of(joint(limits, None), numbers)
    assert (found.name, found.seen_low, found.seen_high) == ("stem", -0.5, 1.5)
    assert (found.clipped, found.unused) == (0.25, 0.5)


def test_an_image_is_an_outlier_where_it_alone_gets_far_from_zero() -> None:
    far = np.array([[1.0, 1.0], [1.1, 9.0], [1.2, 1.1], [1.3, 0.9]])
    (found,) = outliers_of(list("abcd"), far, ["the stem", "the neck"])
    assert (found.image, found.layers, found.layer) == ("b", 1, "the neck")
    assert found.times == pytest.approx(9 / 1.05, abs=0.01)
