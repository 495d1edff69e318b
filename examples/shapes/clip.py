"""Draw a clip of moving shapes, for ``--trt-video``.

    python clip.py FILE.mp4 [--seed 0] [--seconds 20] [--fps 30]

The objects are those of the shapes data set (see generate.py, which lies
beside this file): they drift, turn and bounce off the edges of a 480 x 270
picture, pass over one another, and look as if filmed by a poor camera. The
same arguments give the same frames. Needs numpy and OpenCV only.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import generate
import numpy as np

WIDTH, HEIGHT = 480, 270
OBJECTS = 9
GRAINS = 8
"""Patterns of noise, which take turns."""
# MPEG-4 Part 2: every OpenCV writes and reads it.
CODEC = "mp4v"


@dataclass
class Mover:
    """One object: its outline, colour, place and way. Lengths are in pixels, angles in radians, both per second."""

    outline: list[generate.Points]
    colour: generate.Points
    centre: generate.Points
    speed: generate.Points
    radius: float
    angle: float
    turn: float

    def move(self, seconds: float) -> None:
        """Go on for a while; the edges of the picture turn it back."""
        self.centre += self.speed * seconds
        self.angle += self.turn * seconds
        for axis, side in enumerate((WIDTH, HEIGHT)):
            if not 0 <= self.centre[axis] <= side:
                self.speed[axis] *= -1
                self.centre[axis] = min(max(self.centre[axis], 0.0), float(side))


def frames(seed: int, seconds: float, fps: int) -> Iterator[generate.Image]:
    """Yield the frames of the clip: BGR, HEIGHT x WIDTH x 3."""
    rng = np.random.default_rng((seed, len(generate.SPLITS)))
    background = generate._background(WIDTH, HEIGHT, rng)
    movers = []
    for number in range(OBJECTS):
        centre = rng.uniform((0, 0), (WIDTH, HEIGHT))
        movers.append(
            Mover(
                outline=generate._outline(generate.CLASSES[number % len(generate.CLASSES)], rng),
                colour=generate._colour_for(background, centre, rng),
                centre=centre,
                speed=rng.uniform(-80, 80, 2),
                radius=float(rng.uniform(14, 60)),
                angle=float(rng.uniform(0, 2 * math.pi)),
                turn=float(rng.uniform(-1.5, 1.5)),
            )
        )
    noise = rng.integers(-6, 7, (GRAINS, HEIGHT, WIDTH, 1), np.int16)
    for number in range(round(seconds * fps)):
        picture = background.copy()
        for mover in movers:
            placed = generate._place(mover.outline, mover.centre, mover.radius, mover.angle)
            generate._paint(picture, placed, mover.colour, 0.95)
            mover.move(1 / fps)
        yield np.clip(picture + noise[number % GRAINS], 0, 255).astype(np.uint8)


def write(path: Path, seed: int, seconds: float, fps: int) -> int:
    """Write the clip and return how many frames it has; OSError where it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODEC), fps, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise OSError(f"{path}: this OpenCV cannot write it")
    count = 0
    for picture in frames(seed, seconds, fps):
        writer.write(picture)
        count += 1
    writer.release()
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 if the file cannot be written."""
    parser = argparse.ArgumentParser(description="Draw a clip of moving shapes.")
    parser.add_argument("file", metavar="FILE.mp4", type=Path, help="where the clip goes")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length (default: %(default)s)")
    parser.add_argument("--fps", type=int, default=30, help="frames per second (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.seed < 0 or args.fps < 1 or args.seconds * args.fps < 1:
        parser.error("the seed must be 0 or more, and the clip one frame or more")
    try:
        count = write(args.file, args.seed, args.seconds, args.fps)
    except OSError as error:
        print(f"clip.py: {error}", file=sys.stderr)
        return 2
    print(f"{args.file}: {count} frames, {args.file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
