"""The run record as one HTML file that needs no network and no script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ... import text as fmt
from ...records import BaselineUse, RunRecord, write_whole
from ..media import Media
from ..wording import in_words_of
from .parts import linked
from .pictures_view import CellPicturesView, Sprite, picture_views
from .video_view import VideoView, video_views
from .view import page

EMBED_BYTES = 1_000_000
"""How much JSON one page carries for download. A run of a hundred cells has more, and its ``run.json`` has it all."""
PAGE_BYTES = 3_000_000
"""How large pictures may make a page."""
FEW_PICTURES = 60
"""So many fit into most pages, so that one is rendered at once, not first without them to see what is left."""
_SCRIPT = re.compile(r"(<script.*?</script>)", re.DOTALL)
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Attachment:
    """One record for download; ``json`` and ``href`` are empty where it is too large to carry."""

    name: str
    size: str
    json: Markup
    href: str


@dataclass(frozen=True)
class MediaView:
    """Images that drawings refer to; pictures by the anchor of a run and the key of a cell; videos by the former."""

    sprites: tuple[Sprite, ...]
    pictures: dict[tuple[str, str], CellPicturesView]
    videos: dict[str, tuple[VideoView, ...]]


def media_view(runs: Sequence[RunRecord], media: Sequence[Media], anchors: Sequence[str], room_bytes: int) -> MediaView:
    """Return what a page shows of pictures and videos; the pictures may add ``room_bytes`` to it.

    ``media`` is what lies beside each run, and empty where that is not known.
    """
    sprites, pictures = picture_views(runs, media, room_bytes)
    return MediaView(
        sprites=sprites,
        pictures={(anchors[number], key): view for (number, key), view in pictures.items()},
        videos={
            anchor: video_views(run, media[number] if media else None)
            for number, (anchor, run) in enumerate(zip(anchors, runs, strict=True))
        },
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pytest_trtgate.report.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["linked"] = linked
    return environment


def _source(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") + "'"


def policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy under which nothing is fetched and only these two texts take effect."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        f"form-action 'none'"
    )


def slim(run: RunRecord) -> RunRecord:
    """Return the record with only the newest session of each baseline: the one that the page shows."""
    return run.model_copy(update={"baselines": {key: _newest(use) for key, use in run.baselines.items()}})


def _newest(use: BaselineUse) -> BaselineUse:
    if use.baseline is None:
        return use
    return use.model_copy(update={"baseline": use.baseline.model_copy(update={"sessions": use.baseline.sessions[-1:]})})


def attachments(runs: Sequence[RunRecord]) -> tuple[Attachment, ...]:
    """Return the records for download, in order, until :data:`EMBED_BYTES` are used up."""
    left = EMBED_BYTES
    found = []
    for index, run in enumerate(runs, 1):
        name = "run.json" if len(runs) == 1 else f"run-{index}.json"
        try:
            raw = slim(run).model_dump_json()
        except ValueError:  # Text that is not Unicode, such as an undecodable path in the settings.
            raw = ""
        data = raw.encode("utf-8")
        if not raw or len(data) > left:
            found.append(Attachment(name, fmt.size(len(data)), Markup(), ""))
            continue
        left -= len(data)
        href = "data:application/json;base64," + base64.b64encode(data).decode("ascii")
        found.append(Attachment(name, fmt.size(len(data)), Markup(raw.translate(_ESCAPES)), href))
    return tuple(found)


def render(runs: Sequence[RunRecord], media: Sequence[Media] = ()) -> str:
    """Return the page for one record, or one page for several, such as those of all machines of a CI matrix.

    Args:
        runs: The records; none gives a page that says that nothing was judged.
        media: What lies beside each record; without, the page has no pictures.
    """
    style, script = (_source("style.css") + _source("media.css"), _source("script.js") + _source("media.js"))
    view = page(runs)
    anchors = [run.anchor for run in view.runs]
    template = partial(
        _environment().get_template("report.html.j2").render,
        page=view,
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        records=attachments(runs),
        svg=Markup,
    )

    say = in_words_of(runs)

    def filled(media_bytes: int) -> tuple[str, int]:
        text = template(media=media_view(runs, media, anchors, media_bytes))
        if say is not str:  # scripts hold the records as they are
            parts = _SCRIPT.split(text)
            text = "".join(part if part.startswith("<script") else say(part) for part in parts)
        return text, len(text.encode("utf-8", "replace"))

    pictures = sum(len(found) for place in media for found in place.book.values())
    if pictures <= FEW_PICTURES:
        text, size = filled(PAGE_BYTES)
        if size <= PAGE_BYTES or not pictures:
            return text
    text, size = filled(0)
    return text if size >= PAGE_BYTES else filled(PAGE_BYTES - size)[0]


def write(path: Path, runs: Sequence[RunRecord], media: Sequence[Media] = ()) -> None:
    """Write the page, whole or not at all; folders above it are made.

    Raises:
        OSError: The file cannot be written.
    """
    write_whole(path, render(runs, media).encode("utf-8", "replace"))
