"""Calibration of several images at a time: the same observations, in the same order."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_trtgate.workers.building.parallel_calibration import AT_A_TIME, RunAhead


class Session:
    """Takes the longer for an input the earlier it is, and notes how many it runs at a time."""

    def __init__(self, images: int) -> None:
        self.images = images
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def get_outputs(self) -> list[str]:
        """Return what its outputs are called."""
        return ["minimum"]

    def run(self, names: None, inputs: dict[str, int]) -> list[int]:
        """Return the square of an input; refuse the number 13."""
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.001 * (self.images - inputs["image"]))
        with self._lock:
            self.running -= 1
        if inputs["image"] == 13:
            raise RuntimeError("no memory")
        return [inputs["image"] ** 2]


class Reader:
    """Gives the numbers from 0."""

    def __init__(self, images: int) -> None:
        self._numbers = iter(range(images))

    def get_next(self) -> dict[str, int] | None:
        """Return the next number as inputs; None after the last."""
        number = next(self._numbers, None)
        return None if number is None else {"image": number}


def observed(images: int) -> tuple[list[int], Session]:
    """Return what is observed of some images by a loop as the calibrator has it."""
    session, found = Session(images), []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        ahead = RunAhead(session, Reader(images), pool)
        while inputs := ahead.get_next():
            assert ahead.get_outputs() == ["minimum"]
            found += ahead.run(None, inputs)
        assert ahead.get_next() is None
    return found, session


def test_images_are_observed_in_their_order_though_several_run_at_a_time() -> None:
    found, session = observed(10)
    assert found == [number**2 for number in range(10)]
    assert session.most == AT_A_TIME
    assert observed(0)[0] == []


def test_what_goes_wrong_with_an_image_is_raised_where_its_turn_is() -> None:
    with pytest.raises(RuntimeError, match="no memory"):
        observed(20)
