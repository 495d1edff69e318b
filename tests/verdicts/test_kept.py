"""Comparisons that an earlier run has made of the same records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate.cache import ComparisonStore
from pytest_trtgate.judge.accuracy import bootstrap
from pytest_trtgate.judge.accuracy.agreement import Agreement
from pytest_trtgate.judge.accuracy.bootstrap import Bootstrap, ClassDrop, Drop
from pytest_trtgate.verdicts.evidence import Evidence
from pytest_trtgate.verdicts.kept import KeptEvidence

SEEN = {"pt": {"score": 0.9, "missed": 0}, "int8": {"score": 0.8, "missed": 1}}
ACCURACY = ("--trt-precision=int8", "-k", "accuracy")


def judged(project: Project) -> tuple[object, object]:
    """Return the verdict and the figures of the last run."""
    verdict = project.verdict("int8", "accuracy")
    return [check.sentence for check in verdict.checks], project.record.figures


def test_what_was_compared_before_is_not_compared_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.weights(Behaviour(seen=SEEN))
    project.run(*ACCURACY)
    first = judged(project)
    assert first[1]

    def again(*arms: object, **how: object) -> None:
        raise ValueError("compared again")

    monkeypatch.setattr(bootstrap, "paired_bootstrap", again)
    project.run(*ACCURACY)
    assert judged(project) == first
    project.run(*ACCURACY, "--trt-fresh")
    assert judged(project) != first
    project.weights(Behaviour(seen={**SEEN, "int8": {"score": 0.8, "missed": 2}}))
    project.run(*ACCURACY)
    assert not project.record.figures


def test_a_comparison_is_the_same_from_the_cache_to_the_last_digit(tmp_path: Path) -> None:
    drop = Drop(1 / 3, 0.1, 1 / 3 - 0.1, float("-inf"), 2 / 7, (0.1, 2 / 3))
    comparison = Bootstrap(3, 1000, {"mAP50": drop}, (ClassDrop(1, 2, 3, drop, 1 / 7, True),))
    evidence = Evidence(comparison, Agreement(0, 0, float("nan"), float("nan"), (1,), ()), (np.full((2, 3), 1 / 3),))
    curves = tuple(tuple(map(tuple, curve.tolist())) for curve in evidence.curves)
    kept = KeptEvidence(comparison=evidence.comparison, agreement=evidence.agreement, curves=curves)
    store = ComparisonStore(tmp_path, fresh=False)
    store.put("0" * 64, kept)
    found = store.get("0" * 64, KeptEvidence)
    assert found is not None
    assert (found.comparison, found.curves) == (comparison, curves)
    assert np.isnan([found.agreement.score_before, found.agreement.score_after]).all()
