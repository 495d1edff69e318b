"""Whether the engine cache outlives the job, by its place and the environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trtgate.findings.cache_place import why_thrown_away
from pytest_trtgate.machine import Machine

HOME = Path("/home/me/.cache/pytest-trtgate")


@pytest.mark.parametrize("place", ["/tmp/engines", "/var/tmp/x", "/dev/shm/engines"])
def test_a_cache_in_a_temporary_folder_is_thrown_away(place: str) -> None:
    assert why_thrown_away(Path(place), {}, Machine().temporary).endswith(" is for temporary files")


def test_a_cache_at_home_or_in_the_project_lasts(tmp_path: Path) -> None:
    assert why_thrown_away(HOME, {}, Machine().temporary) == ""
    assert why_thrown_away(Path("/srv/project/cache"), {"CI": "true"}, Machine().temporary) == ""
    temporary = [str(tmp_path / "t")]
    assert why_thrown_away(tmp_path / "t" / "cache", {}, temporary) == f"{tmp_path / 't'} is for temporary files"
    assert why_thrown_away(tmp_path / "cache", {}, temporary) == ""


def test_a_notebook_keeps_only_what_is_on_its_drive() -> None:
    colab = {"COLAB_RELEASE_TAG": "release"}
    assert why_thrown_away(Path("/content/cache"), colab, ()) == "what is in /content goes with the notebook's session"
    assert why_thrown_away(Path("/content/drive/MyDrive/cache"), colab, ()) == ""
    assert why_thrown_away(Path("/content/cache"), {}, ()) == ""
    assert "/kaggle" in why_thrown_away(Path("/kaggle/working/c"), {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, ())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A workspace of a runner."""
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    return tmp_path


def test_a_workspace_of_github_lasts_only_with_a_cache_step(checkout: Path) -> None:
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(checkout),
        "GITHUB_WORKFLOW_REF": "me/it/.github/workflows/gate.yml@refs/heads/main",
    }
    workflow = checkout / ".github" / "workflows" / "gate.yml"
    workflow.write_text("steps:\n  - uses: actions/checkout@v4\n")
    why = "this job's workspace is discarded and the workflow has no step that caches it"
    assert why_thrown_away(checkout / "cache", environ, ()) == why
    assert why_thrown_away(HOME, {**environ, "RUNNER_ENVIRONMENT": "self-hosted"}, ()) == ""
    assert why_thrown_away(HOME, {**environ, "RUNNER_ENVIRONMENT": "github-hosted"}, ()) == why.replace(
        "this job's workspace", "the runner"
    )
    for action in ("actions/cache@v4", "./.github/actions/setup"):  # our own may have such a step
        workflow.write_text(f"steps:\n  - uses: {action}\n")
        assert why_thrown_away(checkout / "cache", environ, ()) == ""


def test_a_workflow_that_cannot_be_read_is_given_the_benefit_of_the_doubt(checkout: Path) -> None:
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(checkout),
        "GITHUB_WORKFLOW_REF": "me/it/.github/workflows/other.yml@refs/heads/main",
    }
    assert why_thrown_away(checkout / "cache", environ, ()) == ""


def test_a_checkout_of_gitlab_lasts_only_with_a_cache(checkout: Path) -> None:
    environ = {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(checkout)}
    (checkout / ".gitlab-ci.yml").write_text("test:\n  script: pytest\n")
    assert "no cache" in why_thrown_away(checkout / "cache", environ, ())
    for text in ("test:\n  cache:\n    paths: [cache]\n", "include:\n  - local: ci/gate.yml\n"):
        (checkout / ".gitlab-ci.yml").write_text(text)
        assert why_thrown_away(checkout / "cache", environ, ()) == ""
