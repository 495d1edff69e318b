"""One compact table of a run for the end of pytest's output, and what each verdict that is not PASS says."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import text as fmt
from ..records import PRECISIONS, REFERENCE, WORDS, Cell, Outcome, RunRecord, Verdict, word
from .numbers import (
    accuracy_of,
    allowed_change,
    allowed_drop,
    cells_of,
    change_of,
    distribution,
    drop_of,
    fallen_since,
    gated_context,
    latency_of,
    primary_name,
    primary_text,
    same_engine,
    speedup_of,
    verdict_of,
    verdicts_of,
    worst_of,
)
from .page.cards import (
    alike,
    commands_of,
    first_baseline,
    joint_command,
    last_line,
    log_tail,
    title_of,
)
from .page.parts import sentence_of, warnings_of

Line = tuple[str, dict[str, bool]]
"""A line of text, and the markup that ``TerminalReporter.write_line`` takes: colours and ``bold``."""
MARKUP: Mapping[Outcome, dict[str, bool]] = {
    Outcome.PASS: {"green": True},
    Outcome.INCONCLUSIVE: {"yellow": True},
    Outcome.NO_BASELINE: {"yellow": True},
    Outcome.INCOMPATIBLE: {"yellow": True},
    Outcome.FAIL: {"red": True},
    Outcome.ERROR: {"red": True, "bold": True},
}
SHORT: Mapping[Outcome, str] = {
    Outcome.PASS: "pass",
    Outcome.INCONCLUSIVE: "unsure",
    Outcome.NO_BASELINE: "no base",
    Outcome.INCOMPATIBLE: "differs",
    Outcome.FAIL: "FAIL",
    Outcome.ERROR: "ERROR",
}
"""Words for narrow terminals; the sentences below the table have the long ones."""
LONG = {outcome: word.lower() for outcome, word in WORDS.items()} | {Outcome.FAIL: "FAIL", Outcome.ERROR: "ERROR"}
WIDE = 110
"""From this width on, the long words fit."""
LEGEND = "p50 and p95: medians of launches; vs base: the change as judged"
_GAP = "  "


@dataclass(frozen=True)
class Column:
    """A column and how soon it is given up where the terminal is narrow: the highest ``spare`` first, 0 never."""

    title: str
    spare: int
    left: bool = False


COLUMNS = (
    Column("model", 0, left=True),
    Column("", 0),  # the metric that stands for accuracy
    Column("of .pt", 6),
    Column("drop", 0),
    Column("allowed", 3),
    Column("p50 ms", 0),
    Column("p95 ms", 2),
    Column("vs base", 1),
    Column("allowed", 4),
    Column("vs .pt", 5),
    Column("size", 7),
    Column("accuracy", 0, left=True),
    Column("latency", 0, left=True),
)


def _level(run: RunRecord, cell: Cell, arm: str, percent: int) -> str:
    times = distribution(latency_of(run, cell), arm, gated_context(run))
    return fmt.number(times.level_ms(percent) if times else None)


def _metric(run: RunRecord, cell: Cell, arm: str) -> str:
    accuracy = accuracy_of(run, cell, arm)
    return primary_text(run, accuracy)


def _cells(run: RunRecord, cell: Cell, words: Mapping[Outcome, str]) -> list[str]:
    engine, context = run.engines.get(cell.key), gated_context(run)
    accuracy, latency = verdict_of(run, cell, "accuracy"), verdict_of(run, cell, "latency")
    since = fallen_since(run, cell)
    return [
        fmt.clip(cell.label, 60),
        _metric(run, cell, cell.precision),
        _metric(run, cell, REFERENCE),
        f"{fmt.metric(since.change)} base" if since else fmt.metric(drop_of(run, cell)),
        fmt.metric(since.limit if since else allowed_drop(run, cell)),
        _level(run, cell, cell.precision, 50),
        _level(run, cell, cell.precision, 95),
        "identical"
        if same_engine(run, cell) and cell.model in run.latencies
        else fmt.percent(change_of(run, cell, 50, context)),
        fmt.threshold(allowed_change(run, cell)),
        fmt.times(speedup_of(run, cell, context)),
        fmt.size(engine.size_bytes if engine else None),
        _word(accuracy, words),
        _word(latency, words),
    ]


def _word(verdict: Verdict | None, words: Mapping[Outcome, str]) -> str:
    if verdict is None:
        return fmt.MISSING
    word = words[verdict.outcome]
    return ("waived" if words is SHORT else f"{word}, waived") if verdict.waived else word


def _markup(verdict: Verdict) -> dict[str, bool]:
    return {"yellow": True} if verdict.waived else dict(MARKUP[verdict.outcome])


def _reference(run: RunRecord, cell: Cell) -> list[str]:
    model = fmt.clip(cell.model, 56)
    levels = [_level(run, cell, REFERENCE, percent) for percent in (50, 95)]
    return [f"{model} .pt", _metric(run, cell, REFERENCE), "", "", "", *levels, *[""] * 6]


def _rows(run: RunRecord, words: Mapping[Outcome, str]) -> list[tuple[list[str], dict[str, bool]]]:
    """Return the rows, each ``.pt`` before its engines, and the model with the worst verdict first."""
    rows: list[tuple[list[str], dict[str, bool]]] = []
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells_of(run):
        groups.setdefault((cell.model, cell.imgsz, cell.batch, cell.backend, cell.device), []).append(cell)
    for cells in groups.values():
        rows.append((_reference(run, cells[0]), {}))
        for cell in sorted(cells, key=lambda c: PRECISIONS.index(c.precision)):
            worst = worst_of(verdicts_of(run, cell))
            rows.append((_cells(run, cell, words), _markup(worst) if worst else {}))
    return [([fmt.plain(text) for text in row], markup) for row, markup in rows]


def _fit(rows: Sequence[Sequence[str]], width: int) -> tuple[list[int], list[int]]:
    """Return which columns fit into ``width`` characters, and how wide each of those is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    kept = list(range(len(COLUMNS)))

    def total() -> int:
        return sum(widths[i] for i in kept) + len(_GAP) * (len(kept) - 1)

    for index in sorted(kept, key=lambda i: -COLUMNS[i].spare):
        if total() <= width or COLUMNS[index].spare == 0:
            break
        kept.remove(index)
    widths[0] = max(min(widths[0], 12), widths[0] - max(0, total() - width))
    return kept, [widths[i] for i in kept]


def table(run: RunRecord, width: int) -> list[Line]:
    """Return the table: a line of titles and one line per engine, none wider than ``width`` where that is possible."""
    words = SHORT if width < WIDE else LONG
    rows = _rows(run, words)
    if not rows:
        return []
    titles = [column.title or primary_name(run) for column in COLUMNS]
    kept, widths = _fit([titles, *(row for row, _ in rows)], width)
    lines: list[Line] = []
    for row, markup in [(titles, {"bold": True}), *rows]:
        texts = []
        for index, room in zip(kept, widths, strict=True):
            text = row[index] if len(row[index]) <= room else _squeeze(row[index], room)
            texts.append(text.ljust(room) if COLUMNS[index].left else text.rjust(room))
        lines.append((_GAP.join(texts).rstrip()[: max(width, 1)], markup))
    return lines


def _squeeze(text: str, room: int) -> str:
    """Return a name cut in the middle, so that the precision at its end stays."""
    tail = min(7, room // 2)
    return text[: room - tail - 2] + ".." + text[len(text) - tail :]


def _story(verdicts: Sequence[Verdict], width: int) -> list[Line]:
    first = verdicts[0]
    said = f"{word(first).upper()}  {title_of(verdicts)}: {sentence_of(first)}"
    end = last_line(log_tail(first.log_tail))
    lines: list[Line] = [(text, _markup(first)) for text in _wrapped(said, width)]
    lines += [(text, {}) for text in _wrapped(f"    log: {end}", width)] if end else []
    return lines + [(f"    {command.short}: {fmt.clip(command.line, 2000)}", {}) for command in commands_of(verdicts)]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 40), subsequent_indent="    ", break_on_hyphens=False)


def summary_lines(run: RunRecord, width: int, color: bool = True) -> list[Line]:
    """Return the end of pytest's output for one run.

    Args:
        run: The run record.
        width: Columns of the terminal. Only commands may be longer, since a broken command cannot be copied.
        color: Whether lines carry markup.

    Returns:
        ``(text, markup)`` per line, for ``TerminalReporter.write_line(text, **markup)``.
    """
    lines = table(run, width)
    if lines and run.latencies:
        lines += [(text, {}) for text in _wrapped(LEGEND, width)]
    troubled = [*alike(run, failed=True), *alike(run, failed=False)]
    if lines and troubled:
        lines.append(("", {}))
    for verdicts in troubled:
        lines += _story(verdicts, width)
    if first := first_baseline(run):
        lines.append((f"{first.purpose}: {fmt.clip(first.line, 2000)}", {}))
    if joint := joint_command(run):
        lines.append((f"{joint.short}: {fmt.clip(joint.line, 2000)}", {}))
    for text in warnings_of([run]):
        lines += [(line, {"yellow": True}) for line in _wrapped(f"WARNING  {text}", width)]
    if not run.verdicts:
        lines.append(("Nothing was judged.", {"red": True, "bold": True}))
    return lines if color else [(text, {}) for text, _ in lines]
