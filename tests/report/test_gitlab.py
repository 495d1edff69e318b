"""What GitLab reads: issues of the code quality report, and lines of the metrics report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from runs_example import failing_run, gpu_run, passing_run

from pytest_trtgate.cli import main
from pytest_trtgate.records import EarlyFinding, Finding, Outcome, Preflight, RunRecord
from pytest_trtgate.records.files import save


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rendered(run: RunRecord) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the issues and the lines of metrics that a run is rendered to."""
    save(Path("run.json"), run)
    assert main(["report", "run.json", "--format=gitlab", "-o", "quality.json"]) == 0
    return json.loads(Path("quality.json").read_text()), Path("quality.metrics.txt").read_text().splitlines()


def test_each_verdict_that_is_no_pass_is_an_issue(capsys: pytest.CaptureFixture[str]) -> None:
    run = failing_run()
    issues, _ = rendered(run)
    assert capsys.readouterr().out == "quality.json (code quality) and quality.metrics.txt (metrics): 1 run\n"
    told = [issue for issue in issues if issue["check_name"] in ("trtgate-accuracy", "trtgate-latency")]
    assert len(told) == sum(verdict.outcome is not Outcome.PASS for verdict in run.verdicts)
    failed = [issue for issue in told if issue["severity"] in ("major", "critical")]
    assert len(failed) == sum(verdict.failed for verdict in run.verdicts)
    for issue in issues:
        assert {"description", "check_name", "fingerprint", "severity", "location"} == set(issue)
        assert issue["location"] == {"path": "run.json", "lines": {"begin": 1}}
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)


def test_issues_point_at_the_settings_and_stay_the_same_from_run_to_run() -> None:
    Path("trtgate.toml").write_text("imgsz = 320\n")
    before, _ = rendered(busy(1.8))
    after, _ = rendered(busy(12))
    assert [issue["fingerprint"] for issue in before] == [issue["fingerprint"] for issue in after]
    assert {issue["location"]["path"] for issue in before} == {"trtgate.toml"}
    assert [issue["description"] for issue in before] != [issue["description"] for issue in after]


def busy(load: float) -> RunRecord:
    """Return a run on a machine with a load of its own."""
    sentence = f"shapes-2: the load average is {load} on 2 cores before the start"
    early = EarlyFinding(finding=Finding(id="machine-busy", severity="warn", sentence=sentence))
    return failing_run().model_copy(update={"run_id": str(load), "preflight": Preflight(findings=(early,))})


def test_metrics_of_a_model_with_quotes_in_its_name_can_be_parsed() -> None:
    run = passing_run()
    named = RunRecord.model_validate_json(run.model_dump_json().replace('"shapes', '"a \\"b\\" é'))
    _, lines = rendered(named)
    assert all(re.match(r'trtgate_[a-zA-Z0-9_]+\{cell="a \\"b\\" é-', line) for line in lines), lines[0]


@pytest.mark.parametrize("run", [passing_run(), gpu_run(), failing_run()])
def test_metrics_are_numbers_with_their_units(run: RunRecord) -> None:
    _, lines = rendered(run)
    assert lines
    assert len(set(lines)) == len(lines)
    for line in lines:
        assert re.fullmatch(r'trtgate_\w+\{cell="[^"]+"\} -?[\d.]+(e[+-]\d+)?', line), line
    names = {line.partition("{")[0] for line in lines}
    assert {"trtgate_mAP50_95_points", "trtgate_mAP50_95_drop_from_pt_points", "trtgate_p50_ms"} <= names
