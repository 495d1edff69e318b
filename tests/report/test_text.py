"""The report as text: the terminal's table, Markdown for GitHub, and CSV."""

from __future__ import annotations

import csv
import errno
import io
import math
import re
from pathlib import Path

import pytest
from hostile_example import hostile_run
from page_reader import lines
from runs_example import empty_run, failing_run, gpu_run, passing_run

from pytest_trtgate import text as fmt
from pytest_trtgate.errors import RecordError
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.verdict import Check, Outcome
from pytest_trtgate.report import markdown, measurements_table, render, terminal
from pytest_trtgate.report.numbers import CellNumbers
from pytest_trtgate.report.page import html, view
from pytest_trtgate.report.page.accuracy_view import metric_table
from pytest_trtgate.report.page.parts import badge, sentence_of

MARKUP = {"red", "green", "yellow", "bold"}
UNBROKEN = (
    "    run again: ",
    "    to explain: ",
    "    to repair: ",
    "    to accept: ",
    "    or all, anew: ",
    "to accept these ",
)


def waived_run() -> RunRecord:
    """Return the failing run with FP16 latency waived, and the missing baseline of INT8 failing it."""
    changes: dict[tuple[str, Outcome], dict[str, object]] = {
        ("fp16", Outcome.FAIL): {"failed": False, "waived": "waived until 2999-01-31: known, see #7"},
        ("int8", Outcome.NO_BASELINE): {"failed": True},
    }
    run = failing_run()
    verdicts = [v.model_copy(update=changes.get((v.cell.precision, v.outcome), {})) for v in run.verdicts]
    return run.model_copy(update={"verdicts": tuple(verdicts)})


def said(width: int = 100) -> str:
    return "\n".join(text for text, _ in terminal.summary_lines([failing_run()], width))


def test_terminal_table_at_80_columns() -> None:
    lines = [text for text, _ in terminal.table([failing_run()], 80)]
    assert lines == [
        "model             mAP50-95     drop  p50 ms  p95 ms  vs base  accuracy  latency",
        "shapes-wide .pt     0.8311             62.3    67.6",
        "shapes-wide fp32    0.8310   0.0001    36.3    39.4   +6.1 %  pass      inconcl",
        "shapes-wide int8         -        -       -       -        -  ERROR     ERROR",
        "shapes .pt          0.8020             21.5    23.3",
        "shapes fp32         0.8020   0.0000    12.5    13.6        -  pass      incompat",
        "shapes fp16         0.8025  -0.0005    14.9    16.2   +9.0 %  pass      FAIL",
        "shapes int8         0.7806   0.0214    8.67    9.41        -  FAIL      no base",
    ]


def test_a_narrow_terminal_gives_up_columns_without_an_entry_first() -> None:
    judged = tuple(v for v in failing_run().verdicts if v.subject == "accuracy")
    run = failing_run().model_copy(update={"latencies": {}, "verdicts": judged})
    head, *_, row = [text for text, _ in terminal.table([run], 80)]
    assert head.split() == ["model", "mAP50-95", "of", ".pt", "drop", "allowed", "p50", "ms", "accuracy", "latency"]
    assert row.split() == ["shapes", "int8", "0.7806", "0.8020", "0.0214", "0.0100", "-", "FAIL", "-"]


def fallen_run() -> RunRecord:
    """Return a run whose INT8 engine equals its ``.pt``, and fell since the baseline."""
    run = passing_run()
    value, cell = 0.7406, next(c for c in run.cells if c.precision == "int8")
    checks = {"pt": (Outcome.PASS, value, 0.02), "baseline": (Outcome.FAIL, 0.7906, 0.01)}
    found = tuple(
        Check(
            name="mAP50-95",
            against=against,
            value=value,
            reference=reference,
            change=reference - value,
            limit=limit,
            outcome=outcome,
            sentence=f"int8: mAP50-95 against {against}",
        )
        for against, (outcome, reference, limit) in checks.items()
    )
    verdicts = tuple(
        v.model_copy(update={"checks": found, "outcome": Outcome.FAIL})
        if (v.cell, v.subject) == (cell, "accuracy")
        else v
        for v in run.verdicts
    )
    accuracies = tuple(
        a.model_copy(update={"metrics": {**a.metrics, "mAP50-95": value}}) if a.arm in ("pt", "int8") else a
        for a in run.accuracies
    )
    return run.model_copy(update={"verdicts": verdicts, "accuracies": accuracies})


def test_a_drop_since_the_baseline_is_shown_where_the_pt_fell_as_far() -> None:
    run = fallen_run()
    [line] = [text for text, _ in terminal.table([run], 140) if text.startswith("shapes int8")]
    assert "0.0500 base   0.0100" in line
    assert "0.0000 (0.0200), since baseline 0.0500 (0.0100)" in markdown.render([run])
    cell = next(c for c in run.cells if c.precision == "int8")
    assert CellNumbers(run, cell).least_metric == pytest.approx(0.7806)
    [row] = [row for row in lines(metric_table(CellNumbers(run, cell))) if row["Metric"] == "mAP50-95"]
    assert (row["Baseline"].partition(", ")[2], row["Verdict"]) == ("drop 0.0500", "Fail")
    page = fmt.plain(html.render([run]))
    assert "drop 0.0500 since baseline" in page


def test_a_waived_failure_is_told_apart_from_the_others_in_tables_counts_and_headlines() -> None:
    run = waived_run()
    assert [text for text, _ in terminal.table([run], 80)][-2:] == [
        "shapes fp16         0.8025  -0.0005    14.9    16.2   +9.0 %  pass      waived",
        "shapes int8         0.7806   0.0214    8.67    9.41        -  FAIL      no base",
    ]
    rows = dict(terminal.table([run], 140))
    [row] = [text for text in rows if text.startswith("shapes fp16")]
    assert row.endswith("  pass      FAIL, waived")
    assert rows[row] == {"yellow": True}
    assert any(text.startswith("FAIL, WAIVED  shapes fp16 latency: ") for text, _ in terminal.summary_lines([run], 80))

    counts = {mark.word: number for mark, number in view.counts_of([run])}
    failed = counts["Error"] + counts["Fail"] + counts["No baseline"]
    assert (counts["Waived"], counts["Fail"], counts["No baseline"], failed) == (1, 1, 1, 4)
    text = markdown.render([run])
    assert "\n\n4 of 10 verdicts failed (2 error, 1 fail, 1 no baseline): shapes-wide int8 " in text
    assert "shapes int8 latency. 1 more failed and is waived for now.\n" in text
    assert text.count(f"{markdown.WAIVED_MARK} Fail, waived |") == 1
    assert f"{markdown.WAIVED_MARK} **Fail, waived: shapes fp16 latency**" in text
    page = html.render([run])
    assert page.count('<span class="pill waived">') == 3  # in the matrix, in its cell and on its note
    assert '<td class="sq waived">' in page
    assert view.counts_of([failing_run()]) == tuple((badge(o), n) for o, n in failing_run().counts().items() if n)


def test_wide_terminal_has_all_columns_and_the_long_words() -> None:
    head, *rows = [text for text, _ in terminal.table([failing_run()], 140)]
    assert head.split("  ")[0] == "model"
    assert {"of .pt", "vs .pt", "size"} <= set(re.split(r" {2,}", head))
    assert rows[-1].endswith(
        "0.7806  0.8020   0.0214   0.0100    8.67    9.41        -        -   2.48x  1.1 MB  FAIL      no baseline"
    )


@pytest.mark.parametrize("width", [60, 70, 80, 100, 110, 120, 200])
def test_terminal_lines_fit_but_for_commands(width: int) -> None:
    for run in (failing_run(), passing_run(), gpu_run(), hostile_run("-of-a-rather-long-name" * 3)):
        for text, _ in terminal.summary_lines([run], width):
            assert len(text) <= width or text.startswith(UNBROKEN)


def test_terminal_gives_every_trouble_its_sentence_and_its_commands() -> None:
    lines = [text for text, _ in terminal.summary_lines([failing_run()], 400)]
    for verdict in failing_run().verdicts:
        if verdict.outcome is not Outcome.PASS:
            assert any(f": {sentence_of(verdict)}" in line for line in lines)
            assert f"    run again: {verdict.rerun}" in lines
            assert not verdict.accept or f"    to accept: {verdict.accept}" in lines


def test_terminal_tells_the_worst_first_and_a_shared_reason_once() -> None:
    heads = [line.split("  ")[0] for line in said(400).splitlines() if re.match("[A-Z]{2}", line)]
    assert heads == ["ERROR", "FAIL", "FAIL", "INCOMPATIBLE", "NO BASELINE", "INCONCLUSIVE"]
    assert said(400).count("the job ended with exit status 1") == 1


def test_terminal_shows_how_the_log_of_a_crash_ends() -> None:
    assert "    log: MemoryError: Unable to allocate 3.91 GiB" in said()


def test_a_log_that_ends_with_the_verdict_itself_is_not_told_again() -> None:
    run = failing_run()
    known = [
        v.model_copy(
            update={"log_tail": f"pytest_trtgate.errors.TrtGateError: {sentence_of(v)}\n"} if v.log_tail else {}
        )
        for v in run.verdicts
    ]
    run = run.model_copy(update={"verdicts": tuple(known)})
    assert "log:" not in "\n".join(line for line, _ in terminal.summary_lines([run], 100))


def test_terminal_of_a_passing_run_is_the_table_and_what_its_levels_are_and_what_to_ship() -> None:
    lines = terminal.summary_lines([passing_run()], 100)
    assert len(lines) == 7
    assert lines[-2][0] == "p50, p95: medians of launches (fresh processes); vs base: change as judged"
    assert lines[-1][0].startswith("Ship INT8, the fastest that passes: ")
    untimed = passing_run().model_copy(update={"latencies": {}})
    assert len(terminal.summary_lines([untimed], 200)) == 6


def test_terminal_of_an_empty_run_says_so() -> None:
    assert terminal.summary_lines([empty_run()], 80) == [("Nothing was judged.", {"red": True, "bold": True})]


def test_terminal_colours_rows_by_their_worst_verdict_and_can_do_without() -> None:
    markup = {text.split("  ")[0]: marks for text, marks in terminal.table([failing_run()], 80)}
    assert markup["shapes fp16"] == {"red": True}
    assert markup["shapes fp32"] == {"yellow": True}
    assert markup["shapes-wide int8"] == {"red": True, "bold": True}
    assert {name for _, marks in terminal.summary_lines([failing_run()], 80) for name in marks} <= MARKUP
    assert all(marks == {} for _, marks in terminal.summary_lines([failing_run()], 80, color=False))


def test_terminal_writes_no_control_characters_of_others() -> None:
    lines = terminal.summary_lines([hostile_run()], 80)
    assert lines
    assert not [text for text, _ in lines if re.search(r"[\x00-\x1f\x7f-\x9f\u2028]", text)]


# Markdown


def outside_fences(text: str) -> str:
    return re.sub(r"^(`{3,})[a-z]*\n.*?\n\1$", "", text, flags=re.S | re.M)


def test_markdown_leads_with_the_verdict_then_the_table() -> None:
    text = markdown.render([failing_run()])
    assert text.startswith("## \N{CROSS MARK} Gate failed\n\n4 of 10 verdicts failed: shapes-wide int8 accuracy")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 5
    assert len({line.count("|") for line in rows}) == 1
    assert "| shapes FP16 | 0.8020 | 0.8025 |" in text


def test_markdown_gives_every_trouble_its_sentence_and_its_commands() -> None:
    text = markdown.render([failing_run()])
    for verdict in failing_run().verdicts:
        if verdict.outcome is not Outcome.PASS:
            assert markdown.escape(sentence_of(verdict)) in text
            assert f"\n{verdict.rerun}\n```" in text
            accept = verdict.accept_toml or verdict.accept
            assert not accept or f"\n{accept}\n```" in text


def test_markdown_ends_with_the_command_that_accepts_several_cells() -> None:
    line = "trtgate baseline accept reports/run.json"
    run = failing_run()
    verdicts = tuple(v.model_copy(update={"accept_cell": f"{line} --only {v.cell.key}"}) for v in run.verdicts[:4])
    offering = run.model_copy(update={"verdicts": verdicts, "accept_cells": line})
    assert markdown.render([offering]).endswith(f"\n\nTo accept these 2 cells at once:\n```sh\n{line}\n```\n")
    assert "at once" not in markdown.render([run])


def test_markdown_folds_what_did_not_fail_the_run() -> None:
    text = markdown.render([failing_run()])
    assert text.index("<summary>3 notes</summary>") > text.index("**Fail: shapes fp16 latency**")
    assert text.index("**No baseline: shapes int8 latency**") > text.index("<summary>3 notes</summary>")
    assert "<details>" not in markdown.render([passing_run()])


def test_moment_that_is_none_brings_no_markup_into_markdown() -> None:
    text = markdown.render([passing_run().model_copy(update={"started_at": "<b>@all [a](b)"})])
    assert "&lt;b>@&#8203;all [a\\](b)" in text


def test_markdown_of_hostile_text_has_no_markup_of_others() -> None:
    payload = "|`x`<img src=x>*b*[l](http://e.com)@team#1\n# H\n~~~"
    text = markdown.render([hostile_run(payload)])
    outside = outside_fences(text)
    assert set(re.findall(r"<[^>]*>", outside)) == {
        "<br>",
        "<details>",
        "<summary>3 notes</summary>"[:9],
        "</summary>",
        "</details>",
    }
    assert not re.search(
        r"(?<!\\)[`*]|(?<!\\)\](?=[(\[:])", outside.replace("**", "").replace("`7675ab6f0c1d`", "").replace("\\\\", "")
    )
    assert "@team" not in outside
    assert "http://" not in outside
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {12}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a|b", r"a\|b"),
        ("`rm`", r"\`rm\`"),
        ("cpu-x86_64_onnxruntime-1.32", "cpu-x86_64_onnxruntime-1.32"),
        ("_it_ and __dunder__", r"\_it\_ and \_\_dunder\_\_"),
        ("1.32.0", "1.32.0"),
        ("12) item", r"12\) item"),
        (".pt (0.8020 -> 0.7806)", ".pt (0.8020 -> 0.7806)"),
        ("-0.5 {x} R&D p < .05", "-0.5 {x} R&D p < .05"),
        ("---", r"\---"),
        ("> quote", r"\> quote"),
        ("fell [few-images]; see", "fell [few-images]; see"),
        ("![a](b) [c][d]", r"![a\](b) [c\][d]"),
        ("[x] done", r"\[x] done"),
        ("$a$ ~b~", r"\$a\$ \~b\~"),
        ("see #12 and #shapes", "see #&#8203;12 and #shapes"),
        ("GH-12, (gh-7) and high-5", "GH-&#8203;12, (gh-&#8203;7) and high-5"),
        ("<b>&amp;", "&lt;b>&amp;amp;"),
        ("one\ntwo", "one two"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("# head", r"\# head"),
        ("mAP50-95 0.80", "mAP50-95 0.80"),
        ("@me", "@&#8203;me"),
    ],
)
def test_markdown_escapes(raw: str, shown: str) -> None:
    assert markdown.escape(raw) == shown


def test_markdown_fence_is_longer_than_the_backticks_in_it() -> None:
    assert markdown.fence("a ```` b", "sh") == "`````sh\na ```` b\n`````"


def test_markdown_stays_under_the_limit_of_a_comment() -> None:
    run = failing_run()
    many = tuple(
        v.model_copy(update={"cell": v.cell.model_copy(update={"model": f"model-{i}"})})
        for i in range(200)
        for v in run.verdicts
    )
    text = markdown.render([run.model_copy(update={"verdicts": many})])
    assert 30_000 < len(text) < 65_536
    assert "see the HTML report" in text


def test_markdown_of_several_runs_names_the_machines() -> None:
    text = markdown.render([gpu_run(), failing_run()])
    assert text.index("nvidia-h200") < text.index("cpu-x86")
    assert "on cpu-x86_64_onnxruntime-1.32" in text
    assert markdown.render([]).startswith("## \N{CROSS MARK} Nothing was judged")


# CSV


def test_csv_comes_back_through_pandas(tmp_path: Path) -> None:
    import pandas as pd

    measurements_table.write_csv(tmp_path / "reports" / "run.csv", [failing_run()])
    written = (tmp_path / "reports" / "run.csv").read_text(encoding="utf-8")
    back = pd.read_csv(io.StringIO(written), dtype={"launch": "Int64", "imgsz": "Int64", "batch": "Int64"})
    pd.testing.assert_frame_equal(back, measurements_table.frame(failing_run()), check_dtype=False)
    assert tuple(back.columns) == measurements_table.COLUMNS


@pytest.mark.parametrize("suffix", [".csv", ".md", ".html"])
def test_where_there_is_no_room_the_earlier_file_stays_whole(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = render([passing_run()], tmp_path / f"run{suffix}")
    before = path.read_bytes()

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RecordError, match="No space left on device"):
        render([failing_run()], path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_csv_brings_no_formula_into_a_spreadsheet(tmp_path: Path) -> None:
    first, *others = failing_run().accuracies
    names = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "star")
    classes = tuple(c.model_copy(update={"name": name}) for c, name in zip(first.classes, names, strict=True))
    run = failing_run().model_copy(
        update={"accuracies": (first.model_copy(update={"classes": classes, "model": "=x"}), *others)}
    )
    measurements_table.write_csv(tmp_path / "run.csv", [run])
    with (tmp_path / "run.csv").open(newline="") as file:
        back = list(csv.DictReader(file))
    assert {row["class"] for row in back} >= {"'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "star"}
    assert "'=x" in {row["model"] for row in back}
    assert set(measurements_table.frame(run)["class"].dropna()) >= set(names)
    assert all(math.isfinite(float(row["value"])) for row in back if row["value"])


def test_table_holds_what_was_measured() -> None:
    run = failing_run()
    data = measurements_table.frame(run)
    p50 = data.query("model == 'shapes' and precision == 'int8' and context == 'engine' and metric == 'p50'")
    assert tuple(p50["value"]) == run.latencies["shapes"].per_launch_ms("int8", "engine", 50)
    assert list(p50["launch"]) == [0, 1, 2]
    assert set(p50["unit"]) == {"ms"}
    drop = data.query("kind == 'accuracy' and precision == 'int8' and metric == 'mAP50-95'").set_index("class")["value"]
    assert drop["triangle"] == pytest.approx(0.7466)
    sizes = data.query("kind == 'engine' and metric == 'size'")
    assert sorted(sizes["value"]) == sorted(engine.size_bytes for engine in run.engines.values())


def test_table_of_several_runs_is_one_table() -> None:
    both, one = measurements_table.frame([passing_run(), gpu_run()]), measurements_table.frame(passing_run())
    assert len(both) == 2 * len(one)
    assert set(both["backend"]) == {"onnxruntime", "tensorrt"}


def test_table_of_an_empty_run_has_its_columns() -> None:
    assert tuple(measurements_table.frame(empty_run()).columns) == measurements_table.COLUMNS
    assert len(measurements_table.frame([])) == 0
