"""Image files that end too early, by their headers."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from pytest_trtgate.workers.survey.image_length import is_cut_off


def bmp(width: int, height: int, bits: int = 24, compression: int = 0, body: int = 0) -> bytes:
    head = struct.pack("<IiiHHIIIIII", 40, width, height, 1, bits, compression, body, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + head + bytes(body)


def old_bmp(width: int, height: int, body: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + struct.pack("<IHHHH", 12, width, height, 1, 8) + bytes(body)


def box(kind: bytes, body: int, *, large: bool = False) -> bytes:
    if large:
        return struct.pack(">I4sQ", 1, kind, 16 + body) + bytes(body)
    return struct.pack(">I4s", 8 + body, kind) + bytes(body)


WHOLE: dict[str, bytes] = {
    "BMP, rows in whole words": bmp(3, 2, body=24),
    "BMP from the top": bmp(3, -2, body=24),
    "BMP, compressed": bmp(300, 200, bits=8, compression=1, body=40),
    "BMP of OS/2": old_bmp(5, 4, body=32),
    "AVIF": box(b"ftyp", 16) + box(b"mdat", 40),
    "JPEG 2000, large box": box(b"jP  ", 4) + box(b"jp2c", 60, large=True),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_lacks_its_last_byte_is_cut_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(WHOLE[name])
    assert not is_cut_off(path)
    path.write_bytes(WHOLE[name][:-1])
    assert is_cut_off(path)


@pytest.mark.parametrize(
    ("tags", "end"),
    [
        ({273: (8, 50), 279: (42, 50)}, 100),
        ({273: 8, 279: 92}, 100),
        ({324: (10, 60), 325: (50, 40)}, 100),
        ({273: (8,)}, 0),
        ({}, 0),
    ],
)
def test_strips_and_tiles_of_a_tiff_are_in_the_file(tmp_path: Path, tags: dict[int, Any], end: int) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(bytes(100))
    assert not is_cut_off(path, tags)
    path.write_bytes(bytes(99))
    assert is_cut_off(path, tags) is (end == 100)


@pytest.mark.parametrize(
    ("content", "cut_off"),
    [
        (b"", False),
        (b"\x89PNG", False),
        (b"BM", True),
        (b"\xff\x4f\xff\x51 a bare stream of JPEG 2000", False),
        (box(b"ftyp", 16) + struct.pack(">I4s", 0, b"mdat") + b"to the end", False),
        (box(b"ftyp", 16) + struct.pack(">I4s", 3, b"mdat"), True),
    ],
)
def test_what_tells_nothing_of_its_length_is_not_cut_off(tmp_path: Path, content: bytes, cut_off: bool) -> None:
    (tmp_path / "image").write_bytes(content)
    assert is_cut_off(tmp_path / "image") is cut_off
