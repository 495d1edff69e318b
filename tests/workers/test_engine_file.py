"""What Ultralytics writes into an ONNX file, read without onnx."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_trtgate.workers.engine_file import read_metadata, read_onnx_metadata


def varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80]) + varint(number >> 7) if number > 0x7F else bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def model(**texts: str) -> bytes:
    """Return a model of IR version 8, with a graph of some size, numbers of fixed length, and pairs of texts."""
    pairs = [field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in texts.items()]
    fixed = varint(100 << 3 | 1) + b"8 bytes." + varint(101 << 3 | 5) + b"four"
    return varint(1 << 3) + varint(8) + field(7, bytes(300)) + fixed + b"".join(pairs)


def test_pairs_of_texts_are_found_behind_everything_else(tmp_path: Path) -> None:
    file = tmp_path / "engine.onnx"
    file.write_bytes(model(task="detect", batch="1", imgsz="[64, 64]", names="{0: 'dark', 1: 'bright'}", author="é"))
    assert read_onnx_metadata(file)["author"] == "é"
    found = read_metadata(file)
    assert (found["batch"], found["imgsz"], found["names"]) == (1, [64, 64], {"0": "dark", "1": "bright"})


@pytest.mark.parametrize("end", [0, 1, 3, 200, 310, -1, -40])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, end: int) -> None:
    file = tmp_path / "engine.onnx"
    file.write_bytes(model(task="detect", batch="1")[:end])
    with pytest.raises(ValueError, match=r"truncated|empty"):
        read_onnx_metadata(file)


@pytest.mark.parametrize("content", [b"these are no weights", b"\xff" * 30, b"\x0f\x01"])
def test_what_is_no_message_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "engine.onnx"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"truncated|Protocol Buffers"):
        read_onnx_metadata(file)


@pytest.mark.parametrize("name", ["best.onnx", "best.engine"])
def test_a_file_that_is_a_hole_and_one_that_is_a_fifo_are_refused_at_once(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ValueError, match="no m"):
        read_metadata(tmp_path / name)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="a FIFO, not a regular file"):
        read_metadata(tmp_path / name)


def test_a_message_of_very_many_fields_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "best.onnx").write_bytes(b"\x08\x01" * 100_001)
    with pytest.raises(ValueError, match="too many fields"):
        read_metadata(tmp_path / "best.onnx")
