"""The pictures of a run: for each cell, small copies of the images on which its engine disagrees most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RecordError, TrtGateError, reason_of
from .jobs.contract import PicturesRequest, PicturesResponse
from .measure import Measurements
from .media_records import BOOK, CellPictures, Mark, Picture, PictureBook, Shape
from .per_image import PerImage
from .picture_shapes import DETECTED, OUTLINE, TRUTH, Arrays, shape_of
from .recordfile import save
from .records import REFERENCE, AccuracyRecord
from .run_record import RunRecord
from .settings import DEPLOYMENT_CONF

if TYPE_CHECKING:
    from .judge.disagreement import Disagreement

SIDE_PX = 320
"""Longest side of a small copy."""
MOST_SHAPES = 60
"""So many shapes of one arm are kept of a picture; those that disagree come first."""
_DETECTED = ("conf", "pred_cls", "pred_image", "pred_box")
_WHOLE = ("target_cls", "target_image", "target_box", "images", "names")


@dataclass(frozen=True)
class Choice:
    """The images that a run's report is to show.

    Attributes:
        told: How many images of each cell differ, by :attr:`Cell.key`; or why it has none.
        drafts: What is to be drawn of each cell, the worst first.
    """

    told: dict[str, CellPictures]
    drafts: dict[str, list[Draft]]


def choose(measure: Measurements, run: RunRecord) -> Choice:
    """Return the images on which the engines of a run disagree most with their checkpoints."""
    choice = Choice({}, {})
    for cell in run.cells if measure.settings.pictures else ():
        arms = run.accuracy(cell.model, REFERENCE), run.accuracy(cell.model, cell.precision)
        if arms[0] is not None and arms[1] is not None:
            choice.told[cell.key], choice.drafts[cell.key] = _choose(measure, arms[0], arms[1])
    return choice


def with_pictures(measure: Measurements, run: RunRecord, choice: Choice) -> RunRecord:
    """Return a run's record with its pictures, which are put into the run's folder.

    Whatever is in the way of a picture is said in its cell's note, and fails nothing.
    """
    told, drafts = choice.told, [draft for found in choice.drafts.values() for draft in found]
    if drafts:
        try:
            small = _small_copies(measure, dict.fromkeys(str(draft.path) for draft in drafts))
            book = {key: tuple(_finished(found, small)) for key, found in choice.drafts.items()}
            _save(measure.workspace.path / BOOK, PictureBook(cells={k: v for k, v in book.items() if v}))
            counts = {key: (len(found), len(choice.drafts[key]) - len(found)) for key, found in book.items()}
            told = {
                key: x.model_copy(update=dict(zip(("kept", "undecoded"), counts[key], strict=True)))
                for key, x in told.items()
            }
        except TrtGateError as error:
            told = {key: x.model_copy(update={"note": x.note or reason_of(error)}) for key, x in told.items()}
    return run.model_copy(update={"pictures": told})


class Draft:
    """An image on which two arms disagree, before anything is drawn of it."""

    def __init__(self, path: Path, name: str, disagreement: Disagreement, arms: Sequence[Arrays]) -> None:
        self.path = path
        self.name = name
        self.badness = disagreement.badness
        reference, engine = arms
        found = [_shapes(arm, x) for arm, x in ((reference, disagreement.reference), (engine, disagreement.engine))]
        objects = (reference["target_image"] == disagreement.image).nonzero()[0].tolist()
        found.append([shape_of(reference, "target", index) for index in objects])
        self.left_out = sum(max(0, len(shapes) - MOST_SHAPES) for shapes in found)
        self.reference, self.engine, self.truth = (tuple(shapes[:MOST_SHAPES]) for shapes in found)


def _choose(
    measure: Measurements, reference: AccuracyRecord, engine: AccuracyRecord
) -> tuple[CellPictures, list[Draft]]:
    """Return the worst images of one cell; none, and why, where its arms cannot be compared image by image."""
    from .judge.agreement import Detections
    from .judge.disagreement import disagreements
    from .judge.likeness import Forms

    if engine.task == "classify":
        return CellPictures(note="a classifier finds no boxes to be drawn"), []
    try:
        folder = measure.workspace.path
        arms = [_deployed(PerImage(folder / record.per_image)) for record in (reference, engine)]
        if arms[0]["images"].tolist() != arms[1]["images"].tolist():
            raise RecordError(f"{engine.per_image}: not of the same images as those of the .pt")
        box = "pred_rbox" if all("pred_rbox" in arm for arm in arms) else "pred_box"
        found = [Detections(arm["pred_image"], arm["pred_cls"], arm["conf"], arm[box]) for arm in arms]
        names_of_forms = ("pred_keypoints", "pred_outline", "pred_outline_points")
        forms = [Forms(*map(arm.get, names_of_forms)) for arm in arms]
        worst = disagreements(found[0], found[1], DEPLOYMENT_CONF, (forms[0], forms[1]))
        names = arms[0]["images"].tolist()
        kept = worst[: measure.settings.pictures]
        root = measure.data[reference.model].dataset.root
        drafts = [Draft(root / names[x.image], names[x.image], x, arms) for x in kept]
    except (RecordError, ValueError, IndexError, TypeError) as error:
        return CellPictures(note=f"the arms cannot be compared image by image ({error})"), []
    return CellPictures(images=len(names), disagreeing=len(worst), conf=DEPLOYMENT_CONF), drafts


def _deployed(file: PerImage) -> Arrays:
    """Return what can be seen in pictures of an arm: the detections that count when deployed, and all objects."""
    import numpy as np

    there = file.names()
    seen = file.read(["conf"])["conf"] >= DEPLOYMENT_CONF
    arrays = file.rows([*_DETECTED, *(name for name in DETECTED if name in there)], seen)
    if OUTLINE in there and f"{OUTLINE}_points" in there:
        points = file.read([f"{OUTLINE}_points"])[f"{OUTLINE}_points"]
        arrays |= file.rows([OUTLINE], np.repeat(seen, points))
    return arrays | file.read([*_WHOLE, *(name for name in TRUTH if name in there)])


def _shapes(arm: Arrays, detections: Iterable[tuple[int, Mark]]) -> list[Shape]:
    """Return the detections of one arm, those that disagree first."""
    ordered = sorted(detections, key=lambda detection: detection[1] == "same")
    return [shape_of(arm, "pred", index, float(arm["conf"][index]), mark) for index, mark in ordered]


def _small_copies(measure: Measurements, paths: Iterable[str]) -> PicturesResponse:
    """Return small copies of some images, each made once, however many cells show it."""
    folder = (measure.workspace.path / BOOK).parent
    request = PicturesRequest(images=tuple(paths), output=str(folder), side_px=SIDE_PX)
    return measure.job("pictures", "pictures", request, measure.settings.timeouts.launch_s, PicturesResponse)


def _finished(drafts: Iterable[Draft], small: PicturesResponse) -> Iterable[Picture]:
    for draft in drafts:
        copy = small.pictures.get(str(draft.path))
        if copy is not None:
            yield Picture(
                image=draft.name,
                file=copy.file,
                width=copy.width,
                height=copy.height,
                badness=draft.badness,
                reference=draft.reference,
                engine=draft.engine,
                truth=draft.truth,
                left_out=draft.left_out,
            )


def _save(path: Path, book: PictureBook) -> None:
    try:
        save(path, book)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror})") from error
