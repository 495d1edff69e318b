"""Read the settings: ``[tool.trtgate]`` or ``trtgate.toml``, with the command line over them."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from os.path import realpath
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from .. import text as fmt
from ..errors import SettingsError
from ..records import NOT_NAMED, PRECISIONS, read_bytes, read_text
from .given import BACKENDS
from .settings import Settings
from .types import MOST, NOT_A_NUMBER, Section, one_or_many

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
C = TypeVar("C", str, bytes)
FILE_NAME = "trtgate.toml"
MOST_BYTES = 1_000_000
_MANY_PARTS = re.compile(r"""^[ \t\[]*(?:[\w"'-]+[ \t]*\.[ \t]*){100}""", re.MULTILINE)
PATH_KEYS = ("data", "cache_dir", "baseline_dir", "report", "promote")
PATHS_KEYS = ("models", "videos")
FILES_KEYS = ("engines", "predictions", "times")
"""Keys of tables of paths, by precision."""
NUMBER_KEYS = ("imgsz", "batch")
"""Keys of numbers that the command line gives as text."""


def find_table(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the file in ``folder`` that holds our settings, and its table; None if there is none.

    Raises:
        SettingsError: The file is not TOML, the table is not a table, or both possible files hold one.
    """
    own, project = folder / FILE_NAME, folder / "pyproject.toml"
    found: list[tuple[Path, dict[str, Any]]] = []
    if own.is_symlink() or own.exists():  # a link to nothing is no lack of settings
        found.append((own, _read(own)))
    # The text first: a broken pyproject.toml that does not mention us is none of our business.
    if project.is_file() and b"trtgate" in _of_file(project, read_bytes):
        tool = _read(project).get("tool", {})
        if isinstance(tool, dict) and "trtgate" in tool:
            table = tool["trtgate"]
            if not isinstance(table, dict):
                raise SettingsError(f"{project}: tool.trtgate is not a table")
            found.append((project, table))
    if len(found) > 1:
        raise SettingsError(f"{folder}: settings in both {FILE_NAME} and [tool.trtgate] of pyproject.toml; keep one")
    return found[0] if found else None


def _read(path: Path) -> dict[str, Any]:
    text = _of_file(path, read_text)
    if _MANY_PARTS.search(text):  # the parser takes the square of their number
        raise SettingsError(f"{path}: a key of more than 100 parts")
    try:
        return tomllib.loads(text)
    except ValueError as error:  # not only TOMLDecodeError: an integer may have too many digits
        raise SettingsError(f"{path}: not valid TOML ({error})") from error
    except RecursionError as error:
        raise SettingsError(f"{path}: not valid TOML (nested too deeply)") from error


def _of_file(path: Path, read: Callable[[Path, int], C]) -> C:
    try:
        return read(path, MOST_BYTES)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error


def table_name(source: Path | None, section: str) -> str:
    """Return how people write a table of the settings, in the file that holds or would hold it."""
    if source is not None and source.name == FILE_NAME:
        return f"[{section}] in {FILE_NAME}"
    return f"[tool.trtgate.{section}] in pyproject.toml"


def build(
    table: Mapping[str, Any],
    source: Path | None,
    options: Mapping[str, Any],
    cwd: Path,
    home: Path | None = None,
    flags: Mapping[str, str] = MappingProxyType({}),
) -> Settings:
    """Merge a file's table and the command line into settings; the command line wins.

    Args:
        table: Settings as the file has them; its relative paths start at the file's folder.
        source: The file, for messages.
        options: Keys of :class:`Settings` given on the command line; relative paths start at ``cwd``.
        cwd: Folder that the command was given in.
        home: Folder at which default paths start: the project's, by default ``cwd``.
        flags: The option of each key that the command line can set, for messages.

    Raises:
        SettingsError: A key is unknown or a value is not allowed; names the key, the value, what is allowed, and where.
    """
    home = source.parent if source else home or cwd
    options = _pairs(options)
    merged = _over(_absolute(table, home), _absolute(_numbers(options), cwd))
    for key in ("baseline_dir", "report"):
        merged.setdefault(key, home / Settings.model_fields[key].default)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_sentence(error, source, options, flags)) from error
    # An option may leave out what the settings give; who gives a file in the same place wants it judged.
    given = set(options.get("engines", ()))
    if "precisions" not in options:
        given.update(*(settings.given(name) for name in ("", *(model.name for model in settings.models))))
    if unjudged := [precision for precision in PRECISIONS if precision in given - set(settings.precisions)]:
        where = "command line" if "precisions" in options else str(source or "settings")
        raise SettingsError(
            f"{where}: a file is given for {', '.join(unjudged)}, and precisions = {', '.join(settings.precisions)} "
            f"leaves it out, so it would not be judged; name its precision there too, or do not give it"
        )
    return settings


def project_settings(folder: Path) -> tuple[Settings, Path | None]:
    """Return the settings of the project in ``folder``, as in a run without options, and their file.

    Raises:
        SettingsError: As :func:`find_table` and :func:`build`.
    """
    path, table = find_table(folder) or (None, {})
    return build(table, path, {}, folder), path


def recorded_settings(recorded: Mapping[str, Any], source: Path) -> Settings:
    """Return the settings in a run record.

    Raises:
        SettingsError: This version does not know them; names the record.
    """
    try:
        return Settings.model_validate(dict(recorded))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise SettingsError(f"{source}: this pytest-trtgate does not know its settings ('{where}')") from error


def _numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with texts read as numbers. Non-numbers are left for validation to reject."""
    numbers = dict(options)
    for key in NUMBER_KEYS:
        if isinstance(numbers.get(key), str):
            with suppress(ValueError):
                numbers[key] = int(numbers[key])
    return numbers


def _pairs(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with ``PRECISION=FILE`` of given engines as a table; raise SettingsError where one is none."""
    pairs = [str(text).partition("=") for text in options.get("engines", ())]
    named = [precision for precision, _, _ in pairs]
    for precision, _, file in pairs:
        if named.count(precision) > 1:
            raise SettingsError(f"command line: --trt-engine names more than one file for {precision}; keep one")
        if precision not in PRECISIONS or Path(file).suffix.lower() not in BACKENDS:
            given = fmt.clip(f"{precision}{'=' * bool(file)}{file}")
            said = f"command line: --trt-engine = {given} is not allowed"
            allowed = f"one of {', '.join(PRECISIONS)} and a file that ends in {', '.join(BACKENDS)}"
            raise SettingsError(f"{said}; allowed: PRECISION=FILE, with {allowed}")
    return {**options, "engines": {key: file for key, _, file in pairs}} if pairs else dict(options)


def _absolute(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings with every path made absolute, from ``folder``; values of other types stay as they are."""

    def files(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: files(v) for k, v in value.items()}
        return list(map(placed, value)) if isinstance(value, (list, tuple)) else placed(value)

    def placed(value: Any, *keys: str) -> Any:
        if isinstance(value, Mapping):
            value = {k: files(v) if k in FILES_KEYS else v for k, v in value.items()}
            return {k: placed(v) if k in keys and isinstance(v, (str, Path)) else v for k, v in value.items()}
        return _place(folder, value) if isinstance(value, (str, Path)) else value

    result = {key: placed(value) if key in PATH_KEYS else value for key, value in table.items()}
    if "engines" in result:
        result["engines"] = files(result["engines"])
    for key in PATHS_KEYS:
        if isinstance(paths := one_or_many(result.get(key)), (list, tuple)):
            result[key] = tuple(placed(path, "path", "reference", "data") for path in paths)
    if isinstance(deployment := result.get("deployment"), Mapping):
        result["deployment"] = placed(deployment, "engine")
    return result


def _over(table: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a file with options over them, also over single models' own settings."""
    models = one_or_many(table.get("models"))
    tables = [m for m in models if isinstance(m, Mapping)] if isinstance(models, (list, tuple)) else []
    own = {realpath(entry["path"]): entry for entry in tables if isinstance(entry.get("path"), Path)}
    chosen = options.get("models", models)
    if own and isinstance(chosen, (list, tuple)):
        known = [own.get(realpath(model), model) if isinstance(model, Path) else model for model in chosen]
        chosen = [
            {k: v for k, v in m.items() if k not in options or k == "engines"} if isinstance(m, Mapping) else m
            for m in known
        ]
    if (engines := options.get("engines")) and isinstance(chosen, (list, tuple)):

        def added(of: Any) -> Any:  # beside those of other precisions
            return {**of, **engines} if isinstance(of, Mapping) else of

        chosen = [
            {**m, "engines": added(m["engines"])} if isinstance(m, Mapping) and "engines" in m else m for m in chosen
        ]
        options = {**options, "engines": added(table.get("engines", {}))}
    return {**table, **options, **({} if chosen is None else {"models": chosen})}


def _place(folder: Path, path: str | Path) -> Path | str:
    if path == "":
        return path  # for validation to reject: joined, it would be the folder itself
    if "\0" in str(path):
        raise SettingsError(f"{str(path)!r}: no path has the character NUL")
    try:
        os.fsencode(path)
        return folder / Path(path).expanduser()
    except UnicodeEncodeError as error:
        raise SettingsError(f"{path}: {NOT_NAMED}") from error
    except RuntimeError as error:
        raise SettingsError(f"{path}: names the home folder of a user that does not exist") from error


def _sentence(error: ValidationError, source: Path | None, options: Mapping[str, Any], flags: Mapping[str, str]) -> str:
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"] if not isinstance(part, int)]
    given = bool(path) and path[0] in options
    where = "command line" if given else str(source or "settings")
    key = flags.get(path[0], path[0]) if given else ".".join(path)
    section, allowed = _field(path)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _keys(section), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(sorted(_keys(section)))}"
        return f"{where}: unknown key '{key}'; {hint}"
    if problem["type"] == "missing":
        return f"{where}: {key} is missing; allowed: {allowed}"
    value = problem["input"]
    if problem["type"] == "value_error" and isinstance(value, dict):  # several keys of a table do not fit together
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    if not given and isinstance(value, str) and problem["type"] in (NOT_A_NUMBER, "bool_type"):
        allowed += ", without quotes"
    if problem.get("ctx", {}).get("le") == MOST:
        allowed += f", and no more than {MOST}"
    shown = fmt.clip(str(value) if given else _written(value))
    return f"{where}: {key} = {shown} is not allowed; allowed: {allowed or problem['msg']}"


def _written(value: Any) -> str:
    """Return a value roughly as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(str(value) if isinstance(value, Path) else value)


def _field(path: list[str]) -> tuple[type[Section], str]:
    """Return the section that holds the last key of ``path``, and what its value may be."""
    section: type[Section] = Settings
    allowed = ""
    names = iter(path)
    for name in names:
        field = next((f for n, f in section.model_fields.items() if name in (n, f.alias)), None)
        if field is None:
            break
        extra = field.json_schema_extra
        allowed = str(extra.get("allowed", "")) if isinstance(extra, dict) else ""
        # Python 3.10 takes tuple[Model, ...] for a class too.
        several = (field.annotation, *get_args(field.annotation))
        kinds = [k for k in several if isinstance(k, type) and get_origin(k) is None]
        inner = next((k for k in kinds if issubclass(k, Section)), None)
        if inner is None:
            break
        section, allowed = inner, allowed or f"a table, such as {name} = {inner.example}"
        if get_origin(field.annotation) is dict:
            next(names, None)  # the name of an entry is none of ours
    return section, allowed


def _keys(section: type[Section]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]
