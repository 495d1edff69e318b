"""Check that an image file is as long as its headers say, without decoding it.

Other formats need no such check: they end with a mark (JPEG), hold checksums (PNG), or are read whole (WebP).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

BOXED = frozenset((".avif", ".heic", ".heif", ".jp2"))
"""Suffixes of formats made of boxes, each of which begins with its length (ISO/IEC 14496-12, 15444-1)."""
_FIRST_BOXES = (b"ftyp", b"jP  ")
_OFFSETS_AND_LENGTHS = ((273, 279), (324, 325))
"""TIFF's tags of the offsets and lengths of strips and of tiles."""
_PLAIN_BMP = (0, 3, 6)
"""BMP's kinds of compression with rows of full length."""


def is_cut_off(path: Path, tiff_tags: Mapping[int, Any] | None = None) -> bool:
    """Return whether an image file ends before its content does; False if its headers do not tell.

    ``tiff_tags``: those of a TIFF's first directory.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(64)
        if tiff_tags is not None:
            end = _end_of_tiff(tiff_tags)
        elif head[:2] == b"BM":
            end = _end_of_bmp(head)
        elif head[4:8] in _FIRST_BOXES:
            end = _end_of_boxes(file, size)
        else:
            return False
    return end > size


def _end_of_bmp(head: bytes) -> int:
    if len(head) < 38:
        return 38
    begin, header_bytes = struct.unpack_from("<II", head, 10)
    if header_bytes == 12:  # that of OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
        compression = bytes_said = 0
    else:
        width, height, _, bits, compression, bytes_said = struct.unpack_from("<iiHHII", head, 18)
    if compression not in _PLAIN_BMP:
        return int(begin + bytes_said)
    return int(begin + (width * bits + 31) // 32 * 4 * abs(height))  # upside down where the height is negative


def _end_of_tiff(tags: Mapping[int, Any]) -> int:
    end = 0
    for offsets, lengths in _OFFSETS_AND_LENGTHS:
        found = zip(_numbers(tags.get(offsets)), _numbers(tags.get(lengths)), strict=False)
        end = max(end, *(begin + length for begin, length in found), 0)
    return end


def _numbers(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value or ())


def _end_of_boxes(file: IO[bytes], size: int) -> int:
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # to the end of the file, wherever that is
            return size
        if length < 8:
            return size + 1
        at += length
    return at
