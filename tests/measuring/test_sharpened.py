"""How sharp the times of each arm have to be in a launch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

from judge_example import launches

from pytest_trtgate.jobs import ArmRequest
from pytest_trtgate.judge.latency.candidate import Candidate
from pytest_trtgate.judge.latency.first_launch import Question
from pytest_trtgate.measuring.latencies import sharpened
from pytest_trtgate.settings import Speedup
from pytest_trtgate.settings.latency import Limit

ARMS = [ArmRequest(arm=arm, artifact=f"{arm}.onnx", sha256="") for arm in ("pt", "fp16", "int8")]
P50, P95 = {"p50": Limit(regression=0.05)}, {"p95": Limit(regression=0.1)}


def asked(arm: str, limits: Mapping[str, Limit], speedup: Speedup | None = None) -> Question:
    return Question(Candidate(launches(pt=[]), arm, "engine", limits), stored=True, speedup=speedup)


def test_the_checkpoint_is_as_sharp_as_each_engine_needs_it_in_any_order() -> None:
    for questions in permutations([asked("fp16", P50 | P95), asked("int8", {"p50": Limit(regression=0.02)})]):
        checkpoint = sharpened(ARMS, questions)[0]
        assert checkpoint.sharp == {"p50": 0.1 * 0.02, "p95": 0.25 * 0.1}


def test_an_engine_that_others_are_compared_with_is_as_sharp_as_they_are() -> None:
    speedup = Speedup(over="fp16", at_least=1.2)
    for questions in permutations([asked("fp16", {"p50": Limit(regression=0.2)}), asked("int8", P50, speedup)]):
        assert sharpened(ARMS, questions)[1].sharp == {"p50": 0.1 * 0.05}


def test_all_samples_count_where_any_budget_asks_for_them() -> None:
    budget = {"p50": Limit(budget_ms=5.0)}
    for questions in permutations([asked("fp16", budget), asked("int8", P50, Speedup(over="fp16", at_least=1.2))]):
        assert sharpened(ARMS, questions)[1].sharp == {}
