"""Writes the reference pages that are made from the code: settings, options and commands.

python docs/generated.py            # writes docs/reference/{settings,options,cli}.md
python docs/generated.py --check    # exit 1 where one of them is not what the code says
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

from pydantic.fields import FieldInfo
from setting_words import WORDS

from pytest_trtgate.cli import main as trtgate
from pytest_trtgate.plugin.options import OPTIONS
from pytest_trtgate.records import PRECISIONS
from pytest_trtgate.settings import Settings
from pytest_trtgate.settings.accuracy import DEFAULT_TOLERANCE, Model
from pytest_trtgate.settings.latency import DEFAULT_INT8_SPEEDUP, DEFAULT_REGRESSIONS, MachineLimits
from pytest_trtgate.settings.types import Section

FOLDER = Path(__file__).parent / "reference"
EXAMPLE = """```toml
[tool.trtgate]
models = ["best.pt"]
data = "data.yaml"                  # with train (for calibration) and test splits; split = "val" where there is no test
imgsz = 640
precisions = ["fp32", "fp16", "int8"]

[tool.trtgate.accuracy]             # largest allowed drop from the .pt
"mAP50-95" = 0.005
[tool.trtgate.accuracy.int8]
"mAP50-95" = 0.02

[tool.trtgate.latency]
p50 = { regression = 0.05 }         # the smallest slow-down worth failing for
p95 = { regression = 0.10, budget_ms = 8.0 }
[tool.trtgate.latency.int8]
speedup = { over = "fp16", at_least = 1.0 }
```
"""
NOTICE = "<!-- Made by docs/generated.py: edit the code, or docs/setting_words.py, and run it again. -->\n"


def section_of(field: FieldInfo) -> type[Section] | None:
    """Return the table that a field stands for, or None where it is a single value."""
    kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if inspect.isclass(kind)]
    return next((kind for kind in kinds if issubclass(kind, Section)), None)


def words(key: str) -> str:
    """Return what a setting means.

    Raises:
        LookupError: Nobody has said it yet.
    """
    found = WORDS.get(key) or next((text for name, text in WORDS.items() if fnmatchcase(key, name)), None)
    if found is None:
        raise LookupError(f"{key}: say in docs/setting_words.py what it means")
    return found


def leaves(section: type[Section], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the single values of a table by their keys, but for those of one precision, which repeat the others."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = section_of(field)
        if name in PRECISIONS and inner is not None and issubclass(section, inner):
            continue
        if inner is None or key.endswith(("[].accuracy", "[].quantization")) or inner in (Model, MachineLimits):
            yield key, field
        else:
            yield from leaves(inner, f"{key}.")


def default(field: FieldInfo) -> str:
    """Return a field's default as TOML has it."""
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "must be given"
    if value is None or value in ((), {}):
        return "unset"
    if isinstance(value, tuple):
        return "all"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def table(rows: Iterator[tuple[str, FieldInfo]], strip: str = "") -> str:
    """Return a table of settings."""
    flags = {option.key: option.flag for option in OPTIONS}
    lines = ["| key | allowed | default | meaning |", "|---|---|---|---|"]
    for key, field in rows:
        extra = field.json_schema_extra
        allowed = extra.get("allowed", "") if isinstance(extra, dict) else "a table"
        option = f" Option: `{flags[key]}`." if key in flags else ""
        name = key.removeprefix(strip)
        lines.append(f"| `{quoted(name)}` | {allowed} | {default(field)} | {words(key).format(name=name)}{option} |")
    return "\n".join(lines) + "\n"


def quoted(key: str) -> str:
    """Return a key as TOML wants it."""
    return f'"{key}"' if " " in key or "mAP50-95" in key else key


def about(section: type[Section]) -> str:
    """Return what a table says of itself, as Markdown."""
    text = (inspect.getdoc(section) or "").replace("``", "`")
    _, _, said = text.partition("]`: ") if text.startswith("`[") else ("", "", text)
    return f"{said[:1].upper()}{said[1:]}\n"


def defaults() -> str:
    """Return the defaults that depend on precision or backend."""
    lines = ["| backend | p50 | p95 | p99 |", "|---|---|---|---|"]
    for backend, limits in DEFAULT_REGRESSIONS.items():
        lines.append(f"| {backend} | " + " | ".join(str(limits.get(p, "none")) for p in ("p50", "p95", "p99")) + " |")
    tolerances = ", ".join(f"{name.upper()} {value}" for name, value in DEFAULT_TOLERANCE.items())
    return (
        "## Defaults that depend on precision or backend\n\n"
        f"Accuracy, of each metric that is [gated by itself](../how-to/tasks.md): {tolerances}.\n\n"
        "Slow-down since the baseline (`latency.p50.regression` and so on):\n\n" + "\n".join(lines) + "\n\n"
        f"Speed-up: with TensorRT, INT8 must be at least {DEFAULT_INT8_SPEEDUP} times as fast as FP16, where the run "
        "builds FP16. `at_least = 0` switches this off.\n"
    )


def settings_page() -> str:
    """Return the page of all settings."""
    top = ((key, field) for key, field in leaves(Settings, "") if "." not in key)
    parts = [
        NOTICE,
        "# Settings\n",
        "Write settings in `[tool.trtgate]` of `pyproject.toml`, or in a `trtgate.toml` beside it without the prefix "
        "`tool.trtgate`; one of the two, not both. The command line wins over the file: see "
        "[Options of pytest](options.md). Relative paths start at the file's folder. An unknown key or a wrong value "
        "ends the run at once, with exit code 4 and one sentence that says what is allowed.\n",
        EXAMPLE,
        "Words such as *cell*, *arm* and *launch* are explained in [Words](words.md).\n",
        "## `[tool.trtgate]`\n",
        table(top),
        "## Entries of `models`\n",
        "What a model has of its own wins over the general settings, and the command line wins over both. See "
        "[Gate several models](../how-to/several-models.md).\n",
        table(leaves(Model, "models[]."), "models[]."),
    ]
    for name, field in Settings.model_fields.items():
        section = section_of(field)
        if section is None or section is Model:
            continue
        parts += [f"## `[tool.trtgate.{name}]`\n", about(section), table(leaves(section, f"{name}."), f"{name}.")]
        own = next((section_of(section.model_fields[p]) for p in PRECISIONS if p in section.model_fields), None)
        if own is not None and issubclass(section, own):
            keys = ", ".join(f"`{quoted(f.alias or n)}`" for n, f in own.model_fields.items())
            parts.append(
                f"For one precision, write the table `[tool.trtgate.{name}.int8]` (or `fp32`, `fp16`). It wins over "
                f"the general one, and may have: {keys}.\n"
            )
    return "\n".join([*parts, defaults()])


def options_page() -> str:
    """Return the page of pytest's options."""
    lines = ["| option | setting | meaning |", "|---|---|---|"]
    for option in OPTIONS:
        shown = f"{option.flag}={option.metavar}" if option.metavar else option.flag
        lines.append(f"| `{shown}` | [`{option.key}`](settings.md) | {option.help} |")
    return "\n".join(
        [
            NOTICE,
            "# Options of pytest\n",
            "Each option stands for a setting, and wins over it. Relative paths start at the folder that you run "
            "pytest in. `pytest --help` lists the options under *trtgate*.\n",
            *lines,
            "\nAn option that says what to gate also asks for a gate run: if nothing is measured then, the run fails. "
            "`--trt-cache-dir`, `--trt-baseline-dir` and `--trt-report` only say where things are, so they ask for "
            "nothing. Options in `addopts` ask for nothing either.\n",
            "`-k` selects verdicts. One that is about latency still builds and times all engines of its model, side by "
            "side; `--trt-precision=int8` gates one precision alone.\n",
        ]
    )


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``trtgate``, as its entry point uses it."""
    found: list[argparse.ArgumentParser] = []

    def keep(self: argparse.ArgumentParser, *_: Any) -> None:
        found.append(self)
        raise KeyboardInterrupt

    with mock.patch.object(argparse.ArgumentParser, "parse_args", keep):
        try:
            trtgate([])
        except KeyboardInterrupt:
            return found[0]
    raise LookupError("trtgate parses no arguments")


def commands(one: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the commands of a parser that do something, in their order."""
    below = [action for action in one._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield one
    for action in below:
        for command in action.choices.values():
            yield from commands(command)


def argument(action: argparse.Action) -> tuple[str, str]:
    """Return how an argument is written, and what it is for."""
    value = action.metavar if isinstance(action.metavar, str) else ""
    if action.choices is not None:
        value = "|".join(map(str, action.choices))
    if action.nargs == "?":
        value = f"[{value}]"
    name = " or ".join(f"`{flag} {value}`".replace(" `", "`") for flag in action.option_strings) or f"`{value}`"
    return name.replace("|", "\\|"), action.help or ""


def cli_page() -> str:
    """Return the page of the command ``trtgate``."""
    top = parser()
    parts = [
        NOTICE,
        "# The command `trtgate`\n",
        f"{top.description}\n",
        "The shell completes commands and options with the extra `completion`: `pip install "
        "'pytest-trtgate[completion]'`, then `eval \"$(register-python-argcomplete trtgate)\"` in bash or zsh.\n",
        "Exit statuses are in [Verdicts and exit codes](exit-codes.md), words such as *cell* in [Words](words.md).\n",
    ]
    for command in commands(top):
        shown = [action for action in command._actions if not isinstance(action, argparse._HelpAction)]
        shown.sort(key=lambda action: bool(action.option_strings))
        parts += [f"## `{command.prog}`\n", f"{command.description}.\n".replace("..", ".")]
        if shown:
            rows = (argument(action) for action in shown)
            parts += ["| argument | meaning |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows), ""]
    return "\n".join(parts)


PAGES = {"settings.md": settings_page, "options.md": options_page, "cli.md": cli_page}


def main() -> int:
    """Write the pages, or say which are not what the code says."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--check", action="store_true", help="Write nothing; exit 1 where a page is out of date")
    check = asked.parse_args().check
    stale = 0
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            print(f"{path} is not what the code says; run: python docs/generated.py", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path} written")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
