"""Calibration of several images at a time: the least and the greatest values of all, of the tensors that are read."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_trtgate.workers.building.parallel_calibration import Extremes, read_tensors

AT_A_TIME = 3


class Session:
    """Gives one output that nobody reads, and the least and the greatest of two tensors; refuses the number 13.

    The first images wait for each other, and so need that several are run at a time.
    """

    def __init__(self) -> None:
        self._first = threading.Barrier(AT_A_TIME, timeout=10)

    def get_outputs(self) -> list[Any]:
        """Return what its outputs are called."""
        return [SimpleNamespace(name=name) for name in ("boxes", "a_ReduceMin", "a_ReduceMax", "b_Min", "b_Max")]

    def run(self, names: list[str], inputs: dict[str, int]) -> list[Any]:
        """Return the outputs of those names for a number."""
        assert names == ["a_ReduceMin", "a_ReduceMax", "b_Min", "b_Max"]
        if inputs["image"] < AT_A_TIME:
            self._first.wait()
        if inputs["image"] == 13:
            raise RuntimeError("no memory")
        value = float((inputs["image"] * 7) % 10)
        return [np.array([found], np.float32) for found in (-value, value, value, np.nan if value == 9 else value)]


class Reader:
    """Gives the numbers from 0."""

    def __init__(self, images: int) -> None:
        self._numbers = iter(range(images))

    def get_next(self) -> dict[str, int] | None:
        """Return the next number as inputs; None after the last."""
        number = next(self._numbers, None)
        return None if number is None else {"image": number}


def observed(images: int) -> list[Any]:
    """Return what is observed of some images by a loop as the calibrator has it, for each that it is given."""
    one, found = Extremes(Session(), Reader(images), 1, AT_A_TIME), []
    while inputs := one.get_next():
        assert len(one.get_outputs()) == 5
        found.append(one.run(None, inputs))
    assert not one.get_next()
    return found


def test_the_calibrator_is_given_one_image_with_the_extremes_of_all() -> None:
    (found,) = observed(10)
    assert found[0] is None
    assert [value.tolist() for value in found[1:]] == [[-9.0], [9.0], [0.0], [8.0]]
    assert all(value.dtype == np.float32 for value in found[1:])


def test_without_images_the_calibrator_is_given_none() -> None:
    assert observed(0) == []


def test_what_goes_wrong_with_an_image_is_raised() -> None:
    with pytest.raises(RuntimeError, match="no memory"):
        observed(20)


def test_ranges_are_found_of_what_quantized_nodes_read_and_give_and_of_what_softmaxes_give() -> None:
    nodes = [("conv", "Conv", "x w", "a"), ("act", "Sigmoid", "a", "b"), ("mul", "Mul", "a b", "c")]
    nodes += [("heads", "Softmax", "c", "d"), ("last", "MatMul", "c v", "e")]
    graph = SimpleNamespace(
        node=[
            SimpleNamespace(name=name, op_type=kind, input=read.split(), output=[given])
            for name, kind, read, given in nodes
        ]
    )
    assert read_tensors(graph, {"act", "mul", "heads"}) == {"x", "w", "a", "c", "v", "e", "d"}
