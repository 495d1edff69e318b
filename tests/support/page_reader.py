"""Reads a report as a browser would: elements, attributes, text, and nothing from within scripts or styles."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser

from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.report.page import html
from pytest_trtgate.report.page.parts import Table

VOID = {"meta", "link", "br", "img", "input", "hr", "base"}


def plain(text: str) -> str:
    """Return text without typographic minus and times signs and with single spaces."""
    return " ".join(text.replace("\N{MINUS SIGN}", "-").replace("\N{MULTIPLICATION SIGN}", "x").split())


def lines(table: Table | None) -> list[dict[str, str]]:
    """Return the lines of a table as plain text by the titles of its columns; a verdict is its word."""
    assert table is not None
    texts = [[getattr(entry, "word", entry) for entry in row.entries] for row in table.rows]
    return [
        {k: plain(re.sub(r"<[^>]*>", " ", str(text))) for k, text in zip(table.columns, row, strict=True)}
        for row in texts
    ]


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    path: tuple[str, ...]
    pieces: list[str] = field(default_factory=list)

    @property
    def content(self) -> str:
        """The text in the element, exactly."""
        return "".join(self.pieces)

    @property
    def text(self) -> str:
        """The text in the element in ASCII, with single spaces, also between elements."""
        return plain(" ".join(self.pieces))


@dataclass
class Page(HTMLParser):
    """The elements of one page in document order, and its visible text."""

    source: str
    elements: list[Element] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[Element] = []
        self.feed(self.source)
        self.close()
        assert not self.open, f"left open: {[element.tag for element in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {key: value or "" for key, value in attrs}, tuple(e.tag for e in self.open))
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {key: value or "" for key, value in attrs}, ()))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.pieces.append(data)
        if self.open and self.open[-1].tag not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """All visible text in ASCII, with single spaces."""
        return plain(" ".join(self.words))

    def all(self, tag: str, **attributes: str) -> list[Element]:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [
            e
            for e in self.elements
            if e.tag == tag
            and all(
                v in e.attributes.get(k, "").split() if k == "class" else e.attributes.get(k) == v
                for k, v in wanted.items()
            )
        ]

    def by_id(self, name: str) -> Element:
        (found,) = [e for e in self.elements if e.attributes.get("id") == name]
        return found


@cache
def page_of(*runs: Callable[[], RunRecord]) -> Page:
    """Return the report of some example runs, rendered and read once."""
    return Page(html.render([run() for run in runs]))
