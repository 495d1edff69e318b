"""Which fields of a request are paths, and of what, so that it can be done on a machine that has other paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel

R = TypeVar("R", bound=BaseModel)
Role = Literal["file", "labelled", "data", "output-file", "output-folder", "own", "timing"]


@dataclass(frozen=True)
class PathOf:
    """Marks a field of paths with what they are."""

    role: Role


InputFile = Annotated[str, PathOf("file")]
"""A file that the job reads."""
LabelledImage = Annotated[str, PathOf("labelled")]
"""An image that the job reads with its label file, and with the names of the other label files beside that."""
DataPlace = Annotated[str, PathOf("data")]
"""A resolved data YAML, or the folder of a classification dataset; the request's ``data_split`` is read."""
OutputFile = Annotated[str, PathOf("output-file")]
"""A file that the job writes."""
OutputFolder = Annotated[str, PathOf("output-folder")]
"""A folder that the job writes into."""
OwnFolder = Annotated[str, PathOf("own")]
"""A folder that jobs of one run share; it stays on their machine."""
TimingCache = Annotated[str, PathOf("timing")]
"""TensorRT's timing cache, which stays on its machine."""
Change = Callable[[Role, str, Any], str]
"""Returns what takes the place of a path; it gets the role of the path, the path, and the record that holds it."""


def with_paths(record: R, change: Change) -> R:
    """Return a record in which each marked path, in it or in records inside, is what ``change`` makes of it."""
    found = {}
    for name in type(record).model_fields:
        value = getattr(record, name)
        changed = _changed(value, _role_of(type(record), name), change, record)
        if changed is not value:
            found[name] = changed
    return record.model_copy(update=found) if found else record


def _changed(value: Any, role: Role | None, change: Change, holder: BaseModel) -> Any:
    if isinstance(value, BaseModel):
        return with_paths(value, change)
    if isinstance(value, tuple) and (role or any(isinstance(one, BaseModel) for one in value)):
        return tuple(_changed(one, role, change, holder) for one in value)
    if role and isinstance(value, dict):
        return {key: _changed(one, role, change, holder) for key, one in value.items()}
    return change(role, value, holder) if role and isinstance(value, str) and value else value


@lru_cache
def _role_of(model: type[BaseModel], name: str) -> Role | None:
    field = model.model_fields[name]
    marks = (mark.role for mark in field.metadata if isinstance(mark, PathOf))
    return next(marks, None) or _role_in(field.annotation)


def _role_in(annotation: Any) -> Role | None:
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return next((mark.role for mark in parts[1:] if isinstance(mark, PathOf)), None)
    return next((role for part in parts if (role := _role_in(part))), None)
