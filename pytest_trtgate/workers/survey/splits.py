"""What is wrong with images and labels by Ultralytics' own verification, and what they are like.

Import it only after :func:`pytest_trtgate.workers.worker.prepare`: this module imports torch and Ultralytics.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from ultralytics.data import utils

from ...data import IMAGE_SUFFIXES, label_of
from ...jobs import SplitFacts, SplitRequest, SurveyRequest
from ...records import Trouble
from ..verifying import MENDED, reason_in, replace, verified, watch, why
from ..worker import PHASES, progress

SIDE = 64
"""Side of the squares to which images are shrunk for their brightness and contrast."""
NO_LABELS = ("classes.txt", "notes.txt")
"""Texts that labelling tools leave beside labels."""


def survey_splits(request: SurveyRequest) -> dict[str, SplitFacts]:
    """Survey the images and labels of all splits."""
    watch(request.max_pixels)
    # The verification of a label verifies its image once more.
    replace(utils, "check_image", lru_cache(maxsize=1))
    PHASES.begin("work")
    done, total = 0, sum(len(split.images) for split in request.splits)
    splits = {}
    for split in request.splits:
        splits[split.name] = survey_split(split, request, done, total)
        done += len(split.images)
    return splits


def survey_split(split: SplitRequest, request: SurveyRequest, done: int, total: int) -> SplitFacts:
    """Survey one split, after ``done`` of ``total`` images."""
    corrupt: list[str] = []
    labels = Labels(request.classes, request.kpt_shape)
    looks: list[tuple[float, float]] = []
    step = max(1, math.ceil(len(split.images) / request.sample))
    for index, name in enumerate(split.images):
        image = Path(name)
        if what := image_problem(image):
            corrupt.append(f"{image.name} ({what})")
        else:
            labels.add(image)
            if index % step == 0:
                with contextlib.suppress(Exception):  # Pillow raises anything on what only others can decode
                    looks.append(brightness_and_contrast(Path(MENDED.get(name, name))))
        for copy in MENDED.values():
            shutil.rmtree(Path(copy).parent)
        MENDED.clear()
        progress(f"preflight: {done + index + 1}/{total} images")
    return SplitFacts(
        images=len(split.images),
        corrupt=_trouble(corrupt),
        bad_labels=_trouble(labels.bad),
        bad_poses=_trouble(labels.bad_poses),
        boxes=_trouble(labels.boxes),
        repeated=_trouble(labels.repeated),
        unlabelled=labels.missing,
        without_image=labels_without_image(split.images),
        classes=dict(sorted(labels.classes.items())),
        brightness=tuple(round(mean, 4) for mean, _ in looks),
        contrast=tuple(round(deviation, 4) for _, deviation in looks),
        object_sizes=tuple(
            round(size, 4) for size in labels.sizes[:: max(1, math.ceil(len(labels.sizes) / request.sample))]
        ),
    )


def _trouble(found: Sequence[str]) -> Trouble:
    return Trouble(count=len(found), first=next(iter(found), ""))


def image_problem(path: Path) -> str:
    """Return in a few words why an image is left out; empty if it is not."""
    if not path.is_file():
        return "missing"
    try:
        utils.check_image(str(path))
    except Exception as error:  # Pillow raises anything on a damaged file
        return why(str(path), error)
    return ""


def brightness_and_contrast(path: Path) -> tuple[float, float]:
    """Return mean and standard deviation of the grey levels, 0 to 1, of an image shrunk to a small square."""
    from PIL import Image, ImageStat

    with Image.open(path) as image:
        image.draft("L", (2 * SIDE, 2 * SIDE))  # decode a JPEG small, which is many times as fast
        grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    stat = ImageStat.Stat(grey)
    return stat.mean[0] / 255, stat.stddev[0] / 255


class Labels:
    """What Ultralytics makes of the labels of images, one after the other.

    Attributes:
        bad: Label files for which it leaves out their images.
        bad_poses: The same where a model finds key points; empty without a shape of them.
        boxes: Label files with boxes alone.
        repeated: Label files with rows that are there twice, of which it leaves out one.
        missing: How many images have no label file.
        classes: How many objects there are of each class.
        sizes: Median size of the objects of each image: the square root of its share of the image's area.
    """

    def __init__(self, classes: int, kpt_shape: tuple[int, int] | None) -> None:
        self.bad: list[str] = []
        self.bad_poses: list[str] = []
        self.boxes: list[str] = []
        self.repeated: list[str] = []
        self.missing = 0
        self.classes: Counter[int] = Counter()
        self.sizes: list[float] = []
        self._how = [(False, self.bad)] + ([(True, self.bad_poses)] if kpt_shape else [])
        self._rest = (classes, *(kpt_shape or (0, 0)))

    def add(self, image: Path) -> None:
        """Take the label of one more image, which is sound itself."""
        label = label_of(image)
        rows: Any = ()
        outlines: Any = ()
        for keypoints, bad in self._how:
            asked = (str(image), str(label), "", keypoints, *self._rest, False)
            *_, corrupt, message = found = verified(utils.verify_image_label, asked)
            if corrupt:
                bad.append(f"{label.name} ({why(str(image), reason_in(message))})")
            else:
                _, rows, _, outlines, *_ = found
        self.missing += not label.is_file()
        if len(rows):
            self.boxes += [] if len(outlines) else [label.name]
            self.repeated += [label.name] if "duplicate labels" in message else []
            self.classes.update(map(int, rows[:, 0]))
            self.sizes.append(median(math.sqrt(width * height) for width, height in rows[:, 3:5].tolist()))


def labels_without_image(images: Sequence[str]) -> Trouble:
    """Return the label files that have no image in any split, in the folders that belong to some images.

    Labels beside their images are left out: there, a text may be anything.
    """
    stray: list[str] = []
    for folder in sorted({Path(image).parent for image in images}):
        labels = label_of(folder / "image.jpg").parent
        if labels == folder or not (labels.is_dir() and folder.is_dir()):
            continue
        # All images of the folder: a split may be a list, or a part, of them.
        pictured = {path.stem for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
        files = sorted(path for path in labels.glob("*.txt") if path.name not in NO_LABELS)
        stray += [f"{path.name} (no image)" for path in files if path.stem not in pictured]
    return _trouble(stray)
