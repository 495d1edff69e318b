"""Detections that were made elsewhere, in COCO's form of results, in the place of those of an engine.

The file is a list of detections, or an object with ``annotations``, that list, and ``images``, each with ``id`` and
``file_name``. A detection has:

``image_id``     the name of an image, its name without the ending, that as a number, or an ``id`` of ``images``; also
                 its path, on this machine or on another that has the dataset
``category_id``  the number of a class, or its name
``bbox``         left, top, width and height in pixels of the original image
``score``        0 to 1
``segmentation`` of a mask: COCO's run lengths, as a text or as numbers, or polygons in pixels
``keypoints``    x, y and what else the model says of each, in pixels
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DataError
from ...records import Description
from ..image_header import size_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEYOND = 1.1
"""A box that reaches so far beyond its image is in other units."""
FEW_BEYOND = 0.2
"""The share of boxes that may: some detectors look beyond the picture. Of corners taken for sizes, half do."""
TASKS = ("detect", "segment", "pose")
_MOST_BITS = 60
"""Of a run length in a text: no image has as many pixels."""


@dataclass(frozen=True)
class Detection:
    """One detection: its box as x, y, width and height in pixels of the original image."""

    box: tuple[float, ...]
    score: float
    cls: int
    mask: Any = None
    keypoints: tuple[float, ...] = ()


class Predictions:
    """The detections of a file by image, the surest first.

    Args:
        found: By the image as the file calls it.
        listed: The images that the file lists; empty where it has none but those of detections.
        kpt_shape: How many key points follow, and the numbers of each.
    """

    def __init__(self, found: Mapping[str, list[Detection]], listed: set[str], kpt_shape: Sequence[int]) -> None:
        self._found = {name: sorted(each, key=lambda one: -one.score) for name, each in found.items()}
        self._named = set(found) | listed
        self._kpt_shape = tuple(kpt_shape)

    def of(self, image: str | Path) -> list[Detection]:
        """Return the detections of an image."""
        return next((self._found[name] for name in _names(Path(image)) if name in self._found), [])

    def check(self, images: Sequence[str]) -> None:
        """Check that all images are there, and no others, each detection once, and in pixels.

        Raises:
            DataError: They are not.
        """
        known: dict[str, str] = {}
        for image in images:
            for name in _names(Path(image)):
                if known.setdefault(name, image) != image and name in self._named:
                    raise DataError(f"'{name}' may be {known[name]} or {image}; name images by more of their path")
        if strange := sorted(self._named - known.keys()):
            raise DataError(f"{len(strange)} of its images are not evaluated, first '{strange[0]}'")
        missing = [image for image in images if not self._named.intersection(_names(Path(image)))]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(images)} evaluated images are not in it, first {missing[0]}; where nothing "
                f"was found in them, list all images under 'images'"
            )
        for image in images:
            if len(names := [name for name in dict.fromkeys(_names(Path(image))) if name in self._found]) > 1:
                raise DataError(
                    f"{image} goes by {len(names)} names: {' and '.join(map(repr, sorted(names)))}; keep one"
                )
        for name, each in self._found.items():
            twice = [one for one, times in Counter((d.box, d.score, d.cls) for d in each).items() if times > 1]
            if twice:
                raise DataError(
                    f"{len(twice)} of the detections of image '{name}' are there twice, first {twice[0][0]}"
                )
        self._check_units(known)

    def _check_units(self, known: Mapping[str, str]) -> None:
        boxes = [(name, one.box) for name, each in self._found.items() for one in each]
        if boxes and max(max(box) for _, box in boxes) <= 1.5:
            raise DataError("its boxes are shares of the image, from 0 to 1, and not pixels of the original image")
        sides = {name: max(size_of(Path(known[name])) or (10**9,)) for name in self._found}
        beyond = [
            (name, box)
            for name, box in boxes
            if max(box[0] + box[2], box[1] + box[3]) > BEYOND * sides[name] + 2 or min(box[2:]) < 0
        ]
        if len(beyond) > FEW_BEYOND * len(boxes):
            raise DataError(
                f"{len(beyond)} of {len(boxes)} boxes reach beyond their images, first {list(beyond[0][1])} of "
                f"'{beyond[0][0]}'; a box is left, top, width and height in pixels of the original image"
            )

    def postprocessed(self, batch: Mapping[str, Any], conf: float, max_det: int) -> list[dict[str, Any]]:
        """Return what Ultralytics makes of a batch's output: boxes, masks and key points in letterboxed pixels.

        Those of a confidence up to ``conf`` are left out, and of the others all but the first ``max_det``.
        """
        import numpy as np
        import torch

        made, device = [], batch["img"].device
        places = zip(batch["im_file"], batch["ratio_pad"], batch["ori_shape"], strict=True)
        for image, (gains, beside), shape in places:
            kept = [one for one in self.of(image) if one.score > conf][:max_det]
            gain, pad = np.array(gains[::-1], dtype=np.float64), np.array(beside, dtype=np.float64)
            corners = np.array([one.box for one in kept], dtype=np.float64).reshape(-1, 4)
            corners[:, 2:] += corners[:, :2]
            values: dict[str, Any] = {
                "bboxes": corners * np.tile(gain, 2) + np.tile(pad, 2),
                "conf": np.array([one.score for one in kept]),
                "cls": np.array([one.cls for one in kept]),
            }
            if self._kpt_shape:
                points = np.array([one.keypoints for one in kept], dtype=np.float64).reshape(-1, *self._kpt_shape)
                points[..., :2] = points[..., :2] * gain + pad
                values["keypoints"] = points
            elif any(one.mask is not None for each in self._found.values() for one in each):
                size = tuple(side // 4 for side in batch["img"].shape[2:])
                masks = [_sampled(_pixels(one.mask, shape), size, gain, pad) for one in kept]
                values["masks"] = np.array(masks, dtype=np.uint8).reshape(-1, *size)
            else:
                values["extra"] = np.zeros((len(kept), 0))
            made.append({n: torch.tensor(v, dtype=torch.float32, device=device) for n, v in values.items()})
        return made


def read_predictions(
    file: Path, description: Description, images: Sequence[str], root: Path, *, whole: bool = True
) -> Predictions:
    """Read the detections of ``images``, which lie in a dataset at ``root``.

    ``whole``: check that they are of these images and of no others, and in pixels.

    Raises:
        DataError: They are not, or the file is not in COCO's form, or of a task that it has no form for.
    """
    about = description.metadata
    if about["task"] not in TASKS:
        raise DataError(f"COCO's results have no form for the task {about['task']}; give the engine itself")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})") from error
    ids: dict[Any, str] = {}
    if isinstance(content, dict):
        try:
            listing = [(listed["id"], str(listed["file_name"])) for listed in content.get("images") or ()]
            ids = dict(listing)
        except (KeyError, TypeError) as error:
            raise DataError("each of its images needs an id and a file_name") from error
        if twice := [one for one, times in Counter(one for one, _ in listing).items() if times > 1]:
            raise DataError(f"several of its images have the id {twice[0]!r}")
        content = content.get("annotations")
    if not isinstance(content, list):
        raise DataError("not a list of detections, as COCO's results are")
    found: dict[str, list[Detection]] = {}
    kpt_shape = tuple(about.get("kpt_shape") or ()) if about["task"] == "pose" else ()
    counts = Counter(about["names"].values())  # a name of two classes tells of none
    names = {str(name): int(index) for index, name in about["names"].items() if counts[name] == 1}
    for number, row in enumerate(content):
        try:
            one = _detection(row, about["task"], names, len(about["names"]), kpt_shape, description.first_category)
            image = str(ids.get(row["image_id"], row["image_id"]))
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            why = f"has no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"detection {number + 1} of {len(content)} {why}") from error
        found.setdefault(image, []).append(one)
    listed = set(ids.values())
    here = _without_prefix(listed | found.keys(), images, root)
    renamed: dict[str, list[Detection]] = {}
    for name, each in found.items():
        renamed.setdefault(here.get(name, name), []).extend(each)
    predictions = Predictions(renamed, {here.get(name, name) for name in listed}, kpt_shape)
    if whole:
        predictions.check(images)
    return predictions


def _without_prefix(names: Collection[str], images: Sequence[str], root: Path) -> dict[str, str]:
    """Return names of another machine's paths, by which no image goes here, with what they are called here.

    Such a name ends like the path of an image from the root of its dataset, folder and all, and all have the same
    before that.
    """
    known = {name for image in images for name in _names(Path(image))}
    paths = (Path(image).relative_to(root) for image in images if Path(image).is_relative_to(root))
    inside = {str(form) for path in paths if len(path.parts) > 1 for form in (path, path.with_suffix(""))}
    found, prefixes = dict[str, str](), set[str]()
    for name in names:
        steps = name.split("/") if name not in known else []
        rest = next((end for start in range(1, len(steps)) if (end := "/".join(steps[start:])) in inside), "")
        if rest:
            found[name] = rest
            prefixes.add(name.removesuffix(rest))
    return found if len(prefixes) == 1 else {}


def _detection(
    row: Mapping[str, Any], task: str, names: Mapping[str, int], classes: int, kpt_shape: Sequence[int], first: int
) -> Detection:
    box, score, category = tuple(map(float, row["bbox"])), float(row["score"]), row["category_id"]
    if len(box) != 4 or not all(map(isfinite, box)):
        raise ValueError(f"has the bbox {row['bbox']}, not four numbers")
    if not 0 <= score <= 1:
        raise ValueError(f"has the score {score:g}, not one from 0 to 1")
    cls = names.get(category, -1) if isinstance(category, str) else int(category) - first
    if not 0 <= cls < classes or (isinstance(category, float) and category % 1):
        hint = "; where they begin with 1, say first_category = 1 beside the file" if category == classes else ""
        raise ValueError(f"has the category {category!r}, and classes are 0 to {classes - 1}, from {first} on{hint}")
    points = tuple(map(float, row["keypoints"])) if task == "pose" else ()
    if points:
        count, numbers = kpt_shape
        if len(points) == 3 * count and numbers == 2:
            points = tuple(value for place, value in enumerate(points) if place % 3 < 2)
        if len(points) != count * numbers:
            raise ValueError(f"has {len(points)} numbers of key points, not {count} x {numbers}")
        if not all(map(isfinite, points)):
            raise ValueError("has key points that are no numbers")
    if task == "segment":
        _check_mask(row["segmentation"])
    return Detection(box, score, cls, row["segmentation"] if task == "segment" else None, points)


def _check_mask(segmentation: Any) -> None:
    """Check that a mask has one of the known forms; raises what reading it does, most often ValueError."""
    if isinstance(segmentation, list):
        if not all(len(points) % 2 == 0 and all(map(isfinite, points)) for points in segmentation):
            raise ValueError("has a polygon that is no list of x and y")
        return
    height, width = map(int, segmentation["size"])
    runs = _runs(segmentation["counts"])
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"has a mask whose run lengths are not of its size, {[height, width]}")


def _names(image: Path) -> list[str]:
    """Return what an image may be called: the longest part of its path first."""
    steps = image.parts
    paths = ["/".join(steps[start:]).lstrip("/") for start in range(len(steps))]
    names = [str(image), *paths, *(path.rpartition(".")[0] for path in paths)]
    return [*names, str(int(image.stem))] if image.stem.isdecimal() else names


def _pixels(segmentation: Any, shape: tuple[int, int]) -> NDArray[Any]:
    """Return a mask of zeros and ones: height x width of the original image."""
    import cv2
    import numpy as np

    height, width = map(int, shape)
    if isinstance(segmentation, list):
        mask = np.zeros((height, width), dtype=np.uint8)
        polygons = [
            np.array(points, dtype=np.float64).reshape(-1, 2).round().astype(np.int32) for points in segmentation
        ]
        cv2.fillPoly(mask, polygons, 1)
        return mask
    runs = _runs(segmentation["counts"])
    if tuple(segmentation["size"]) != (height, width) or sum(runs) != height * width:
        raise DataError(f"a mask has the size {segmentation['size']}, and its image {[height, width]}")
    values = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
    return values.reshape(width, height).T


def _runs(counts: Any) -> list[int]:
    try:
        return _unpacked(counts) if isinstance(counts, str) else [int(count) for count in counts]
    except IndexError as error:
        raise ValueError("has a mask whose run lengths end in the midst of one") from error


def _unpacked(text: str) -> list[int]:
    """Return the run lengths in a text of COCO's: five bits a character, from the fourth on less the one but last."""
    runs: list[int] = []
    place = 0
    while place < len(text):
        value = shift = 0
        more = True
        while more:
            bits = ord(text[place]) - 48
            value |= (bits & 0x1F) << shift
            more, shift, place = bool(bits & 0x20) and shift < _MOST_BITS, shift + 5, place + 1
            if not more and bits & 0x10:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def _sampled(mask: NDArray[Any], size: tuple[int, ...], gain: NDArray[Any], pad: NDArray[Any]) -> NDArray[Any]:
    """Return a mask as Ultralytics compares it: a point of each square of 4 x 4 letterboxed pixels."""
    import numpy as np

    made = np.zeros(size, dtype=np.uint8)
    ys, xs = (
        np.floor((4 * (np.arange(side) + 0.5) - beside) / times).astype(int)
        for side, beside, times in zip(size, pad[::-1], gain[::-1], strict=True)
    )
    inside_y, inside_x = (ys >= 0) & (ys < mask.shape[0]), (xs >= 0) & (xs < mask.shape[1])
    made[np.ix_(inside_y, inside_x)] = mask[np.ix_(ys[inside_y], xs[inside_x])]
    return made
