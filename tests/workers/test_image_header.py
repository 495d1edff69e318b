"""Images that would fill the memory are told by their headers."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from pytest_trtgate.workers.image_header import refusal

pytest.importorskip("PIL")


def png(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = ((13, head), (0, b"IDAT"), (0, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", size) + part + struct.pack(">I", zlib.crc32(part)) for size, part in parts
    )


HEADERS = {
    "png": png(60_000, 50_000),
    "avif": b"\0\0\0\x1cftypavif" + bytes(40) + b"ispe\0\0\0\0" + struct.pack(">II", 60_000, 50_000),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20) + b"ihdr" + struct.pack(">II", 50_000, 60_000),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 60_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("suffix", HEADERS)
def test_an_image_of_more_pixels_than_the_limit_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(HEADERS[suffix])
    assert refusal(path, 200_000_000) == "3,000 megapixels, more than inputs.max_megapixels = 200"
    assert refusal(path, 3_000_000_000) == ""


def test_what_is_no_image_is_for_others_to_say_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "b.png").mkdir()
    os.mkfifo(tmp_path / "c.png")
    said = [refusal(tmp_path / name, 1) for name in ("a.png", "b.png", "c.png", "d.png")]
    assert said == ["", "a folder, not a regular file", "a FIFO, not a regular file", "missing"]
