"""The launches of a model where the place at which an engine is loaded makes it slower."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from judge_example import launches

from pytest_trtgate.jobs.contract import ArmRequest, LatencyRequest
from pytest_trtgate.judge.latency.candidate import Candidate
from pytest_trtgate.judge.latency.regression import decide_regression
from pytest_trtgate.measuring.launches import Extension, LaunchSeries
from pytest_trtgate.records.cell import PRECISIONS, placebo_of, replay_of
from pytest_trtgate.records.latency import LatencyRecord, Launch
from pytest_trtgate.settings.latency import Limit

LIMITS = {"p50": Limit(regression=0.02)}


def first(place: int) -> float:
    """Return by how much an engine is slower that is loaded first."""
    return 0.015 if place == 0 else 0.0


def later(place: int) -> float:
    """Return by how much an engine is slower at each place."""
    return 0.0025 * place


def arms_of(precisions: tuple[str, ...]) -> list[ArmRequest]:
    """Return the arms of a model, in the order in which a run asks for them."""
    engines = [*precisions, *map(replay_of, precisions)]
    files = {"pt": "m.pt", **{name: f"{name}.onnx" for name in engines}}
    return [ArmRequest(arm=name, artifact=file, sha256="") for name, file in files.items()]


def launched(name: str, index: int, arms: list[ArmRequest], kind: str, effect: Callable[[int], float]) -> Launch:
    """Return a launch of engines that are all as fast, but for the places at which they are loaded."""
    order = LatencyRequest.model_construct(index=index, arms=tuple(arms)).load_order
    places = ["" if arm.spare else arm.arm for arm in order if arm.artifact.endswith(".onnx")]
    taken = {arm: [4.0 * (1 + effect(place))] for place, arm in enumerate(places)}
    (launch,) = launches(pt=[9.0], **{arm: taken[arm] for arm in taken if arm}).launches
    return launch.model_copy(update={"index": index})


def extended(total: int, arms: frozenset[str]) -> Callable[[LatencyRecord], Extension | None]:
    """Return what asks for three launches of all engines, and then for so many of these arms."""

    def more(record: LatencyRecord) -> Extension | None:
        if len(record.launches) < 3:
            return Extension(3, frozenset(record.launches[0].arms) - {"pt"})
        return Extension(total, arms) if len(record.launches) < total else None

    return more


@pytest.mark.parametrize("effect", [first, later])
@pytest.mark.parametrize("total", [3, 5, 8, 12])
@pytest.mark.parametrize("precisions", [PRECISIONS[:1], PRECISIONS[1:], PRECISIONS])
def test_the_place_of_loading_biases_no_arm(
    precisions: tuple[str, ...], total: int, effect: Callable[[int], float]
) -> None:
    for undecided in precisions:
        replay = replay_of(undecided)
        more = extended(total, frozenset({undecided, replay, placebo_of(replay)}))
        start = LatencyRecord(model="m", imgsz=320, batch=1, launches=())
        series = LaunchSeries(
            start, arms_of(precisions), lambda *asked: launched(*asked, effect=effect), lambda sentence: None
        )
        record = series.run(Extension(3, frozenset(arm.arm for arm in series.arms)), more)
        assert len(record.of_arm(undecided)) == total
        assert len(record.of_arm(placebo_of(replay))) == total - 3
        for precision in precisions:
            decision = decide_regression(Candidate(record, precision, "engine", LIMITS), last=True)
            assert decision is not None
            assert abs(decision.quantities["p50"].change) < 0.001, precision
