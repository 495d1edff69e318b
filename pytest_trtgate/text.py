"""Text for people: numbers, sizes, times, plurals, and text from outside made safe.

Minus is U+2212 and units follow a no-break space; :func:`plain` gives the same text in ASCII for terminals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from functools import wraps
from typing import Concatenate, ParamSpec

P = ParamSpec("P")
MISSING = "\N{EN DASH}"
"""Stands in a table where there is no number."""
DIRTY = "-dirty"
"""Git's mark on a commit beside which files are changed."""
NOT_MEASURED = "not measured"
_SPACE = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"
# Control characters, overrides of the text direction (which can make a line read as another one), and lone surrogates.
_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CI_COMMAND = re.compile(r"^\s*:(?=:)|##(?=\w*\[)")
"""The beginning of ``::error::`` of GitHub, ``##[error]`` of it and ``##vso[]`` of Azure Pipelines, ..."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_PT = re.compile(r"(?<![\w./\\-])\.pt\b")


def without_escapes(text: str) -> str:
    """Return text without the escape sequences of terminals: colours, moves of the cursor, titles, links."""
    return _ESCAPE.sub("", text)


def clean(text: object) -> str:
    """Return outside text without terminal escapes, control characters and direction overrides; keep its lines."""
    text = str(text)
    if text.isprintable():  # as nearly all is, and then there is nothing to be taken out
        return text
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", without_escapes(unified))


def safe_line(text: object) -> str:
    """Return a line as it may leave the program: clean, one line, and no command to a CI that reads it."""
    return _CI_COMMAND.sub(r"\g<0> ", clean(text).replace("\n", " "))


def safe_lines(text: object) -> str:
    """Return a text whose every line may leave the program."""
    return "\n".join(map(safe_line, clean(text).split("\n")))


def clip(text: object, length: int = 120) -> str:
    """Return outside text on one line, its middle cut out beyond ``length`` characters."""
    line = " ".join(clean(text).split())
    if len(line) <= length:
        return line
    tail = (length - 1) // 3
    return line[: length - 1 - tail] + "\N{HORIZONTAL ELLIPSIS}" + line[len(line) - tail :]


def of_reference(text: str) -> str:
    """Return sentences about a run whose engines are compared with no ``.pt``; names of files stay."""
    return _PT.sub("reference", text)


def plain(text: str) -> str:
    """Return formatted text with an ASCII minus, an ASCII ``x`` for times and ordinary spaces."""
    for fancy, simple in ((_MINUS, "-"), (_SPACE, " "), ("\N{MULTIPLICATION SIGN}", "x"), (MISSING, "-")):
        text = text.replace(fancy, simple)
    return text


def _of_number(show: Callable[Concatenate[float, P], str]) -> Callable[Concatenate[float | None, P], str]:
    """Let a formatter of finite numbers take all: a dash stands for None, ``NaN`` and infinity for themselves."""

    @wraps(show)
    def formatted(value: float | None, /, *args: P.args, **kwargs: P.kwargs) -> str:
        if value is None:
            return MISSING
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "\N{INFINITY}" if value > 0 else _MINUS + "\N{INFINITY}"
        return show(value, *args, **kwargs)

    return formatted


def _signed(text: str) -> str:
    if text.lstrip("+-").strip("0.") == "":
        return text.lstrip("+-")
    return text.replace("-", _MINUS)


@_of_number
def metric(value: float, digits: int = 4) -> str:
    """Return an accuracy, or a difference of two, with 4 decimals: ``0.8020``."""
    return _signed(f"{value:.{digits}f}")


def digits_apart(value: float | None, limit: float | None) -> int:
    """Return how many decimals tell a drop from its limit, 4 at least and 8 at most."""
    if value is None or limit is None or value == limit:
        return 4
    return next((n for n in range(4, 8) if metric(value, n) != metric(limit, n)), 8)


def drop(value: float | None, digits: int = 4) -> str:
    """Return a drop in words: ``drop 0.0105``, ``gain 0.0007`` or ``no drop``."""
    if value is None or not math.isfinite(value):
        return f"drop {metric(value)}"
    size = f"{abs(value):.{digits}f}"
    if float(size) == 0:
        return "no drop"
    return f"{'drop' if value > 0 else 'gain'} {size}"


@_of_number
def number(value: float, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits, and no fewer than its whole part: ``0.894``, ``12.3``."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return _signed(f"{value:.{min(decimals, 9)}f}")


def ms(value: float | None) -> str:
    """Return milliseconds with 3 significant digits and the unit: ``2.81 ms``."""
    return amount(value, "ms")


def amount(value: float | None, unit: str) -> str:
    """Return a number with 3 significant digits and its unit: ``12.3 mJ``."""
    return _unit(number(value), unit)


def _unit(text: str, unit: str) -> str:
    return text if text == MISSING else f"{text}{_SPACE}{unit}"


@_of_number
def percent(ratio: float) -> str:
    """Return a relative change with its sign: ``+3.1 %`` for 0.031."""
    return _unit(_signed(f"{100 * ratio:+.1f}"), "%")


@_of_number
def share(ratio: float) -> str:
    """Return a part of a whole without a sign: ``64 %`` for 0.64, and ``100.2 %`` near 1."""
    return _unit(f"{100 * ratio:.{1 if 0 < abs(ratio - 1) < 0.005 else 0}f}", "%")


@_of_number
def threshold(ratio: float) -> str:
    """Return a limit of a relative change, unsigned, in all its digits: ``2.5 %`` for 0.025."""
    return _unit(f"{100 * ratio:.4g}", "%")


@_of_number
def times(factor: float) -> str:
    """Return a factor with 3 significant digits and a multiplication sign: ``1.72x``."""
    return number(factor) + "\N{MULTIPLICATION SIGN}"


@_of_number
def count(value: float) -> str:
    """Return a whole number with thousands apart: ``12,000``."""
    return f"{value:,.0f}"


@_of_number
def size(size_bytes: float) -> str:
    """Return a file or memory size in decimal units: ``5.3 MB``."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.0f}{_SPACE}B" if unit == "B" else _unit(number(value, 2 if value < 10 else 3), unit)
        value /= 1000
    return _unit(number(value), "TB")


@_of_number
def duration(seconds: float) -> str:
    """Return a duration: ``0.8 s``, ``42 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 9.95:
        return _unit(f"{seconds:.1f}", "s")
    whole = round(seconds)
    if whole < 60:
        return _unit(str(whole), "s")
    first, second = (whole // 60, "min"), (whole % 60, "s")
    if whole >= 3600:
        first, second = (whole // 3600, "h"), (whole % 3600 // 60, "min")
    return " ".join(_unit(str(value), unit) for value, unit in (first, second) if value)


def date(moment: str) -> str:
    """Return an ISO 8601 moment as ``22 Nov 2026, 13:14 UTC``; other text comes back clipped."""
    try:
        parsed = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        if parsed.tzinfo is not None:
            parsed = parsed.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return clip(moment, 40) or "unknown time"
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{parsed.day} {months[parsed.month - 1]} {parsed.year}, {parsed:%H:%M} UTC"


def age(measured_at: str, now: datetime | None = None) -> str:
    """Return how long ago something was measured, such as ``2 days ago``; the text itself if it is no time.

    Args:
        measured_at: When, as ISO 8601 in UTC.
        now: Counted to this moment, by default the present.
    """
    try:
        seconds = ((now or datetime.now(timezone.utc)) - datetime.fromisoformat(measured_at)).total_seconds()
    except (TypeError, ValueError):
        return measured_at or "earlier"
    for unit, length_s in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length_s)
        if count > 0:
            return f"{plural(count, unit)} ago"
    return "less than a minute ago"


def told_once(lines: Iterable[str], said: str) -> Iterator[str]:
    """Yield lines; where several have one and the same text in them, only the first tells it."""
    told = False
    for line in lines:
        yield line.replace(said, "the same as above") if told else line
        told = told or (bool(said) and said in line)


def digest(text: str | None, length: int = 12) -> str:
    """Return the first characters of a commit, SHA-256 or key; a dash for none. A commit keeps its mark ``-dirty``."""
    return clip(text, 80)[:length] + (DIRTY if text.endswith(DIRTY) else "") if text else MISSING


def plural(n: int, noun: str) -> str:
    """Return ``1 launch``, ``5 launches``."""
    ending = "" if n == 1 else "es" if noun.endswith(("ch", "ss", "x")) else "s"
    return f"{n:,} {noun}{ending}"


_COUNT = re.compile(r"\b(\d+)(/| of )(\d+)\b")


def counted(text: str) -> tuple[str, bool]:
    """Parse the last count of a progress line: return the line without the number so far, and whether all is counted.

    Args:
        text: Such as ``evaluating pt, fp16: 169/200 images``, which gives ``evaluating pt, fp16: /200 images``.
    """
    counts = list(_COUNT.finditer(text))
    if not counts:
        return text, False
    last = counts[-1]
    return text[: last.start(1)] + text[last.start(2) :], last[1] == last[3]
