"""The HTML report: what a reader finds in it, and that it is one sound, self-contained page."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from page_reader import Page, page_of
from runs_example import empty_run, failing_run, gpu_run, passing_run

from pytest_trtgate.records.files import as_json
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.verdict import Check, EarlyFinding, Finding, Outcome, Preflight
from pytest_trtgate.report.page import html
from pytest_trtgate.report.page.overall import closest
from pytest_trtgate.report.page.parts import sentence_of, warnings_of

GOLDEN = Path(__file__).parents[1] / "golden" / "report.html"
REGENERATE = "TRTGATE_WRITE_GOLDEN"
"""Set it to write the golden file anew: ``TRTGATE_WRITE_GOLDEN=1 pytest tests/report/test_html.py -k golden``."""


@pytest.fixture(scope="module")
def failing() -> Page:
    return page_of(failing_run)


@pytest.fixture(scope="module")
def passing() -> Page:
    return page_of(passing_run)


@pytest.fixture(scope="module")
def merged() -> Page:
    return page_of(passing_run, failing_run, gpu_run)


def without_record(page: str) -> str:
    """Leave out the record for download, which would make the golden file large; another test reads it."""
    page = re.sub(r'(<script type="application/json"[^>]*>).*?(</script>)', r"\1{}\2", page, flags=re.S)
    return re.sub(r"base64,[A-Za-z0-9+/=]{200,}", "base64,e30=", page)


def test_page_equals_the_golden_file() -> None:
    page = without_record(page_of(failing_run).source)
    if os.environ.get(REGENERATE):
        GOLDEN.write_text(page, encoding="utf-8", newline="\n")
    assert page == GOLDEN.read_text(encoding="utf-8"), f"set {REGENERATE}=1 to accept the new page, then look at it"


def test_rendering_twice_gives_the_same_page() -> None:
    assert html.render([failing_run()]) == page_of(failing_run).source


def test_headline_says_that_the_gate_failed_and_what_failed(failing: Page) -> None:
    assert failing.by_id("headline").content.strip() == "Gate failed"
    assert failing.all("title")[0].content == "Fail: shapes, shapes-wide | trtgate"
    assert "Gate failed 4 of 10 verdicts failed. shapes-wide int8 accuracy and latency MemoryError: " in failing.text


def test_top_of_the_page_says_what_failed_by_how_much_and_leads_there(failing: Page) -> None:
    links = [e for e in failing.all("a") if e.attributes["href"].startswith("#failure-")]
    assert [e.text for e in links] == [
        "shapes-wide int8 accuracy and latency",
        "shapes int8 accuracy",
        "shapes fp16 latency",
    ]
    assert "shapes int8 accuracy mAP50-95 drop 0.0214, 0.0100 allowed shapes fp16 latency p50 +9.0 %" in failing.text
    cards = failing.all("article")
    assert [e.attributes["id"] for e in cards] == [e.attributes["href"][1:] for e in links]


def test_top_of_a_merged_page_says_on_which_machine_something_failed(merged: Page) -> None:
    assert "shapes int8 accuracy mAP50-95 drop 0.0214, 0.0100 allowed (cpu-x86_64_onnxruntime-1.32)" in merged.text


def test_warnings_and_remarks_come_after_the_failures_and_are_folded_where_they_are_many() -> None:
    found = [Finding(id="x", severity="warn", sentence=f"warning {i}", remedy="mend it") for i in range(5)]
    early = Preflight(findings=tuple(EarlyFinding(finding=finding) for finding in found))
    page = Page(html.render([failing_run().model_copy(update={"preflight": early})]))
    places = [page.text.index(x) for x in ("To accept", "5 warnings warning 0; mend it [x]", "Notes Not decided")]
    assert places == sorted(places)
    (warnings,) = page.all("details", class_="warning")
    (remark,) = page.all("details", class_="remark")
    assert ("open" in warnings.attributes, "open" in remark.attributes) == (False, True)
    assert "1 remark Another process used 38 %" in page.text


def test_a_warning_names_its_model_where_there_are_several() -> None:
    run = failing_run()
    found = Finding(id="low-agreement", severity="warn", sentence="int8: the engine has 50 %", remedy="look")
    verdicts = tuple(
        v.model_copy(update={"findings": (found,)} if v.cell.precision == "int8" else {}) for v in run.verdicts
    )
    wide = run.model_copy(update={"verdicts": verdicts})
    assert warnings_of([wide]) == ("shapes int8: the engine has 50 %; look [low-agreement]",)
    alone = wide.model_copy(update={"cells": tuple(c for c in run.cells if c.model == "shapes")})
    assert warnings_of([alone]) == ("int8: the engine has 50 %; look [low-agreement]",)


def test_a_warning_names_its_machine_where_another_of_the_page_has_none() -> None:
    found = [Finding(id="busy", severity="warn", sentence=f"the load is {load}", remedy="wait") for load in (5, 6)]

    def run(machine: str, *found: Finding) -> RunRecord:
        run = passing_run()
        early = Preflight(findings=tuple(EarlyFinding(finding=one) for one in found))
        cells = tuple(cell.model_copy(update={"machine": machine}) for cell in run.cells)
        return run.model_copy(update={"cells": cells, "preflight": early})

    a, b = run("a", *found), run("b", found[0])
    assert warnings_of([a, b]) == ("the load is 5; wait [busy]", "a: the load is 6; wait [busy]")
    assert warnings_of([a])[1] == "the load is 6; wait [busy]"


def test_headline_of_a_passing_run_names_the_tightest_margin(passing: Page) -> None:
    assert passing.by_id("headline").content.strip() == "Gate passed"
    assert "All 6 verdicts pass. Closest to its limit: shapes fp16 p95, 81 % of what is allowed." in passing.text


def test_a_speed_up_that_is_nearest_to_its_limit_is_told_as_a_factor() -> None:
    run = passing_run()
    name, passed = "speed-up", Outcome.PASS
    check = Check(name=name, against="fp16", unit="ratio", change=1.12, limit=1.1, outcome=passed, sentence="")
    verdicts = [v.model_copy(update={"checks": (check,)}) for v in run.verdicts[-1:]]
    assert (
        closest(verdicts).replace("\N{MULTIPLICATION SIGN}", "x").endswith("speed-up, 1.12x where 1.10x is the least.")
    )


def test_counts_use_words_for_people(failing: Page) -> None:
    counts = [e.text for e in failing.all("li") if "counts" in str(failing.source) and e.path[-1] == "ul"]
    assert counts[:6] == ["2 Error", "2 Fail", "1 Incompatible", "1 No baseline", "1 Inconclusive", "3 Pass"]


def test_every_trouble_has_its_sentence_and_its_commands(failing: Page) -> None:
    commands = {code.content for code in failing.all("code")}
    troubled = [v for v in failing_run().verdicts if v.outcome is not Outcome.PASS]
    assert len(troubled) == 7
    for verdict in troubled:
        assert sentence_of(verdict) in failing.text
        assert verdict.rerun in commands
        assert not verdict.accept or (verdict.accept_toml or verdict.accept) in commands


def test_failures_come_worst_first_and_before_the_notes(failing: Page) -> None:
    titles = [e.text for e in failing.all("h3") if "details" not in e.path]
    assert titles == [
        "shapes-wide int8 accuracy and latency",
        "shapes int8 accuracy",
        "shapes fp16 latency",
        "shapes fp32 latency",
        "shapes int8 latency",
        "shapes-wide fp32 latency",
    ]
    headings = [e.attributes.get("id") for e in failing.all("h2")]
    assert headings == ["failures", "remarks", "matrix", "charts", "cells", "environment"]


def test_numbers_of_a_failure_stand_on_its_card(failing: Page) -> None:
    card = next(e.text for e in failing.all("article") if "shapes int8 accuracy" in e.content)
    assert re.findall(r"engine\s*0\.7806\s*\.pt\s*0\.8020\s*drop\s*0\.0214\s*allowed\s*0\.0100", card)
    assert "2.14x the limit" in card


def test_error_card_shows_the_last_line_of_the_log_and_folds_the_rest(failing: Page) -> None:
    (card,) = failing.all("article", class_="error")
    assert "Last line of the log MemoryError: Unable to allocate 3.91 GiB" in card.text
    assert any("collecting ranges over 600 images" in e.content and "details" in e.path for e in failing.all("pre"))


def test_matrix_shows_verdicts_and_numbers_of_both_subjects(failing: Page) -> None:
    squares = [e.text for e in failing.all("td", class_="sq")]
    assert (
        "FP16 Accuracy Pass 0.8025 gain 0.0005 0.0030 allowed Latency Fail 14.9 ms p95 16.2 ms +9.0 % vs baseline "
        "5 % allowed 1.44x vs .pt" in squares[6]
    )
    assert "INT8 Accuracy Error not measured Latency Error not measured no engine Details" in squares[3]
    assert squares[4].startswith(".pt Accuracy reference 0.8020 200 images Latency reference 21.5 ms")


def test_change_against_a_baseline_that_is_not_comparable_is_not_shown(failing: Page) -> None:
    (square,) = [e.content for e in failing.all("td", class_="sq") if "Incompatible" in e.content]
    assert "12.5" in square
    assert "vs baseline" not in square


def test_every_cell_has_a_section_named_by_its_key(failing: Page) -> None:
    keys = [e.attributes["id"] for e in failing.all("section") if "details" in e.path]
    assert keys == [
        "shapes-wide-int8-320-b1-onnxruntime-cpu",
        "shapes-fp16-320-b1-onnxruntime-cpu",
        "shapes-int8-320-b1-onnxruntime-cpu",
        "shapes-fp32-320-b1-onnxruntime-cpu",
        "shapes-wide-fp32-320-b1-onnxruntime-cpu",
    ]
    folded = [e.attributes.get("open") is None for e in failing.all("details", class_="cell")]
    assert folded == [False, False, False, True, True]


def test_details_of_a_cell_hold_latency_against_baseline_and_budget(failing: Page) -> None:
    section = failing.by_id("shapes-fp16-320-b1-onnxruntime-cpu").text
    assert "p50 14.9 ms 13.7 ms +9.0 % +5 % 21.5 ms 1.44x" in section
    assert "p95 16.2 ms 14.8 ms +9.0 % +10 %, \N{LESS-THAN OR EQUAL TO} 16.0 ms 23.3 ms 1.44x" in section
    assert "3 launches, 500 samples each" in section
    assert "preprocess 0.811 ms 0.880 ms 5 % 0.809 ms" in section


def test_classes_are_sorted_by_how_much_they_lost(failing: Page) -> None:
    section = failing.by_id("shapes-int8-320-b1-onnxruntime-cpu").text
    assert "mAP50-95 per class (6), largest drop: triangle 0.0634" in section
    assert section.index("triangle 102 196 0.8100 0.7466 0.0634") < section.index("star 97 187")


def test_engine_says_how_it_was_built(failing: Page) -> None:
    section = failing.by_id("shapes-int8-320-b1-onnxruntime-cpu").text
    assert "built in this run in 26 s" in section
    assert "600 images of split train (fraction 1)" in section
    assert "versions.ultralytics 8.4.190" in section
    digest = failing_run().engines["shapes-int8-320-b1-onnxruntime-cpu"].sha256
    assert any(e.attributes.get("title") == digest and e.content == digest[:12] for e in failing.all("dd"))


def test_environment_shows_both_values_where_the_baseline_differs(failing: Page) -> None:
    rows = [e.text for e in failing.all("tr")]
    assert "Backend onnxruntime 1.32.0 baseline: onnxruntime 1.30.0" in rows
    assert "torch 2.11.0" in rows


def test_jobs_command_and_settings_are_there(failing: Page) -> None:
    assert "build-shapes-wide-int8-320-b1-onnxruntime-cpu build 26 s Failed" in failing.text
    assert any(e.content == failing_run().command for e in failing.all("code"))
    assert (
        json.loads(next(e.content for e in failing.all("pre") if e.content.startswith("{"))) == failing_run().settings
    )


def test_merged_page_names_each_machine_and_keeps_ids_apart(merged: Page) -> None:
    ids = [e.attributes["id"] for e in merged.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    assert "shapes-fp16-320-b1-onnxruntime-cpu" in ids
    assert "shapes-fp16-320-b1-onnxruntime-cpu--2" in ids
    assert "shapes-fp16-320-b1-tensorrt-0" in ids
    runs = [e.text for e in merged.elements if e.attributes.get("id", "").startswith("run")]
    assert [("NVIDIA H200" in row, row.split()[0]) for row in runs] == [
        (False, "Pass"),
        (False, "Error"),
        (True, "Pass"),
    ]
    assert merged.by_id("headline").content.strip() == "Gate failed"


def test_failures_of_several_runs_are_sorted_together() -> None:
    page = Page(html.render([failing_run(), failing_run()]))
    badges = [card.attributes["class"] for card in page.all("article")]
    assert badges == ["card error", "card error", "card fail", "card fail", "card fail", "card fail"]


@pytest.mark.parametrize("runs", [[], [empty_run()], [passing_run(), empty_run()]], ids=["none", "empty", "one-empty"])
def test_run_that_judged_nothing_is_not_green(runs: list[RunRecord]) -> None:
    page = Page(html.render(runs))
    assert page.by_id("headline").content.strip() in ("Nothing was judged", "Gate failed")
    assert not page.all("section", class_="hero")[0].attributes["class"].endswith("pass")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"engines": {}}, "No engine: its build failed or was not reached."),
        ({"accuracies": ()}, "Not measured: neither the .pt nor the engine was evaluated."),
        ({"latencies": {}}, "Not measured: no launch of this run timed the engine."),
        ({"baselines": {}}, "No baseline was looked up."),
        ({"verdicts": ()}, "The latency was not judged."),
        ({"jobs": ()}, "No job was run."),
        ({"engines": {}, "accuracies": (), "latencies": {}, "baselines": {}, "jobs": ()}, "not measured"),
    ],
    ids=["engines", "accuracies", "latencies", "baselines", "verdicts", "jobs", "nearly-all"],
)
def test_missing_part_is_named(missing: dict[str, object], said: str) -> None:
    assert said in Page(html.render([failing_run().model_copy(update=missing)])).text


def test_record_can_be_taken_from_the_page_in_both_ways() -> None:
    run = failing_run()
    page = Page(html.render([run]))
    (block,) = page.all("script", type="application/json")
    (link,) = [e for e in page.all("a") if "download" in e.attributes]
    embedded = RunRecord.model_validate(json.loads(block.content))
    assert as_json(embedded) == as_json(html.slim(run))
    assert json.loads(base64.b64decode(link.attributes["href"].partition(",")[2])) == json.loads(block.content)
    assert embedded.verdicts == run.verdicts
    assert [len(use.baseline.sessions) for use in embedded.baselines.values() if use.baseline] == [1, 1, 1]


def test_record_too_large_to_carry_is_left_out_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "EMBED_BYTES", 1000)
    page = Page(html.render([passing_run()]))
    assert not page.all("script", type="application/json")
    assert "is not carried by this page" in page.text


def test_file_is_written_whole_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "gate.html"
    html.write(path, [passing_run()])
    assert path.read_text(encoding="utf-8") == html.render([passing_run()])
    assert [p.name for p in path.parent.iterdir()] == ["gate.html"]


def test_policy_allows_this_style_and_this_script_and_nothing_else(failing: Page) -> None:
    (policy,) = [e.attributes["content"] for e in failing.all("meta") if "http-equiv" in e.attributes]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    for name, element in (("style-src", failing.all("style")[0]), ("script-src", failing.all("script")[-1])):
        digest = base64.b64encode(hashlib.sha256(element.content.encode()).digest()).decode()
        assert rules.pop(name) == f"'sha256-{digest}'"
    assert rules == {"img-src": "data:"}  # pictures, which are on the page itself
    assert not [e for e in failing.elements if "style" in e.attributes]
