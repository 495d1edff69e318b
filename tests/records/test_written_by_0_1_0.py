"""Files that version 0.1.0 wrote: they load, are found, and are judged as it judged them.

A run with fake jobs on a pretended H200 wrote a baseline, an engine and its manifest, and a waiver. ``run.json`` is the
record of its last run, without launches and jobs.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate import load_run
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.report import render

HERE = Path(__file__).parent / "written_by_0_1_0"


@pytest.fixture
def old(project: Project) -> Project:
    """The project after runs of version 0.1.0."""
    shutil.copytree(HERE, project.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run.json"))
    return project.use_gpu().pretend(cores=2, fingerprint={"arch": "x86_64"})


def judged(run: RunRecord) -> list[tuple[object, ...]]:
    """Return what was decided of each cell, by which checks and limits."""
    return [
        (v.cell, v.subject, v.outcome, v.failed, v.waived, [(c.name, c.against, c.limit, c.outcome) for c in v.checks])
        for v in sorted(run.verdicts, key=lambda v: v.subject)
    ]


def test_its_engine_and_its_baseline_are_found_and_judged_the_same(old: Project) -> None:
    old.run().assert_outcomes(passed=2)
    then, now = load_run(HERE / "run.json"), old.record
    assert judged(now) == judged(then)
    (engine,), (before,) = now.engines.values(), then.engines.values()
    assert (engine.cache_key, engine.from_cache) == (before.cache_key, True)


def test_another_engine_is_slower_than_its_baseline(old: Project) -> None:
    old.weights(Behaviour(p50_ms={"pt": 8.0, "fp16": 6.0}))
    old.run("-k", "latency")
    [p50] = [c for c in old.verdict("fp16", "latency").checks if (c.name, c.against) == ("p50", "baseline")]
    assert str(p50.outcome) == "FAIL"
    assert p50.reference == pytest.approx(4.2, rel=0.01)


def test_its_waiver_still_counts(old: Project) -> None:
    old.run("-k", "latency").assert_outcomes(passed=1, deselected=1)
    assert old.verdict("fp16", "latency").waived == "waived until 2999-12-31: the budget is for another GPU"
    (old.path / "baselines" / "waivers.json").unlink()
    old.run("-k", "latency").assert_outcomes(failed=1, deselected=1)


def test_its_run_record_can_be_rendered(tmp_path: Path) -> None:
    page = render([load_run(HERE / "run.json")], tmp_path / "page.html", None, [HERE]).read_text(encoding="utf-8")
    assert "the budget is for another GPU" in page
