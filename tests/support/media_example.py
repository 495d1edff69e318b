"""Pictures and a clip as a run keeps them, for the tests of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fake_jobs import JPEG
from records_example import timing
from runs_example import passing_run

from pytest_trtgate.records.files import save
from pytest_trtgate.records.media import (
    BOOK,
    STAGES,
    CellPictures,
    Picture,
    PictureBook,
    Shape,
    VideoArm,
    VideoRecord,
)
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.report.media import Media


def kept(folder: Path, pictures: int = 1, content: bytes = JPEG, **changes: Any) -> tuple[RunRecord, Media]:
    """Return a run that has some pictures of one cell, the first the worst, each changed as told."""
    run, key = run_with(pictures)
    shapes = (Shape(label="star", points=((10, 20), (110, 120)), conf=0.9, mark="missed"),)
    cells = []
    for number in range(pictures):
        whole = {"image": f"{number}.jpg", "width": 640, "height": 480, "badness": pictures - number, **changes}
        file = {"file": f"{number:016x}.jpg", "reference": shapes, "engine": (), "truth": shapes}
        cells.append(Picture(**{**file, **whole}))
    save(folder / BOOK, PictureBook(cells={key: tuple(cells)}))
    for picture in cells:
        ((folder / BOOK).parent / picture.file).write_bytes(content)
    return run, Media(folder, folder)


def run_with(pictures: int) -> tuple[RunRecord, str]:
    key = passing_run().cells[2].key
    told = CellPictures(images=200, disagreeing=40, kept=pictures, conf=0.25)
    return passing_run().model_copy(update={"pictures": {key: told}}), key


def video(**changes: Any) -> VideoRecord:
    """Return what was measured on a clip, changed as told."""
    arms = []
    for number, (arm, p50_ms) in enumerate((("pt", 20.0), ("fp16", 12.5), ("int8", 8.0))):
        stages = {stage: timing(p50_ms / 5, number) for stage in STAGES}
        course = tuple(p50_ms + index % 3 for index in range(160))
        file = f"videos/shapes-1/{arm}.mp4"
        times = {"frame": timing(p50_ms, number), **stages}
        arms.append(VideoArm(arm=arm, timings=times, course_ms=course, file=file, codec="mp4v"))
    files = {"side_by_side": "videos/shapes-1/side-by-side.mp4", "poster": "videos/shapes-1/poster.jpg"}
    size = {"width": 640, "height": 360, "frames": 600, "imgsz": 320, "conf": 0.25, "threads": 2, "batch": 1}
    return VideoRecord(**{"model": "shapes", "clip": "clip.mp4", "arms": tuple(arms), **size, **files, **changes})
