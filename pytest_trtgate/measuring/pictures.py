"""The pictures of a run: for each cell, small copies of the images on which its engine disagrees most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecordError, TrtGateError, reason_of
from ..jobs import PicturesRequest, PicturesResponse
from ..records import (
    BOOK,
    REFERENCE,
    AccuracyRecord,
    CellPictures,
    Joint,
    Mark,
    PerImage,
    Picture,
    PictureBook,
    Point,
    RunRecord,
    Shape,
    save,
)
from ..settings import DEPLOYMENT_CONF
from .context import RunContext

if TYPE_CHECKING:
    from ..judge.accuracy.average_precision import Array
    from ..judge.accuracy.disagreement import Disagreement

SIDE_PX = 320
"""Longest side of a small copy."""
MOST_SHAPES = 60
"""Shapes of one arm that are kept of a picture; those that disagree come first."""
_DETECTED = ("conf", "pred_cls", "pred_image", "pred_box")
_WHOLE = ("target_cls", "target_image", "target_box", "images", "names")
OUTLINE = "pred_outline"
DETECTED = ("pred_rbox", f"{OUTLINE}_points", "pred_keypoints")
"""Per-image arrays with a row for each detection, of which an arm has those of its task; older records have none."""
TRUTH = ("target_rbox", "target_outline", "target_outline_points", "target_keypoints")
"""The same of the objects."""
MOST_POINTS = 40
"""Points that are kept of an outline."""
VISIBLE = 0.5
"""Keypoints that are less likely to be seen are not drawn."""
Arrays = dict[str, Any]
Draft = tuple[Path, Picture]
"""An image on which two arms disagree, and its picture but for the small copy, which is not made yet."""


@dataclass(frozen=True)
class Choice:
    """The images that a run's report is to show.

    Attributes:
        told: How many images of each cell differ, by :attr:`Cell.key`; or why it has none.
        drafts: What is to be drawn of each cell, the worst first.
    """

    told: dict[str, CellPictures]
    drafts: dict[str, list[Draft]]


def choose(context: RunContext, run: RunRecord) -> Choice:
    """Return the images on which the engines of a run disagree most with their checkpoints."""
    choice = Choice({}, {})
    for cell in run.cells if context.settings.pictures else ():
        arms = run.accuracy(cell.model, REFERENCE), run.accuracy(cell.model, cell.precision)
        if arms[0] is not None and arms[1] is not None:
            choice.told[cell.key], choice.drafts[cell.key] = _choose(context, arms[0], arms[1])
    return choice


def with_pictures(context: RunContext, run: RunRecord, choice: Choice) -> RunRecord:
    """Return a run's record with its pictures, which are put into the run's folder.

    Its cell's note says why there is no picture, which fails nothing.
    """
    told, paths = choice.told, dict.fromkeys(str(path) for found in choice.drafts.values() for path, _ in found)
    if paths:
        try:
            small = _small_copies(context, paths)
            book = {key: tuple(_finished(found, small)) for key, found in choice.drafts.items()}
            _save(context.workspace.path / BOOK, PictureBook(cells={k: v for k, v in book.items() if v}))
            for key, kept in book.items():
                counts = {"kept": len(kept), "undecoded": len(choice.drafts[key]) - len(kept)}
                told = told | {key: told[key].model_copy(update=counts)}
        except TrtGateError as error:
            told = {key: x.model_copy(update={"note": x.note or reason_of(error)}) for key, x in told.items()}
    return run.model_copy(update={"pictures": told})


def compared_images(
    folder: Path, reference: AccuracyRecord, engine: AccuracyRecord
) -> tuple[list[Arrays], tuple[Disagreement, ...]]:
    """Return what counts of both arms when deployed, and the images on which they disagree, the worst first.

    ``folder`` is the run's, at which the records' paths start.

    Raises:
        RecordError: The arms cannot be compared image by image.
    """
    from ..judge.accuracy.agreement import Detections
    from ..judge.accuracy.disagreement import disagreements
    from ..judge.accuracy.likeness import Forms

    arms = [_deployed(PerImage(folder / record.per_image)) for record in (reference, engine)]
    if arms[0]["images"].tolist() != arms[1]["images"].tolist():
        raise RecordError(f"{engine.per_image}: not of the same images as those of the .pt")
    box = "pred_rbox" if all("pred_rbox" in arm for arm in arms) else "pred_box"
    found = [Detections(arm["pred_image"], arm["pred_cls"], arm["conf"], arm[box]) for arm in arms]
    names_of_forms = ("pred_keypoints", "pred_outline", "pred_outline_points")
    forms = [Forms(*map(arm.get, names_of_forms)) for arm in arms]
    return arms, disagreements(found[0], found[1], DEPLOYMENT_CONF, (forms[0], forms[1]))


def _choose(context: RunContext, reference: AccuracyRecord, engine: AccuracyRecord) -> tuple[CellPictures, list[Draft]]:
    """Return the worst images of one cell; none, and why, where its arms cannot be compared image by image."""
    if engine.task == "classify":
        return CellPictures(note="a classifier finds no boxes to be drawn"), []
    try:
        arms, worst = compared_images(context.workspace.path, reference, engine)
        names = arms[0]["images"].tolist()
        kept = worst[: context.settings.pictures]
        root = context.data[reference.model].dataset.root
        drafts = [(root / names[x.image], _picture(names[x.image], x, arms)) for x in kept]
    except (RecordError, ValueError, IndexError, TypeError) as error:
        return CellPictures(note=f"the arms cannot be compared image by image ({error})"), []
    return CellPictures(images=len(names), disagreeing=len(worst), conf=DEPLOYMENT_CONF), drafts


def _deployed(file: PerImage) -> Arrays:
    """Return what pictures show of an arm: the detections that count when deployed, and all objects."""
    import numpy as np

    there = file.names()
    seen = file.read(["conf"])["conf"] >= DEPLOYMENT_CONF
    arrays = file.rows([*_DETECTED, *(name for name in DETECTED if name in there)], seen)
    if OUTLINE in there and f"{OUTLINE}_points" in there:
        points = file.read([f"{OUTLINE}_points"])[f"{OUTLINE}_points"]
        arrays |= file.rows([OUTLINE], np.repeat(seen, points))
    return arrays | file.read([*_WHOLE, *(name for name in TRUTH if name in there)])


def _picture(image: str, disagreement: Disagreement, arms: Sequence[Arrays]) -> Picture:
    """Return what is to be drawn of an image; file and size are those of the small copy."""
    reference, engine = arms
    objects = (reference["target_image"] == disagreement.image).nonzero()[0].tolist()
    shapes = {
        "reference": _shapes(reference, disagreement.reference),
        "engine": _shapes(engine, disagreement.engine),
        "truth": [shape_of(reference, "target", index) for index in objects],
    }
    left_out = sum(max(0, len(found) - MOST_SHAPES) for found in shapes.values())
    kept = {name: tuple(found[:MOST_SHAPES]) for name, found in shapes.items()}
    return Picture(image=image, file="", width=0, height=0, badness=disagreement.badness, left_out=left_out, **kept)


def _shapes(arm: Arrays, detections: Iterable[tuple[int, Mark]]) -> list[Shape]:
    """Return the detections of one arm, those that disagree first."""
    ordered = sorted(detections, key=lambda detection: detection[1] == "same")
    return [shape_of(arm, "pred", index, float(arm["conf"][index]), mark) for index, mark in ordered]


def _small_copies(context: RunContext, paths: Iterable[str]) -> PicturesResponse:
    """Return small copies of some images, each made once however many cells show it."""
    folder = (context.workspace.path / BOOK).parent
    request = PicturesRequest(images=tuple(paths), output=str(folder), side_px=SIDE_PX)
    return context.job("pictures", request)


def _finished(drafts: Iterable[Draft], small: PicturesResponse) -> Iterable[Picture]:
    for path, picture in drafts:
        copy = small.pictures.get(str(path))
        if copy is not None:
            yield picture.model_copy(update=dict(copy))


def _save(path: Path, book: PictureBook) -> None:
    try:
        save(path, book)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror})") from error


def shape_of(arm: Arrays, kind: str, index: int, conf: float | None = None, mark: Mark = "same") -> Shape:
    """Return a detection (``kind`` is ``pred``) or object (``target``) of an arm's per-image arrays as it is drawn.

    ``mark`` says how it stands to the other arm's.

    Raises:
        ValueError: The arrays have other columns than an accuracy job writes.
        IndexError: One of them is too short.
    """
    return Shape(
        label=str(arm["names"][int(arm[f"{kind}_cls"][index])]),
        points=_points(arm, kind, index),
        joints=_joints(arm[f"{kind}_keypoints"][index]) if f"{kind}_keypoints" in arm else (),
        conf=None if conf is None else round(conf, 3),
        mark=mark,
    )


def _points(arm: Arrays, kind: str, index: int) -> tuple[Point, ...]:
    if f"{kind}_rbox" in arm:
        return _corners(arm[f"{kind}_rbox"][index])
    if f"{kind}_outline" in arm and f"{kind}_outline_points" in arm:
        counts = arm[f"{kind}_outline_points"]
        start = int(counts[:index].sum())
        line = _thinned(arm[f"{kind}_outline"][start : start + int(counts[index])])
        if len(line) > 2:
            return tuple(_rounded(x, y) for x, y in line.tolist())
    x1, y1, x2, y2 = arm[f"{kind}_box"][index].tolist()
    return _rounded(x1, y1), _rounded(x2, y2)


def _corners(box: Array) -> tuple[Point, ...]:
    """Return the corners of a rotated box (5: x and y of the centre, width, height, radians), one after the other."""
    x, y, width, height, angle = box.tolist()
    cos, sin = math.cos(angle), math.sin(angle)
    halves = [(i * width / 2, j * height / 2) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return tuple(_rounded(x + along * cos - across * sin, y + along * sin + across * cos) for along, across in halves)


def _thinned(line: Array) -> Array:
    """Return at most :data:`MOST_POINTS` of the points of an outline (P x 2), evenly along it."""
    import numpy as np

    if len(line) <= MOST_POINTS:
        return line
    steps = np.hypot(*np.diff(line, axis=0, append=line[:1]).T)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0, way[-1], MOST_POINTS, endpoint=False)
    # Points themselves, rather than places between them, keep corners that end a long side.
    kept: Array = line[np.unique(np.searchsorted(way[:-1], wanted).clip(max=len(line) - 1))]
    return kept


def _joints(keypoints: Array) -> tuple[Joint, ...]:
    """Return the places of keypoints (K x 2 or 3: x, y and how visible it is), None for those that are not seen."""
    return tuple(_joint(*keypoint) for keypoint in keypoints.tolist())


def _joint(x: float, y: float, visible: float | None = None) -> Joint:
    # Where there is no third number, Ultralytics puts what is not labelled at 0, 0.
    seen = visible >= VISIBLE if visible is not None else (x, y) != (0, 0)
    return _rounded(x, y) if seen and math.isfinite(x) and math.isfinite(y) else None


def _rounded(x: float, y: float) -> Point:
    return round(x, 1), round(y, 1)
