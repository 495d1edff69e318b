"""The pictures on which an engine disagrees with its checkpoint: one small copy each, with drawings laid over it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ... import text as fmt
from ...records import CellPictures, Mark, Picture, Point, RunRecord, Shape
from ..media import Media
from .svg import Box, at, marker, overlap, polyline, tag

WIDTH, HEIGHT = 320, 240
"""Largest size of a drawing, in its own units."""
LABELLED = 12
"""With more detections than this in a picture, only those that disagree are named in it, and of many not all."""
WORDS: Mapping[Mark, str] = {
    "missed": "missed",
    "extra": "extra",
    "class": "other class",
    "shifted": "shifted",
    "same": "as the other",
}
LETTER, LINE = 5.4, 11.0
"""About the size of a letter of a name."""
DOT = 2.4
"""Radius of a keypoint."""
LIMBS = (
    *((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6)),  # nose, eyes, ears, shoulders
    *((5, 7), (7, 9), (6, 8), (8, 10)),  # shoulders, elbows, wrists
    *((5, 6), (5, 11), (6, 12), (11, 12)),  # shoulders, hips
    *((11, 13), (13, 15), (12, 14), (14, 16)),  # hips, knees, ankles
)
"""Which keypoints of a person belong together, in COCO's order, which has :data:`COCO_JOINTS`."""
COCO_JOINTS = 17


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
        worst = told.kept + told.undecoded
        part = f"the worst {worst}" if len(shown) == worst else f"{len(shown)} of the worst {worst}"
        says += f"; {part}" if len(shown) < told.disagreeing else ""
    notes = [fmt.clip(told.note, 300)] if told.note else []
    if told.undecoded:
        notes.append(f"{fmt.plural(told.undecoded, 'image')} could not be decoded")
    if told.kept > readable:
        notes.append(f"{_are(told.kept - readable)} in the run's folder, which is not beside this record")
    if readable > len(shown):
        notes.append(f"{_are(readable - len(shown))} in the run's folder only, since this page would be too large")
    return CellPicturesView(says, tuple(shown), "; ".join(notes))


def _are(count: int) -> str:
    return f"{fmt.plural(count, 'picture')} {'is' if count == 1 else 'are'}"


def _drawn(key: tuple[int, str], picture: Picture, media: Media) -> _Drawn | None:
    data = media.picture(picture.file)
    if not data or min(picture.width, picture.height) < 1:
        return None
    canvas = _Canvas(picture)
    width, height = at(canvas.width), at(canvas.height)
    objects = [Shape(label=f"truth: {x.label}", points=x.points, joints=x.joints) for x in picture.truth]
    truth = canvas.draw(objects, "truth")
    # Equal images may have other labels: in another run, or as another file of the same dataset.
    labelled = hashlib.sha256(truth.encode("utf-8", "replace")).hexdigest()[:8]
    name = f"image-{picture.file.partition('.')[0]}-{labelled}"
    title = fmt.clip(picture.image, 100)
    panes = []
    for arm, shapes in ((".pt", picture.reference), ("engine", picture.engine)):
        body = canvas.draw(shapes)
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


def _says(picture: Picture) -> str:
    marks = [s.mark for s in (*picture.reference, *picture.engine)]
    both: set[Mark] = {"class", "shifted"}  # such a detection is in both arms
    counts = {mark: marks.count(mark) // (2 if mark in both else 1) for mark in WORDS if mark != "same"}
    said = ", ".join(f"{count} {WORDS[mark]}" for mark, count in counts.items() if count)
    return f"{said}; {picture.left_out} more not drawn" if picture.left_out else said


def _listed(shapes: Sequence[Shape]) -> str:
    return fmt.clip(", ".join(_name(shape) for shape in shapes) or "nothing", 400)


def _name(shape: Shape) -> str:
    word = "" if shape.mark == "same" else f"{WORDS[shape.mark]}: "
    return word + fmt.clip(shape.label, 24) + ("" if shape.conf is None else f" {shape.conf:.2f}")


class _Canvas:
    """The area of a drawing of a picture: places outlines and names in it, no name on another."""

    def __init__(self, picture: Picture) -> None:
        self._factor = min(WIDTH / picture.width, HEIGHT / picture.height)
        self.width, self.height = picture.width * self._factor, picture.height * self._factor
        # The drawing is in the middle of a frame, with the arm's name in its lower left corner.
        left, bottom = (self.width - WIDTH) / 2, (self.height + HEIGHT) / 2
        self._arm: Box = (left, bottom - 30, left + 64, bottom)

    def draw(self, shapes: Sequence[Shape], kind: str = "") -> str:
        """Return outlines with names beside them, the first shape on top.

        ``kind`` replaces their marks as their class, and puts their names below rather than above.
        """
        few, taken = len(shapes) <= LABELLED, [self._arm]
        outlines, names = list[str](), list[str]()
        for shape in shapes:
            corners = self._corners(shape)
            if corners:
                outline = tag("path", class_=kind or shape.mark, d=polyline(corners) + "Z")
                outlines.append(outline + self._skeleton(shape, kind or shape.mark))
                same = shape.mark == "same"
                if few or not same:
                    optional = same or len(names) >= LABELLED
                    names.append(self._label(_name(shape), corners, taken, low=bool(kind), optional=optional))
        return "".join((*reversed(outlines), *names))

    def _corners(self, shape: Shape) -> list[tuple[float, float]]:
        """Return the corners of a shape in the drawing; none where a coordinate is not finite."""
        if len(shape.points) < 2 or not all(math.isfinite(part) for point in shape.points for part in point):
            return []
        if len(shape.points) > 2:
            return [self._placed(point) for point in shape.points]
        (x1, y1), (x2, y2) = (self._inside(self._placed(point)) for point in shape.points)
        return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]

    def _placed(self, point: Point) -> Point:
        """Return where a point of the picture is in the drawing.

        Points outside stay outside, so that sides keep their directions; those far away are moved nearer.
        """
        x, y = (part * self._factor for part in point)
        return min(max(x, -WIDTH), 2.0 * WIDTH), min(max(y, -HEIGHT), 2.0 * HEIGHT)

    def _inside(self, point: Point) -> Point:
        return min(max(point[0], 0.0), self.width), min(max(point[1], 0.0), self.height)

    def _skeleton(self, shape: Shape, kind: str) -> str:
        """Return the keypoints of a shape as dots, and the limbs between those of a person."""
        seen = {
            number: self._placed(joint)
            for number, joint in enumerate(shape.joints)
            if joint is not None and all(map(math.isfinite, joint))
        }
        limbs = ""
        if len(shape.joints) == COCO_JOINTS:
            limbs = "".join(polyline([seen[a], seen[b]]) for a, b in LIMBS if a in seen and b in seen)
        dots = "".join(marker(x, y, "circle", kind, DOT) for x, y in seen.values())
        return (tag("path", class_=f"{kind} limbs", d=limbs) if limbs else "") + dots

    def _label(
        self, name: str, corners: list[tuple[float, float]], taken: list[Box], *, low: bool, optional: bool
    ) -> str:
        """Return a name at the first free place around a shape; where all are taken, nothing if ``optional``."""
        (left, right), (top, bottom) = (
            (min(side), max(side)) for side in zip(*map(self._inside, corners), strict=True)
        )
        wide = LETTER * len(name)
        starts = (left, max(0.0, right - wide))
        rows = (top - 2, top + LINE, bottom - 3, bottom + LINE)[:: -1 if low else 1]
        boxes = [(x, y - LINE + 2, x + wide, y + 1) for y in rows for x in starts]
        inside = [box for box in boxes if box[1] >= -1 and box[2] <= self.width + 4 and box[3] <= self.height + 1]
        free = [box for box in inside if not any(overlap(box, other) for other in taken)]
        if not free and optional:
            return ""
        box = (free or inside or [(max(0.0, self.width - wide), top, self.width, top + LINE)])[0]
        taken.append(box)
        return tag("text", escape(name), x=box[0], y=box[3] - 1)
