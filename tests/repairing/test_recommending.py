"""Which of the rows that a search found is recommended, and which are worth timing."""

from __future__ import annotations

import pytest

from pytest_trtgate.quantizing import Candidate, Trial
from pytest_trtgate.repairing.recommending import Row, answer, worth_timing
from pytest_trtgate.settings import Int8

START = Candidate()


def row(name: str, excess: float, kept: int, p50_ms: float | None = None) -> Row:
    """Return what came of keeping a block; no name stands for the settings of now."""
    candidate = Candidate(Int8(keep=(name,))) if name else START
    return Row(Trial(candidate, 1.0, excess), tuple(map(str, range(kept))), 100 * kept, p50_ms)


def recommended(*rows: Row) -> list[str]:
    """Return the names of the rows that are recommended."""
    return [one.trial.candidate.asked.keep[0] for one in answer(rows, START, alike=0.05) if one.recommended]


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ((row("a", -0.001, 9, 1.0), row("b", -0.001, 3, 1.04)), ["b"]),
        ((row("a", -0.001, 9, 1.0), row("b", -0.001, 3, 1.2)), ["a"]),
        ((row("a", 0.001, 1, 0.5), row("b", -0.001, 3, 1.2)), ["b"]),
        ((row("a", -0.001, 9), row("b", -0.001, 3)), ["b"]),
        ((row("a", 0.001, 9, 1.0), row("b", 0.002, 3, 1.0)), []),
        ((row("a", -0.001, 3, 1.0), row("b", -0.002, 3, 1.0)), ["b"]),
    ],
)
def test_what_passes_is_fastest_and_of_equals_keeps_least_is_recommended(
    rows: tuple[Row, ...], name: list[str]
) -> None:
    assert recommended(row("", 0.2, 0, 1.0), *rows) == name


def test_the_settings_of_now_come_first_and_the_recommended_next() -> None:
    rows = answer((row("a", 0.1, 1), row("b", -0.01, 2), row("", 0.2, 0), row("c", -0.1, 9)), START, alike=0.05)
    assert [one.trial.candidate.asked.keep for one in rows] == [(), ("b",), ("c",), ("a",)]


def test_what_another_beats_in_accuracy_and_in_cost_is_not_timed() -> None:
    rows = [row("a", -0.01, 5), row("b", -0.02, 3), row("", 0.2, 0), row("c", 0.1, 1), row("d", 0.3, 4)]
    assert [one.trial.candidate.asked.keep for one in worth_timing(rows, START)] == [(), ("b",), ("c",)]


def test_a_few_rows_are_timed_and_those_that_pass_first() -> None:
    rows = [row("", 0.2, 0), *(row(f"f{n}", 0.1 - 0.01 * n, 1 + n) for n in range(8)), row("p", -0.01, 20)]
    timed = [one.trial.candidate.asked.keep for one in worth_timing(rows, START)]
    assert len(timed) == 6
    assert timed[:2] == [(), ("p",)]
