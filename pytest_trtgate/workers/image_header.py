"""What an image file's header says before anything is decoded: 437 kB can stand for 3.6 billion pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from ..records import open_regular

HEAD_BYTES = 65536
_BOXED_SIZE = re.compile(rb"ispe\0\0\0\0(.{8})|ihdr(.{8})", re.DOTALL)
"""Width and height in HEIC and AVIF (ISO/IEC 23008-12), height and width in JPEG 2000 (ISO/IEC 15444-1)."""


def refusal(path: Path, most_pixels: int) -> str:
    """Return in a few words why an image is not to be decoded; empty where it may be, or nothing can be told."""
    try:
        with open_regular(path) as file:
            pixels = _pixels(file)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return error.strerror or "not readable"
    if pixels <= most_pixels:
        return ""
    return f"{pixels / 1e6:,.0f} megapixels, more than inputs.max_megapixels = {most_pixels / 1e6:g}"


def size_of(path: Path) -> tuple[int, int] | None:
    """Return width and height in pixels, in either order where a camera was turned; None where it cannot be told."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.width, image.height
    except Exception:  # Pillow raises anything on a damaged file, and does not know every format
        return None


def _pixels(file: BinaryIO) -> int:
    from PIL import Image

    sizes = [found[1] or found[2] for found in _BOXED_SIZE.finditer(file.read(HEAD_BYTES))]
    if sizes:
        return max(int.from_bytes(size[:4], "big") * int.from_bytes(size[4:], "big") for size in sizes)
    Image.MAX_IMAGE_PIXELS = None  # ours is the limit
    file.seek(0)
    try:
        with Image.open(file) as image:
            return int(image.width * image.height)
    except Exception:  # Pillow raises anything on a damaged file, which is for others to say
        return 0
