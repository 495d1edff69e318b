"""The types of settings, each with words that tell people what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic_core import PydanticCustomError

NOT_A_NUMBER = "not_a_number"
"""Pydantic's error type for a text, true or false in place of a number."""


def require_number(value: Any) -> Any:
    """Refuse texts, true and false where a number is expected: pydantic takes "1" and true for 1."""
    if isinstance(value, (str, bool)):
        raise PydanticCustomError(NOT_A_NUMBER, "a number, not a text, true or false")
    return value


def not_empty(value: Any) -> Any:
    """Refuse an empty path, as from an unset shell variable: pydantic takes it for the working folder."""
    if value == "":
        raise ValueError("a path, not nothing")
    return value


def split_commas(value: Any) -> Any:
    """Accept ``a,b`` as well as a list: the command line gives the former."""
    values = [value] if isinstance(value, (str, Path)) else value
    if not isinstance(values, (list, tuple)):
        return value
    listed = [item.split(",") if isinstance(item, str) else [item] for item in values]
    return tuple(part.strip() if isinstance(part, str) else part for several in listed for part in several)


def one_or_many(value: Any) -> Any:
    """Accept one path or table in place of a list."""
    return (value,) if isinstance(value, (str, Path, Mapping)) else value


def field_allowing(text: str, **kwargs: Any) -> Any:
    """Return a pydantic field; ``text`` tells people which values it allows."""
    return Field(json_schema_extra={"allowed": text}, **kwargs)


Flag = StrictBool
MOST = 2**31 - 1
"""Of any number: more is a slip, and libraries take no larger ones."""
Whole = Annotated[int, BeforeValidator(require_number), Field(ge=-MOST, le=MOST)]
Place = Annotated[Path, BeforeValidator(not_empty)]
PositiveInt = Annotated[Whole, Field(ge=1)]
Count = Annotated[Whole, Field(ge=0)]
PositiveFloat = Annotated[float, BeforeValidator(require_number), Field(gt=0, le=MOST, allow_inf_nan=False)]
Slowdown = Annotated[float, BeforeValidator(require_number), Field(gt=0, le=2, allow_inf_nan=False)]
"""A ratio, at most 2: whoever writes 5 means percent."""
ImageSize = Annotated[PositiveInt, Field(multiple_of=32, le=8192)]
Level = Annotated[Whole, Field(ge=0, le=5)]
Fraction = Annotated[float, BeforeValidator(require_number), Field(gt=0, le=1)]
Number = Annotated[float, BeforeValidator(require_number), Field(ge=-MOST, le=MOST, allow_inf_nan=False)]
Factor = Annotated[float, BeforeValidator(require_number), Field(ge=0, le=MOST, allow_inf_nan=False)]
Tolerance = Annotated[float, BeforeValidator(require_number), Field(ge=0, le=1)]
Share = Annotated[float, BeforeValidator(require_number), Field(ge=0, le=1)]
TOLERANCE = "a drop from 0 to 1"
DATA = "the path of a data YAML, or the folder of a classification dataset"
IMGSZ = "a multiple of 32, from 32 to 8192"
POSITIVE = "a whole number from 1 upwards"
SECONDS = "seconds, more than 0"
MEGABYTES = "megabytes, more than 0"
SEVERITY = "off, warn or fail"
Severity = Literal["off", "warn", "fail"]


class Section(BaseModel):
    """Base of all tables: frozen, and unknown keys are errors. ``example`` shows users how to write one."""

    example: ClassVar[str]

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


S = TypeVar("S", bound=Section)


def own_or_general(own: S, general: Section) -> S:
    """Return ``own`` with its fields that are None taken from ``general``."""
    return own.model_copy(update={name: getattr(general, name) for name, value in own if value is None})
