"""The kinds of values that settings take, each with the words in which people are told what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic_core import PydanticCustomError

NOT_A_NUMBER = "not_a_number"
"""The type of pydantic's error where a text, true or false stands for a number."""


def number(value: Any) -> Any:
    """Refuse texts, true and false where a number is expected: pydantic takes "1" and true for 1."""
    if isinstance(value, (str, bool)):
        raise PydanticCustomError(NOT_A_NUMBER, "a number, not a text, true or false")
    return value


def not_empty(value: Any) -> Any:
    """Refuse an empty path, as from a shell variable that is not set: pydantic takes it for the working folder."""
    if value == "":
        raise ValueError("a path, not nothing")
    return value


def parts(value: Any) -> Any:
    """Accept ``a,b`` as well as a list, as the command line gives the former."""
    values = [value] if isinstance(value, (str, Path)) else value
    if not isinstance(values, (list, tuple)):
        return value
    return tuple(part.strip() if isinstance(part, str) else part for item in values for part in _split(item))


def _split(item: Any) -> list[Any]:
    return item.split(",") if isinstance(item, str) else [item]


def one_or_many(value: Any) -> Any:
    """Accept one path or table where a list of them is expected."""
    return (value,) if isinstance(value, (str, Path, Mapping)) else value


def allowed(text: str, **kwargs: Any) -> Any:
    """Return a field whose allowed values are told to people by ``text``; the rest is pydantic's."""
    return Field(json_schema_extra={"allowed": text}, **kwargs)


Flag = StrictBool
Whole = Annotated[int, BeforeValidator(number)]
Place = Annotated[Path, BeforeValidator(not_empty)]
PositiveInt = Annotated[Whole, Field(ge=1)]
Count = Annotated[Whole, Field(ge=0)]
PositiveFloat = Annotated[float, BeforeValidator(number), Field(gt=0, allow_inf_nan=False)]
Slowdown = Annotated[float, BeforeValidator(number), Field(gt=0, le=2, allow_inf_nan=False)]
"""A ratio: who writes 5 means percent."""
ImageSize = Annotated[PositiveInt, Field(multiple_of=32, le=8192)]
Level = Annotated[Whole, Field(ge=0, le=5)]
Fraction = Annotated[float, BeforeValidator(number), Field(gt=0, le=1)]
Factor = Annotated[float, BeforeValidator(number), Field(ge=0, allow_inf_nan=False)]
Tolerance = Annotated[float, BeforeValidator(number), Field(ge=0, le=1)]
TOLERANCE = "a drop from 0 to 1"
IMGSZ = "a multiple of 32, from 32 to 8192"
POSITIVE = "a whole number from 1 upwards"
SECONDS = "seconds, more than 0"
MEGABYTES = "megabytes, more than 0"
SEVERITY = "off, warn or fail"
Severity = Literal["off", "warn", "fail"]


class Section(BaseModel):
    """Base of all tables: frozen, and unknown keys are errors.

    Attributes:
        example: What one is written like, for who writes something else in its place.
    """

    example: ClassVar[str]

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


S = TypeVar("S", bound=Section)


def own_or_general(own: S, general: Section) -> S:
    """Return ``own`` with each field that it leaves None as it is in ``general``."""
    return own.model_copy(update={name: getattr(general, name) for name, value in own if value is None})
