"""Job: check the images and labels of some splits, and read checkpoints, before anything is built.

It needs neither torch nor Ultralytics, and changes no file.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from ...data import IMAGE_SUFFIXES, label_of
from ...jobs import (
    CheckpointFacts,
    EngineFacts,
    SplitFacts,
    SplitRequest,
    SurveyRequest,
    SurveyResponse,
    Trouble,
)
from ...records import read_text
from .. import engine_file
from ..image_header import refusal
from ..worker import PHASES, leave, main, plain, progress
from .checkpoint_file import read_checkpoint
from .image_length import BOXED, is_cut_off

PILLOW_READS = frozenset((".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"))
"""Formats that Pillow always reads, so that an image that it cannot open is damaged."""
SIDE = 64
"""Side of the squares to which images are shrunk for their brightness and contrast."""
LEAST_SIDE = 10
"""Ultralytics leaves out images with a shorter side."""
TOLERANCE = 0.01
"""How far the centre and sides of a box may be out of range, as a share of the image: Ultralytics' rule."""
TAIL_BYTES = 65536
NO_LABELS = ("classes.txt", "notes.txt")
"""Texts that labelling tools leave beside labels."""


def work(request: SurveyRequest, folder: Path) -> SurveyResponse:
    """Survey everything that the request names."""
    PHASES.begin("work")
    done, total = 0, sum(len(split.images) for split in request.splits)
    splits = {}
    for split in request.splits:
        splits[split.name] = survey_split(split, request, done, total)
        done += len(split.images)
    return SurveyResponse(
        splits=splits,
        checkpoints={name: _facts(Path(path)) for name, path in request.checkpoints.items()},
        deployed=None if request.deployed is None else _metadata(Path(request.deployed)),
    )


def survey_split(split: SplitRequest, request: SurveyRequest, done: int, total: int) -> SplitFacts:
    """Survey one split, after ``done`` of ``total`` images."""
    corrupt: list[str] = []
    bad_labels: list[str] = []
    unlabelled = 0
    classes: Counter[int] = Counter()
    looks: list[tuple[float, float]] = []
    sizes: list[float] = []
    step = max(1, math.ceil(len(split.images) / request.sample))
    for index, name in enumerate(split.images):
        image = Path(name)
        what = refusal(image, request.max_pixels) or image_problem(image)
        if index % step == 0 and not what and image.suffix.lower() in PILLOW_READS:
            try:
                looks.append(brightness_and_contrast(image))
            except Exception:  # damage that shows only when all is decoded
                what = "not readable"
        if what:
            corrupt.append(f"{image.name} ({what})")
        progress(f"preflight: {done + index + 1}/{total} images")
        label = label_of(image)
        if not label.is_file():
            unlabelled += 1
            continue
        try:
            rows = read_label(label, request.classes, boxes_first=request.keypoints)
        except (OSError, ValueError) as error:
            bad_labels.append(f"{label.name} ({getattr(error, 'strerror', None) or error})")
            continue
        classes.update(cls for cls, _ in rows)
        sizes += [median(size for _, size in rows)] if rows else []
    return SplitFacts(
        images=len(split.images),
        corrupt=_trouble(corrupt),
        bad_labels=_trouble(bad_labels),
        unlabelled=unlabelled,
        without_image=labels_without_image(split.images),
        classes=dict(sorted(classes.items())),
        brightness=tuple(round(mean, 4) for mean, _ in looks),
        contrast=tuple(round(deviation, 4) for _, deviation in looks),
        object_sizes=tuple(round(size, 4) for size in sizes[:: max(1, math.ceil(len(sizes) / request.sample))]),
    )


def _trouble(found: Sequence[str]) -> Trouble:
    return Trouble(count=len(found), first=next(iter(found), ""))


def image_problem(path: Path) -> str:
    """Return in a few words what is wrong with an image file; empty if nothing is, or if it cannot be told."""
    from PIL import Image, TiffImagePlugin

    Image.MAX_IMAGE_PIXELS = None
    suffix = path.suffix.lower()
    if suffix not in (*PILLOW_READS, *BOXED):
        return "" if path.is_file() else "missing"
    try:
        if suffix in BOXED:
            return "cut off" if is_cut_off(path) else ""
        with Image.open(path) as image:
            shape, kind = image.size, image.format
            tags = dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
            image.verify()
        if min(shape) < LEAST_SIDE:
            return f"{shape[0]}x{shape[1]} pixels"
        if kind in ("JPEG", "MPO"):
            with path.open("rb") as file:
                file.seek(-min(TAIL_BYTES, path.stat().st_size), os.SEEK_END)
                return "" if b"\xff\xd9" in file.read() else "cut off"
        return "cut off" if is_cut_off(path, tags) else ""
    except FileNotFoundError:
        return "missing"
    except Exception:  # Pillow raises anything on a damaged file
        return "not readable"


def brightness_and_contrast(path: Path) -> tuple[float, float]:
    """Return mean and standard deviation of the grey levels, 0 to 1, of an image shrunk to a small square."""
    from PIL import Image, ImageStat

    with Image.open(path) as image:
        image.draft("L", (2 * SIDE, 2 * SIDE))  # decode a JPEG small, which is many times as fast
        grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    stat = ImageStat.Stat(grey)
    return stat.mean[0] / 255, stat.stddev[0] / 255


def read_label(path: Path, classes: int, *, boxes_first: bool) -> list[tuple[int, float]]:
    """Return class and size of each object of a label file: the square root of its share of the image's area.

    A row has a class, and x, y, w, h as shares of the image or the corners of a polygon; with ``boxes_first``, key
    points follow the box.

    Raises:
        ValueError: A row is neither, or out of range; Ultralytics then leaves out the whole image.
    """
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            cls, *values = map(float, line.split())
        except ValueError:
            raise ValueError(f"line {number} is not numbers") from None
        box = boxes_first or len(values) == 4
        points = values[:4] if box else values
        if len(points) < 4 or (not box and (len(values) < 6 or len(values) % 2)):
            raise ValueError(f"line {number} has {len(values) + 1} columns")
        if cls % 1 or not 0 <= cls < classes:
            raise ValueError(f"line {number}: class {cls:g} of {classes}")
        if not box:
            axes = points[::2], points[1::2]
            # Ultralytics checks the box around a polygon, whose corners may be outside of the image.
            around = [(min(axis) + max(axis)) / 2 for axis in axes] + [max(axis) - min(axis) for axis in axes]
            points = around if all(map(math.isfinite, points)) else points
        width, height = points[2:4]
        if not all(-TOLERANCE <= value <= 1 + TOLERANCE for value in points) or min(width, height) < 0:
            raise ValueError(f"line {number}: a coordinate out of range")
        found.append((int(cls), math.sqrt(width * height)))
    return found


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


def _facts(path: Path) -> CheckpointFacts:
    try:
        return read_checkpoint(path)
    except (ValueError, OSError) as error:
        return CheckpointFacts(problem=plain(error))


def _metadata(path: Path) -> EngineFacts:
    try:
        return EngineFacts(metadata=engine_file.read_metadata(path))
    except Exception as error:
        return EngineFacts(metadata={"problem": plain(error)})


if __name__ == "__main__":
    leave(main(SurveyRequest, work))
