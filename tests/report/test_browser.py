"""The HTML report in a real browser: silent, self-sufficient, accessible, and of use with and without its script."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator

import chromium
import pytest
from chromium import Chromium
from hostile_example import hostile_run
from media_example import kept, video
from runs_example import empty_run, failing_run, gpu_run, passing_run

from pytest_trtgate.locks import Lock
from pytest_trtgate.report.page import html

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium.find() is None,
        reason=f"no Chromium on the PATH ({', '.join(chromium.NAMES)}): the page was not opened",
    ),
]
AXE = "4.14.1"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
FOLDED = "shapes-fp32-320-b1-onnxruntime-cpu"
"""A cell of the failing run that starts folded."""
PAGES = {
    "failing": [failing_run],
    "passing": [passing_run],
    "merged": [passing_run, failing_run, gpu_run],
    "empty": [empty_run],
    "hostile": [hostile_run],
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of the example pages."""
    folder = tmp_path_factory.mktemp("pages")
    for name, runs in PAGES.items():
        html.write(folder / f"{name}.html", [run() for run in runs])
    run, media = kept(folder, pictures=3)
    html.write(folder / "media.html", [run.model_copy(update={"videos": (video(),)})], [media])
    return {name: (folder / f"{name}.html").as_uri() for name in (*PAGES, "media")}


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core (MPL-2.0), fetched from npm's registry, once where pytest has a cache, and checked."""
    cache = getattr(request.config, "cache", None)  # pytest may run without one
    folder = tmp_path_factory.mktemp("axe-core") if cache is None else cache.mkdir("axe-core")
    script = folder / f"axe-{AXE}.min.js"
    with Lock(folder / "lock").held():
        if not script.is_file():
            npm = shutil.which("npm")
            if npm is None:
                pytest.skip("npm is not installed, with which axe-core is fetched: accessibility was not checked")
            command = [npm, "pack", "--silent", "--fetch-retries=1", f"axe-core@{AXE}"]
            try:
                got = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
            except subprocess.TimeoutExpired:
                pytest.skip("axe-core cannot be fetched in 2 minutes, so accessibility was not checked")
            if got.returncode:
                pytest.skip(f"axe-core cannot be fetched, so accessibility was not checked: {got.stderr[-300:]}")
            with tarfile.open(folder / f"axe-core-{AXE}.tgz") as archive:
                packed = archive.extractfile("package/axe.min.js")
                assert packed is not None
                script.write_bytes(packed.read())
    assert hashlib.sha256(script.read_bytes()).hexdigest() == AXE_SHA256
    return script.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*PAGES, "media"])
def test_page_opens_without_a_request_or_a_complaint(browser: Chromium, pages: dict[str, str], name: str) -> None:
    browser.open(pages[name])
    assert [address for address in browser.requests if not address.startswith("data:")] == [pages[name]]
    assert browser.complaints == []
    assert not [event for event, _ in browser.events if event == "Page.javascriptDialogOpening"]
    assert browser.run("document.querySelectorAll('h1').length") == 1


@pytest.mark.parametrize(("name", "widths"), [("failing", (390, 1280, 1920)), ("hostile", (390,)), ("media", (390,))])
def test_page_is_never_wider_than_the_window(
    browser: Chromium, pages: dict[str, str], name: str, widths: tuple[int, ...]
) -> None:
    browser.open(pages[name])
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for width in widths:
        browser.resize(width)
        root = browser.run("[innerWidth, document.documentElement.clientWidth, document.documentElement.scrollWidth]")
        assert root[0] == width
        assert root[2] == root[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_hides_columns_has_a_shade_at_that_edge_until_it_is_scrolled_there(
    browser: Chromium, pages: dict[str, str], scheme: str
) -> None:
    browser.open(pages["merged"], scheme=scheme, script=False)
    browser.resize(390)
    browser.run("document.querySelectorAll('.cell').forEach((cell, at) => { cell.open = !at; })")  # the rest is long

    def shaded(table: str, left: int) -> bool:
        """Return whether the background is seen in the last 18 px of a table, less its frame."""
        seen = []
        for ground in ("", "none"):
            box = browser.run(
                f"(() => {{ const s = document.querySelector({table!r}); s.style.background = {ground!r};"
                f" s.scrollLeft = {left}; const b = s.getBoundingClientRect();"
                " return {x: b.right - 17 + scrollX, y: b.top + 8 + scrollY, width: 16, height: b.height - 16} })()"
            )
            clip = {**box, "scale": 1}
            seen.append(browser.send("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True))
        return seen[0] != seen[1]

    for table in (".cell .scroll", ".cell .scroll.tall", ".hero .scroll"):
        assert shaded(table, 0)
        assert not shaded(table, 9999)


@pytest.mark.parametrize(
    ("scheme", "only", "passes"),
    # In the dark only colours differ.
    [("light", None, 20), ("dark", ["color-contrast"], 1)],
    ids=["light", "dark"],
)
@pytest.mark.parametrize("name", ["failing", "media"])
def test_axe_finds_no_violation(
    browser: Chromium, pages: dict[str, str], axe: str, name: str, scheme: str, only: list[str] | None, passes: int
) -> None:
    browser.open(pages[name], scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.run("document.querySelectorAll('.overlay').forEach((box) => box.click())")
    browser.run(f"{axe};0")
    options = {"resultTypes": ["violations"], **({"runOnly": only} if only else {})}
    found = browser.run(
        f"axe.run(document, {json.dumps(options)}).then((result) =>"
        " ({checked: result.passes.length, wrong: result.violations.map((v) => [v.id, v.nodes[0].html])}))"
    )
    assert found["wrong"] == []
    assert found["checked"] >= passes
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(247, 247, 248)", "dark": "rgb(16, 18, 20)"}[scheme]


def test_filter_leaves_the_cells_that_match(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["failing"])
    shown = "Array.from(document.querySelectorAll('details.cell:not([hidden]) h3'), (h) => h.textContent)"
    field = "document.querySelector('.filter')"
    typed = f"{field}.value = {{}}; {field}.dispatchEvent(new Event('input'))"
    browser.run(typed.format(json.dumps("WIDE error")))
    assert browser.run(shown) == ["shapes-wide int8"]
    assert browser.run("document.querySelector('.found').textContent") == "1 of 5"
    browser.run(typed.format('""'))
    assert len(browser.run(shown)) == 5


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_deep_link_opens_the_folded_cell(browser: Chromium, pages: dict[str, str], script: bool) -> None:
    browser.open(f"{pages['failing']}#{FOLDED}", script=script)
    assert browser.run(f"document.getElementById('{FOLDED}').closest('details').open") is True
    top = browser.run(f"document.getElementById('{FOLDED}').getBoundingClientRect().top")
    assert 0 < top < 900


def test_link_to_a_cell_that_is_filtered_away_brings_it_back(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["failing"])
    cell = f"document.getElementById('{FOLDED}').closest('details')"
    assert browser.run(f"{cell}.open") is False
    browser.run(f"{cell}.hidden = true; location.hash = '{FOLDED}'; new Promise((done) => setTimeout(done, 50))")
    assert browser.run(f"[{cell}.open, {cell}.hidden]") == [True, False]


def test_columns_are_sorted_by_a_click_and_by_a_second_one_the_other_way(
    browser: Chromium, pages: dict[str, str]
) -> None:
    browser.open(pages["failing"])
    table = "document.querySelector('#shapes-int8-320-b1-onnxruntime-cpu .sortable')"
    column = "Array.from({}.tBodies[0].rows, (r) => r.cells[{}].textContent.replace('\\u2212', '-'))"
    assert browser.run(f"{table}.querySelector('[aria-sort]').textContent") == "Drop"
    press = "{}.tHead.rows[0].cells[{}].querySelector('button').click()"
    for number, reverse in ((3, True), (3, False), (0, True), (0, False), (5, True)):
        browser.run(press.format(table, number))
        found = browser.run(column.format(table, number))
        values = found if number == 0 else [float(text.removesuffix("significant")) for text in found]
        assert values == sorted(values, reverse=reverse)
        assert len(set(values)) > 1
        state = browser.run(f"{table}.tHead.rows[0].cells[{number}].getAttribute('aria-sort')")
        assert state == ("descending" if reverse else "ascending")


def test_slider_uncovers_the_engines_picture_by_keyboard(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["media"])
    browser.run("document.querySelector('.pictures').open = true")
    seen = "getComputedStyle(document.querySelector('.pane.engine')).clipPath"
    assert browser.run(seen) == "none"
    browser.run("document.querySelector('.overlay').click()")
    assert browser.run(seen) == "inset(0px 0px 0px 50%)"
    browser.run("document.querySelector('.split').focus()")
    browser.press("ArrowRight", 39)
    assert browser.run(seen) == "inset(0px 0px 0px 51%)"


def test_keyboard_reaches_the_results_and_opens_a_cell(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["failing"])
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.textContent") == "Skip to the results"
    cell = f"document.getElementById('{FOLDED}').closest('details')"
    browser.run(f"{cell}.querySelector('summary').focus()")
    browser.press("Enter", 13)
    assert browser.run(f"{cell}.open") is True


def test_without_scripts_everything_but_its_controls_is_there(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["failing"], script=False)
    assert browser.run("Array.from(document.querySelectorAll('.js'), (e) => e.offsetHeight)") == [0] * browser.run(
        "document.querySelectorAll('.js').length"
    )
    assert browser.run("document.querySelectorAll('.sort').length") == 0
    assert "4 of 10 verdicts failed" in browser.run("document.body.innerText")
    link = browser.run("document.querySelector('a[download]').href")
    kind, _, record = link.partition(",")
    assert kind == "data:application/json;base64"
    assert json.loads(base64.b64decode(record))["run_id"] == failing_run().run_id


def test_theme_can_be_turned_and_stays_turned(browser: Chromium, pages: dict[str, str]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(pages["failing"], scheme="dark")
    before = browser.run(ground)
    browser.run("document.querySelector('.theme').click()")
    after = browser.run(ground)
    assert before != after
    browser.open(pages["failing"], scheme="dark")
    assert browser.run(ground) == after
    browser.run("localStorage.clear()")


def test_what_the_marks_of_pictures_mean_is_printed_too(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["media"])
    browser.run("document.querySelector('.pictures').open = true")
    browser.send("Emulation.setEmulatedMedia", media="print")
    tall = "Array.from(document.querySelectorAll('.views > *'), (e) => e.offsetHeight > 0)"
    assert browser.run(tall) == [False, False, True]
    browser.send("Emulation.setEmulatedMedia", media="")


def closed(browser: Chromium) -> None:
    """Wait until no dialog is left: the browser tells of its end a little later."""
    until = time.monotonic() + 5
    while browser.run("document.querySelectorAll('dialog').length"):
        assert time.monotonic() < until


def test_a_picture_is_enlarged_by_click_or_key_and_goes_by_escape(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["media"])
    browser.run("document.querySelector('.pictures').open = true")
    shown = "document.querySelector('dialog[open] svg')?.getBoundingClientRect().width || 0"
    for drawing in (".pane > svg", "figure > svg"):
        first = f"document.querySelector('{drawing}')"
        width = browser.run(f"{first}.getBoundingClientRect().width")
        browser.run(f"{first}.focus()")
        browser.press("Enter", 13)
        assert browser.run(shown) > width
        browser.press("Escape", 27)
        closed(browser)
        assert browser.run(f"document.activeElement === {first}")
        browser.run(f"{first}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
        assert browser.run(shown) > width
        browser.run("document.querySelector('dialog').click()")
        closed(browser)
    assert browser.complaints == []


def test_one_model_is_printed_on_two_pages_with_all_its_cells(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["passing"])
    browser.run("document.querySelectorAll('.cell').forEach((cell) => { cell.open = false; })")
    browser.run(
        "addEventListener('beforeprint', () => { window.seen = document.querySelectorAll('.cell[open]').length; })"
    )
    printed = base64.b64decode(browser.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
    assert printed.count(b"/Type /Page\n") == 2
    assert browser.run("window.seen") == 3
    assert browser.run("document.querySelectorAll('.cell[open]').length") == 0
