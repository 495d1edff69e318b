"""The HTML report as a page: harmless whatever a record holds, independent of any network, and usable by everyone."""

from __future__ import annotations

import json
import math
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hostile_example import hostile_run
from page_reader import Page, page_of
from runs_example import empty_run, failing_run, gpu_run, passing_run

from pytest_trtgate.records import QuantizationRecord
from pytest_trtgate.records.base import Record
from pytest_trtgate.records.figures import DropInterval
from pytest_trtgate.records.latency import Timing
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.report.numbers import CellNumbers
from pytest_trtgate.report.page import html
from pytest_trtgate.report.page.detail import build_facts

STYLE = Path(html.__file__).parent / "templates" / "style.css"


def test_hostile_record_brings_no_element_and_no_attribute_into_the_page() -> None:
    page, usual = page_of(hostile_run), page_of(failing_run)
    assert [e.attributes for e in page.all("script")] == [{"type": "application/json", "id": "record"}, {}]
    assert page.all("script")[1].content == usual.all("script")[1].content
    assert {e.tag for e in page.elements} == {e.tag for e in usual.elements}
    names = {name for e in page.elements for name in e.attributes}
    assert names <= {name for e in usual.elements for name in e.attributes}
    assert not {name for name in names if name.startswith("on")}


def test_hostile_text_is_shown_as_text() -> None:
    page = page_of(hostile_run)
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in page.text
    assert "{{ 7 * 7 }}&amp;" in page.text
    assert "\x1b" not in page.source
    assert "\x00" not in page.source


def test_hostile_record_survives_in_the_block_for_download() -> None:
    (block,) = page_of(hostile_run).all("script", type="application/json")
    assert not set("<>&\u2028\u2029") & set(block.content)
    assert json.loads(block.content) == html.slim(hostile_run()).model_dump(mode="json")


def test_links_stay_on_the_page_and_lead_somewhere() -> None:
    for run in (failing_run(), hostile_run(), hostile_run(" javascript:alert(1)")):
        page = Page(html.render([run]))
        ids = {e.attributes["id"] for e in page.elements if "id" in e.attributes}
        links = [e.attributes["href"] for e in page.elements if "href" in e.attributes]
        assert links
        for link in links:
            carried = ("data:application/json;base64,", "data:image/jpeg;base64,")
            assert link.startswith(carried) or link.removeprefix("#") in ids
        assert all(re.fullmatch(r"[\w.-]+", name) for name in ids)


def test_very_long_names_do_not_make_a_very_long_page() -> None:
    page = Page(html.render([hostile_run("n" * 10_000)]))
    written_out = {piece for tag in ("pre", "script", "style") for e in page.all(tag) for piece in e.pieces}
    assert max(len(word) for word in page.words if word not in written_out) <= 1001
    headings = [e.content for tag in ("h1", "h2", "h3", "title") for e in page.all(tag)]
    assert max(map(len, headings)) <= 300


def test_undecodable_path_in_the_settings_costs_the_download_and_nothing_else() -> None:
    run = passing_run().model_copy(update={"settings": {"data": "caf\udce9.yaml"}})
    page = Page(html.render([run]))
    assert page.by_id("headline").content.strip() == "Gate passed"
    assert not page.all("script", type="application/json")


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e300])
def test_odd_numbers_are_shown_and_drawn_nowhere(odd: float) -> None:
    def odd_timing(timing: Timing) -> Timing:
        return timing.model_copy(update={"mean_ms": odd, "quantiles_ms": (odd,) * 99})

    def rewrite(value: Any) -> Any:
        if isinstance(value, Timing):
            return odd_timing(value)
        if isinstance(value, Record):
            return value.model_copy(update={n: rewrite(getattr(value, n)) for n in type(value).model_fields})
        if isinstance(value, tuple):
            return tuple(map(rewrite, value))
        if isinstance(value, dict):
            return {key: odd if isinstance(item, float) else rewrite(item) for key, item in value.items()}
        return odd if type(value) is float else value

    run = rewrite(failing_run().model_copy(update={"settings": {}}))
    page = Page(html.render([run]))
    drawn = [f"{e.attributes}" for e in page.elements if e.tag in ("path", "rect", "circle", "text")]
    assert not [text for text in drawn if re.search(r"(?i)\b(nan|inf)\b", text)]
    assert page.by_id("headline").content.strip() == "Gate failed"
    if math.isnan(odd):
        assert "NaN" in page.text


def test_cell_known_only_from_a_verdict_is_shown() -> None:
    run = passing_run().model_copy(update={"cells": ()})
    assert len(Page(html.render([run])).all("details", class_="cell")) == 3


def test_page_refers_to_nothing_outside() -> None:
    for runs in ((), (empty_run,), (failing_run,), (passing_run, gpu_run)):
        page = page_of(*runs)
        source = page.source
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+[^\s\"'<]*", re.sub(r"base64,[^\"]*", "", source)))
        comments = {line.strip() for line in page.all("script")[-1].content.splitlines() if "//" in line}
        assert addresses <= {"http://www.w3.org/2000/svg"}, comments
        assert not re.findall(r"url\(|@import|@font-face|\bsrc=|srcset|<link|<iframe|<object|<embed", source)
        assert "fetch(" not in source
        assert "XMLHttpRequest" not in source


@pytest.fixture(scope="module", params=["failing", "passing", "empty", "merged"])
def page(request: pytest.FixtureRequest) -> Page:
    runs = {
        "failing": [failing_run],
        "passing": [passing_run],
        "empty": [empty_run],
        "merged": [passing_run, failing_run],
    }
    return page_of(*runs[request.param])


def test_headings_form_one_outline(page: Page) -> None:
    levels = [int(e.tag[1]) for e in page.elements if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_table_headers_say_what_they_head(page: Page) -> None:
    headers = page.all("th")
    assert headers
    assert all(e.attributes.get("scope") in ("row", "col") for e in headers)


def test_every_picture_has_a_title_or_is_decoration(page: Page) -> None:
    pictures = page.all("svg")
    assert pictures
    for picture in pictures:
        if picture.attributes.get("aria-hidden") != "true":
            assert picture.attributes["role"] == "img"
            assert picture.content.strip()
    titles = [e for e in page.all("title") if e.path and e.path[-1] == "svg"]
    assert len(titles) == len([p for p in pictures if p.attributes.get("role") == "img"])


def test_ids_are_unique_and_labels_exist(page: Page) -> None:
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    assert {e.attributes["aria-labelledby"] for e in page.elements if "aria-labelledby" in e.attributes} <= set(ids)


def test_what_scrolls_can_be_reached_with_the_keyboard(page: Page) -> None:
    scrolling = [e for e in page.elements if "scroll" in e.attributes.get("class", "").split()] + page.all("pre")
    assert all(e.attributes.get("tabindex") == "0" for e in scrolling)


def test_outcomes_are_never_told_by_colour_alone(page: Page) -> None:
    for pill in page.all("span", class_="pill"):
        assert pill.content.strip()


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` [WCAG 2.2]."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_enough_contrast(scheme: int) -> None:
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE.read_text(encoding="utf-8"))
    colours = {name: (light, dark)[scheme] for name, light, dark in found}
    texts = {"ink", "muted", "accent", "pass", "fail", "error", "inconclusive", "no-baseline", "incompatible", "none"}
    assert texts < set(colours)
    for text in texts:
        for ground in ("bg", "surface", "sunk"):
            pair = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
            assert (pair[0] + 0.05) / (pair[1] + 0.05) >= 4.5, (text, ground)


def large_run(models: int) -> RunRecord:
    """Return a run of so many models in three precisions with 80 classes, and all figures."""
    run = failing_run()

    def named(record: Any, model: str) -> Any:
        return record.model_copy(update={"model": model})

    many = [f"yolo{number:02d}" for number in range(models)]
    first = [cell for cell in run.cells if cell.model == "shapes"]
    names = [f"class {i} {entry.name}" for i in range(14) for entry in run.accuracies[0].classes][:80]
    classes = tuple(
        entry.model_copy(update={"name": name})
        for name, entry in zip(names, run.accuracies[0].classes * 14, strict=False)
    )
    interval = DropInterval(low=-0.0123, high=0.0234)
    figures = {c.key: run.figures[c.key].model_copy(update={"classes": dict.fromkeys(names, interval)}) for c in first}
    pairs = [(c, named(c, m)) for m in many for c in first]
    shapes = [a for a in run.accuracies if a.model == "shapes"]
    return run.model_copy(
        update={
            "cells": tuple(cell for _, cell in pairs),
            "accuracies": tuple(named(a, m).model_copy(update={"classes": classes}) for m in many for a in shapes),
            "latencies": {m: named(run.latencies["shapes"], m) for m in many},
            "baselines": {cell.key: run.baselines[c.key] for c, cell in pairs},
            "figures": {cell.key: figures[c.key].model_copy(update={"cell": cell}) for c, cell in pairs},
            "courses": {cell.key: run.courses[c.key] for c, cell in pairs},
            "engines": {cell.key: run.engines[c.key].model_copy(update={"cell": cell}) for c, cell in pairs},
            "verdicts": tuple(
                v.model_copy(update={"cell": cell}) for c, cell in pairs for v in run.verdicts if v.cell == c
            ),
        }
    )


def test_three_models_of_eighty_classes_are_rendered_at_once_and_stay_light() -> None:
    run = large_run(3)
    html.render([passing_run()])  # what is read and compiled once
    before = time.process_time()
    source = html.render([run])
    assert time.process_time() - before < 2
    assert source.count('<td class="sq') == 4 * 3
    assert source.count("<b>Precision over recall</b>") == 9
    assert len(source.encode()) < 5_000_000


def test_hundred_cells_of_eighty_classes_stay_light() -> None:
    source = html.render([large_run(33)])
    assert source.count('<td class="sq') == 4 * 33
    assert len(source.encode()) < 5_000_000


def test_the_page_says_which_layers_stayed_out_of_int8() -> None:
    run = passing_run()
    key, engine = next((k, e) for k, e in run.engines.items() if e.cell.precision == "int8")
    assert "Quantization" not in {fact.label for fact in build_facts(CellNumbers(run, engine.cell))}
    special = QuantizationRecord(settings={"per_channel": True, "keep": ["stem"]}, layers=88, kept=("stem.0", "stem.1"))
    run = run.model_copy(update={"engines": {key: engine.model_copy(update={"quantization": special})}})
    facts = {fact.label: fact.value for fact in build_facts(CellNumbers(run, engine.cell))}
    assert facts["Quantization"] == "per_channel true; 2 of 88 layers (2 %) kept out of INT8"
    assert facts["Kept out of INT8"] == "stem.0, stem.1"
