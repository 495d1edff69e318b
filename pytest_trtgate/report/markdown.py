"""A run as GitHub Markdown, for a step summary or a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .. import text as fmt
from ..records import Outcome, RunRecord, Verdict, word
from .numbers import CellNumbers, gated_context, numbers_of, primary_name, severity
from .page.cards import Command, alike, commands_of, first_baseline, joint_command, last_line, title_of
from .page.matrix import CONTEXT_NAMES, column_name
from .page.overall import overall
from .page.parts import sentence_of, warnings_of
from .shipping import shipping
from .wording import in_words_of

MAX_CHARACTERS = 60_000
"""Longer text is cut between its parts: GitHub refuses a comment of more than 65,536 characters."""
MARKS: dict[Outcome, str] = {
    Outcome.PASS: "\N{WHITE HEAVY CHECK MARK}",
    Outcome.INCONCLUSIVE: "\N{BLACK QUESTION MARK ORNAMENT}",
    Outcome.NO_BASELINE: "\N{MEDIUM WHITE CIRCLE}",
    Outcome.INCOMPATIBLE: "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}",
    Outcome.FAIL: "\N{CROSS MARK}",
    Outcome.ERROR: "\N{COLLISION SYMBOL}",
}
WAIVED_MARK = "\N{DOUBLE VERTICAL BAR}\N{VARIATION SELECTOR-16}"
_TITLES = (
    "Model",
    ".pt",
    "",  # the metric that stands for accuracy
    "Drop (allowed)",
    "p50",
    "p95",
    "vs baseline (allowed)",
    "vs .pt",
    "Size",
    "Accuracy",
    "Latency",
)
_MARKUP = re.compile(r"[\\`*|~$]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])")
"""Code, emphasis, cells, strikes, formulas and links; an underscore inside a word is none of them."""
_FIRST = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|)([.)](?<=\d.)|[-+=](?=\s|$|[-+=])|[>\[]|#(?=#{0,5}(?:\s|$)))")
"""What makes a list, a rule, a heading, a quotation or a box to tick where it begins a line."""


def escape(text: object, length: int = 1000) -> str:
    """Return outside text as one line that Markdown and GitHub show as it is: no markup, mention or reference.

    Everything else stays as it is, so that the source reads well too.
    """
    line = re.sub(r"&(?=#?\w+;)", "&amp;", fmt.clip(text, length))
    line = _MARKUP.sub(r"\\\g<0>", line)
    line = _FIRST.sub(r"\1\\\2", line)
    line = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", line)
    # Zero-width spaces, as GitHub looks for mentions, issues and addresses after it has read the escapes.
    line = re.sub(r"#(?=\d)|\bGH-(?=\d)", r"\g<0>&#8203;", line, flags=re.IGNORECASE)
    return line.replace("@", "@&#8203;").replace("://", ":&#8203;//").replace("www.", "www&#8203;.")


def fence(text: str, language: str = "") -> str:
    """Return text as a code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    bar = "`" * max(3, longest + 1)
    return f"{bar}{language}\n{fmt.safe_lines(text)}\n{bar}"


def _word(verdict: Verdict | None) -> str:
    return f"{_mark(verdict)} {word(verdict)}" if verdict else fmt.MISSING


def _mark(verdict: Verdict) -> str:
    return WAIVED_MARK if verdict.waived else MARKS[verdict.outcome]


def _with_limit(value: str, limit: str) -> str:
    return value if fmt.MISSING in (value, limit) else f"{value} ({limit})"


def _slower(n: CellNumbers) -> str:
    return "same engine" if n.same_engine else _with_limit(fmt.percent(n.change()), fmt.threshold(n.allowed_change))


def _fallen(n: CellNumbers) -> str:
    since, of_pt = n.fallen_since(), _with_limit(fmt.metric(n.drop()), fmt.metric(n.allowed_drop))
    if since is None:
        return of_pt
    return f"{of_pt}, since baseline {_with_limit(fmt.metric(since.change), fmt.metric(since.limit))}"


def _table(run: RunRecord) -> list[str]:
    titles = (title or primary_name(run) for title in _TITLES)
    head = [f"| {' | '.join(titles)} |", "|---|" + "--:|" * 8 + "---|---|"]
    rows = []
    for n in numbers_of(run):
        texts = [
            f"{escape(n.cell.model, 60)} {column_name(n.cell.precision)}",
            n.metric_text(n.reference),
            n.metric_text(n.accuracy),
            _fallen(n),
            fmt.ms(n.level_ms(50)),
            fmt.ms(n.level_ms(95)),
            _slower(n),
            fmt.times(n.speedup),
            fmt.size(n.size_bytes),
            _word(n.accuracy_verdict),
            _word(n.latency_verdict),
        ]
        rows.append(f"| {' | '.join(texts)} |")
    return [*head, *rows] if rows else ["No cell was planned."]


def _story(run: RunRecord, verdicts: Sequence[Verdict], several: bool) -> str:
    first = verdicts[0]
    where = f" on {escape(run.environment.machine, 60)}" if several else ""
    parts = [f"{_mark(first)} **{word(first)}: {escape(title_of(verdicts))}{where}**<br>"]
    parts.append(escape(sentence_of(first)))
    end = last_line(first)
    if end:
        parts.append(f"\n{fence(end)}")
    parts += [f"\n{_offer(command)}" for command in commands_of(verdicts)]
    return "\n".join(parts)


def _offer(command: Command) -> str:
    if command.kind == "text":
        return f"{command.purpose}: {escape(command.line)}"
    return f"{command.purpose}:\n{fence(command.line, command.kind)}"


def render(runs: Sequence[RunRecord]) -> str:
    """Return one or several runs: the verdict, a table per run, then every verdict that is not PASS, worst first.

    It leaves out the least bad verdicts where the text would be longer than :data:`MAX_CHARACTERS`.
    """
    badge, headline, lead = overall(runs)
    mark = MARKS[Outcome.PASS if badge.slug == "pass" else Outcome.FAIL]
    several = len(runs) > 1
    blocks = [f"## {mark} {headline}", escape(lead)]
    for run in runs:
        e = run.environment
        commit = f", commit `{fmt.digest(e.commit)}`" if e.commit and e.commit.removesuffix(fmt.DIRTY).isalnum() else ""
        about = f"{escape(e.machine, 80)}, {escape(e.backend, 40)} {escape(e.backend_version, 40)}{commit}"
        latency = f"latency {CONTEXT_NAMES[gated_context(run)]}, medians of launches"
        blocks += [
            f"{about}; {escape(fmt.date(run.started_at))}, {fmt.duration(run.seconds)}; {latency}",
            _joined(_table(run)),
            *(f"**{escape(sentence)}**" for sentence in shipping(run)),
        ]
        blocks += ["\n".join(f"- {escape(note)}" for note in run.notes)] if run.notes else []
    warnings = warnings_of(runs)
    blocks += ["\n".join(f"- {MARKS[Outcome.INCOMPATIBLE]} {escape(text)}" for text in warnings)] if warnings else []
    offers = [_offer(command) for run in runs for command in (first_baseline(run), joint_command(run)) if command]
    room = MAX_CHARACTERS - sum(len(block) + 2 for block in [*blocks, *offers])
    for failed in (True, False):
        told = [(run, group) for run in runs for group in alike(run, failed=failed)]
        told.sort(key=lambda pair: severity(pair[1][0]), reverse=True)
        stories, room = _within([_story(run, group, several) for run, group in told], room)
        if stories and not failed:
            stories = [f"<details><summary>{fmt.plural(len(told), 'note')}</summary>", *stories, "</details>"]
        blocks += stories
    return in_words_of(runs)("\n\n".join([*blocks, *offers]) + "\n")


def _within(stories: list[str], room: int) -> tuple[list[str], int]:
    """Return the stories that fit ``room`` characters, with a count of the others, and the room that is left."""
    kept: list[str] = []
    for story in stories:
        room -= len(story) + 2
        if room < 0:
            return [*kept, f"{fmt.plural(len(stories) - len(kept), 'more verdict')}: see the HTML report."], 0
        kept.append(story)
    return kept, room


def _joined(rows: list[str]) -> str:
    """Return a table, cut so that it takes at most half of the text."""
    lines: list[str] = []
    length = 0
    for row in rows:
        length += len(row) + 1
        if length > MAX_CHARACTERS // 2:
            return "\n".join(lines) + f"\n\n{fmt.plural(len(rows) - len(lines), 'more row')}: see the HTML report."
        lines.append(row)
    return "\n".join(lines)
