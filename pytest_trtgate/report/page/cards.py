"""Every verdict that is not PASS as a card: what is wrong, by how much, and what to type next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ... import text as fmt
from ...records import (
    ALLOW_BUSY,
    NONE_YET,
    RECORD_NAME,
    AccuracyUse,
    BaselineUse,
    Cell,
    Outcome,
    RunRecord,
    Verdict,
)
from ..numbers import CellNumbers, excess, severity
from .changed import changed_since
from .explanation_view import why_sentence
from .parts import Anchors, Badge, CheckView, badge_of, brief, check_view, sentence_of, where

COMMANDS = ("pytest ", "trtgate ")
LOG_CHARACTERS = 20_000
"""A log tail longer than this is cut at its beginning: the end is what tells."""


@dataclass(frozen=True)
class Command:
    """What is offered, and what it is for; ``kind``: a command line, settings, or a sentence that cannot be pasted."""

    purpose: str
    short: str
    line: str
    kind: Literal["sh", "toml", "text"] = "sh"


@dataclass(frozen=True)
class Card:
    """One verdict, or both of a cell with the same reason.

    ``brief`` says by how much in a few words, ``why`` what an explanation found.
    """

    badge: Badge
    title: str
    anchor: str
    brief: str
    where: str
    href: str
    sentence: str
    why: str
    last_line: str
    changed: str
    checks: tuple[CheckView, ...]
    commands: tuple[Command, ...]
    log: str


def from_artifact(line: str) -> str:
    """Say that a command reads a record kept by CI, as the end of its purpose; empty where it does not."""
    return f", with {RECORD_NAME} from the run's artifact" if f" accept {RECORD_NAME} " in line else ""


def commands_of(verdicts: Sequence[Verdict], *, toml: bool = True) -> tuple[Command, ...]:
    """Return what measures again, then what explains and repairs, then what accepts one cell or all, each once.

    ``toml``: settings are TOML to paste, and not one sentence with the command that follows them.
    """
    reruns = [Command("To run it again", "run again", fmt.clean(v.rerun)) for v in verdicts if v.rerun]
    explains = [Command("To find out why", "to explain", fmt.clean(v.explain)) for v in verdicts if v.explain]
    purpose = "To search for an INT8 that passes"
    repairs = [Command(purpose, "to repair", fmt.clean(v.repair)) for v in verdicts if v.repair]
    cells = [_cell_command(v) for v in verdicts if v.accept_cell]
    wide = [command for v in verdicts if v.accept for command in _accepting(v, toml)]
    return tuple(dict.fromkeys([*reruns, *explains, *repairs, *cells, *wide]))


def _accepting(verdict: Verdict, in_toml: bool) -> Iterator[Command]:
    """Yield the settings and the command that accept a verdict, or one sentence where a part cannot be pasted."""
    said, toml = fmt.clean(verdict.accept), fmt.clean(verdict.accept_toml) if in_toml else ""
    if said.startswith(COMMANDS):
        wide = ("To measure again and accept all", "or all, anew")
        yield Command(*(wide if verdict.accept_cell else ("To accept this on purpose", "to accept")), said)
    elif toml:
        yield Command("To accept this on purpose (in a table that exists, change its lines)", "to accept", toml, "toml")
        command = said.partition(", then ")[2]
        if command.startswith(COMMANDS):
            yield Command("Then, with these settings", "then", command)
    else:
        yield Command("To accept this on purpose", "to accept", said, "text")


def _cell_command(verdict: Verdict) -> Command:
    line = fmt.clean(verdict.accept_cell)
    how = _how(line)
    return Command(f"To accept this cell{how}", f"to accept{how}", line)


def _how(line: str) -> str:
    return (", though the machine was busy" if ALLOW_BUSY in line.split() else "") + from_artifact(line)


def joint_command(run: RunRecord) -> Command | None:
    """Return what accepts all cells at once that can be accepted one by one; None where those are not several.

    None too where it is :func:`first_baseline` that says so.
    """
    line, cells = fmt.clean(run.accept_cells), _acceptable_cells(run)
    if not line or cells == {verdict.cell for verdict in without_baseline(run)}:
        return None
    purpose = f"To accept these {fmt.plural(len(cells), 'cell')} at once{_how(line)}"
    return Command(purpose, purpose[0].lower() + purpose[1:], line)


def _acceptable_cells(run: RunRecord) -> set[Cell]:
    return {verdict.cell for verdict in run.verdicts if verdict.accept_cell}


def without_baseline(run: RunRecord) -> list[Verdict]:
    """Return the verdicts of which there is no more to say than that there is no baseline yet, here or at all.

    None of a subject of which any cell has one: what the others lack is then told of each.
    """
    missing = (Outcome.NO_BASELINE, Outcome.INCOMPATIBLE)
    latencies, accuracies = run.baselines.values(), run.accuracy_baselines.values()
    uses: list[AccuracyUse | BaselineUse] = [*latencies, *accuracies]
    if any(use.note.startswith(f"{NONE_YET};") for use in uses):
        return []
    there = any(use.baseline is not None for use in uses)
    known = {"latency": any(use.baseline or use.outcome not in missing for use in latencies), "accuracy": there}
    return [
        verdict
        for verdict in run.verdicts
        if not known[verdict.subject] and verdict.outcome in missing and not verdict.failed
        if all(check.outcome is Outcome.PASS or check.against == "baseline" for check in verdict.checks)
    ]


def first_baseline(run: RunRecord) -> Command | None:
    """Return in one line what has no baseline yet, and what records one; None where all has, or more is to be said."""
    verdicts = without_baseline(run)
    if not verdicts:
        return None
    line = verdicts[0].accept
    if _acceptable_cells(run) == {verdict.cell for verdict in verdicts}:
        line = run.accept_cells or verdicts[0].accept_cell
    line = fmt.clean(line)
    subjects = {verdict.subject for verdict in verdicts}
    said = "ccuracy has no baseline yet"
    if "latency" in subjects:
        here = fmt.clip(run.environment.machine, 80)
        said = f"atency has no baseline on this machine yet ({here})"
        if "accuracy" in subjects:  # which hangs on no machine
            said = f"ccuracy has no baseline yet, nor has latency on this machine ({here})"
    said += f"; to record one{_how(line)}"
    first = "a" if "accuracy" in subjects else "l"
    kind: Literal["sh", "text"] = "sh"
    if line.startswith("set "):  # another verdict of the cell failed, and what lets that pass is said there
        line, kind = "let the rest of the cell pass, then run with --trt-baselines=add", "text"
    return Command(f"{first.upper()}{said}", f"{first}{said}", line, kind)


def log_tail(text: str) -> str:
    """Return the end of a log, without colours and control characters."""
    cleaned = fmt.clean(text).strip("\n")
    return cleaned if len(cleaned) <= LOG_CHARACTERS else "[...]" + cleaned[-LOG_CHARACTERS:]


def last_line(verdict: Verdict) -> str:
    """Return the last line of a verdict's log that is not blank, which often says most; empty where that is said."""
    log = log_tail(verdict.log_tail)
    line = next((line for line in reversed(log.split("\n")) if line.strip()), "")
    message = re.sub(r"^[\w.]+Error: ", "", line.strip())
    return "" if message in sentence_of(verdict) else fmt.clip(line, 300)


def alike(run: RunRecord, *, failed: bool) -> list[list[Verdict]]:
    """Return the verdicts of one run that need explaining, the worst first; a cell's with one reason are a group.

    ``failed`` chooses between the verdicts that failed the run and those that are only notes. What
    :func:`first_baseline` says in one line is left out.
    """
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    told = without_baseline(run)
    for position, verdict in enumerate(run.verdicts):
        if verdict.failed is failed and (failed or verdict.outcome is not Outcome.PASS) and verdict not in told:
            alone = position if any(check.value is not None for check in verdict.checks) else -1
            same = (verdict.cell, verdict.outcome, sentence_of(verdict), verdict.log_tail, alone)
            groups.setdefault(same, []).append(verdict)
    return sorted(groups.values(), key=lambda group: severity(group[0]), reverse=True)


def title_of(verdicts: Sequence[Verdict]) -> str:
    """Return what some verdicts on one cell are about: ``shapes int8 accuracy and latency``."""
    return f"{fmt.clip(verdicts[0].cell.label)} {' and '.join(v.subject for v in verdicts)}"


def _card(run: RunRecord, verdicts: Sequence[Verdict], anchors: Anchors, anchor: str, several: bool) -> Card:
    first = verdicts[0]
    checks = [check for v in verdicts for check in v.checks if check.outcome is not Outcome.PASS]
    checks.sort(key=lambda check: (-check.outcome.rank, -(excess(check) or 0.0)))
    wrong = [check_view(check, first.cell) for check in checks]
    sentence = sentence_of(first)
    place, log = where(first.cell), log_tail(first.log_tail)
    machine = fmt.clip(run.environment.machine, 60)
    said = next(filter(None, map(brief, checks)), "") or last_line(first) or sentence
    if len(wrong) > 1 and all(c.facts for c in wrong) and first.failed and not first.waived:
        # The numbers of the others follow on the card of a failure; a note has none.
        sentence = f"{wrong[0].sentence}; and {fmt.plural(len(wrong) - 1, 'check')} more:"
        wrong = [replace(c, sentence="") for c in wrong]
    # What the card says already is not said again.
    wrong = [replace(c, sentence="") if c.sentence in sentence else c for c in wrong]
    return Card(
        badge=badge_of(first),
        title=title_of(verdicts),
        anchor=anchor,
        brief=fmt.clip(said, 110) + (f" ({machine})" if several and not first.cell.machine else ""),
        where=f"{machine}, {place}" if several else place,
        href=anchors.cells[first.cell],
        sentence=sentence,
        why=why_sentence(run, first),
        last_line=last_line(first),
        changed=changed_since(CellNumbers(run, first.cell), first.subject),
        checks=tuple(c for c in wrong if c.facts or c.sentence),
        commands=commands_of(verdicts),
        log=log,
    )


def cards(anchored: Sequence[tuple[RunRecord, Anchors]], *, failed: bool) -> tuple[Card, ...]:
    """Return the cards of all runs, the worst first: of verdicts that ``failed`` their run, or of notes."""
    found = [(run, anchors, group) for run, anchors in anchored for group in alike(run, failed=failed)]
    found.sort(key=lambda item: severity(item[2][0]), reverse=True)
    several = len(anchored) > 1
    ids = [f"failure-{number}" if failed else "" for number in range(1, len(found) + 1)]
    return tuple(
        _card(run, group, anchors, anchor, several) for (run, anchors, group), anchor in zip(found, ids, strict=True)
    )
