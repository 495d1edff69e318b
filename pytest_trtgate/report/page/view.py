"""Run records -> the page as plain data: every string is formatted, so the template only loops and chooses.

Outside text (names, sentences, paths, logs) is cleaned of control characters here; escaping is the template's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ... import text as fmt
from ...records import BaselineUse, Environment, Outcome, RunRecord
from ..numbers import numbers_of
from ..shipping import shipping
from . import detail, matrix
from .cards import Card, Command, cards, first_baseline, joint_command
from .latency_view import ModelCharts, model_charts
from .overall import overall
from .parts import WAIVED, Anchors, Badge, Fact, Row, Table, badge, machine_name, warnings_of
from .timing_view import timing_view

PAGE_IDS = (
    *("top", "main", "failures", "remarks", "matrix", "charts", "video", "cells", "environment", "timing", "record"),
)
"""Ids that the template itself uses."""
NAMED = 6
"""How many failures the top of the page names."""
SHOWN = 12
"""How many failures, and how many notes, are shown at once; the rest is folded, so that the matrix stays in reach."""


@dataclass(frozen=True)
class EnvironmentRow:
    """One fact of the machine, and the baselines' values where they differ."""

    label: str
    value: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class RunView:
    """Everything that the page shows of one record."""

    anchor: str
    title: str
    badge: Badge
    facts: tuple[Fact, ...]
    counts: tuple[tuple[Badge, int], ...]
    notes: tuple[str, ...]
    offers: tuple[Command, ...]
    charts: tuple[ModelCharts, ...]
    cells: tuple[detail.CellView, ...]
    environment: tuple[EnvironmentRow, ...]
    differences: str
    settings: str
    jobs: Table | None
    timing: tuple[Table, str] | None
    command: str
    version: str


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    badge: Badge
    headline: str
    lead: str
    counts: tuple[tuple[Badge, int], ...]
    summary: tuple[Card, ...]
    failures: tuple[Card, ...]
    more_failures: tuple[Card, ...]
    remarks: tuple[Card, ...]
    more_remarks: tuple[Card, ...]
    warnings: tuple[str, ...]
    shipping: tuple[str, ...]
    matrices: tuple[matrix.MatrixView, ...]
    runs: tuple[RunView, ...]


def counts_of(runs: Sequence[RunRecord]) -> tuple[tuple[Badge, int], ...]:
    """Return how often each outcome occurs, best first; waived failures are counted apart."""
    totals = {outcome: sum(run.counts()[outcome] for run in runs) for outcome in Outcome}
    waived = sum(bool(verdict.waived) for run in runs for verdict in run.verdicts)
    totals[Outcome.FAIL] -= waived
    counts = [(badge(outcome), n) for outcome, n in totals.items()]
    counts.insert(list(totals).index(Outcome.FAIL), (WAIVED, waived))
    return tuple((mark, n) for mark, n in counts if n)


def environment_rows(environment: Environment, baselines: Sequence[BaselineUse]) -> tuple[EnvironmentRow, ...]:
    """Return the machine as rows; where a baseline was taken on something else, both values."""

    def facts(e: Environment) -> dict[str, str]:
        named = {
            "Machine": e.machine,
            "Operating system": f"{e.os} ({e.arch})",
            "CPU": f"{e.cpu}, {fmt.plural(e.cpu_count, 'core')}",
            "CPU instructions": " ".join(e.instructions or ()),
            "Memory": fmt.size(e.memory_bytes),
            "GPU": e.gpu or "none",
            "Compute capability": e.compute_capability or "",
            "Driver": e.driver or "",
            "Power": e.power or "",
            "Device": e.device,
            "Backend": f"{e.backend} {e.backend_version}",
            "Python": e.python,
        }
        named |= {name: version for name, version in sorted(e.versions.items()) if name.lower() != "python"}
        return named | {label: value for label, value in e.extra.items() if label not in named}

    here = facts(environment)
    others: dict[str, list[str]] = {}
    for use in baselines:
        if use.baseline is None:
            continue
        for label, value in facts(use.baseline.environment).items():
            known = others.setdefault(label, [])
            if value != here.get(label, "") and value not in known:
                known.append(value)
    labels = [label for label in dict.fromkeys([*here, *others]) if here.get(label) or others.get(label)]
    return tuple(
        EnvironmentRow(
            label=fmt.clip(label, 60),
            value=fmt.clip(here.get(label) or "none", 200),
            others=tuple(fmt.clip(value or "none", 200) for value in others.get(label, ())),
        )
        for label in labels
    )


def baseline_fact(run: RunRecord) -> Fact:
    """Return which baselines the latencies of a run were compared with."""
    uses = [n.baseline_use for n in numbers_of(run) if n.baseline_use]
    compared = [use for use in uses if use.outcome is Outcome.PASS and use.baseline]
    sessions = [use.baseline.sessions[-1] for use in compared if use.baseline and use.baseline.sessions]
    if compared:
        newest = max(sessions, key=lambda session: session.recorded_at, default=None)
        day = fmt.date(newest.recorded_at).partition(",")[0] if newest else "without sessions"
        commit = f" ({fmt.digest(newest.commit, 8)})" if newest and newest.commit else ""
        part = "" if len(compared) == len(run.cells) else f", {len(compared)} of {fmt.plural(len(run.cells), 'cell')}"
        return Fact("Baseline", f"{day}{commit}{part}", fmt.clip(compared[0].path, 200))
    if any(use.outcome is Outcome.INCOMPATIBLE for use in uses):
        return Fact("Baseline", "incompatible", fmt.clip(next((use.note for use in uses if use.note), ""), 300))
    return Fact("Baseline", "none for this machine" if uses else "none looked up")


def differences(rows: Sequence[EnvironmentRow]) -> str:
    """Say in which facts the machine differs from the baselines'; empty where in none."""
    changed = [row.label for row in rows if row.others]
    return f"Not as in the baselines: {', '.join(changed)}." if changed else ""


def job_table(run: RunRecord) -> Table | None:
    """Return the jobs; of a log, the folder and file name, whichever system wrote the path."""
    rows = []
    for job in run.jobs:
        shown = fmt.clip("/".join(re.split(r"[\\/]+", job.log)[-2:]), 80)
        log = Markup('<span title="{}">{}</span>').format(fmt.clip(job.log, 300), shown) if shown else ""
        ended = Badge("pass", "Done") if job.ok else Badge("error", "Failed")
        rows.append(Row((fmt.clip(job.name), fmt.clip(job.kind, 40), fmt.duration(job.seconds), ended, log)))
    return (
        Table(
            label="Jobs",
            columns=("Job", "Kind", "Took", "Ended", "Log"),
            rows=tuple(rows),
            caption="Jobs, each in a process of its own",
            kind="jobs",
            classes={"Kind": "l", "Ended": "l", "Log": "l"},
        )
        if rows
        else None
    )


def run_view(run: RunRecord, anchors: Anchors, several: bool) -> RunView:
    """Return everything that the page shows of one record."""
    e = run.environment
    named = (Fact("Machine", machine_name(run), fmt.clip(e.machine, 200)),) if several else ()
    facts = (
        *named,
        Fact("Commit", fmt.digest(e.commit) if e.commit else "not recorded", fmt.clip(e.commit or "", 80)),
        Fact("Device", fmt.clip(e.gpu or e.cpu, 60), fmt.clip(e.machine, 200)),
        Fact("Backend", fmt.clip(f"{e.backend} {e.backend_version}", 60)),
        Fact("Driver", fmt.clip(e.driver or "none", 60)),
        baseline_fact(run),
        Fact("Started", fmt.date(run.started_at), fmt.clip(run.started_at, 60)),
        Fact("Took", fmt.duration(run.seconds)),
    )
    environment = environment_rows(e, list(run.baselines.values()))
    counted = [v for v in run.verdicts if v.failed is run.failed]
    # A waived failure is no reason to call a run failed that passed.
    unwaived = [v.outcome for v in counted if not v.waived]
    worst = max(unwaived, key=lambda outcome: outcome.rank, default=Outcome.PASS if counted else Outcome.ERROR)
    return RunView(
        anchor=anchors.run,
        title=matrix.run_title(run) if several else "",
        badge=badge(worst),
        facts=facts,
        counts=counts_of([run]),
        notes=tuple(fmt.clip(note, 1000) for note in run.notes),
        offers=tuple(filter(None, (first_baseline(run), joint_command(run)))),
        charts=model_charts(run),
        cells=detail.cell_views(run, anchors),
        environment=environment,
        differences=differences(environment),
        settings=fmt.clean(json.dumps(run.settings, indent=2, ensure_ascii=False, default=str)),
        jobs=job_table(run),
        timing=timing_view(run),
        command=fmt.clean(run.command),
        version=f"pytest-trtgate {fmt.clip(run.plugin_version, 40)}, record schema {run.schema_version}",
    )


def _shipping(run: RunRecord, several: bool) -> tuple[str, ...]:
    where = f"{machine_name(run)}: " if several else ""
    return tuple(f"{where}{sentence}." for sentence in shipping(run))


def page(runs: Sequence[RunRecord]) -> Page:
    """Return the page for one record, or for several merged."""
    taken: set[str] = set(PAGE_IDS)
    anchored = [(run, Anchors(run, taken)) for run in runs]
    failures, remarks = cards(anchored, failed=True), cards(anchored, failed=False)
    verdict, headline, lead = overall(runs, named=False)
    models = list(dict.fromkeys(cell.model for run in runs for cell in run.cells))
    about = fmt.clip(", ".join(models) or "no model", 60)
    return Page(
        title=f"{verdict.word}: {about}",
        badge=verdict,
        headline=headline,
        lead=lead,
        counts=counts_of(runs),
        summary=failures[:NAMED],
        failures=failures[:SHOWN],
        more_failures=failures[SHOWN:],
        remarks=remarks[:SHOWN],
        more_remarks=remarks[SHOWN:],
        warnings=warnings_of(runs),
        shipping=tuple(said for run in runs for said in _shipping(run, len(runs) > 1)),
        matrices=matrix.matrix_views(anchored),
        runs=tuple(run_view(run, anchors, len(runs) > 1) for run, anchors in anchored),
    )
