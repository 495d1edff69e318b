"""What the report says of limits, of the plan and of baselines, and the charts of one cell."""

from __future__ import annotations

import math
import re

import pytest
from page_reader import lines
from records_example import cell, course, drop_check, figures, verdict
from runs_example import failing_run, passing_run

from pytest_trtgate import text as fmt
from pytest_trtgate.records.figures import PrecisionRecall, Scores
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.verdict import Outcome
from pytest_trtgate.report import markdown, terminal
from pytest_trtgate.report.numbers import CellNumbers
from pytest_trtgate.report.page import cell_charts, charts, html, matrix, view
from pytest_trtgate.report.page.accuracy_view import DRAWN_CLASSES, accuracy_charts, class_table
from pytest_trtgate.report.page.overall import overall
from pytest_trtgate.report.page.parts import Anchors, check_view, sentence_of

INT8 = cell("int8")


def part_of(run: RunRecord, count: int) -> RunRecord:
    """Return a run of which only the first few verdicts were asked for."""
    return run.model_copy(update={"verdicts": run.verdicts[:count]})


def lead(*runs: RunRecord) -> tuple[str, str]:
    badge, headline, said = overall(runs)
    assert badge.slug == "pass" or headline == "Gate failed"
    return headline, said


def test_part_of_a_run_is_not_called_the_whole() -> None:
    headline, said = lead(part_of(passing_run(), 1))
    assert headline == "Gate passed, in part"
    assert said == "1 of 6 planned verdicts passes. Not judged: accuracy of 2 cells and latency of 3 cells."
    assert lead(part_of(passing_run(), 5))[1].startswith("5 of 6 planned verdicts pass. Not judged: latency of shapes")
    assert lead(passing_run())[0] == "Gate passed"
    elsewhere = passing_run().environment.model_copy(update={"machine": "another"})
    other = part_of(passing_run(), 1).model_copy(update={"environment": elsewhere})
    assert lead(passing_run(), other)[1].startswith("7 of 12 planned verdicts pass.")


def test_what_two_jobs_judge_of_the_same_engines_is_judged() -> None:
    run = passing_run()
    accuracy, latency = (
        run.model_copy(update={"verdicts": tuple(v for v in run.verdicts if v.subject == subject)})
        for subject in ("accuracy", "latency")
    )
    assert lead(accuracy)[1] == "3 of 6 planned verdicts pass. Not judged: latency of 3 cells."
    headline, said = lead(accuracy, latency)
    assert (headline, said.partition(".")[0]) == ("Gate passed", "All 6 verdicts pass")
    rebuilt = {key: engine.model_copy(update={"sha256": "0" * 64}) for key, engine in latency.engines.items()}
    apart = lead(accuracy, latency.model_copy(update={"engines": rebuilt}))[1]
    assert apart == "6 of 12 planned verdicts pass. Not judged: accuracy of 3 cells and latency of 3 cells."


def test_part_of_a_run_that_failed_says_what_was_not_judged() -> None:
    run = failing_run()
    int8 = [v for v in run.verdicts if v.cell == INT8]
    said = overall([run.model_copy(update={"verdicts": tuple(int8)})])[2]
    assert said.startswith("1 of 2 verdicts failed: shapes int8 accuracy. Not judged: accuracy of 4 cells and ")


def test_page_names_the_baseline_that_was_used() -> None:
    assert view.baseline_fact(passing_run()).value == "14 Nov 2026 (aa11bb22)"
    fact = view.baseline_fact(failing_run())
    assert fact.value == "14 Nov 2026 (aa11bb22), 2 of 5 cells"
    assert fact.more == "baselines/cpu-x86_64_onnxruntime-1.32/shapes/fp16-320-b1.json"
    only = {k: use for k, use in failing_run().baselines.items() if use.outcome is Outcome.INCOMPATIBLE}
    fact = view.baseline_fact(failing_run().model_copy(update={"baselines": only}))
    assert (fact.value, fact.more[:19]) == ("incompatible", "baselines exist for")
    assert view.baseline_fact(failing_run().model_copy(update={"baselines": {}})).value == "none looked up"


def test_environment_says_in_what_it_differs() -> None:
    rows = view.environment_rows(failing_run().environment, list(failing_run().baselines.values()))
    assert view.differences(rows) == "Not as in the baselines: Machine, Backend, onnxruntime."
    assert view.differences(view.environment_rows(passing_run().environment, [])) == ""


def test_passing_verdict_names_only_the_check_nearest_to_its_limit() -> None:
    checks = (drop_check(INT8, 0.7968, 0.01), drop_check(INT8, 0.93, 0.01, "mAP50"))
    said = sentence_of(verdict(INT8, "accuracy", *checks))
    assert said == (
        "all 2 checks pass; nearest to its limit: mAP50-95 fell 0.0052 (0.8020 -> 0.7968), 0.0100 allowed; 200 images"
    )
    assert sentence_of(verdict(INT8, "accuracy", checks[1])) == checks[1].sentence.removeprefix("int8: ")


def test_drop_is_told_from_its_limit_however_near_it_is() -> None:
    near = drop_check(INT8, 0.7820, 0.02).model_copy(update={"change": 0.02003, "limit": 0.02})
    facts = {fact.label: fact.value for fact in check_view(near, INT8).facts}
    assert (facts["drop"], facts["allowed"]) == ("0.02003", "0.02000")
    assert check_view(near, INT8).over.startswith("100.1")
    assert fmt.digits_apart(0.01, 0.01) == fmt.digits_apart(None, 0.01) == fmt.digits_apart(math.nan, 0.01) == 4


def same_engine(run: RunRecord, judged: bool = False) -> RunRecord:
    """Return a run whose INT8 engine is that of its baseline; ``judged``: compared with its sessions all the same."""
    use = run.baselines[INT8.key]
    assert use.baseline is not None
    stored = use.baseline.model_copy(update={"engine_sha256": run.engines[INT8.key].sha256})
    verdicts = [v if judged or v.cell != INT8 else v.model_copy(update={"checks": ()}) for v in run.verdicts]
    baselines = {**run.baselines, INT8.key: use.model_copy(update={"baseline": stored})}
    return run.model_copy(update={"baselines": baselines, "verdicts": tuple(verdicts)})


def test_engine_of_the_baseline_is_called_so_instead_of_faster_or_slower() -> None:
    run = same_engine(passing_run())
    lines = [text for text, _ in terminal.table([run], 140)]
    assert "identical" in lines[-1]
    assert "identical" not in lines[-2]
    untimed = run.model_copy(update={"latencies": {}})
    assert not any("identical" in line for line, _ in terminal.table([untimed], 140))
    (row,) = matrix.matrix_view(run, Anchors(run, set())).rows
    assert row.squares[3] is not None
    assert "same engine as baseline" in row.squares[3].latency.lines
    assert "| same engine |" in markdown.render([run])


def test_engine_of_the_baseline_that_is_slower_end_to_end_is_not_called_identical() -> None:
    run = same_engine(passing_run(), judged=True)
    assert "identical" not in terminal.table([run], 140)[-1][0]
    (row,) = matrix.matrix_view(run, Anchors(run, set())).rows
    assert row.squares[3] is not None
    assert "5 % allowed" in map(fmt.plain, row.squares[3].latency.lines)
    assert "same engine" not in markdown.render([run])


def test_limits_stand_beside_what_they_limit() -> None:
    head, _, fp32, *_ = [text for text, _ in terminal.table([passing_run()], 140)]
    assert re.split(r" {2,}", head)[3:8] == ["drop", "allowed", "p50 ms", "p95 ms", "vs base"]
    assert re.split(r" {2,}", fp32)[3:9] == ["0.0000", "0.0010", "12.5", "13.6", "-0.1 %", "5 %"]
    assert "| Drop (allowed) |" in markdown.render([passing_run()])
    assert "| 0.0052 (0.0100) |" in markdown.render([passing_run()])


def test_forest_shows_each_range_over_launches_and_both_levels_of_the_baseline() -> None:
    row = charts.ForestRow("FP16", charts.Level(10, 9, 11), charts.Level(12, 11.5, 14), (9.5, 11.0), {95: 13.0})
    drawn = charts.forest([row], "t")
    assert drawn.count('class="whisker"') == 2
    assert drawn.count('class="old"') == 2
    assert drawn.count('class="budget"') == 1
    assert "10.0 / 12.0" in drawn


def test_one_arm_that_is_far_slower_does_not_press_the_others_together() -> None:
    def row(name: str, ms: float) -> charts.ForestRow:
        return charts.ForestRow(name, charts.Level(ms, ms, ms), charts.Level(ms, ms, ms))

    drawn = charts.forest([row(".pt", 8.0), row("FP32", 1.2), row("FP16", 1.0)], "t")
    assert drawn.count("beyond this scale") == 1
    assert "8.00 / 8.00" in drawn
    assert "beyond" not in charts.forest([row(".pt", 2.0), row("FP32", 1.2), row("FP16", 1.0)], "t")
    assert "beyond" not in charts.forest([row(".pt", 8.0)], "t")


def test_what_is_beyond_the_scale_is_said_and_not_drawn_at_its_end() -> None:
    def row(name: str, p50: float, p95: float, baseline_ms: tuple[float, ...] = ()) -> charts.ForestRow:
        return charts.ForestRow(name, charts.Level(p50, p50, p50), charts.Level(p95, p95, p95), baseline_ms)

    rest = row("FP32", 1.2, 1.5), row("FP16", 1.0, 1.2)
    drawn = charts.forest([row(".pt", 1.8, 9.0, (1.0, 9.0)), *rest], "t")
    assert (drawn.count("p95 beyond this scale"), drawn.count("now-mark open")) == (1, 2)
    assert drawn.count('class="old"') == 1
    drawn = charts.forest([row(".pt", 1.8, 9.0), *rest, row("INT8", 1.8, 2.0, (1.0, 8.0))], "t")
    assert "beyond" not in drawn, "the scale has the baselines of all but the slowest arm"


def test_scatter_marks_the_best_at_each_latency_and_the_limits() -> None:
    points = [charts.ScatterPoint("A", 1, 0.5), charts.ScatterPoint("B", 2, 0.4), charts.ScatterPoint("C", 3, 0.7)]
    limits = (
        [charts.LimitLine("A", 2.0), charts.LimitLine("C", 4.0)],
        [charts.LimitLine("A", 0.45), charts.LimitLine("C", 0.4501)],
    )
    drawn = charts.scatter(points, "t", *limits)
    assert drawn.count('class="budget"') == 3
    assert ">all</text>" in drawn
    (front,) = re.findall(r'class="front" d="([^"]*)"', drawn)
    assert front.count("L") == 2  # over B, which is beaten
    assert 'class="front"' not in charts.scatter(points[:2], "t")


def test_launches_stand_side_by_side_and_outliers_are_cut_off() -> None:
    drawn = cell_charts.course([course(10.0, i) for i in range(3)], 9.9, {95: 11.0}, "shapes fp16")
    assert [f"launch {i}" in drawn for i in (1, 2, 3, 4)] == [True, True, True, False]
    assert drawn.count('class="curve now"') == 3
    assert drawn.count('class="curve then"') == 1
    assert "p95 budget" in drawn
    wild = course(10.0, 0).model_copy(update={"high_ms": (11.0,) * 23 + (5000.0,)})
    assert "5000" not in cell_charts.course([wild], None, {}, "a")


def test_launches_are_drawn_over_the_time_that_they_took() -> None:
    long = course(10.0, 0)
    short = long.model_copy(update={"launch": 1, "at_s": tuple(100 + at / 2 for at in long.at_s)})
    drawn = cell_charts.course([long, short], None, {}, "a")
    ends = [line.rpartition("L")[2].split()[0] for line in re.findall(r'class="curve now" d="M([^"]*)"', drawn)]
    middle = (44 + charts.WIDTH) / 2
    assert [float(x) for x in ends] == pytest.approx([middle - 5, (middle + 5 + charts.WIDTH) / 2], abs=0.2)
    assert cell_charts.course_span_s([short, long]) == pytest.approx(39.1)
    assert "over 39 s of each launch" in html.render([passing_run()]).replace("\N{NO-BREAK SPACE}", " ")
    for at_s in (long.at_s[::-1], long.at_s[:-1], (math.nan, *long.at_s[1:])):
        broken = long.model_copy(update={"at_s": at_s})
        assert (cell_charts.course([broken], None, {}, "a"), cell_charts.course_span_s([broken])) == ("", 0.0)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -1.0, 0.0, 1e300])
def test_launch_with_odd_numbers_is_not_drawn(odd: float) -> None:
    bad = course(10.0, 0).model_copy(update={"p50_ms": (odd,) * 24})
    assert cell_charts.course([bad], None, {}, "a") == ""
    assert cell_charts.course([], None, {}, "a") == ""


def test_curves_and_confidences_that_are_none_are_not_drawn() -> None:
    assert cell_charts.precision_recall([PrecisionRecall(iou=0.5, reference=(), engine=())], "a") == ""
    assert (
        cell_charts.precision_recall([PrecisionRecall(iou=0.5, reference=(1.0, math.nan), engine=(1.0, 0.0))], "a")
        == ""
    )
    assert cell_charts.scores(Scores(conf=0.25, reference=(0, 0), engine=(0, 0)), "a") == ""
    assert cell_charts.scores(Scores(conf=0.25, reference=(0, 1), engine=(1,)), "a") == ""
    assert cell_charts.class_drops([cell_charts.ClassLine("a", math.nan, 0, 0, False)], "a", "top1") == ""


def test_class_that_lost_more_than_chance_has_another_mark() -> None:
    lines = [cell_charts.ClassLine("<b>", 0.06, 0.05, 0.07, True), cell_charts.ClassLine("b", 0.0, -0.01, 0.01, False)]
    drawn = cell_charts.class_drops(lines, "t", "top1")
    assert drawn.count("<circle") == 1
    assert 'class="now-mark bad"' in drawn
    assert "&lt;b&gt;" in drawn
    gained = cell_charts.class_drops([cell_charts.ClassLine("a", -0.06, -0.07, -0.05, True)], "t", "top1")
    assert "<circle" not in gained
    assert "bad" not in gained
    assert "\N{MINUS SIGN}0.06" in gained


def test_only_the_classes_that_lost_most_are_drawn_while_the_table_has_all() -> None:
    run = failing_run()
    many = {f"c{i}": next(iter(run.figures[INT8.key].classes.values())) for i in range(40)}
    kept = figures(INT8, 0.02, 0.0).model_copy(update={"classes": many})
    arms = [a for a in run.accuracies if a.model == "shapes" and a.arm in ("pt", "int8")]
    classes = [tuple(a.classes[0].model_copy(update={"name": name}) for name in many) for a in arms]
    records = tuple(a.model_copy(update={"classes": found}) for a, found in zip(arms, classes, strict=True))
    wide = run.model_copy(update={"accuracies": records, "figures": {INT8.key: kept}})
    drawn = accuracy_charts(CellNumbers(wide, INT8))
    assert drawn.classes.count("now-mark") == DRAWN_CLASSES == 12
    assert drawn.classes_note.startswith("the 12 of 40 classes that lost most; ")
    assert len(lines(class_table(CellNumbers(wide, INT8)))) == 40


def test_class_table_says_interval_and_significance() -> None:
    rows = {row["Class"]: row for row in lines(class_table(CellNumbers(failing_run(), INT8)))}
    assert next(iter(rows)) == "triangle"
    assert rows["triangle"]["Drop"].endswith(" significant")
    assert rows["triangle"]["95 % interval"] == "0.0574 to 0.0694"
    assert "significant" not in rows["ring"]["Drop"]
    without = lines(class_table(CellNumbers(failing_run().model_copy(update={"figures": {}}), INT8)))
    assert {row["95 % interval"] for row in without} == {"\N{EN DASH}"}


def matrices(*runs: RunRecord) -> tuple[matrix.MatrixView, ...]:
    taken: set[str] = set()
    return matrix.matrix_views([(run, Anchors(run, taken)) for run in runs])


def on(machine: str, run: RunRecord) -> RunRecord:
    """Return a run as if it were of another machine."""
    return run.model_copy(update={"environment": run.environment.model_copy(update={"machine": machine})})


def test_machines_stand_side_by_side() -> None:
    (found,) = matrices(on("one", failing_run()), on("two", passing_run()))
    assert found.columns == ("one", "two")
    rows = {row.label: row.squares for row in found.rows}
    assert list(rows)[:3] == ["shapes-wide .pt", "shapes-wide FP32", "shapes-wide INT8"]
    failed, passed = rows["shapes FP16"]
    assert failed is not None
    assert passed is not None
    assert [(s.column, s.latency.badge.word, fmt.plain(s.latency.value)) for s in (failed, passed)] == [
        ("one", "Fail", "14.9 ms"),
        ("two", "Pass", "14.9 ms"),
    ]
    assert failed.href != passed.href
    assert rows["shapes-wide FP32"][1] is None


def test_runs_of_one_machine_have_a_matrix_each() -> None:
    found = matrices(on("one", failing_run()), on("one", passing_run()))
    assert [one.columns for one in found] == [(".pt", "FP32", "FP16", "INT8")] * 2
    assert len({one.title for one in found}) == 1
    (alone,) = matrices(passing_run())
    assert alone.title == ""


def test_what_is_alike_on_several_machines_stands_together_in_the_terminal() -> None:
    runs = []
    for machine in "ab":
        run = passing_run()
        verdicts = tuple(v.model_copy(update={"cell": v.cell.on(machine)}) for v in run.verdicts)
        runs.append(run.model_copy(update={"cells": tuple(c.on(machine) for c in run.cells), "verdicts": verdicts}))
    lines = [" ".join(text.split()[:3]) for text, _ in terminal.table(runs, 140)]
    assert lines[:4] == ["model machine mAP50-95", "shapes .pt a", "shapes .pt b", "shapes fp32 a"]
    assert "machine" not in terminal.table([passing_run()], 140)[0][0]
