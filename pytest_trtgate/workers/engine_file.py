"""Read the metadata that Ultralytics writes into ``.engine`` and ``.onnx`` files, without TensorRT or torch.

An ``.engine`` file is 4 bytes of length, JSON of that length, then TensorRT's plan.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from ..records import DESCRIPTION, Description, load, open_regular

_LITERALS = frozenset({"imgsz", "names", "args", "end2end", "kpt_shape", "kpt_names", "dynamic"})
_INTEGERS = frozenset({"batch", "stride", "channels"})
METADATA_BYTES = 1_000_000
"""Of a file, at most: names of 20,000 classes take half of it, and to read one takes 200 times as much memory."""
_METADATA_PROPS = 14
"""Number of the field of ``ModelProto`` that holds a pair of texts."""
_MOST_FIELDS = 100_000
"""Of one message; those of Ultralytics have some twenty."""
_VARIABLE_LENGTH, _FIXED_LENGTHS = 2, {1: 8, 5: 4}
"""Types of fields: of the length that precedes them, or of so many bytes."""


def read_engine(artifact: Path) -> tuple[dict[str, Any], bytes]:
    """Return metadata and plan of an engine file.

    Raises:
        ValueError: It begins with no metadata of Ultralytics, or ends before the plan.
        OSError: It cannot be read.
    """
    metadata, start = _header(artifact)
    with open_regular(artifact) as file:
        file.seek(start)
        return metadata, file.read()


def plan_of(artifact: Path) -> bytes:
    """Return the plan in an engine file, with or without Ultralytics' header; raises OSError where it has none."""
    try:
        return read_engine(artifact)[1]
    except ValueError:
        return artifact.read_bytes()


def described(artifact: Path) -> Description | None:
    """Return how a given file is run, as said beside its copy; None of what was built here.

    Raises:
        RecordError: The description is damaged.
    """
    path = artifact.with_name(DESCRIPTION)
    return load(path, Description, own=True) if path.is_file() else None


def read_onnx_metadata(artifact: Path) -> dict[str, Any]:
    """Return what Ultralytics wrote into an ONNX file, as texts; empty if it wrote nothing.

    This reads only the pairs of texts of the file's message (Protocol Buffers, ``ModelProto`` of ``onnx.proto``): to
    import onnx and read all layers takes half a second of every job.

    Raises:
        ValueError: It is empty, truncated, or no such message.
        OSError: It cannot be read.
    """
    texts, length = dict[str, Any](), 0
    with open_regular(artifact) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as whole:
        for number, start, end in _fields(whole, 0, len(whole)):
            if number == _METADATA_PROPS:
                if (length := length + end - start) > METADATA_BYTES:
                    raise ValueError(f"more than {METADATA_BYTES / 1e6:g} MB of metadata")
                key, value = (whole[first:last].decode() for _, first, last in _fields(whole, start, end))
                texts[key] = value
    return texts


def _fields(message: mmap, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field of variable length in a part of a message."""
    for _ in range(_MOST_FIELDS):
        if place >= end:
            break
        tag, place = _varint(message, place)
        if tag >> 3 == 0:  # as in a file that is a hole
            raise ValueError("no message of Protocol Buffers")
        if tag & 7 == 0:
            _, place = _varint(message, place)
            continue
        length = _FIXED_LENGTHS.get(tag & 7)
        if length is None:
            if tag & 7 != _VARIABLE_LENGTH:
                raise ValueError("no message of Protocol Buffers")
            length, place = _varint(message, place)
            if place + length <= end:
                yield tag >> 3, place, place + length
        place += length
    if place < end:
        raise ValueError("it has too many fields")
    if place > end:
        raise ValueError("it is truncated")


def _varint(message: mmap, place: int) -> tuple[int, int]:
    """Return a whole number, in bytes of seven bits from the lowest, and the place after it."""
    number = 0
    for byte in range(10):
        if place + byte >= len(message):
            raise ValueError("it is truncated")
        number |= (message[place + byte] & 0x7F) << (7 * byte)
        if message[place + byte] < 0x80:
            return number, place + byte + 1
    raise ValueError("no message of Protocol Buffers")


def read_metadata(artifact: Path) -> dict[str, Any]:
    """Return what Ultralytics wrote into an ``.engine`` or ``.onnx`` file (task, batch, imgsz, names, args, ...).

    Of a file that was given they are those of its description.

    Raises:
        Exception: The file cannot be read as what its name says.
    """
    if (found := described(artifact)) is not None:
        return found.metadata
    raw = _header(artifact)[0] if artifact.suffix == ".engine" else read_onnx_metadata(artifact)
    # Class indices become strings, as in JSON, so that a record equals what is read back from its file.
    values: dict[str, Any] = json.loads(json.dumps({k: _value(k, v) for k, v in raw.items()}, default=str))
    return values


def _value(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ast.literal_eval(value) if key in _LITERALS else int(value) if key in _INTEGERS else value


def _header(artifact: Path) -> tuple[dict[str, Any], int]:
    with open_regular(artifact) as file:
        length = int.from_bytes(file.read(4), "little")
        if not 0 < length < min(artifact.stat().st_size, METADATA_BYTES):
            raise ValueError("no metadata of Ultralytics")
        metadata = json.loads(file.read(length))
    if not isinstance(metadata, dict):
        raise ValueError("no metadata of Ultralytics")
    if artifact.stat().st_size <= 4 + length:
        raise ValueError("it ends where TensorRT's plan should begin")
    return metadata, 4 + length
