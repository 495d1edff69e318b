"""Draw the shapes data set: a small, hard detection set in YOLO layout.

    python generate.py DIR [--seed 0] [--train 600] [--val 100] [--test 200]

Six classes on cluttered backgrounds: tiny and cut-off objects, occlusion, low
contrast, blur, noise, and distractors that look like a class and are none.
Needs numpy and OpenCV only. The same arguments give the same bytes, and a
finished set is left as it is, so the command can run before every gate run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Box = tuple[int, float, float, float, float]

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")
CORNERS = {"circle": 40, "square": 4, "triangle": 3}
SIZES = ((320, 240), (256, 384), (400, 300), (320, 320), (240, 320), (384, 216))
SPLITS = ("train", "val", "test")
MARKER = "shapes.json"
# Raise it with every change to the pictures: sets of another version are redrawn.
VERSION = 1
EMPTY_SHARE = 0.08
MIN_VISIBLE = 0.25
SUBPIXEL_BITS = 4
JPEG_QUALITY = 90


class NotOurFolderError(Exception):
    """The target holds files that this generator did not write."""


@dataclass(frozen=True)
class Spec:
    """What a data set is made from; two equal specs give equal bytes."""

    seed: int = 0
    train: int = 600
    val: int = 100
    test: int = 200
    version: int = VERSION

    def images(self) -> Iterator[tuple[str, int]]:
        """Yield split and index of every image, in the order they are hashed."""
        for split in SPLITS:
            for index in range(getattr(self, split)):
                yield split, index


def _regular(corners: int, radius: float = 1.0) -> Points:
    turn = 2 * math.pi / corners
    return np.array([(radius * math.cos(i * turn), radius * math.sin(i * turn)) for i in range(corners)])


def _star(points: int, inner: float) -> Points:
    outline = _regular(2 * points)
    outline[1::2] *= inner
    return outline


def _bar(width: float) -> Points:
    return np.array([(1.0, width), (-1.0, width), (-1.0, -width), (1.0, -width)]) * math.sqrt(0.5)


def _cross(a: float) -> Points:
    half = np.array([(a, 1.0), (a, a), (1.0, a), (1.0, -a), (a, -a), (a, -1.0)])
    return np.concatenate([half, -half])


def _outline(name: str, rng: np.random.Generator) -> list[Points]:
    """Return the polygons, of radius 1, that bound an object of class `name`; a second one is a hole."""
    if name in CORNERS:
        return [_regular(CORNERS[name])]
    if name == "star":
        return [_star(5, rng.uniform(0.38, 0.55))]
    if name == "cross":
        return [_cross(rng.uniform(0.22, 0.36))]
    return [_regular(40), _regular(40, rng.uniform(0.45, 0.75))]


def _distractor(rng: np.random.Generator) -> list[Points]:
    """Return the outline of something that is near a class and belongs to none."""
    kind = rng.integers(6)
    if kind == 0:  # ellipse, not circle
        return [_regular(40) * (1.0, rng.uniform(0.3, 0.6))]
    if kind == 1:  # bar, not square
        return [_bar(rng.uniform(0.15, 0.5))]
    if kind == 2:  # pentagon or hexagon
        return [_regular(int(rng.integers(5, 7)))]
    if kind == 3:  # half a disc
        return [_regular(40)[:21]]
    if kind == 4:  # three-pointed star
        return [_star(3, rng.uniform(0.2, 0.3))]
    return [_regular(4), _regular(4, rng.uniform(0.5, 0.75))]  # square frame


def _place(outline: list[Points], centre: npt.ArrayLike, radius: float, angle: float) -> list[Points]:
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([(cos, sin), (-sin, cos)])
    return [points @ turn * radius + np.asarray(centre) for points in outline]


def _fill(target: Image, outline: list[Points], value: int, line: int) -> None:
    # OpenCV puts pixel centres at integers, boxes put them at one half.
    fixed = [np.rint((points - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32) for points in outline]
    cv2.fillPoly(target, fixed, value, line, SUBPIXEL_BITS)


def _paint(image: Image, outline: list[Points], colour: Points, alpha: float) -> None:
    """Blend the filled outline into `image` (H x W x 3), softly edged, in place."""
    low = np.floor(outline[0].min(axis=0)).astype(int) - 1
    high = np.ceil(outline[0].max(axis=0)).astype(int) + 2
    x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
    x1, y1 = min(int(high[0]), image.shape[1]), min(int(high[1]), image.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    _fill(mask, [points - (x0, y0) for points in outline], 255, cv2.LINE_AA)
    share = (mask * np.float32(alpha / 255.0))[..., None]
    patch = image[y0:y1, x0:x1]
    patch[:] = np.rint(patch + (colour.astype(np.float32) - patch) * share).astype(np.uint8)


def _background(width: int, height: int, rng: np.random.Generator) -> Image:
    """Return a cluttered H x W x 3 picture: a gradient or texture, blobs and lines."""
    kind = rng.integers(3)
    if kind == 0:  # four corner colours
        corners = rng.integers(20, 236, (2, 2, 3), dtype=np.uint8)
        image = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    elif kind == 1:  # clouds, coarse to fine
        cells, base, swing = int(rng.integers(4, 40)), rng.integers(40, 216, (1, 1, 3)), int(rng.integers(10, 45))
        grid = np.clip(base + rng.integers(-swing, swing + 1, (cells, cells, 3)), 0, 255).astype(np.uint8)
        image = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    else:  # stripes or checks
        two = rng.integers(40, 216, (1, 3)) + rng.integers(-25, 26, (2, 3))
        step_x, step_y = rng.integers(6, 60, 2)
        parity = np.arange(width)[None, :] // step_x
        if rng.random() < 0.5:
            parity = parity + np.arange(height)[:, None] // step_y
        parity = np.broadcast_to(parity % 2, (height, width))
        image = np.clip(two, 0, 255).astype(np.uint8)[parity]
    image = np.ascontiguousarray(image, dtype=np.uint8)
    for _ in range(rng.integers(0, 6)):  # blobs
        blob = _regular(12) * rng.uniform(0.6, 1.4, (12, 1))
        centre = (rng.uniform(0, width), rng.uniform(0, height))
        blob = _place([blob], centre, rng.uniform(5, 60), 0.0)[0]
        _paint(image, [blob], rng.uniform(0, 255, 3), rng.uniform(0.1, 0.6))
    for _ in range(rng.integers(0, 7)):  # lines
        ends = rng.uniform((-20, -20), (width + 20, height + 20), (2, 2)).astype(int)
        colour = [int(c) for c in rng.integers(0, 256, 3)]
        start, end = ((int(x), int(y)) for x, y in ends)
        cv2.line(image, start, end, colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    return image


def _colour_for(image: Image, centre: Points, rng: np.random.Generator) -> Points:
    """Pick a colour; one in eight is hard to tell from what lies around `centre`."""
    x, y = (min(max(int(c), 0), side - 1) for c, side in zip(centre, image.shape[1::-1], strict=True))
    around = image[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].reshape(-1, 3).mean(axis=0)
    if rng.random() < 1 / 8:
        step = rng.uniform(16, 40) * rng.choice((-1.0, 1.0))
        return np.asarray(np.clip(around + step + rng.uniform(-6, 6, 3), 0, 255), np.float64)
    while True:
        colour = rng.uniform(0, 255, 3)
        if abs(colour - around).sum() > 150:
            return colour


def _degrade(image: Image, rng: np.random.Generator) -> Image:
    """Return the picture as a poor camera would give it."""
    if rng.random() < 0.35:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5)), np.uint8)
    elif rng.random() < 0.15:
        length = int(rng.integers(3, 7))
        kernel = np.full((1, length) if rng.random() < 0.5 else (length, 1), 1.0 / length)
        image = np.asarray(cv2.filter2D(image, -1, kernel), np.uint8)
    if rng.random() < 0.25:  # low contrast
        levels = (np.arange(256) - 128) * rng.uniform(0.35, 0.75) + rng.uniform(70, 180)
        image = np.asarray(cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)), np.uint8)
    if rng.random() < 0.7:
        # The sum of two even distributions, in integers: a standard deviation of 104.5.
        dice = rng.integers(-128, 128, (2, *image.shape), np.int8)
        scale = int(rng.uniform(2, 12) / 104.5 * 256)
        noise = (dice[0].astype(np.int16) + dice[1]) // 2 * scale // 128
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def draw(spec: Spec, split: str, index: int) -> tuple[Image, list[Box]]:
    """Draw one picture of the set.

    Args:
        spec: The data set; only its seed matters here.
        split: One of `SPLITS`.
        index: Number of the image in its split.

    Returns:
        The BGR picture (H x W x 3) and one `(class, x, y, w, h)` per object, as
        shares of the picture, around what can be seen of it. Objects of which
        less than a quarter can be seen have no box.
    """
    rng = np.random.default_rng((spec.seed, SPLITS.index(split), index))
    width, height = SIZES[rng.integers(len(SIZES))]
    image = _background(width, height, rng)
    owner, here = np.zeros((height, width), np.uint8), rng.uniform((0, 0), (width, height))
    objects: list[tuple[int, int, float]] = []
    wanted = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, 11))
    distractors = int(rng.integers(0, 5))
    for is_object in rng.permutation([True] * wanted + [False] * distractors):
        radius = float(np.exp(rng.uniform(math.log(7.0), math.log(0.32 * min(width, height)))))
        near = rng.random() < 0.3  # beside or over the one before
        here = here + rng.uniform(-1.3, 1.3, 2) * radius if near else rng.uniform((0, 0), (width, height))
        kind = int(rng.integers(len(CLASSES)))
        outline = _outline(CLASSES[kind], rng) if is_object else _distractor(rng)
        outline = _place(outline, here, radius, rng.uniform(0, 2 * math.pi))
        _paint(image, outline, _colour_for(image, here, rng), rng.uniform(0.8, 1.0))
        # A distractor occludes as an object does: number 0 is nobody's.
        area, *holes = (cv2.contourArea(points.astype(np.float32)) for points in outline)
        if is_object:
            objects.append((kind, len(objects) + 1, area - sum(holes)))
        _fill(owner, outline, len(objects) if is_object else 0, cv2.LINE_8)
    boxes: list[Box] = []
    for kind, number, area in objects:
        visible = (owner == number).astype(np.uint8)
        if cv2.countNonZero(visible) < max(MIN_VISIBLE * area, 12):
            continue
        x, y, w, h = cv2.boundingRect(visible)
        boxes.append((kind, (x + w / 2) / width, (y + h / 2) / height, w / width, h / height))
    return _degrade(image, rng), boxes


def _paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    return root / "images" / split / f"{index:05d}.jpg", root / "labels" / split / f"{index:05d}.txt"


def _write_one(root: Path, spec: Spec, item: tuple[str, int]) -> None:
    image, boxes = draw(spec, *item)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    image_path, label_path = _paths(root, *item)
    image_path.write_bytes(data.tobytes())
    lines = (f"{kind} " + " ".join(f"{value:.6f}" for value in box) for kind, *box in boxes)
    label_path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def digest(root: Path, spec: Spec) -> str:
    """Return the SHA-256 over every image and label of the set; a missing file raises OSError."""
    total = hashlib.sha256((root / "data.yaml").read_bytes())
    for item in spec.images():
        for path in _paths(root, *item):
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _marker(root: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("generator") == "shapes" else None


def _mark(root: Path, spec: Spec, sha256: str | None) -> None:
    text = json.dumps({"generator": "shapes", "spec": asdict(spec), "sha256": sha256}, indent=2)
    partial_path = root / f"{MARKER}.{os.getpid()}.tmp"
    partial_path.write_text(text + "\n", encoding="utf-8")
    partial_path.replace(root / MARKER)


def is_complete(root: Path, spec: Spec) -> bool:
    """Tell whether `root` holds exactly the set that `spec` describes, byte for byte."""
    marker = _marker(root) or {}
    try:
        return marker.get("spec") == asdict(spec) and marker["sha256"] == digest(root, spec)
    except OSError:
        return False


def generate(root: Path, spec: Spec) -> bool:
    """Make `root` hold the set that `spec` describes.

    Returns:
        True if the set was drawn, False if it was there already.

    Raises:
        NotOurFolderError: `root` is a file, or holds files and no marker of ours.
    """
    if root.exists() and _marker(root) is None and not (root.is_dir() and not any(root.iterdir())):
        raise NotOurFolderError(f"{root} holds something else (no {MARKER} of ours); name an empty or a new folder")
    if is_complete(root, spec):
        return False
    root.mkdir(parents=True, exist_ok=True)
    _mark(root, spec, None)  # from here on the folder is known as ours, and unfinished
    keep = {path for item in spec.images() for path in _paths(root, *item)}
    for folder in {path.parent for path in keep}:
        folder.mkdir(parents=True, exist_ok=True)
    # Label caches of Ultralytics lie beside the label folders and would be stale.
    for stray in [*root.glob("images/*/*"), *root.glob("labels/*/*"), *root.glob("labels/*.cache")]:
        if stray not in keep and stray.is_file():
            stray.unlink(missing_ok=True)
    with ThreadPool() as pool:  # OpenCV and numpy let go of the GIL while they draw
        pool.map(lambda item: _write_one(root, spec, item), list(spec.images()), chunksize=16)
    # No `path`: Ultralytics then takes the folder of the YAML, wherever it is moved.
    lines = [*(f"{split}: images/{split}" for split in SPLITS), "names:"]
    lines += [f"  {number}: {name}" for number, name in enumerate(CLASSES)]
    (root / "data.yaml").write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")
    _mark(root, spec, digest(root, spec))
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 if the folder is not ours to fill."""
    parser = argparse.ArgumentParser(description="Draw the shapes data set in YOLO layout.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="where the set goes")
    for name in ("seed", *SPLITS):
        text = "random seed" if name == "seed" else f"images in {name}"
        parser.add_argument(f"--{name}", type=int, default=getattr(Spec, name), help=f"{text} (default: %(default)s)")
    args = parser.parse_args(argv)
    if min(args.seed, args.train, args.val, args.test) < 0:
        parser.error("the seed and the numbers of images must be 0 or more")
    spec = Spec(args.seed, args.train, args.val, args.test)
    try:
        drawn = generate(args.folder, spec)
    except NotOurFolderError as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 2
    state = "drawn" if drawn else "already there"
    print(f"{args.folder / 'data.yaml'}: {state}, sha256 {digest(args.folder, spec)[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
