"""A run for GitLab: its failed verdicts as a code quality report, and its numbers as a metrics report."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import text as fmt
from ..records import REFERENCE, WORDS, Outcome, RunRecord, Verdict, write_whole
from .junit import properties
from .numbers import accuracy_of, gated_context, latency_of
from .page.parts import sentence_of

_PLAIN_NAME = re.compile(r"\W", re.ASCII)
_NUMBER = re.compile(r"(?<![\w.-])\d[\d.,]*(?![\w-])")
"""A number by itself, such as a load or a time, and not that in a name."""


def write(path: Path, runs: Sequence[RunRecord], about: str) -> Path:
    """Write the code quality report, and beside it the metrics report.

    Args:
        path: The code quality report, such as ``quality.json``.
        runs: The records of the runs.
        about: The file of the repository, from its root, at which merge requests show what was found.

    Returns:
        The metrics report: ``quality.metrics.txt``.

    Raises:
        OSError: A file cannot be written.
    """
    issues = [issue for run in runs for issue in _issues(run, about)]
    write_whole(path, json.dumps(issues, indent=1).encode())
    metrics = metrics_beside(path)
    lines = dict.fromkeys(line for run in runs for line in _metrics(run))
    write_whole(metrics, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
    return metrics


def metrics_beside(path: Path) -> Path:
    """Return the metrics report of a code quality report."""
    return path.with_suffix(".metrics.txt")


def _issues(run: RunRecord, about: str) -> Iterator[dict[str, Any]]:
    for verdict in run.verdicts:
        if verdict.outcome is Outcome.PASS:
            continue
        title = f"{verdict.cell.label} {verdict.subject}: {WORDS[verdict.outcome]}"
        said = f"{title}: {fmt.clip(sentence_of(verdict), 500)}"
        yield _issue(verdict.subject, said, _severity(verdict), f"{verdict.cell.key} {verdict.outcome}", about)
    for finding in run.findings():
        severity = "major" if finding.severity == "fail" else "minor"
        yield _issue(finding.id, fmt.clip(finding.sentence, 500), severity, _NUMBER.sub("", finding.sentence), about)


def _issue(check: str, said: str, severity: str, identity: str, about: str) -> dict[str, Any]:
    """Return an issue; those of one identity are the same to GitLab, in whichever run."""
    return {
        "description": said,
        "check_name": f"trtgate-{check}",
        "fingerprint": hashlib.sha256(f"{check} {identity}".encode(errors="replace")).hexdigest(),
        "severity": severity,
        "location": {"path": about, "lines": {"begin": 1}},
    }


def _severity(verdict: Verdict) -> str:
    if not verdict.failed:
        return "info"
    return "critical" if verdict.outcome is Outcome.ERROR else "major"


def _metrics(run: RunRecord) -> Iterator[str]:
    context = gated_context(run)
    for verdict in run.verdicts:
        cell = verdict.cell
        arms = [accuracy_of(run, cell, arm) for arm in (REFERENCE, cell.precision)]
        pair = (arms[0], arms[1]) if arms[0] and arms[1] else None
        measured = pair if verdict.subject == "accuracy" else latency_of(run, cell)
        for name, value in properties(verdict, measured, context):
            if not isinstance(value, str):
                label = cell.key.replace("\\", r"\\").replace('"', r"\"")
                yield f'{_PLAIN_NAME.sub("_", name)}{{cell="{label}"}} {value:.6g}'
