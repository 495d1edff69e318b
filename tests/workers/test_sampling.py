"""When sampling inside a launch ends."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_trtgate.jobs.contract import ArmRequest, LatencyRequest
from pytest_trtgate.settings.latency import Latency
from pytest_trtgate.workers.timing import latency
from pytest_trtgate.workers.timing.gpu import Sensors
from pytest_trtgate.workers.timing.latency import Series, agree
from pytest_trtgate.workers.timing.sampling import half_width, is_sharp

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("percent", [50, 95])
def test_limits_of_a_percentile_hold_it_as_often_as_they_say(percent: int) -> None:
    true, held = np.quantile(RNG.normal(10, 0.5, 1_000_000), percent / 100), 0
    for _ in range(400):
        times = RNG.normal(10, 0.5, 400)
        middle = np.quantile(times, percent / 100)
        held += abs(middle - true) <= half_width(times, percent, 10) * middle
    assert 0.92 <= held / 400 <= 0.99


def test_inferences_that_follow_each_other_count_for_less() -> None:
    blocks = np.repeat(RNG.normal(10, 0.5, 40), 10)
    shuffled = RNG.permutation(blocks)
    assert half_width(blocks, 50, 10) > 2 * half_width(shuffled, 50, 10)


def test_few_inferences_tell_nothing() -> None:
    times = RNG.normal(10, 0.001, 59)
    assert half_width(times, 50, 10) == math.inf
    assert half_width(RNG.normal(10, 0.001, 60), 50, 10) < 0.001
    assert half_width(RNG.normal(10, 0.001, 60), 99, 10) == math.inf


def test_what_nothing_is_asked_of_is_never_known_enough() -> None:
    times = RNG.normal(10, 0.001, 100)
    assert not is_sharp(times, {}, 10)
    assert is_sharp(times, {"p50": 0.01}, 10)
    assert not is_sharp(times, {"p50": 0.01, "p99": 0.01}, 10)


@pytest.mark.parametrize(("earlier", "later", "steady"), [(10, 10.4, True), (10, 9, False), (10, 11, False)])
def test_quiet_windows_are_steady_within_a_twentieth(earlier: float, later: float, steady: bool) -> None:
    windows = [[int(1e6 * (centre + 0.01 * n)) for n in range(10)] for centre in (earlier, later)]
    assert agree(*windows) is steady


def test_noisy_windows_are_steady_where_they_differ_by_no_more_than_noise() -> None:
    noisy = [int(1e6 * (10 + n)) for n in range(10)]
    assert agree(noisy, [time + 3_000_000 for time in noisy])
    assert not agree(noisy, [time + 6_000_000 for time in noisy])


class Played(Series):
    """An arm that takes as long as it is told to, by a clock of its own."""

    spread_ns = 0

    def once(self, number: int) -> tuple[int, ...]:
        return 0, 20_000_000 + int(self.spread_ns * RNG.normal())


def played(sharp: dict[str, dict[str, float]], spread_ns: dict[str, int]) -> dict[str, int]:
    """Return how many inferences of each arm a launch times."""
    arms = [ArmRequest(arm=arm, artifact=f"{arm}.onnx", sha256="", sharp=asked) for arm, asked in sharp.items()]
    rules = Latency(samples=300, max_seconds=100)
    request = LatencyRequest.model_construct(
        index=0, arms=tuple(arms), device="cpu", contexts=("engine",), gated="engine", rules=rules
    )
    every = []
    for asked in arms:
        arm: Any = SimpleNamespace(name=asked.arm)
        every.append(Played(arm, asked, "engine", [], []))
        every[-1].spread_ns = spread_ns[asked.arm]
    gpu = Sensors(None, None)
    latency._warm_up(every, request, "launch 1", gpu)
    latency._measure(every, request, "launch 1", gpu)
    return {series.arm.name: len(series.readings) for series in every}


def test_sampling_ends_once_what_is_asked_is_known() -> None:
    found = played({"pt": {"p50": 0.01}, "fp32": {}}, {"pt": 20_000, "fp32": 20_000})
    assert found == {"pt": 60, "fp32": 300}


def test_arms_that_are_compared_get_equal_numbers() -> None:
    noise = {"fp16": 20_000, "baseline-fp16": 4_000_000, "int8": 20_000}
    found = played({arm: {"p50": 0.02} for arm in noise}, noise)
    assert found["fp16"] == found["baseline-fp16"] > 100
    assert found["int8"] == 60
