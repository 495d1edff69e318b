"""The parts that every rendering shares: formats, what is taken from a record, and the charts."""

from __future__ import annotations

import math
import re
from itertools import combinations
from statistics import median

import pytest
from markupsafe import escape
from records_example import cell, latency, timing
from runs_example import failing_run, passing_run

from pytest_trtgate import text as fmt
from pytest_trtgate.records.base import Failure
from pytest_trtgate.records.cell import placebo_of, replay_of
from pytest_trtgate.records.latency import ArmLaunch, MachineState, Timing
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.verdict import Check, Outcome
from pytest_trtgate.report import measurements_table, numbers
from pytest_trtgate.report.page import charts, detail, html, latency_view, parts, svg
from pytest_trtgate.report.page.cards import cards, commands_of
from pytest_trtgate.report.page.device_view import device_facts
from pytest_trtgate.report.page.latency_view import context_tables
from pytest_trtgate.report.page.parts import check_view


def of(run: RunRecord, precision: str) -> numbers.CellNumbers:
    """Return the numbers of a cell of ``shapes``."""
    return numbers.CellNumbers(run, cell(precision))


def on_gpu(run: RunRecord) -> RunRecord:
    """Return a run as if its model ``shapes`` had been timed on a GPU."""
    state = MachineState(
        gpu_uuid="GPU-12ab", sm_mhz=1980, memory_mhz=3201, power_w=212.5, gpu_temperature_c=44, other_processes=0
    )
    busy = state.model_copy(update={"sm_mhz": 1755, "throttle_reasons": ("power cap",), "other_processes": 2})
    record = run.latencies["shapes"]
    gpu = {"clock": "cuda events", "cuda_graph": False, "energy_mj": 12.34, "memory_peak_bytes": 412_000_000}
    launches = []
    for launch in record.launches:
        arms = {}
        for name, arm in launch.arms.items():
            copies = {c: timing(0.02, 1) for c in ("copy-in", "copy-out")} | {"host": timing(1.9, 2)}
            arms[name] = arm.model_copy(update={**gpu, "timings": {**arm.timings, **copies}})
        launches.append(launch.model_copy(update={"arms": arms, "before": state, "during": (busy,), "after": state}))
    latencies = {**run.latencies, "shapes": record.model_copy(update={"launches": tuple(launches)})}
    return run.model_copy(update={"latencies": latencies})


def test_a_cell_shows_what_its_launches_did_to_the_gpu() -> None:
    facts = {f.label: fmt.plain(f.value) for f in device_facts(of(on_gpu(passing_run()), "int8"))}
    assert facts["Engine timed by"] == "CUDA events, no CUDA graph"
    assert facts["By the host's clock, p50"].startswith("1.9")
    assert facts["Copies, p50"].startswith("in 0.02")
    assert facts["Energy per inference"] == "12.3 mJ (.pt 12.3 mJ)"
    assert facts["GPU memory"] == "412 MB (.pt 412 MB)"
    assert facts["GPU"] == "GPU-12ab"
    assert facts["SM clock"] == "1,755 to 1,980 MHz"
    assert facts["Throttled"] == "power cap"
    assert facts["Other processes on the GPU"] == "2"


def test_a_cell_of_a_cpu_shows_nothing_of_a_gpu() -> None:
    assert device_facts(of(passing_run(), "int8")) == ()
    assert "On the GPU" not in html.render([passing_run()])


def test_the_page_and_the_table_have_energy_and_memory() -> None:
    run = on_gpu(passing_run())
    assert "On the GPU" in html.render([run])
    data = measurements_table.frame(run).query("precision == 'int8' and kind == 'latency'")
    assert set(data.query("metric == 'energy'")["value"]) == {12.34}
    assert set(data.query("metric == 'memory_peak'")["unit"]) == {"bytes"}


def test_an_energy_budget_is_a_budget_in_every_rendering() -> None:
    check = Check(
        name="energy",
        against="budget",
        value=6.0,
        reference=5.0,
        change=1.0,
        limit=5.0,
        unit="mJ",
        outcome=Outcome.FAIL,
        sentence="over",
    )
    view = check_view(check, cell("int8"))
    assert [fmt.plain(fact.value) for fact in view.facts] == ["6.00 mJ", "5.00 mJ"]
    assert fmt.plain(view.over) == "120 % of the limit"


def test_a_level_says_what_it_is_of_several_launches() -> None:
    run = failing_run()
    checks = [check for verdict in run.verdicts for check in verdict.checks if check.statistics]
    views = [check_view(check, cell("int8")) for check in checks]
    slow = next(view for view in views if view.against == "the baseline" and view.facts)
    late = next(view for view in views if view.against == "its budget")
    names = [fact.label for fact in (*slow.facts[:2], *late.facts)]
    assert names == [
        "engine, median of launches",
        "baseline, mean of sessions",
        "measured, median of launches",
        "budget",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (fmt.metric(0.802), "0.8020"),
        (fmt.metric(-0.00001), "0.0000"),
        (fmt.metric(-0.0105), "-0.0105"),
        (fmt.metric(None), "-"),
        (fmt.metric(math.nan), "NaN"),
        (fmt.drop(0.0105), "drop 0.0105"),
        (fmt.drop(-0.0007), "gain 0.0007"),
        (fmt.drop(0.00001), "no drop"),
        (fmt.ms(0.8941), "0.894 ms"),
        (fmt.ms(9.999), "10.0 ms"),
        (fmt.ms(99.96), "100 ms"),
        (fmt.ms(1234.5), "1234 ms"),
        (fmt.ms(0), "0 ms"),
        (fmt.ms(None), "-"),
        (fmt.percent(0.0312), "+3.1 %"),
        (fmt.percent(-0.004), "-0.4 %"),
        (fmt.percent(-0.0001), "0.0 %"),
        (fmt.times(4.02), "4.02x"),
        (fmt.times(1.724), "1.72x"),
        (fmt.size(5_300_000), "5.3 MB"),
        (fmt.size(999_600), "1.0 MB"),
        (fmt.size(812), "812 B"),
        (fmt.size(16_777_216_000), "16.8 GB"),
        (fmt.duration(0.84), "0.8 s"),
        (fmt.duration(59.7), "1 min"),
        (fmt.duration(412.6), "6 min 53 s"),
        (fmt.duration(7500), "2 h 5 min"),
        (fmt.duration(math.inf), "\N{INFINITY}"),
        (fmt.date("2026-11-22T13:14:00Z"), "22 Nov 2026, 13:14 UTC"),
        (fmt.date("2026-11-22T15:14:00+02:00"), "22 Nov 2026, 13:14 UTC"),
        (fmt.date("yesterday"), "yesterday"),
        (fmt.plural(1, "launch"), "1 launch"),
        (fmt.plural(2, "launch"), "2 launches"),
    ],
)
def test_formats(text: str, expected: str) -> None:
    assert fmt.plain(text) == expected


def test_clip_keeps_both_ends_of_a_long_line() -> None:
    clipped = fmt.clip("model-" + "x" * 10_000 + "-int8", 40)
    assert len(clipped) == 40
    assert clipped.startswith("model-")
    assert clipped.endswith("-int8")


def test_clean_takes_away_what_a_terminal_or_a_reader_could_be_fooled_by() -> None:
    assert fmt.clean("\x1b[31mred\x1b[0m\r\nnext\x07 \u202egnp") == "red\nnext\ufffd \ufffdgnp"


def test_a_baseline_engine_that_failed_is_not_drawn_by_its_copy() -> None:
    launches = latency().launches
    copies = [launch.arms["fp16"] for launch in launches]
    for replay, drawn in ((replay_of("fp16"), replay_of("fp16")), (placebo_of(replay_of("fp16")), None)):
        timed = tuple(
            launch.model_copy(update={"arms": {**launch.arms, replay: arm}})
            for launch, arm in zip(launches, copies, strict=True)
        )
        record = latency().model_copy(update={"launches": timed})
        run = passing_run().model_copy(update={"latencies": {"shapes": record}})
        assert of(run, "fp16").replay_arm == drawn
    assert of(run.model_copy(update={"latencies": {}}), "fp16").replay_arm is None


def test_level_is_the_median_over_launches() -> None:
    record = latency()
    times = numbers.distribution(record, "fp16", "engine")
    assert times is not None
    assert times.level_ms(95) == median(record.per_launch_ms("fp16", "engine", 95))
    assert times.samples == 1500


def test_throughput_is_the_median_over_launches_as_in_junit_and_the_fixtures() -> None:
    timing = latency().launches[0].arms["int8"].timings["end-to-end"]
    times = numbers.Distribution(tuple(timing.model_copy(update={"mean_ms": ms}) for ms in (10.0, 100.0, 20.0)))
    assert times.images_per_second(batch=2) == 100.0
    assert numbers.Distribution(()).images_per_second(batch=2) is None


def test_pooled_quantiles_ascend_and_lie_within_the_launches() -> None:
    times = numbers.distribution(latency(), "int8", "engine")
    assert times is not None
    pooled = times.pooled_ms
    assert len(pooled) == 99
    assert list(pooled) == sorted(pooled)
    assert min(times.per_launch_ms(50)) <= pooled[49] <= max(times.per_launch_ms(50))


def test_pooling_one_launch_gives_its_own_quantiles() -> None:
    one = timing(5.0, 1)
    assert numbers.Distribution((one,)).pooled_ms == one.quantiles_ms


def test_pooling_weighs_launches_by_their_samples() -> None:
    slow, fast = timing(10.0, 1).model_copy(update={"n": 10}), timing(5.0, 1).model_copy(update={"n": 990})
    assert numbers.Distribution((slow, fast)).pooled_ms[90] < 6


def test_latency_of_another_image_size_is_not_a_cells_own() -> None:
    other = cell("fp16").model_copy(update={"imgsz": 640})
    assert numbers.latency_of(passing_run(), other) is None
    assert numbers.accuracy_of(passing_run(), other, "fp16") is None


def with_replay(run: RunRecord, p50_ms: float) -> RunRecord:
    launches = []
    for launch in run.latencies["shapes"].launches:
        timings = {context: timing(p50_ms, launch.index) for context in launch.arms["fp16"].timings}
        arm: ArmLaunch = launch.arms["fp16"].model_copy(update={"arm": "baseline-fp16", "timings": timings})
        launches.append(launch.model_copy(update={"arms": {**launch.arms, "baseline-fp16": arm}}))
    record = run.latencies["shapes"].model_copy(update={"launches": tuple(launches)})
    return run.model_copy(update={"latencies": {"shapes": record}})


def test_baseline_engine_timed_in_this_run_goes_before_stored_sessions() -> None:
    stored = of(passing_run(), "fp16").before_ms("engine", 50)
    replayed = of(with_replay(passing_run(), 11.0), "fp16").before_ms("engine", 50)
    assert stored == pytest.approx(14.8, rel=0.02)
    assert replayed == pytest.approx(11.0, rel=0.02)
    assert of(with_replay(passing_run(), 11.0), "int8").before_ms("engine", 50) == pytest.approx(8.65, rel=0.02)


def test_changes_that_were_judged_launch_by_launch_are_said_to_be() -> None:
    def paired(run: RunRecord) -> list[bool]:
        tables = context_tables(of(run, "fp16"))
        return ["change as judged, launch by launch" in table.caption for table in tables]

    assert paired(with_replay(passing_run(), 11.0)) == [True, False]
    assert paired(passing_run()) == [False, False]


def test_a_baseline_engine_that_failed_later_is_not_drawn_against() -> None:
    run = with_replay(passing_run(), 11.0)
    failed = {"baseline-fp16": Failure(job="probe", reason="gone")}
    record = run.latencies["shapes"].model_copy(update={"failures": failed})
    run = run.model_copy(update={"latencies": {"shapes": record}})
    assert of(run, "fp16").before_ms("engine", 50) == pytest.approx(14.8, rel=0.02)


def test_gated_context_comes_from_the_settings() -> None:
    run = passing_run()
    assert numbers.gated_context(run) == "engine"
    assert (
        numbers.gated_context(run.model_copy(update={"settings": {"latency": {"context": "end-to-end"}}}))
        == "end-to-end"
    )
    assert numbers.gated_context(run.model_copy(update={"settings": {"latency": 3}})) == "engine"


@pytest.mark.parametrize(
    ("changes", "used"),
    [
        ({"unit": "points", "change": 0.02, "limit": 0.01}, 2.0),
        ({"unit": "ratio", "change": 0.03, "limit": 0.05}, 0.6),
        ({"unit": "ms", "value": 8.8, "limit": 8.0}, 1.1),
        ({"unit": "ratio", "name": "speed-up", "change": 0.8, "limit": 1.0}, 1.25),
        ({"unit": "points", "change": 0.02, "limit": 0.0}, None),
        ({"unit": "points", "change": math.nan, "limit": 0.1}, None),
        ({"unit": "points"}, None),
    ],
)
def test_excess_is_the_used_part_of_the_limit(changes: dict[str, object], used: float | None) -> None:
    check = Check(name="p50", against="pt", outcome=Outcome.PASS, sentence="").model_copy(update=changes)
    assert numbers.excess(check) == (None if used is None else pytest.approx(used))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unit": "points", "change": 0.02, "limit": 0.01}, "p50 drop 0.0200, 0.0100 allowed"),
        (
            {"unit": "points", "change": 0.02, "limit": 0.01, "against": "baseline"},
            "p50 drop 0.0200 since the baseline, 0.0100 allowed",
        ),
        ({"unit": "ratio", "change": 0.0312, "limit": 0.025}, "p50 +3.1 %, 2.5 % allowed"),
        ({"unit": "ms", "value": 8.8, "limit": 8.0}, "p50 8.80 ms, budget 8.00 ms"),
        ({"unit": "ratio", "name": "speed-up", "change": 0.8, "limit": 1.0}, "speed-up over pt 0.800x, at least 1.00x"),
        ({"unit": "points"}, ""),
        ({"unit": "ms", "change": 1.0, "limit": 1.0}, ""),
    ],
)
def test_a_check_in_a_few_words_has_its_number_and_its_limit(changes: dict[str, object], said: str) -> None:
    check = Check(name="p50", against="pt", outcome=Outcome.FAIL, sentence="").model_copy(update=changes)
    assert fmt.plain(parts.brief(check)) == said


def test_worst_verdicts_and_cells_come_first() -> None:
    run = failing_run()
    ranks = [v.outcome.rank for v in numbers.worst_first(run)]
    assert ranks == sorted(ranks, reverse=True)
    assert [n.cell.label for n in numbers.numbers_of(run)][:3] == ["shapes-wide int8", "shapes fp16", "shapes int8"]


def test_a_note_says_all_its_checks_since_it_has_no_numbers_beside_it() -> None:
    run = failing_run()
    [verdict] = [v for v in run.verdicts if (v.cell.label, v.subject) == ("shapes int8", "accuracy")]
    [check] = [c for c in verdict.checks if c.outcome is Outcome.FAIL]
    found = {}
    for failed in (True, False):
        two = verdict.model_copy(update={"checks": (check, check), "failed": failed})
        told = run.model_copy(update={"verdicts": (two,)})
        [found[failed]] = cards(((told, parts.Anchors(told, set())),), failed=failed)
    assert found[True].sentence.endswith("; and 1 check more:")
    assert found[False].sentence == parts.sentence_of(verdict)


def test_a_note_that_fails_the_run_comes_before_a_note_that_does_not() -> None:
    run = failing_run()
    failed = tuple(v.model_copy(update={"failed": v.outcome is Outcome.INCONCLUSIVE}) for v in run.verdicts)
    assert numbers.worst_first(run.model_copy(update={"verdicts": failed}))[0].outcome is Outcome.INCONCLUSIVE


def flat_timing(value: float) -> Timing:
    return Timing(n=10, mean_ms=value, min_ms=value, max_ms=value, quantiles_ms=(value,) * 99)


def test_distribution_chart_draws_both_arms_and_the_budget() -> None:
    now, then = (numbers.Distribution((timing(p50, 3),)) for p50 in (10.0, 9.0))
    drawn = charts.latency_distribution(now, then, {95: 10.5}, "shapes fp16", "baseline")
    assert drawn.count('class="area now"') == drawn.count('class="area then"') == 1
    assert "p95 budget" in drawn
    title = r"<title>shapes fp16, all launches together: this run p50 10\.\d ms, p95 10\.\d ms; baseline p50"
    assert re.search(title, drawn.replace("\xa0", " "))


def test_distribution_chart_leaves_out_a_budget_far_away() -> None:
    now = numbers.Distribution((timing(10.0, 3),))
    assert "budget" not in charts.latency_distribution(now, None, {95: 100.0}, "a", "")


def test_chart_of_one_value_is_drawn() -> None:
    drawn = charts.latency_distribution(numbers.Distribution((flat_timing(3.0),)), None, {}, "a", "")
    assert "nan" not in drawn.lower()
    assert 'class="area now"' in drawn


def level(ms: float) -> charts.Level:
    return charts.Level(ms, ms, ms)


def test_charts_without_numbers_are_left_out() -> None:
    assert charts.latency_distribution(None, None, {}, "a", "") == ""
    assert charts.latency_distribution(numbers.Distribution((flat_timing(math.nan),)), None, {}, "a", "") == ""
    assert charts.forest([charts.ForestRow("a", None, level(math.nan))], "t") == ""
    assert charts.scatter([charts.ScatterPoint("a", math.nan, 0.5)], "t") == ""
    assert charts.gauge(None, "t") == ""
    assert charts.stage_bar([("preprocess", -1.0)], "t") == ""


def test_chart_labels_are_escaped() -> None:
    drawn = charts.forest([charts.ForestRow("<b>", level(1.0), level(2.0))], "<i>") + charts.scatter(
        [charts.ScatterPoint("<u>", 1, 1)], "t"
    )
    assert "<b>" not in drawn
    assert "&lt;b&gt;" in drawn
    assert "<title>&lt;i&gt;</title>" in drawn
    assert "<u>" not in drawn


def test_density_peaks_where_the_times_are() -> None:
    pooled = timing(10.0, 3).quantiles_ms
    grid = [9 + i * 0.05 for i in range(61)]
    heights = charts.density(pooled, grid)
    assert max(heights) == pytest.approx(1)
    assert grid[heights.index(1.0)] == pytest.approx(pooled[49], abs=0.25)


def test_labels_in_the_scatter_do_not_lie_on_each_other_nor_on_marks() -> None:
    names = ("FP32", "FP16", "INT8")
    drawn = charts.scatter([charts.ScatterPoint(name, 10.0 + i / 10, 0.5) for i, name in enumerate(names)], "t")
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="t b" text-anchor="(\w+)"', drawn)
    spots = [(float(x), float(y), anchor) for x, y, anchor in found]
    assert len(spots) == 3
    for (x1, y1, a1), (x2, y2, a2) in combinations(spots, 2):
        assert abs(y1 - y2) >= 12 or (a1 != a2 and abs(x1 - x2) > 8)
    marks = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    assert len(marks) == 3
    first = spots[0]
    assert first[2] == "end"
    assert first[0] < min(marks)


def test_labels_in_the_scatter_do_not_lie_on_lines() -> None:
    points = [charts.ScatterPoint(".pt", 40, 0.7), charts.ScatterPoint("FP32", 15, 0.6999)]
    drawn = charts.scatter(points, "t", [charts.LimitLine("all", 47)], [charts.LimitLine("all", 0.69)])
    (side,) = re.findall(r'class="t b" text-anchor="(\w+)">FP32', drawn)
    assert side == "end"  # the step of the best goes to the right


@pytest.mark.parametrize(("low", "high"), [(0, 23), (8.1, 9.9), (0.78, 0.81), (0, 0.004), (1e8, 1.0001e8)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = svg.Scale(low, high, 0, 100).ticks()
    assert 2 <= len(ticks) <= 9
    assert all(low - 1e-9 <= tick <= high * (1 + 1e-9) for tick in ticks)
    assert len(set(svg.labels(ticks))) == len(ticks)


def test_the_interval_of_a_drop_is_drawn_over_its_gauge() -> None:
    check = Check(
        name="mAP50-95",
        against="pt",
        value=0.79,
        reference=0.8,
        change=0.01,
        low=-0.005,
        high=0.025,
        limit=0.02,
        outcome=Outcome.PASS,
        sentence="",
    )
    view = parts.check_view(check, cell("int8"))
    assert parts.Fact("95 % limits", f"{fmt.metric(-0.005)} to 0.0250") in view.facts
    assert "whisker" in view.gauge
    bare = parts.check_view(check.model_copy(update={"low": None, "high": None}), cell("int8"))
    assert "95 % limits" not in {fact.label for fact in bare.facts}
    assert "whisker" not in bare.gauge
    assert "whisker" not in charts.gauge(0.5, "", (math.nan, 1.0))


def test_the_history_of_a_cell_ends_with_this_run() -> None:
    run = passing_run()
    drawn, said = latency_view.history(of(run, "int8"))
    [points] = re.findall(r' d="M([^"]+)"', drawn)
    assert len(points.split("L")) == 4
    now = fmt.ms(of(run, "int8").level_ms(50))
    assert re.fullmatch(rf"p50, median of launches: 8\.\d\d to 8\.\d\d ms in 3 stored sessions, {now} now", said)
    # The baseline engine that was timed again stands between them: its level is what the run is compared with.
    again = of(with_replay(run, 11.0), "fp16")
    drawn, told = latency_view.history(again)
    here = fmt.ms(again.before_ms("engine", 50))
    assert told.endswith(f", {here} of the baseline engine in this run, {fmt.ms(again.level_ms(50))} now")
    assert len(re.findall(r' d="M([^"]+)"', drawn)[0].split("L")) == 5
    pairs = zip(*(again.latency.per_launch_ms(arm, "engine", 50) for arm in (again.replay_arm, "fp16")), strict=True)
    shown = ", ".join(f"{fmt.number(then)} \N{RIGHTWARDS ARROW} {fmt.number(now)}" for then, now in pairs)
    said = latency_view.launch_by_launch(again)
    assert said == f"p50 in each launch, baseline engine and this one: {shown} ms"
    assert said in html.render([with_replay(run, 11.0)])
    assert latency_view.launch_by_launch(of(run, "int8")) == ""
    alone = run.model_copy(update={"baselines": {}})
    assert latency_view.history(of(alone, "int8")) == ("", "")
    assert latency_view.history(of(run, "int8"), 95)[1].startswith("p95, median of launches: ")


def test_a_speed_up_that_is_missed_is_no_share_of_a_limit() -> None:
    slow = Check(
        name="speed-up", against="fp16", change=0.66, limit=1.0, unit="ratio", outcome=Outcome.FAIL, sentence=""
    )
    assert (
        check_view(slow, cell("int8")).over
        == "0.660\N{MULTIPLICATION SIGN} where 1.00\N{MULTIPLICATION SIGN} is the least"
    )


def test_a_change_that_is_not_of_the_levels_beside_it_says_what_it_is_of() -> None:
    check = Check(
        name="p50",
        against="baseline",
        value=74.2,
        reference=49.0,
        change=0.505,
        limit=0.1,
        unit="ratio",
        outcome=Outcome.FAIL,
        sentence="",
    )
    assert [fact.label for fact in check_view(check, cell("int8")).facts][2] == "change, geometric mean of launches"
    level = check.model_copy(update={"change": 74.2 / 49.0 - 1})
    assert [fact.label for fact in check_view(level, cell("int8")).facts][2] == "change"


def test_a_line_needs_two_values_that_are_numbers() -> None:
    assert charts.sparkline([3.0], "") == ""
    assert charts.sparkline([3.0, math.nan], "") == ""
    assert charts.sparkline([3.0, 3.0], "equal")


def test_the_note_on_a_baseline_says_how_it_was_used() -> None:
    run = passing_run()
    assert detail.baseline_note(of(run, "fp16")).endswith(": 3 stored sessions, the last of 14 Nov 2026, 09:30 UTC.")
    replayed = detail.baseline_note(of(with_replay(run, 11.0), "fp16"))
    assert replayed.endswith(" Its engine was replayed beside the new one in 3 launches.")
    engine = run.engines[cell("fp16").key]
    use = run.baselines[cell("fp16").key]
    assert use.baseline is not None
    same = use.model_copy(update={"baseline": use.baseline.model_copy(update={"engine_sha256": engine.sha256})})
    note = detail.baseline_note(of(run.model_copy(update={"baselines": {cell("fp16").key: same}}), "fp16"))
    assert note.endswith(" The engine has the same bytes as the baseline's.")


def test_a_commit_that_is_not_all_of_what_was_measured_says_so_however_short() -> None:
    assert fmt.digest("c15b6c3a21a3-dirty", 8) == "c15b6c3a-dirty"
    assert fmt.digest("c15b6c3a21a3f00d") == "c15b6c3a21a3"


def test_what_is_offered_to_copy_is_toml_or_a_command_and_never_a_sentence() -> None:
    toml = '# trtgate.toml\n[accuracy.int8]\n"mAP50-95" = 0.0215'
    said = 'set "mAP50-95" = 0.0215 under [accuracy.int8] in trtgate.toml, then pytest --trt-baselines=update'
    known = of(failing_run(), "int8").accuracy_verdict
    assert known is not None
    whole = known.model_copy(update={"rerun": "", "accept": said, "accept_toml": toml})
    assert [(c.kind, c.line) for c in commands_of([whole])] == [
        ("toml", toml),
        ("sh", "pytest --trt-baselines=update"),
    ]
    assert [(c.kind, c.line) for c in commands_of([whole], toml=False)] == [("text", said)]
    older = whole.model_copy(update={"accept_toml": ""})
    page = html.render([failing_run().model_copy(update={"verdicts": (older,)})])
    assert f"<code>{escape(said)}" not in page
    assert escape(said) in page


def test_the_id_of_a_finding_leads_to_its_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "busy <b> [machine-busy]; [no-such-finding]"
    told = '<abbr title="docs/reference/findings.md of pytest-trtgate">[machine-busy]</abbr>'
    assert parts.linked(text) == f"busy &lt;b&gt; {told}; [no-such-finding]"
    monkeypatch.setattr(parts, "DOCUMENTATION", "https://docs.example/")
    assert '<a href="https://docs.example/reference/findings.html#machine-busy"' in parts.linked(text)
