"""The small pieces of the view that cards, matrix and details share: badges, facts, anchors and checks."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from markupsafe import Markup

from ... import text as fmt
from ...records import WORDS, Cell, Check, Finding, Outcome, RunRecord, Verdict, word
from ...settings import FINDING_KINDS
from ..numbers import BUDGET_UNITS, excess, is_speedup, numbers_of, ratio
from ..shipping import no_gain
from . import charts


@dataclass(frozen=True)
class Badge:
    """An outcome as a word and as the name of its icon and colour."""

    slug: str
    word: str


@dataclass(frozen=True)
class Fact:
    """A label with its formatted value; ``more`` is the long form, where there is one."""

    label: str
    value: str
    more: str = ""


Entry = str | Badge
"""What stands in one place of a table: text, markup that is safe already, or a verdict."""


@dataclass(frozen=True)
class Row:
    """A line of a table, what it is about first; ``kind`` is its class."""

    entries: tuple[Entry, ...]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        label: What screen readers call it.
        columns: Their titles.
        rows: The lines.
        caption: What stands above it.
        kind: Its class.
        classes: Those of columns, by title: ``l`` for text, ``d`` for what matters most.
        sorted_by: The title of the column that a table that can be sorted begins with.
        tall: Whether a long one scrolls.
    """

    label: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    kind: str = ""
    classes: Mapping[str, str] = field(default_factory=dict)
    sorted_by: str = ""
    tall: bool = False


@dataclass(frozen=True)
class CheckView:
    """One check with its numbers; ``over`` says in words how much of the limit was used."""

    badge: Badge
    name: str
    against: str
    sentence: str
    facts: tuple[Fact, ...]
    over: str
    gauge: str


NOT_JUDGED = Badge("none", "Not judged")
REFERENCE_BADGE = Badge("none", "Reference")
WAIVED = Badge("waived", "Waived")
"""For a count of waived failures; the badge of one says ``Fail, waived``."""


def badge(outcome: Outcome) -> Badge:
    """Return the badge of an outcome."""
    return Badge(outcome.value.lower().replace("_", "-"), WORDS[outcome])


def badge_of(verdict: Verdict | None) -> Badge:
    """Return the badge of a verdict, ``Not judged`` without one."""
    if verdict is None:
        return NOT_JUDGED
    return replace(WAIVED, word=word(verdict)) if verdict.waived else badge(verdict.outcome)


def against_name(against: str) -> str:
    """Return what a check compared with, as people say it."""
    return {"pt": "the .pt", "baseline": "the baseline", "budget": "its budget"}.get(against, fmt.clip(against, 40))


def where(cell: Cell) -> str:
    """Return a cell's image size, batch, backend and device."""
    return f"{cell.imgsz} px, batch {cell.batch}, {fmt.clip(cell.backend, 40)} on {fmt.clip(cell.device, 40)}"


DOCUMENTATION = ""
"""The address that the site of ``docs/`` is served at, with a slash at its end; empty while it is served nowhere."""
_FINDING = re.compile(rf"\[({'|'.join(map(re.escape, FINDING_KINDS))})\]")


def linked(text: str) -> Markup:
    """Return text, escaped, whose ids of findings lead to what the documentation says of them."""

    def link(found: re.Match[str]) -> str:
        name = found[1]
        if not DOCUMENTATION:
            return Markup('<abbr title="docs/reference/findings.md of pytest-trtgate">[{}]</abbr>').format(name)
        address = f"{DOCUMENTATION}reference/findings.html#{name}"
        return Markup('<a href="{}" rel="noreferrer">[{}]</a>').format(address, name)

    return Markup(_FINDING.sub(link, str(Markup.escape(text))))


class Anchors:
    """The ids of one run's parts. ``taken`` is shared by all runs of a page, so that no id occurs twice.

    A cell's id is its key where that is safe and free; otherwise a digest or a number makes it so.
    """

    def __init__(self, run: RunRecord, taken: set[str]) -> None:
        self.run = self._free("run", taken)
        self.cells = {n.cell: self._free(self._safe(n.cell.key), taken) for n in numbers_of(run)}

    @staticmethod
    def _safe(key: str) -> str:
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", key)[:80]
        return safe if safe == key else f"{safe}-{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:8]}"

    @staticmethod
    def _free(name: str, taken: set[str]) -> str:
        free, n = name, 2
        while free in taken:
            free, n = f"{name}--{n}", n + 1
        taken.add(free)
        return free


def _facts(check: Check) -> tuple[Fact, ...]:
    against = fmt.clip(check.against, 40)
    if check.unit == "points":
        digits = fmt.digits_apart(check.change, check.limit)
        return (
            Fact("engine", fmt.metric(check.value)),
            Fact(".pt" if against == "pt" else against, fmt.metric(check.reference)),
            Fact("drop", fmt.metric(check.change, digits)),
            Fact("allowed", fmt.metric(check.limit, digits)),
            Fact("95 % limits", _limits(check)),
        )
    of_value, of_reference = (f", {name}" if name else "" for name in check.statistics or ("", ""))
    if check.unit in BUDGET_UNITS:
        return tuple(
            Fact(k, fmt.amount(v, check.unit))
            for k, v in ((f"measured{of_value}", check.value), ("budget", check.limit))
        )
    if is_speedup(check):
        return Fact("speed-up", fmt.times(check.change)), Fact("at least", fmt.times(check.limit))
    return (
        Fact(f"engine{of_value}", fmt.ms(check.value)),
        Fact(f"{against}{of_reference}", fmt.ms(check.reference)),
        Fact(_of_launches(check), fmt.percent(check.change)),
        Fact("allowed", fmt.threshold(check.limit)),
    )


def _of_launches(check: Check) -> str:
    """Return the label of a change, and where it is not that of the levels beside it, what it is of."""
    levels = ratio(check.value, check.reference)
    follows = levels is None or fmt.percent(levels - 1) == fmt.percent(check.change)
    return "change" if follows else "change, geometric mean of launches"


def brief(check: Check) -> str:
    """Return a check in a few words: ``mAP50-95 drop 0.0214, 0.0100 allowed``; empty where it has no numbers."""
    name, limit = fmt.clip(check.name, 40), check.limit
    found = check.value if check.unit in BUDGET_UNITS else check.change
    if found is None or limit is None:
        return ""
    if check.unit == "points":
        digits = fmt.digits_apart(found, limit)
        since = " since the baseline" if check.against == "baseline" else ""
        return f"{name} {fmt.drop(found, digits)}{since}, {fmt.metric(limit, digits)} allowed"
    if check.unit in BUDGET_UNITS:
        return f"{name} {fmt.amount(found, check.unit)}, budget {fmt.amount(limit, check.unit)}"
    if is_speedup(check):
        over = f" over {fmt.clip(check.against, 40)}" if check.against not in check.name else ""
        return f"{name}{over} {fmt.times(found)}, at least {fmt.times(limit)}"
    return f"{name} {fmt.percent(found)}, {fmt.threshold(limit)} allowed"


def _limits(check: Check) -> str:
    if check.low is None or check.high is None:
        return fmt.MISSING
    return f"{fmt.metric(check.low)} to {fmt.metric(check.high)}"


def untitled(sentence: str, cell: Cell) -> str:
    """Return a sentence about a cell without its leading precision, which the title beside it has."""
    return sentence.removeprefix(f"{cell.precision}: ")


def check_view(check: Check, cell: Cell) -> CheckView:
    """Return one check of a cell as the report shows it, where the cell is named."""
    used = excess(check)
    over = ""
    if is_speedup(check) and used is not None:
        over = how_fast(check)
    elif used is not None and used > 0:
        over = f"{fmt.share(used)} of the limit" if used < 2 else f"{fmt.times(used)} the limit"
    facts = tuple(fact for fact in _facts(check) if fact.value != fmt.MISSING)
    name = fmt.clip(check.name, 60)
    return CheckView(
        badge=badge(check.outcome),
        name=name,
        against=against_name(check.against) if check.against != check.name else "",
        sentence=fmt.clip(untitled(check.sentence, cell), 1000),
        facts=facts if len(facts) > 1 else (),
        over=over,
        gauge=charts.gauge(used, f"{name}: {over or 'better than required'}", _span(check)),
    )


def how_fast(check: Check) -> str:
    """Return a speed-up beside the least that is allowed, of which it is no part."""
    return f"{fmt.times(check.change)} where {fmt.times(check.limit)} is the least"


def _span(check: Check) -> tuple[float, float] | None:
    """Return the limits of a drop as parts of what is allowed, where both are known."""
    low, high = (ratio(value, check.limit) for value in (check.low, check.high))
    return None if low is None or high is None or check.unit != "points" else (low, high)


def sentence_of(verdict: Verdict) -> str:
    """Return the sentence that explains a verdict, without the precision, which its title has.

    Of one that passes, it tells only the check nearest to its limit.
    """
    if verdict.outcome is Outcome.PASS and len(verdict.checks) > 1:
        nearest = max(verdict.checks, key=lambda check: _used(check))
        said = untitled(nearest.sentence, verdict.cell)
        return fmt.clip(f"all {len(verdict.checks)} checks pass; nearest to its limit: {said}", 1000)
    worst = next((check.sentence for check in verdict.checks if check.outcome is verdict.outcome), "")
    reason = untitled(verdict.summary or worst, verdict.cell) or "No reason was recorded."
    reason += f". {verdict.advice[0].upper()}{verdict.advice[1:]}" if verdict.advice else ""
    return f"{fmt.clip(reason, 700)} ({fmt.clip(verdict.waived, 280)})" if verdict.waived else fmt.clip(reason, 1000)


def _used(check: Check) -> float:
    used = excess(check)
    return -math.inf if used is None or math.isnan(used) else used


def warnings_of(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return what did not fail a run: findings, each once, with what to do about it, and engines that are no gain."""
    warned = [(run, f) for run in runs for f in run.findings() if f.severity == "warn"]
    said = [f"{_on_machine(run, f, runs)}{_of_model(run, f)}; {f.remedy} [{f.id}]" for run, f in warned]
    said += [sentence for run in runs for sentence in no_gain(run)]
    return tuple(fmt.clip(text, 1000) for text in dict.fromkeys(said))


def machine_name(run: RunRecord) -> str:
    """Return the name of a run's kind of machine: that of the settings where they name several."""
    return fmt.clip(next((cell.machine for cell in run.cells if cell.machine), run.environment.machine), 60)


def _on_machine(run: RunRecord, finding: Finding, runs: Sequence[RunRecord]) -> str:
    """Return the machine of a finding, as the start of a sentence, where not each machine of the runs has it."""
    if all(finding in other.findings() for other in runs):
        return ""
    return f"{machine_name(run)}: "


def _of_model(run: RunRecord, finding: Finding) -> str:
    """Return a finding's sentence, with the model where a run has several and the sentence names the precision only."""
    cell = next((v.cell for v in run.verdicts if finding in v.findings), None)
    if cell is None or len({c.model for c in run.cells}) < 2 or not finding.sentence.startswith(f"{cell.precision}: "):
        return finding.sentence
    return f"{cell.model} {finding.sentence}"
