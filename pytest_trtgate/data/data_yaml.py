"""A data YAML as Ultralytics reads it: its text, its classes, and where its splits are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..records import read_bytes
from .ultralytics_files import datasets_dir, readable_names

SPLITS = ("train", "val", "test")
YAML_BYTES = 4_000_000
MOST_DIGITS = 1000
"""Longer numbers are taken for text."""
_TEXT = "tag:yaml.org,2002:str"
MOST_VALUES = 1_000_000
"""Values that a data YAML may have once its aliases are written out: a few hundred bytes can stand for billions."""
_IMPOSSIBLE = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError)
"""What PyYAML raises for values that are no dates or numbers, or not what their tag says."""
_NOT_PRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
"""Characters that YAML does not allow; Ultralytics leaves them out and tries again."""


def read_yaml(source: Path) -> dict[str, Any]:
    """Return what a data YAML holds.

    Bytes that are no UTF-8 are left out, as by Ultralytics, whose models know their classes by what remains. So are
    values that contain themselves.

    Raises:
        DataError: It cannot be read, is not YAML or no mapping, or has too many values.
    """
    import yaml

    try:
        text = read_bytes(source, YAML_BYTES).decode("utf-8", errors="ignore")
        try:
            data = _values(text, source)
        except yaml.reader.ReaderError:
            data = _values(_NOT_PRINTABLE.sub("", text), source)
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise DataError(f"{source}: not a data YAML; its values are nested too deeply") from error
    except (yaml.YAMLError, *_IMPOSSIBLE) as error:
        raise DataError(f"{source}: not valid YAML ({_problem(error)})") from error
    if not isinstance(data, dict):
        raise DataError(f"{source}: not a data YAML; it needs 'names' and at least one of {', '.join(SPLITS)}")
    for key in ("kpt_shape", "flip_idx"):
        if not isinstance(data.get(key) or [], list):
            raise DataError(f"{source}: {key} = {data[key]!r} is not a list, such as [17, 3]")
    if "validation" in data:
        data.setdefault("val", data.pop("validation"))
    # People write None where YAML wants null.
    return {key: None if value == "None" else value for key, value in data.items()}


def _values(text: str, source: Path) -> Any:
    import yaml

    loader = yaml.SafeLoader(text)
    root = loader.get_single_node()
    if root is None:
        return None
    known: dict[int, float] = {}
    if isinstance(root, yaml.MappingNode):
        root.value = [pair for pair in root.value if math.isfinite(sum(_count(node, known) for node in pair))]
        known.clear()
    if _count(root, known) > MOST_VALUES:
        raise DataError(f"{source}: not a data YAML; its aliases stand for more than {MOST_VALUES} values")
    return loader.construct_document(root)


def _count(node: Any, known: dict[int, float]) -> float:
    """Return how many values a node of YAML has with its aliases written out; infinite if it contains itself."""
    if isinstance(node.value, str):
        if len(node.value) > MOST_DIGITS and node.tag != _TEXT:  # a number to the base 60 takes the square of that
            node.tag = _TEXT
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        inside = (part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,)))
        known[id(node)] = 1 + sum(_count(part, known) for part in inside)
    return known[id(node)]


def _problem(error: Exception) -> str:
    """Return what is wrong with a YAML file, and at which line and column if the parser says so."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return next(iter(str(error).splitlines()), type(error).__name__)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def is_plain(value: Any) -> bool:
    """Return whether a value of a data YAML can be written for jobs; a date, for one, cannot, and they need none."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def places_of(data: dict[str, Any], source: Path) -> tuple[tuple[Path, ...], dict[str, tuple[Path, ...]]]:
    """Return the root of a dataset, and the folders, files or lists of each of its splits.

    Where none of them exists, there are several roots: all that were tried, the YAML's own the first.

    A relative ``path`` is looked for as by Ultralytics: in the working folder, and if it is not there, in the folder
    that Ultralytics keeps datasets in. Where neither has a split, it is relative to the YAML, as many mean it.

    Raises:
        DataError: There is no split, or a value is no path.
    """
    splits = {split: data[split] for split in SPLITS if data.get(split)}
    if not splits:
        raise DataError(f"{source}: no split; it needs at least one of {', '.join(SPLITS)}")
    roots = tuple(_resolved(root, source) for root in _roots(data.get("path") or "", source))
    for root in roots:
        found = {split: _places(root, value, source, split) for split, value in splits.items()}
        if any(place.exists() for places in found.values() for place in places):
            return (root,), found
    return roots[::-1], found


def _roots(path: Any, source: Path) -> Iterator[Path]:
    if not isinstance(path, str):
        raise DataError(f"{source}: path = {path!r} is not a path")
    try:
        root = Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{source}: path = {path} names the home folder of a user that does not exist") from error
    if path and not root.is_absolute():
        here, kept = Path.cwd() / root, datasets_dir()
        if _resolved(here, source).exists():
            yield here
        elif kept:
            yield kept / root
    yield source.parent / root


def _places(root: Path, value: Any, source: Path, split: str) -> tuple[Path, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str) for v in values):
        raise DataError(f"{source}: split '{split}' = {value!r} is not a path or a list of paths")
    return tuple(_place(root, v, source) for v in values)


def _place(root: Path, value: str, source: Path) -> Path:
    place = _resolved(root / value, source)
    # Common exports write ../train/images but mean train/images, and Ultralytics reads it so.
    if value.startswith("../") and not place.exists():
        return _resolved(root / value[3:], source)
    return place


def _resolved(path: Path, source: Path) -> Path:
    """Return a path of a data YAML with all links resolved; refuse one that the system refuses."""
    try:
        path.exists()
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or no path at all
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{source}: {str(path)!r} cannot be looked at ({why})") from error


def names_of(data: dict[str, Any], source: Path) -> dict[int, str]:
    """Return the names of the classes by index, with words for ImageNet's codes.

    Raises:
        DataError: There are none, an index is left out, or there are not as many as ``nc`` says.
    """
    names: Any = data.get("names")
    count = _count_of(data.get("nc"), source)
    if names is None and count is not None:
        names = [f"class_{i}" for i in range(count)]
    try:
        pairs = enumerate(names) if isinstance(names, list) else names.items()
        found = dict(sorted((int(index), str(name)) for index, name in pairs))
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{source}: 'names' must be a list of class names or a map from index to name") from error
    if not found or list(found) != list(range(len(found))):
        which = ", ".join(map(str, found)) or "none"
        raise DataError(f"{source}: 'names' must name classes from 0 upwards without a gap; it names {which}")
    if count is not None and count != len(found):
        raise DataError(f"{source}: nc = {data['nc']!r}, but 'names' has {len(found)}; remove nc")
    odd = next((i for i, name in found.items() if not is_plain(name)), None)
    if odd is not None:
        raise DataError(
            f"{source}: the name of class {odd} is no text ({found[odd]!r}); write its characters as they are"
        )
    return readable_names(found)


def _count_of(nc: Any, source: Path) -> int | None:
    """Return ``nc`` as a whole number, also where it is a text or a float, as Ultralytics takes it."""
    if nc is None:
        return None
    try:
        if isinstance(nc, bool) or float(nc) != int(float(nc)):
            raise ValueError
        count = int(float(nc))
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{source}: nc = {nc!r} is not a whole number; remove nc") from error
    if count > MOST_VALUES:
        raise DataError(f"{source}: nc = {nc!r} is more classes than can be")
    return count
