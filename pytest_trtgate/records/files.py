"""Files that anybody may have made are read with care; records are refused in one sentence, and written whole."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json

from ..errors import RecordError
from ..text import clip, plain, size
from .base import SCHEMA_VERSION, FileRecord

R = TypeVar("R", bound=FileRecord)
TEXT_BYTES = 16_000_000
"""Settings, waivers, label files and other texts of people are far smaller."""
LIST_BYTES = 128_000_000
"""A list of images; one of a million takes half of it."""
RECORD_BYTES = 64_000_000
RECORD_VALUES = 3_000_000
"""Values in a record. Each takes up to 200 bytes of memory; a run has some thousand per cell."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What systems answer where a disk, or a user's share of it, is full."""
OWN_BYTES = 4_000_000_000
"""Limit of what the gate's own processes hand over, which may name each file of a dataset."""
ENGINE_BYTES = 4_000_000_000
"""Limit of an engine that others have built: detectors take megabytes, and what is far larger is no engine."""
NOT_NAMED = "no name of a file can be written so with this locale; set PYTHONUTF8=1, or another LC_ALL"
"""Of text that Python cannot tell the system, as of an umlaut where names are in ASCII."""
_KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
_NUMBER = rb"(?:-?\d[\d.eE+-]*|-?Infinity|NaN)"
_NUMBERS = re.compile(rb"\[\n *%b(?:,\n *%b)*\n *\]" % (_NUMBER, _NUMBER))
_FIELD = rb'"(?:[^"\\]|\\.)*": (?:%b|null|\[[^"\n]*\])' % _NUMBER
_MEASURED = re.compile(rb"\{\n *%b(?:,\n *%b){0,15}\n *\}" % (_FIELD, _FIELD))
"""A few fields that are numbers or lists. Line breaks are JSON's own: a string holds them as ``\\n``."""


_LONG = re.compile(rb"\d{20}")
_MOST = 1 << 64


def open_regular(path: Path) -> BinaryIO:
    """Open a file that may be anybody's for reading, without a wait.

    Raises:
        OSError: It cannot be read, or is a folder, FIFO, device or socket; ``strerror`` says so.
    """
    _refuse_special(path, path.stat())  # before it is opened: that alone can change a device
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _refuse_special(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _refuse_special(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "device")
        raise OSError(errno.EINVAL, f"a {kind}, not a regular file", str(path))


def read_bytes(path: Path, most_bytes: int = TEXT_BYTES) -> bytes:
    """Return the content of a file that may be anybody's.

    Raises:
        OSError: As of :func:`open_regular`, or the file is larger than ``most_bytes``.
    """
    with open_regular(path) as file:
        length = os.fstat(file.fileno()).st_size
        # To ask for all that is allowed would take that much memory, however small the file.
        content = b"" if length > most_bytes else file.read(length + 1)
        if len(content) > length:  # it grew meanwhile, or is one of /proc, which tell no length
            content += file.read(most_bytes + 1 - len(content))
    if max(length, len(content)) > most_bytes:
        what = f"{size(max(length, len(content)))}, more than {size(most_bytes)}"
        raise OSError(errno.EFBIG, plain(what), str(path))
    return content


def read_text(path: Path, most_bytes: int = TEXT_BYTES) -> str:
    """Return the text of a file that may be anybody's, in UTF-8 with or without a byte order mark.

    Raises:
        OSError: As of :func:`read_bytes`, or the file is not UTF-8.
    """
    content = read_bytes(path, most_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise OSError(
            errno.EILSEQ, f"not UTF-8 text: line {line} has the byte {content[error.start]:#04x}", str(path)
        ) from error


def load(
    path: Path, model: type[R], *, own: bool = False, opened: Callable[[bytes], bytes] = lambda content: content
) -> R:
    """Read one record from a JSON file.

    Args:
        path: The file.
        model: Type of the record.
        own: Whether only the gate's own processes write it; then it may be large.
        opened: Returns the record's text from the content of the file.

    Raises:
        RecordError: The file is missing, not regular, too large, not JSON, lacks a field, or has a newer
            ``schema_version``.
    """
    try:
        # Some editors put a byte order mark before what they save.
        content = opened(read_bytes(path, OWN_BYTES if own else RECORD_BYTES).removeprefix(BOM_UTF8))
        values = sum(map(content.count, (b",", b"[", b"{")))
        if values > RECORD_VALUES and not own:
            raise RecordError(f"{path}: holds {values:,} values, more than the {RECORD_VALUES:,} of a record")
        raw = _parsed(content)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise RecordError(f"{path}: not valid JSON, the file may be truncated ({error})") from error
    if _LONG.search(content) and (huge := next(_huge(raw), None)):
        raise RecordError(f"{path}: field '{clip(huge)}' holds a whole number that is no quantity")
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
        where = clip(".".join(str(part) for part in first["loc"]))
        unknown = "not known to this pytest-trtgate; a newer one wrote it, or somebody has edited the file"
        why = unknown if first["type"] == "extra_forbidden" else clip(first["msg"], 300)
        raise RecordError(f"{path}: not a valid {model.__name__} (field '{where}': {why})") from error


def _huge(value: Any, where: str = "") -> Iterator[str]:
    """Yield where a parsed record holds whole numbers that no float can be."""
    if isinstance(value, (dict, list)):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _huge(one, f"{where}.{name}" if where else str(name))
    elif type(value) is int and abs(value) > _MOST:
        yield where


def _parsed(text: bytes) -> Any:
    try:
        return from_json(text)
    except ValueError:
        # Names of files that are no Unicode are written with single surrogates, which only json takes.
        if rb"\udc" not in text:
            raise
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def save(path: Path, record: FileRecord) -> None:
    """Write one record as JSON, whole or not at all: a reader never sees half a file."""
    write_whole(path, as_json(record))


_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


def as_json(record: FileRecord) -> bytes:
    """Return a record as JSON that people can compare: a line per field, and per group of numbers."""
    if record.depths is not None:
        return _by_depth(record.model_dump(), record.depths).encode() + b"\n"
    try:
        text = record.model_dump_json(indent=1).encode()
    except PydanticSerializationError:
        text = b""
    if not text or _REPLACEMENT in text:
        # The name of a file that is no Unicode, which Python and json hold as single surrogates. Pydantic refuses them
        # in a text, and replaces them in a key.
        text = json.dumps(record.model_dump(), indent=1, default=str).encode()
    for group in (_NUMBERS, _MEASURED):
        text = group.sub(_on_one_line, text)
    return text + b"\n"


def _by_depth(fields: dict[str, Any], depths: Mapping[str, int]) -> str:
    lines = (f" {json.dumps(name)}: {_broken(value, depths.get(name, 0), 2)}" for name, value in fields.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _broken(value: Any, depth: int, indent: int) -> str:
    """Return a value as JSON in which objects and lists have a line per entry, so many levels deep.

    Of a list, only the last entry is broken further: it is the newest. Numbers and texts at the beginning of an object
    share a line.
    """
    if not depth or not value or not isinstance(value, (list, tuple, dict)):
        return json.dumps(value)
    if isinstance(value, dict):
        first, last = "{}"
        entries = [f"{json.dumps(name)}: {_broken(one, depth - 1, indent + 1)}" for name, one in value.items()]
        short = sum(1 for _ in takewhile(lambda one: not isinstance(one, (list, tuple, dict)), value.values()))
        entries = [*([", ".join(entries[:short])] if short else []), *entries[short:]]
    else:
        first, last = "[]"
        entries = [json.dumps(one) for one in value[:-1]] + [_broken(value[-1], depth - 1, indent + 1)]
    inside = f",\n{' ' * indent}".join(entries)
    return f"{first}\n{' ' * indent}{inside}\n{' ' * (indent - 1)}{last}"


def _on_one_line(group: re.Match[bytes]) -> bytes:
    first, *lines, last = (line.lstrip() for line in group[0].split(b"\n"))
    return first + b" ".join(lines) + last


def write_whole(path: Path, content: bytes) -> None:
    """Write one file, whole or not at all; folders above it are made. A stream, such as /dev/stdout, is written to.

    Raises:
        OSError: It cannot be written, or is a FIFO that nobody reads.
    """
    if path.parent in _STREAMS or (path.exists() and not path.is_file()):
        with open_stream(path) as stream:
            stream.write(content)
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


def open_stream(path: Path, flags: int = 0) -> BinaryIO:
    """Open what may be no regular file for writing, without waiting for a reader; ``flags`` are those of ``os.open``.

    Raises:
        OSError: It cannot be opened, or is a FIFO that nobody reads.
    """
    opened = os.open(path, os.O_WRONLY | os.O_NONBLOCK | flags, 0o666)
    os.set_blocking(opened, True)
    return os.fdopen(opened, "wb")


_STREAMS = frozenset(map(Path, ("/dev", "/dev/fd", "/proc/self/fd")))
Stamp = tuple[int, int, int, int]
"""Size, inode, time of modification and time of change of a file; times in nanoseconds.

No program can set the last of these, as ``touch`` sets the one before.
"""


def stamp(path: Path | str) -> Stamp | None:
    """Return the stamp of a file; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 (of a hundred thousand files, and Path takes twice as long)
    except OSError:
        return None
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
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
