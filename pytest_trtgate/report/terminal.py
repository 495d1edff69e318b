"""One compact table of a run for the end of pytest's output, and what each verdict that is not PASS says."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import text as fmt
from ..records import PRECISIONS, REFERENCE, WORDS, Outcome, RunRecord, Verdict, word
from .numbers import CellNumbers, primary_name, rows_of
from .page.cards import alike, commands_of, first_baseline, joint_command, last_line, title_of
from .page.parts import sentence_of, warnings_of
from .shipping import shipping
from .wording import in_words_of

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
    Outcome.INCONCLUSIVE: "inconcl",
    Outcome.NO_BASELINE: "no base",
    Outcome.INCOMPATIBLE: "incompat",
    Outcome.FAIL: "FAIL",
    Outcome.ERROR: "ERROR",
}
"""Words for narrow terminals; the sentences below the table have the long ones."""
LONG = {outcome: word.lower() for outcome, word in WORDS.items()} | {Outcome.FAIL: "FAIL", Outcome.ERROR: "ERROR"}
WIDE = 110
"""From this width on, the long words fit."""
LEGEND = "p50, p95: medians of launches (fresh processes); vs base: change as judged"
_GAP = "  "


@dataclass(frozen=True)
class Column:
    """A column; a narrow terminal drops the highest ``spare`` first, and 0 never."""

    title: str
    spare: int
    left: bool = False


COLUMNS = (
    Column("model", 0, left=True),
    Column("machine", 0, left=True),
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


def _cells(n: CellNumbers, words: Mapping[Outcome, str]) -> list[str]:
    since = n.fallen_since()
    return [
        fmt.clip(n.cell.arm_label, 60),
        fmt.clip(n.cell.machine, 40),
        n.metric_text(n.accuracy),
        n.metric_text(n.reference),
        f"{fmt.metric(since.change)} base" if since else fmt.metric(n.drop()),
        fmt.metric(since.limit if since else n.allowed_drop),
        fmt.number(n.level_ms(50)),
        fmt.number(n.level_ms(95)),
        "identical" if n.same_engine and n.cell.model in n.run.latencies else fmt.percent(n.change()),
        fmt.threshold(n.allowed_change),
        fmt.times(n.speedup),
        fmt.size(n.size_bytes),
        _word(n.accuracy_verdict, words),
        _word(n.latency_verdict, words),
    ]


def _word(verdict: Verdict | None, words: Mapping[Outcome, str]) -> str:
    if verdict is None:
        return fmt.MISSING
    word = words[verdict.outcome]
    return ("waived" if words is SHORT else f"{word}, waived") if verdict.waived else word


def _markup(verdict: Verdict) -> dict[str, bool]:
    return {"yellow": True} if verdict.waived else dict(MARKUP[verdict.outcome])


def _reference(n: CellNumbers) -> list[str]:
    levels = [fmt.number(n.level_ms(percent, REFERENCE)) for percent in (50, 95)]
    name, machine = f"{fmt.clip(n.cell.model, 56)} .pt", fmt.clip(n.cell.machine, 40)
    return [name, machine, n.metric_text(n.reference), "", "", "", *levels, *[""] * 6]


def _rows(runs: Sequence[RunRecord], words: Mapping[Outcome, str]) -> list[tuple[list[str], dict[str, bool]]]:
    """Return the rows, each ``.pt`` before its engines, and the model with the worst verdict first.

    What is alike on several machines stands together.
    """
    rows: dict[tuple[object, ...], list[tuple[list[str], dict[str, bool]]]] = {}
    for cells in (cells for run in runs for cells in rows_of(run)):
        first = cells[0].cell.on()
        place = first.model, first.imgsz, first.batch, first.backend, first.device
        for arm in (REFERENCE, *PRECISIONS):
            rows.setdefault((*place, arm), [])
        rows[(*place, REFERENCE)].append((_reference(cells[0]), {}))
        for n in cells:
            rows[(*place, n.cell.precision)].append((_cells(n, words), _markup(n.worst) if n.worst else {}))
    return [([fmt.plain(text) for text in row], markup) for alike in rows.values() for row, markup in alike]


def _fit(rows: Sequence[Sequence[str]], width: int) -> tuple[list[int], list[int]]:
    """Return which columns fit into ``width`` characters, and how wide each of those is; empty ones go first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    # Machines are told apart where there are several.
    kept = [i for i in range(len(COLUMNS)) if COLUMNS[i].title != "machine" or _filled(rows, i)]

    def total() -> int:
        return sum(widths[i] for i in kept) + len(_GAP) * (len(kept) - 1)

    spare = [i for i in kept if COLUMNS[i].spare]
    for index in sorted(spare, key=lambda i: (_filled(rows, i), -COLUMNS[i].spare)):
        if total() <= width:
            break
        kept.remove(index)
    widths[0] = max(min(widths[0], 12), widths[0] - max(0, total() - width))
    return kept, [widths[i] for i in kept]


def _filled(rows: Sequence[Sequence[str]], column: int) -> bool:
    return any(row[column] not in ("", "-") for row in rows[1:])


def table(runs: Sequence[RunRecord], width: int) -> list[Line]:
    """Return the table: a line of titles and one line per engine, none wider than ``width`` where that is possible."""
    words = SHORT if width < WIDE else LONG
    rows = _rows(runs, words)
    if not rows:
        return []
    say, metrics = in_words_of(runs), {primary_name(run) for run in runs}
    titles = [say(column.title) or (metrics.pop() if len(metrics) == 1 else "metric") for column in COLUMNS]
    rows = [([say(text) for text in row], markup) for row, markup in rows]
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


def _story(verdicts: Sequence[Verdict], width: int, told: str) -> list[Line]:
    """Return what a cell's verdicts say, without what was ``told`` above."""
    first = verdicts[0]
    sentence = sentence_of(first).replace(told, "the same as above") if told else sentence_of(first)
    said = f"{word(first).upper()}  {title_of(verdicts)}: {sentence}"
    end = last_line(first)
    lines: list[Line] = [(text, _markup(first)) for text in _wrapped(said, width)]
    lines += [(text, {}) for text in _wrapped(f"    log: {end}", width)] if end else []
    commands = commands_of(verdicts, toml=False)
    return lines + [(f"    {command.short}: {fmt.clip(command.line, 2000)}", {}) for command in commands]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 40), subsequent_indent="    ", break_on_hyphens=False)


def _stored(runs: Sequence[RunRecord]) -> str:
    """Return which stored session times of the ``.pt`` are of, and of which ones where that does not hold for all."""
    models: dict[str, list[str]] = {}
    for n in (n for run in runs for row in rows_of(run) for n in row if n.latency):
        on = f" on {fmt.clip(n.cell.machine, 40)}" if n.cell.machine else ""
        models.setdefault(n.rest_of, []).append(f"{fmt.clip(n.cell.model, 60)} .pt{on}")
    said = {remark: ", ".join(dict.fromkeys(names)) for remark, names in models.items() if remark}
    return "".join(f"; {names if len(models) > 1 else '.pt'}, and vs .pt:{remark}" for remark, names in said.items())


def summary_lines(runs: Sequence[RunRecord], width: int, color: bool = True) -> list[Line]:
    """Return the end of pytest's output for one run.

    Args:
        runs: Its records, one for each machine.
        width: Columns of the terminal. Only commands may be longer, since a broken command cannot be copied.
        color: Whether lines carry markup.

    Returns:
        ``(text, markup)`` per line, for ``TerminalReporter.write_line(text, **markup)``.
    """
    lines, say = table(runs, width), in_words_of(runs)
    if lines and any(run.latencies for run in runs):
        lines += [(text, {}) for text in _wrapped(say(LEGEND + _stored(runs)), width)]
    troubled = [(run, verdicts) for failed in (True, False) for run in runs for verdicts in alike(run, failed=failed)]
    if lines and troubled:
        lines.append(("", {}))
    told: set[str] = set()
    for run, verdicts in troubled:
        lines += _story(verdicts, width, run.preflight.busy if run.preflight.busy in told else "")
        told |= {run.preflight.busy for verdict in verdicts if run.preflight.busy in sentence_of(verdict)}
    for offer in (first_baseline, joint_command):
        for found in filter(None, map(offer, runs)):
            lines.append(
                (f"{found.purpose if offer is first_baseline else found.short}: {fmt.clip(found.line, 2000)}", {})
            )
    for text in warnings_of(runs):
        lines += [(line, {"yellow": True}) for line in _wrapped(say(f"WARNING  {fmt.plain(text)}"), width)]
    for run in runs:
        on = f"{fmt.clip(run.cells[0].machine, 40)}: " if run.cells and run.cells[0].machine else ""
        for sentence in shipping(run):
            lines += [(line, {"bold": True}) for line in _wrapped(say(f"{on}{fmt.plain(sentence)}"), width)]
    if not any(run.verdicts for run in runs):
        lines.append(("Nothing was judged.", {"red": True, "bold": True}))
    return lines if color else [(text, {}) for text, _ in lines]
