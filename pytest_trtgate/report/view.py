"""Run records -> the page as plain data: every string is formatted, so the template only loops and chooses.

Outside text (names, sentences, paths, logs) is cleaned of control characters here; escaping is the template's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Environment
from ..run_record import BaselineUse, JobRecord, Outcome, RunRecord, Verdict
from . import detail, matrix
from . import format as fmt
from .cards import Card, cards
from .latency_view import ModelCharts, model_charts
from .measure import excess, worst_first, worst_outcome
from .parts import Anchors, Badge, Fact, badge, warnings_of
from .timing_view import TimingView, timing_view

PAGE_IDS = (
    *("top", "main", "failures", "remarks", "matrix", "charts", "video", "cells", "environment", "timing", "record"),
)
"""Ids that the template itself uses."""
SHOWN = 12
"""How many failures, and how many notes, are shown at once; the rest is folded, so that the matrix stays in reach."""


@dataclass(frozen=True)
class EnvironmentRow:
    """One fact of the machine, with what the baselines had where that differs."""

    label: str
    value: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class JobView:
    """One job and the name of its log file."""

    name: str
    kind: str
    seconds: str
    badge: Badge
    log: str
    log_path: str


@dataclass(frozen=True)
class RunView:
    """Everything that the page shows of one record."""

    anchor: str
    title: str
    badge: Badge
    facts: tuple[Fact, ...]
    counts: tuple[tuple[Badge, int], ...]
    notes: tuple[str, ...]
    matrix: matrix.MatrixView
    charts: tuple[ModelCharts, ...]
    cells: tuple[detail.CellView, ...]
    environment: tuple[EnvironmentRow, ...]
    settings: str
    jobs: tuple[JobView, ...]
    timing: TimingView | None
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
    failures: tuple[Card, ...]
    more_failures: tuple[Card, ...]
    remarks: tuple[Card, ...]
    more_remarks: tuple[Card, ...]
    warnings: tuple[str, ...]
    runs: tuple[RunView, ...]


def counts_of(runs: Sequence[RunRecord]) -> tuple[tuple[Badge, int], ...]:
    """Return how often each outcome occurs, best first, without those that do not."""
    totals = {outcome: sum(run.counts()[outcome] for run in runs) for outcome in Outcome}
    return tuple((badge(outcome), n) for outcome, n in totals.items() if n)


def overall(runs: Sequence[RunRecord]) -> tuple[Badge, str, str]:
    """Return the verdict on all runs together, as badge, headline and one sentence.

    A run that judged nothing has failed: a gate that measured nothing is not green.
    """
    verdicts = [verdict for run in runs for verdict in worst_first(run)]
    unfinished = "; ".join(run.unfinished for run in runs if run.unfinished)
    if not verdicts and not unfinished and all(run.engines for run in runs):
        lead = "Engines were built or measured for tests of your own; the gate itself was asked for no verdict."
        return badge(Outcome.INCONCLUSIVE), "Nothing was judged", lead
    if not verdicts:
        lead = "No verdict was reached, so this run does not count as passed."
        return badge(Outcome.ERROR), "Nothing was judged", lead
    failed = [verdict for verdict in verdicts if verdict.failed]
    silent = [run for run in runs if not run.verdicts]
    total = fmt.plural(len(verdicts), "verdict")
    if failed:
        names = [f"{fmt.clip(v.cell.label, 60)} {v.subject}" for v in failed]
        shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
        tail = " and ".join((", ".join(shown[:-1]), shown[-1])) if len(shown) > 1 else shown[0]
        worst = badge(Outcome.ERROR if all(v.outcome is Outcome.ERROR for v in failed) else Outcome.FAIL)
        return worst, "Gate failed", f"{len(failed)} of {total} failed: {tail}."
    if unfinished:
        lead = f"{total} so far, and none of them failed, but {unfinished}."
        return badge(Outcome.ERROR), "Not passed", lead
    if silent:
        return badge(Outcome.ERROR), "Gate failed", f"{fmt.plural(len(silent), 'run')} judged nothing."
    passed = sum(verdict.outcome is Outcome.PASS for verdict in verdicts)
    if passed < len(verdicts):
        waived = sum(bool(verdict.waived) for verdict in verdicts)
        undecided = len(verdicts) - passed - waived
        rest = [f"{undecided} could not be decided and did not fail the run"] if undecided else []
        rest += [f"{waived} failed and {'is' if waived == 1 else 'are'} waived for now"] if waived else []
        lead = f"{passed} of {total} pass; {', '.join(rest)}."
        return badge(Outcome.PASS), "Gate passed, with notes", lead
    margin = closest(verdicts)
    return badge(Outcome.PASS), "Gate passed", f"All {total} pass.{margin}"


def closest(verdicts: Sequence[Verdict]) -> str:
    """Return a sentence that names the check nearest to its limit, or nothing where no check has one."""
    used = [(part, v, c) for v in verdicts for c in v.checks if (part := excess(c)) is not None and part > 0]
    if not used:
        return ""
    part, verdict, check = max(used, key=lambda item: item[0])
    label = f"{fmt.clip(verdict.cell.label, 60)} {fmt.clip(check.name, 40)}"
    return f" Closest to its limit: {label}, {fmt.share(part)} of what is allowed."


def environment_rows(environment: Environment, baselines: Sequence[BaselineUse]) -> tuple[EnvironmentRow, ...]:
    """Return the machine as rows; where a baseline was taken on something else, both values."""

    def facts(e: Environment) -> dict[str, str]:
        named = {
            "Machine": e.machine,
            "Operating system": f"{e.os} ({e.arch})",
            "CPU": f"{e.cpu}, {fmt.plural(e.cpu_count, 'core')}",
            "Memory": fmt.size(e.memory_bytes),
            "GPU": e.gpu or "none",
            "Compute capability": e.compute_capability or "",
            "Driver": e.driver or "",
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


def job_view(job: JobRecord) -> JobView:
    """Return one job; of its log only the folder and the file name are shown, whichever system wrote the path."""
    ended = Badge("pass", "Done") if job.ok else Badge("error", "Failed")
    log = "/".join(re.split(r"[\\/]+", job.log)[-2:])
    return JobView(
        name=fmt.clip(job.name),
        kind=fmt.clip(job.kind, 40),
        seconds=fmt.duration(job.seconds),
        badge=ended,
        log=fmt.clip(log, 80),
        log_path=fmt.clip(job.log, 300),
    )


def run_view(run: RunRecord, anchors: Anchors, several: bool) -> RunView:
    """Return everything that the page shows of one record."""
    e = run.environment
    facts = (
        Fact("Commit", fmt.digest(e.commit) if e.commit else "not recorded", fmt.clip(e.commit or "", 80)),
        Fact("Machine", fmt.clip(e.machine, 60), fmt.clip(f"{e.gpu or e.cpu}", 200)),
        Fact("Backend", fmt.clip(f"{e.backend} {e.backend_version}", 60)),
        Fact("Device", fmt.clip(e.gpu or e.cpu, 60)),
        Fact("Started", fmt.date(run.started_at), fmt.clip(run.started_at, 60)),
        Fact("Took", fmt.duration(run.seconds)),
    )
    counted = [v for v in run.verdicts if v.failed is run.failed]
    # A waived failure is no reason to call a run failed that passed.
    worst = worst_outcome(v for v in counted if not v.waived) or (Outcome.PASS if counted else Outcome.ERROR)
    return RunView(
        anchor=anchors.run,
        title=fmt.clip(f"{e.machine}, {e.backend} {e.backend_version}", 120) if several else "",
        badge=badge(worst),
        facts=facts,
        counts=counts_of([run]),
        notes=tuple(fmt.clip(note, 1000) for note in run.notes),
        matrix=matrix.matrix_view(run, anchors),
        charts=model_charts(run),
        cells=detail.cell_views(run, anchors),
        environment=environment_rows(e, list(run.baselines.values())),
        settings=fmt.clean(json.dumps(run.settings, indent=2, ensure_ascii=False, default=str)),
        jobs=tuple(job_view(job) for job in run.jobs),
        timing=timing_view(run),
        command=fmt.clean(run.command),
        version=f"pytest-trtgate {fmt.clip(run.plugin_version, 40)}, record schema {run.schema_version}",
    )


def page(runs: Sequence[RunRecord]) -> Page:
    """Return the page for one record, or for several merged."""
    taken: set[str] = set(PAGE_IDS)
    anchored = [(run, Anchors(run, taken)) for run in runs]
    failures, remarks = cards(anchored, failed=True), cards(anchored, failed=False)
    verdict, headline, lead = overall(runs)
    models = list(dict.fromkeys(cell.model for run in runs for cell in run.cells))
    about = fmt.clip(", ".join(models) or "no model", 60)
    return Page(
        title=f"{verdict.word}: {about}",
        badge=verdict,
        headline=headline,
        lead=lead,
        counts=counts_of(runs),
        failures=failures[:SHOWN],
        more_failures=failures[SHOWN:],
        remarks=remarks[:SHOWN],
        more_remarks=remarks[SHOWN:],
        warnings=warnings_of(runs),
        runs=tuple(run_view(run, anchors, len(runs) > 1) for run, anchors in anchored),
    )
