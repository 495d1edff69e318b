"""The pictures on which an engine disagrees with its checkpoint: one small copy each, with drawings laid over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..media_records import CellPictures, Mark, Picture, Shape
from ..run_record import RunRecord
from . import format as fmt
from .media import Media
from .svg import at, polyline, tag

SIDE = 320
"""Longest side of a drawing, in its own units."""
LABELLED = 12
"""With more detections than this in a picture, only those that disagree are named in it."""
WORDS: Mapping[Mark, str] = {
    "missed": "missed",
    "extra": "extra",
    "class": "other class",
    "shifted": "shifted",
    "same": "as the other",
}
_NAME_HEIGHT = 11.0


@dataclass(frozen=True)
class Sprite:
    """One image of the page, which every drawing of it refers to: the small copy, and the ground truth as a drawing."""

    id: str
    data: str
    width: str
    height: str
    truth: str


@dataclass(frozen=True)
class PictureView:
    """One picture: its name, what differs in words, and the drawings of both arms."""

    name: str
    says: str
    reference: str
    engine: str


@dataclass(frozen=True)
class CellPicturesView:
    """The pictures of one cell, the worst first; ``says`` says how many there are, ``note`` which are missing."""

    says: str
    pictures: tuple[PictureView, ...]
    note: str


@dataclass(frozen=True)
class _Drawn:
    """One picture of one cell with what it takes on the page."""

    key: tuple[int, str]
    picture: Picture
    sprite: Sprite
    view: PictureView

    @property
    def size_bytes(self) -> int:
        return sum(len(text.encode("utf-8", "replace")) for text in (self.view.reference, self.view.engine)) + 500

    @property
    def sprite_bytes(self) -> int:
        return len(self.sprite.data) + len(self.sprite.truth.encode("utf-8", "replace")) + 200


def picture_views(
    runs: Sequence[RunRecord], media: Sequence[Media], room_bytes: int
) -> tuple[tuple[Sprite, ...], dict[tuple[int, str], CellPicturesView]]:
    """Return the images of a page and the pictures of each cell, by the number of its run and its key.

    Args:
        runs: The records.
        media: What lies beside each.
        room_bytes: How much the pictures may add to the page; the least bad that do not fit are left out.
    """
    drawn = [
        _drawn((number, key), picture, place) for number, place in enumerate(media) for key, picture in _all(place)
    ]
    found = sorted((x for x in drawn if x is not None), key=lambda x: -x.picture.badness)
    sprites: dict[str, Sprite] = {}
    kept: list[_Drawn] = []
    for x in found:
        cost = x.size_bytes + (0 if x.sprite.id in sprites else x.sprite_bytes)
        if cost <= room_bytes:
            room_bytes -= cost
            sprites[x.sprite.id] = x.sprite
            kept.append(x)
    views = {}
    for number, run in enumerate(runs):
        for key, told in run.pictures.items():
            mine = [x.view for x in kept if x.key == (number, key)]
            readable = sum(x.key == (number, key) for x in found)
            views[number, key] = _cell(told, mine, readable)
    return tuple(sprites.values()), views


def _all(media: Media) -> Iterable[tuple[str, Picture]]:
    return ((key, picture) for key, pictures in media.book.items() for picture in pictures)


def _cell(told: CellPictures, shown: list[PictureView], readable: int) -> CellPicturesView:
    at_conf = f"at confidence {told.conf:g}"
    says = f"{fmt.count(told.disagreeing)} of {fmt.plural(told.images, 'image')} differ {at_conf}"
    if told.note:
        says = "no pictures"
    elif not told.disagreeing:
        says = f"engine and .pt agree on every image {at_conf}"
    elif shown:
        says += f"; the worst {len(shown)}" if len(shown) < told.disagreeing else ""
    notes = [fmt.clip(told.note, 300)] if told.note else []
    if told.kept > readable:
        notes.append(f"{told.kept - readable} of them are in the run's folder, which is not beside this record")
    if readable > len(shown):
        notes.append(f"{readable - len(shown)} more would make this page too large; they are in the run's folder")
    return CellPicturesView(says, tuple(shown), "; ".join(notes))


def _drawn(key: tuple[int, str], picture: Picture, media: Media) -> _Drawn | None:
    data = media.picture(picture.file)
    if not data or min(picture.width, picture.height) < 1:
        return None
    # Two datasets may share an image and not its labels, so the run is part of the name.
    name = f"image-{key[0]}-{picture.file.partition('.')[0]}"
    factor = SIDE / max(picture.width, picture.height)
    width, height = at(picture.width * factor), at(picture.height * factor)
    canvas = _Canvas(picture.width * factor, picture.height * factor, factor)
    truth = "".join(canvas.shape(replace_label(shape, "truth"), "truth", named=True) for shape in picture.truth)
    title = fmt.clip(picture.image, 100)
    panes = []
    for arm, shapes in ((".pt", picture.reference), ("engine", picture.engine)):
        named = len(shapes) <= LABELLED
        body = "".join(canvas.shape(s, s.mark, named=named or s.mark != "same") for s in reversed(shapes))
        use = (
            tag("use", href=f"#{name}") + tag("g", body, class_="found") + tag("use", href=f"#{name}-t", class_="truth")
        )
        said = f"{arm} on {title}: {_listed(shapes)}"
        panes.append(
            tag("svg", tag("title", escape(said)) + use, viewBox=f"0 0 {width} {height}", class_="shot", role="img")
        )
    return _Drawn(
        key, picture, Sprite(name, data, width, height, truth), PictureView(title, _says(picture), panes[0], panes[1])
    )


def replace_label(shape: Shape, word: str) -> Shape:
    """Return a shape with a word before its label."""
    return shape.model_copy(update={"label": f"{word} {shape.label}"})


def _says(picture: Picture) -> str:
    marks = [s.mark for s in (*picture.reference, *picture.engine)]
    both: set[Mark] = {"class", "shifted"}  # such a detection is in both arms
    counts = {mark: marks.count(mark) // (2 if mark in both else 1) for mark in WORDS if mark != "same"}
    said = ", ".join(f"{count} {WORDS[mark]}" for mark, count in counts.items() if count)
    return f"{said}; {picture.left_out} boxes not drawn" if picture.left_out else said


def _listed(shapes: Sequence[Shape]) -> str:
    return fmt.clip(", ".join(_name(shape) for shape in shapes) or "nothing", 400)


def _name(shape: Shape) -> str:
    word = "" if shape.mark == "same" else f"{WORDS[shape.mark]}: "
    return word + fmt.clip(shape.label, 24) + ("" if shape.conf is None else f" {shape.conf:.2f}")


@dataclass(frozen=True)
class _Canvas:
    """The area of a drawing, and the factor from pixels of the original to its units."""

    width: float
    height: float
    factor: float

    def shape(self, shape: Shape, kind: str, *, named: bool) -> str:
        """Return an outline with its name beside it; empty where it is nowhere."""
        points = [(self._inside(x, self.width), self._inside(y, self.height)) for x, y in shape.points]
        if len(points) < 2 or any(p != p for point in points for p in point):  # NaN is no place
            return ""
        if len(points) == 2:
            (x1, y1), (x2, y2) = points
            points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        outline = tag("path", class_=kind, d=polyline(points) + "Z")
        return outline + (self._label(shape, points) if named else "")

    def _inside(self, value: float, side: float) -> float:
        return min(max(value * self.factor, 0.0), side) if value == value else value

    def _label(self, shape: Shape, points: list[tuple[float, float]]) -> str:
        left, right = min(x for x, _ in points), max(x for x, _ in points)
        top = min(y for _, y in points)
        y = top - 3 if top > _NAME_HEIGHT else min(top + _NAME_HEIGHT, self.height - 2)
        at_end = left > self.width * 0.6
        return tag(
            "text", escape(_name(shape)), x=right if at_end else left, y=y, text_anchor="end" if at_end else "start"
        )
