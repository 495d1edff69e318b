"""Names and paths that a file holds and that lead to other files: each is checked when the record is read."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from ..text import clean, clip

MOST_NAME_BYTES = 150
"""File systems allow 255; the names of records add the rest of a cell's key, a subject and a suffix."""
_MOST_PATH_BYTES = 1000
_DRIVE = re.compile(r"[A-Za-z]:")


def why_no_name(text: str) -> str:
    """Return why a text cannot name a file or a folder, such as ``begins with a dot``; empty where it can."""
    if not text:
        return "is empty"
    if "/" in text or "\\" in text:
        return "has a slash or backslash, as only a path has"
    if text.startswith("."):
        return "begins with a dot"
    if clean(text) != text or "\n" in text or "\t" in text:
        return "has characters that are no text"
    # Of what is clean, every character can be encoded.
    return f"has more than {MOST_NAME_BYTES} bytes" if len(text.encode()) > MOST_NAME_BYTES else ""


def why_outside(path: str) -> str:
    """Return why a path cannot be one of a file inside a folder; empty where it can, and for no path."""
    if not path:
        return ""
    steps = path.replace("\\", "/").split("/")
    if not steps[0] or _DRIVE.match(path) or ".." in steps:
        return "leads out of its folder"
    if "\0" in path or len(path.encode("utf-8", "surrogatepass")) > _MOST_PATH_BYTES:
        return "is no path"
    return ""


def _name(text: str) -> str:
    return _checked(text, why_no_name(text))


def _inner(text: str) -> str:
    return _checked(text, why_outside(text))


def _checked(text: str, why: str) -> str:
    if why:
        raise PydanticCustomError("no_name", "{text} {why}", {"text": repr(clip(text, 60)), "why": why})
    return text


Name = Annotated[str, AfterValidator(_name)]
"""The name of a file or folder: one step of a path, in plain text, and not a hidden one."""
InnerPath = Annotated[str, AfterValidator(_inner)]
"""The path of a file inside the folder that its record speaks of, from there; empty for none."""
