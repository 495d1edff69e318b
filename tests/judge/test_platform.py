"""What all arms of a run share since the stored sessions."""

from __future__ import annotations

import pytest
from judge_example import launches, stored, timing

from pytest_trtgate.judge.latency.candidate import Against, Candidate
from pytest_trtgate.judge.latency.first_launch import Question, may_have_moved
from pytest_trtgate.judge.latency.platform import PlatformChange, platform_change
from pytest_trtgate.records.baseline import Baseline, BaselineLaunch
from pytest_trtgate.records.latency import LatencyRecord, MachineState


def named(record: LatencyRecord, **sha256: str) -> LatencyRecord:
    """Return launches whose arms have such bytes."""
    found = []
    for launch in record.launches:
        arms = {name: arm.model_copy(update={"sha256": sha256.get(name, name)}) for name, arm in launch.arms.items()}
        found.append(launch.model_copy(update={"arms": arms}))
    return record.model_copy(update={"launches": tuple(found)})


def then(*sessions: tuple[float, float]) -> Baseline:
    """Return stored sessions of an engine and its ``.pt``, one launch each."""
    base = stored(*(engine for engine, _ in sessions))
    beside = [
        session.model_copy(
            update={"reference_sha256": "pt", "reference": (BaselineLaunch(timings={"engine": timing(pt)}),)}
        )
        for session, (_, pt) in zip(base.sessions, sessions, strict=True)
    ]
    return base.model_copy(update={"engine_sha256": "accepted", "sessions": tuple(beside)})


SESSIONS = then((1.0, 5.6), (1.01, 5.65), (0.99, 5.55), (1.0, 5.6))


def now(engine: float, pt: float) -> LatencyRecord:
    record = launches(int8=[3.0] * 3, pt=[pt] * 3, **{"baseline-int8": [engine] * 3})
    return named(record, **{"baseline-int8": "accepted"})


def found(record: LatencyRecord, baseline: Baseline = SESSIONS) -> PlatformChange:
    change = platform_change(record, baseline)
    assert change is not None
    return change


def test_what_the_accepted_engine_and_the_checkpoint_lost_alike_is_the_machine() -> None:
    change = found(now(1.15, 6.4))
    assert change.is_sure
    assert change.change == pytest.approx(0.143, abs=0.001)
    assert change.sessions == 4
    assert [(c.arm, round(c.then_ms, 2), c.now_ms) for c in change.controls] == [
        ("baseline-int8", 1.0, pytest.approx(1.15)),
        ("pt", 5.6, pytest.approx(6.4)),
    ]


def test_a_faster_machine_is_told_too() -> None:
    change = found(now(0.85, 4.76))
    assert change.is_sure
    assert change.change == pytest.approx(-0.15, abs=0.001)


def test_what_one_control_alone_lost_is_not_the_machine() -> None:
    assert not found(now(1.15, 5.6)).is_sure
    assert not found(now(1.0, 6.4)).is_sure
    opposite = found(now(1.15, 4.76))
    assert (opposite.is_sure, opposite.change) == (False, 0.0)


def test_what_sessions_differ_by_is_not_the_machine() -> None:
    assert not found(now(1.03, 5.7)).is_sure
    wild = then((1.0, 5.6), (1.2, 6.6), (0.85, 4.7), (1.1, 6.0))
    assert not found(now(1.2, 6.7), wild).is_sure


def test_more_sessions_sharpen_what_can_be_told() -> None:
    widths = [
        change.upper - change.lower
        for count in (1, 2, 4, 12)
        for change in [found(now(1.0, 5.6), then(*[(1.0, 5.6)] * count))]
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] / 3


def test_an_engine_with_the_accepted_bytes_is_a_control_itself() -> None:
    record = named(launches(int8=[1.15] * 3), int8="accepted")
    assert [control.arm for control in found(record).controls] == ["int8"]


def test_without_a_control_nothing_is_said_of_the_machine() -> None:
    assert platform_change(named(launches(int8=[1.15] * 3, pt=[6.4] * 3), pt="other"), SESSIONS) is None
    assert platform_change(now(1.15, 6.4), then()) is None


def test_launches_that_were_not_fit_say_nothing_of_the_machine() -> None:
    record = now(1.15, 6.4)
    hot = record.launches[0].model_copy(update={"before": MachineState(throttle_reasons=("heat",))})
    assert platform_change(record.model_copy(update={"launches": (hot, *record.launches[1:])}), SESSIONS) is None


@pytest.mark.parametrize(
    ("ms", "moved"),
    [
        ({"fp16": 1.0, "int8": 1.0}, False),
        ({"fp16": 1.04, "int8": 1.0}, False),  # by itself an engine is as far from its sessions in three of ten runs
        ({"fp16": 1.04, "int8": 0.96}, False),
        ({"fp16": 1.04, "int8": 1.04}, True),
        ({"fp16": 1.3, "int8": 1.0}, True),  # so far that a verdict says so
        ({"int8": 1.04}, True),
    ],
)
def test_engines_without_the_checkpoint_are_controls_of_each_other(ms: dict[str, float], moved: bool) -> None:
    record = named(launches(**{arm: [value] for arm, value in ms.items()}), **dict.fromkeys(ms, "accepted"))
    questions = []
    for arm in ms:
        baseline = SESSIONS.model_copy(update={"cell": SESSIONS.cell.model_copy(update={"precision": arm})})
        questions.append(Question(Candidate(record, arm, "engine", {}), against=Against(baseline, same_engine=True)))
    assert may_have_moved(questions) is moved
