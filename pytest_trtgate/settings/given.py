"""Files that are gated as they are, and the sidecars that say what such a file does not tell of itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ..errors import DataError
from ..records import LAYOUTS, TASKS, Feed, Layout, Precision, Task, read_text
from .types import (
    POSITIVE,
    Flag,
    Number,
    Place,
    PositiveFloat,
    PositiveInt,
    Section,
    Whole,
    field_allowing,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BACKENDS: Mapping[str, str] = {
    ".onnx": "onnxruntime",
    ".engine": "tensorrt",
    ".plan": "tensorrt",
    ".trt": "tensorrt",
}
"""What runs a given engine, by the ending of its name."""
Files = dict[Precision, Place]
ENGINES = 'a table such as { fp16 = "best.engine" }, with files that end in .onnx, .engine, .plan or .trt'
PREDICTIONS = 'a table such as { int8 = "int8.json" }, with .json files'
TIMES = 'a table such as { int8 = ["times.json"] }, with .json or .csv files'
SIDECAR_BYTES = 1_000_000
TIMES_BYTES = 200_000_000
PREDICTIONS_BYTES = 1_000_000_000
"""Of predictions, which take some ten times as much memory when they are read."""


def check_endings(key: str, files: Files, endings: tuple[str, ...]) -> None:
    """Raise ValueError where a file's name has none of some endings."""
    for precision, file in files.items():
        if file.suffix.lower() not in endings:
            raise ValueError(f"{key}.{precision} = {file} is not allowed; it must end in {' or '.join(endings)}")


class Sidecar(Section):
    """``FILE.toml`` beside a given file: what the file does not tell, or tells wrongly. All of it is optional.

    ``names`` are in the order of the classes. ``nms``: suppression is inside. ``first_category``: the category of
    class 0 in predictions. The rest is how images are fed, as :class:`pytest_trtgate.records.given.Feed` says.
    """

    example = '{ task = "detect" }'
    task: Task | None = field_allowing(", ".join(TASKS), default=None)
    names: tuple[str, ...] | None = field_allowing("a list of names", default=None, min_length=1)
    stride: PositiveInt | None = field_allowing(POSITIVE, default=None)
    kpt_shape: tuple[int, int] | None = field_allowing("two numbers, such as [17, 3]", default=None)
    layout: Layout | None = field_allowing(", ".join(LAYOUTS), default=None)
    nms: Flag | None = field_allowing("true or false", default=None)
    input: str | None = field_allowing("the name of the input", default=None, min_length=1)
    dtype: Literal["float32", "float16", "uint8"] | None = field_allowing("float32, float16 or uint8", default=None)
    order: Literal["nchw", "nhwc"] | None = field_allowing("nchw or nhwc", default=None)
    channels: Literal["rgb", "bgr"] = field_allowing("rgb or bgr", default="rgb")
    scale: PositiveFloat | None = field_allowing("the value of white, such as 1 or 255", default=None)
    mean: tuple[Number, ...] = field_allowing("a number per channel", default=())
    std: tuple[PositiveFloat, ...] = field_allowing("a number per channel, more than 0", default=())
    padding: Whole = field_allowing("a grey from 0 to 255", default=114, ge=0, le=255)
    letterbox: Literal["centre", "corner", False] = field_allowing("centre, corner or false", default="centre")
    first_category: Whole = field_allowing("a whole number", default=0, ge=0)

    def feed(self, dtype: str, *, nhwc: bool) -> Feed:
        """Return how images are fed to an input of a type and an order of axes."""
        return Feed(
            dtype=dtype,
            nhwc=nhwc,
            bgr=self.channels == "bgr",
            scale=self.scale or (255.0 if dtype == "uint8" else 1.0),
            mean=self.mean,
            std=self.std,
            padding=self.padding,
            corner=self.letterbox == "corner",
            stretched=self.letterbox is False,
        )


def sidecar_path(file: Path) -> Path:
    """Return where the sidecar of a file is, or would be."""
    return file.with_name(f"{file.name}.toml")


def read_sidecar(file: Path) -> Sidecar:
    """Return what lies beside a given file; all of it unset where nothing does.

    Raises:
        DataError: It cannot be read, is not TOML, or holds what is not allowed.
    """
    path = sidecar_path(file)
    if not path.exists():
        return Sidecar()
    try:
        return Sidecar.model_validate(tomllib.loads(read_text(path, SIDECAR_BYTES)))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"] if isinstance(part, str))
        field = Sidecar.model_fields.get(key.partition(".")[0])
        if field is None:
            raise DataError(
                f"{path}: unknown key '{key}'; allowed: {', '.join(sorted(Sidecar.model_fields))}"
            ) from error
        extra = field.json_schema_extra
        allowed = extra["allowed"] if isinstance(extra, dict) else problem["msg"]
        raise DataError(f"{path}: {key} = {problem['input']!r} is not allowed; allowed: {allowed}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid TOML ({error})") from error
