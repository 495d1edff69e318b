"""Records on disk: an unusable file is refused in one sentence, and each is written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import ValidationError
from pydantic_core import from_json

from ..errors import RecordError
from .base import SCHEMA_VERSION, FileRecord

R = TypeVar("R", bound=FileRecord)
_NUMBER = rb"(?:-?\d[\d.eE+-]*|-?Infinity|NaN)"
_NUMBERS = re.compile(rb"\[\n *%b(?:,\n *%b)*\n *\]" % (_NUMBER, _NUMBER))
_FIELD = rb'"(?:[^"\\]|\\.)*": (?:%b|null|\[[^"\n]*\])' % _NUMBER
_MEASURED = re.compile(rb"\{\n *%b(?:,\n *%b){0,15}\n *\}" % (_FIELD, _FIELD))
"""A few fields that are numbers or lists. Line breaks are JSON's own: a string holds them as ``\\n``."""


def load(path: Path, model: type[R]) -> R:
    """Read one record from a JSON file.

    Raises:
        RecordError: The file is missing, not JSON, lacks a field, or has a newer ``schema_version``.
    """
    try:
        raw = from_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise RecordError(f"{path}: not valid JSON, the file may be truncated ({error})") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(version) is not int:  # true is an int too
        raise RecordError(f"{path}: not a {model.__name__} of pytest-trtgate (no schema_version)")
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"{path}: written by a newer pytest-trtgate (schema {version}; this one reads up to {SCHEMA_VERSION})"
        )
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path}: not a valid {model.__name__} (field '{where}': {first['msg']})") from error


def save(path: Path, record: FileRecord) -> None:
    """Write one record as JSON, whole or not at all: a reader never sees half a file."""
    write_whole(path, as_json(record))


def as_json(record: FileRecord) -> bytes:
    """Return a record as JSON that people can compare: a line per field, and per group of numbers."""
    text = record.model_dump_json(indent=1).encode()
    for group in (_NUMBERS, _MEASURED):
        text = group.sub(_on_one_line, text)
    return text + b"\n"


def _on_one_line(group: re.Match[bytes]) -> bytes:
    first, *lines, last = (line.lstrip() for line in group[0].split(b"\n"))
    return first + b" ".join(lines) + last


def write_whole(path: Path, content: bytes) -> None:
    """Write one file, whole or not at all; folders above it are made. A stream, such as /dev/stdout, is written to.

    Raises:
        OSError: It cannot be written.
    """
    if path.parent in _STREAMS or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    # Not named after the process: containers that share a folder have the same process numbers.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        try:
            temporary.write_bytes(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


_STREAMS = frozenset(map(Path, ("/dev", "/dev/fd", "/proc/self/fd")))
_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def files_sha256(paths: Iterable[Path], sha256: Callable[[Path], str] = file_sha256) -> str:
    """Return one SHA-256 over the contents of files, in their order; ``sha256`` returns that of one.

    A missing file counts as 32 zero bytes.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(sha256(path)) if path.is_file() else bytes(32))
    return digest.hexdigest()


def key_sha256(parts: dict[str, Any]) -> str:
    """Return the SHA-256 of a JSON object, whatever the order of its keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
