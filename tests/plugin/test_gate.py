"""The gate as a user sees it, from the command line to the files it leaves."""

from __future__ import annotations

from project import Project


def test_a_healthy_model_passes_in_every_precision(project: Project) -> None:
    result = project.run("-v")
    result.assert_outcomes(passed=6)
